"""What a metered store counts is what happened; what a read-only store refuses does not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atlas.errors import ConflictError, StoreReadOnlyError
from atlas.storage.collection import encode
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore, Histogram, MeteredStore, ReadOnlyStore
from atlas.storage.wrappers.metered import BOUNDS
from atlas.testing.laws import Stopped, stop
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, fill, ids, part

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def inner(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    made = MemoryStore(COLLECTIONS) if request.param == "memory" else SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await made.open()
    yield made
    await made.close()


async def test_every_operation_is_counted(inner: Store) -> None:
    """Calls of the store, what was done inside them, how many records that was, and their bytes as JSON."""
    store = MeteredStore(inner)
    one, two = Counter(id="a", value=1), [Counter(id="b"), Counter(id="c", value=10_000)]

    def work(tx: Transaction) -> None:
        tx.put(COUNTERS, one)
        tx.put_many(COUNTERS, two)
        tx.append(MARKS, Mark(text="x"))
        tx.get(COUNTERS, "a")
        tx.get_many(COUNTERS, ["a", "b", "nothing"])
        tx.delete(COUNTERS, "b")
        tx.delete(COUNTERS, "b")

    await store.transact(work)
    rows = await store.read(lambda tx: (tx.query(Query(COUNTERS)), tx.count(Query(COUNTERS)))[0])
    assert rows == [one, two[1]]
    figures = store.figures()
    counted = {name: number for name, number in figures.operations.items() if number}
    assert counted == {
        "set": 2,
        "append": 1,
        "get": 2,
        "delete": 2,
        "query": 1,
        "count": 1,
        "transact": 1,
        "read": 1,
    }
    assert figures.records == {"set": 3, "append": 1, "get": 3, "delete": 1, "query": 2}
    assert figures.bytes_written == sum(len(encode(record)) for record in (one, *two, Mark(text="x")))
    assert figures.bytes_read == sum(len(encode(record)) for record in (one, one, two[0], one, two[1]))
    assert {name: timed.count for name, timed in figures.seconds.items()} == figures.operations
    assert (await store.statistics())["metered"]["operations"]["statistics"] == 1


async def test_errors_are_counted_by_what_they_were(inner: Store) -> None:
    """An operation that is refused, work that fails, and a commit that is refused are different troubles."""
    store = MeteredStore(inner)
    await fill(store, [part("a")])
    with pytest.raises(ConflictError):
        await store.transact(lambda tx: tx.put(PARTS, part("a"), expected_version=7))
    with pytest.raises(ConflictError):
        await store.transact(lambda tx: tx.put(PARTS, part("b", path="a")))
    with pytest.raises(Stopped):
        await store.read(lambda _: stop())
    assert store.figures().errors == {
        "set:CONCURRENT_MODIFICATION": 1,
        "transact:CONCURRENT_MODIFICATION": 1,
        "transact:CONFLICT": 1,
        "read:Stopped": 1,
    }
    assert store.figures().operations["transact"] == 3


async def test_work_that_ran_again_is_counted_once(tmp_path: Path) -> None:
    """Otherwise a busy store would seem to be asked more than it was."""
    store = MeteredStore(SqliteStore(tmp_path / "atlas.db", COLLECTIONS))
    await store.open()
    runs: list[int] = []

    def long_work(tx: Transaction) -> None:
        runs.append(1)
        tx.put(COUNTERS, Counter(id="a"))
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            tx.new_id()
        tx.put(COUNTERS, Counter(id="b"))

    await store.transact(long_work)
    assert len(runs) == 2
    assert store.figures().operations["set"] == 2
    assert store.figures().seconds["transact"].longest >= 0.02
    await store.close()


async def test_times_fall_into_their_buckets(inner: Store) -> None:
    """Buckets double; a quantile is never below the truth, and at most twice as much."""
    store = MeteredStore(inner)

    def slow(_: Transaction) -> None:
        time.sleep(0.01)

    for _ in range(3):
        await store.read(lambda tx: tx.get(COUNTERS, "a"))
    await store.read(slow)
    took = store.figures().seconds["read"]
    assert took.count == sum(took.buckets) == 4
    assert took.total >= took.longest >= 0.01
    assert took.quantile(1.0) == took.longest
    assert took.quantile(0.5) < 0.01 <= took.quantile(0.99)
    assert Histogram().quantile(0.99) == 0.0
    assert BOUNDS[0] == 1e-6
    assert BOUNDS[-1] > 60


async def test_meters_tell_a_hit_from_a_miss(inner: Store) -> None:
    """Inside and outside a cache: what the store was spared is the difference."""
    inside = MeteredStore(inner)
    outside = MeteredStore(CachedStore(inside))
    for _ in range(5):
        await outside.read(lambda tx: tx.get(COUNTERS, "a"))
    assert outside.figures().operations["get"] == 5
    assert inside.figures().operations["get"] == 1


async def test_a_read_only_store_refuses_every_change(inner: Store, tmp_path: Path) -> None:
    """Before anything of it is run; what is only looked at goes on as ever."""
    await fill(inner, [part("a")])
    store = ReadOnlyStore(inner)
    assert not store.capabilities.is_writable
    runs: list[int] = []

    def work(tx: Transaction) -> None:
        runs.append(1)
        tx.put(PARTS, part("b"))

    with pytest.raises(StoreReadOnlyError):
        await store.transact(work)
    with pytest.raises(StoreReadOnlyError):
        await store.read(work)
    with pytest.raises(StoreReadOnlyError):
        await store.maintain()
    assert runs == [1]
    assert await ids(store) == ["a"]
    assert await store.verify() == []
    assert (await store.statistics())["records"]["parts"] == 1
    if isinstance(inner, SqliteStore):
        assert (await store.copy_to(tmp_path / "copy.db")).is_file()


async def test_a_read_only_store_is_told_of_others_changes(inner: Store) -> None:
    """It is how a report follows what others do."""
    store, told = ReadOnlyStore(inner), list[int]()
    stop_telling = store.subscribe(told.append)
    await inner.transact(lambda tx: tx.append(MARKS, Mark(text="x")))
    assert told == [1]
    stop_telling()
