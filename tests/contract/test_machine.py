"""Random walks through each store, beside a plain dict."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from atlas.storage.memory import MemoryStore
from atlas.storage.sqlite import SqliteStore
from atlas.testing import StoreFactory, machine_of

# Only a busy machine makes the drawing slow.
PATIENT = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
SHORT = settings(PATIENT, max_examples=25, stateful_step_count=20, derandomize=True)


def test_the_memory_store_walks_like_a_dict() -> None:
    run_state_machine_as_test(machine_of(lambda: MemoryStore), settings=SHORT)


def test_the_sqlite_store_walks_like_a_dict(tmp_path: Path) -> None:
    numbers = count()

    def fresh() -> StoreFactory:
        return partial(SqliteStore, tmp_path / f"{next(numbers)}.db")

    run_state_machine_as_test(machine_of(fresh), settings=SHORT)


@pytest.mark.nightly
def test_long_walks(tmp_path: Path) -> None:
    numbers = count()
    long = settings(PATIENT, max_examples=300, stateful_step_count=40)
    run_state_machine_as_test(machine_of(lambda: MemoryStore), settings=long)
    run_state_machine_as_test(machine_of(lambda: partial(SqliteStore, tmp_path / f"{next(numbers)}.db")), settings=long)
