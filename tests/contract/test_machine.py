"""Random walks through every kind of store, beside a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.kinds import KINDS, Spots

from atlas.testing import machine_of

# Only a busy machine makes the drawing slow.
PATIENT = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
SHORT = settings(PATIENT, max_examples=50, stateful_step_count=20, derandomize=True)
LONG = settings(PATIENT, max_examples=500, stateful_step_count=40)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_walks_like_a_dict(spots: Spots, kind: str) -> None:
    """In whatever order it is asked."""
    run_state_machine_as_test(machine_of(lambda: spots.maker(kind)), settings=SHORT)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_walks_far_like_a_dict(spots: Spots, kind: str) -> None:
    """Long enough to find what needs many steps."""
    run_state_machine_as_test(machine_of(lambda: spots.maker(kind)), settings=LONG)
