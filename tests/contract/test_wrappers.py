"""Every wrapper keeps the contract of the store inside it, over memory and over SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from atlas.storage.collection import Collection
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Store, Transaction
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore, ListedStore, MeteredStore, ObservedStore, Operation, ReadOnlyStore
from atlas.storage.wrappers.around import StoreAround
from atlas.testing import StoreContract, StoreFactory, machine_of

T = TypeVar("T")

Wrap = Callable[[Store], Store]


def cached(inner: Store) -> Store:
    return CachedStore(inner)


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


def _noted(_: Any) -> None:
    """Be told."""


async def _noted_later(_: Any) -> None:
    """Be told on the event loop."""


def _let_through(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
    return go_on(operation)


def observed(inner: Store) -> Store:
    store = ObservedStore(inner)
    store.on(["before_set", "after_set", "after_get", "after_query", "after_commit", "error"], _noted)
    store.use(_let_through)
    return store


class ReadsThrough(StoreAround):
    """Reads through a read-only wrapper, and writes to the store inside it: a read-only store alone keeps nothing."""

    def __init__(self, inner: Store) -> None:
        super().__init__(ReadOnlyStore(inner))
        self._writable = inner

    @property
    def capabilities(self) -> Capabilities:
        return self._writable.capabilities

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        return await self._writable.transact(work, timeout=timeout)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        return await self._writable.maintain(analyze=analyze)


def all_outside_in(inner: Store) -> Store:
    return ListedStore(CachedStore(observed(MeteredStore(ReadsThrough(inner)))))


def all_inside_out(inner: Store) -> Store:
    return ReadsThrough(MeteredStore(observed(CachedStore(inner))))


WRAPS: Mapping[str, Wrap] = {
    "cached": cached,
    "observed": observed,
    "read_only": ReadsThrough,
    "metered": MeteredStore,
}
OTHERS: Mapping[str, Wrap] = {
    "listed": ListedStore,
    "crowded": crowded,
    "all_outside_in": all_outside_in,
    "all_inside_out": all_inside_out,
}
EACH = [
    *(pytest.param(wrap, id=name) for name, wrap in WRAPS.items()),
    *(pytest.param(wrap, id=name, marks=pytest.mark.nightly) for name, wrap in OTHERS.items()),
]


def over_memory(wrap: Wrap) -> StoreFactory:
    return lambda collections: wrap(MemoryStore(collections))


def over_sqlite(wrap: Wrap, path: Path) -> StoreFactory:
    def make(collections: Sequence[Collection[Any]]) -> Store:
        return wrap(SqliteStore(path, collections))

    return make


@pytest.mark.parametrize("wrap", EACH)
class TestOverMemory(StoreContract):
    @pytest.fixture
    def make_store(self, wrap: Wrap) -> StoreFactory:
        return over_memory(wrap)


@pytest.mark.parametrize("wrap", [*EACH, pytest.param(told, id="told")])
class TestOverSqlite(StoreContract):
    @pytest.fixture
    def make_store(self, wrap: Wrap, tmp_path: Path) -> StoreFactory:
        return over_sqlite(wrap, tmp_path / "atlas.db")


# Only a busy machine makes the drawing slow.
SHORT = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=15,
    stateful_step_count=20,
    derandomize=True,
)


@pytest.mark.parametrize("wrap", [cached, crowded, all_outside_in])
def test_a_wrapped_store_walks_like_a_dict(wrap: Wrap) -> None:
    run_state_machine_as_test(machine_of(lambda: over_memory(wrap)), settings=SHORT)
