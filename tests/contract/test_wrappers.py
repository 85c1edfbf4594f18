"""Every wrapper keeps the contract of the store inside it, over memory and over SQLite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract.kinds import INSIDE, WRAPS, ReadsThrough, Spots, Wrap, observed, wrapped

from atlas.storage.protocol import Store
from atlas.storage.wrappers import CachedStore, ListedStore, MeteredStore
from atlas.testing import StoreContract, StoreFactory, machine_of


def crowded(inner: Store) -> Store:
    """A cache with hardly any room, so that entries come and go all the time."""
    return CachedStore(inner, entries=3, most_bytes=2_000)


class Untelling:
    """A store that cannot tell others' changes at once, as servers far away cannot."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "others_version":
            raise AttributeError(name)
        return getattr(self._inner, name)


def told(inner: Store) -> Store:
    """A cache that only hears of others' commits, and states how old its answers may be."""
    untelling: Any = Untelling(inner)
    return CachedStore(untelling, staleness=timedelta(milliseconds=30))


def all_outside_in(inner: Store) -> Store:
    return ListedStore(CachedStore(observed(MeteredStore(ReadsThrough(inner)))))


def all_inside_out(inner: Store) -> Store:
    return ReadsThrough(MeteredStore(observed(CachedStore(inner))))


OTHERS: dict[str, Wrap] = {"crowded": crowded, "all_outside_in": all_outside_in, "all_inside_out": all_inside_out}
EACH = [
    *(pytest.param(wrap, inside, id=f"{name}-{inside}") for name, wrap in WRAPS.items() for inside in INSIDE),
    *(
        pytest.param(wrap, inside, id=f"{name}-{inside}", marks=pytest.mark.nightly)
        for name, wrap in OTHERS.items()
        for inside in INSIDE
    ),
    pytest.param(told, "sqlite", id="told-sqlite"),
]


@pytest.mark.parametrize(("wrap", "inside"), EACH)
class TestWrapper(StoreContract):
    @pytest.fixture
    def make_store(self, spots: Spots, wrap: Wrap, inside: str) -> StoreFactory:
        return wrapped(wrap, spots.maker(inside))


# Only a busy machine makes the drawing slow.
SHORT = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=50,
    stateful_step_count=20,
    derandomize=True,
)


@pytest.mark.parametrize("wrap", [crowded, all_outside_in])
def test_wrappers_together_walk_like_a_dict(spots: Spots, wrap: Wrap) -> None:
    """Also a cache that throws away nearly everything."""
    run_state_machine_as_test(machine_of(lambda: wrapped(wrap, spots.maker("memory"))), settings=SHORT)
