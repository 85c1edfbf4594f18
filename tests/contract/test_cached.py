"""What a cache promises: never older than it says, of one moment, bounded, and quick."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from atlas.errors import ConfigError, ConflictError, InputError, StoreClosedError
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteStore
from atlas.storage.sqlite.witness import Witness
from atlas.storage.wrappers import CachedStore, MeteredStore, ObservedStore, Operation
from atlas.testing.laws import Stopped, stop
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, fill, marks, part

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CachedStore]:
    inner: Store
    inner = MemoryStore(COLLECTIONS) if request.param == "memory" else SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    made = CachedStore(inner)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[CachedStore, SqliteStore]]:
    """A cached store, and another store on the same file."""
    made = CachedStore(SqliteStore(tmp_path / "atlas.db", COLLECTIONS))
    other = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await made.open()
    await other.open()
    yield made, other
    await other.close()
    await made.close()


async def value(store: Store, key: str = "n") -> int | None:
    counter = await store.read(lambda tx: tx.get(COUNTERS, key))
    return None if counter is None else counter.value


async def keep(store: Store, number: int, key: str = "n") -> None:
    await store.transact(lambda tx: tx.put(COUNTERS, Counter(id=key, value=number)))


class Untelling:
    """A store that cannot tell others' changes at once, as servers far away cannot."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "others_version":
            raise AttributeError(name)
        return getattr(self._inner, name)


def untelling(inner: Store) -> Any:
    return Untelling(inner)


class Clock:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_what_was_read_is_answered_without_the_store(store: CachedStore) -> None:
    """Also that there is nothing: programs ask again and again for what is not there."""
    assert [await value(store), await value(store)] == [None, None]
    assert (store.figures().hits, store.figures().misses) == (1, 1)
    found = await store.read(lambda tx: tx.get_many(COUNTERS, ["n", "m"]))
    assert found == {}
    assert (store.figures().hits, store.figures().misses) == (1, 3)
    assert await store.read(lambda tx: tx.get_many(COUNTERS, ["n", "m"])) == {}
    assert (store.figures().hits, store.figures().misses, store.figures().entries) == (3, 3, 2)


async def test_what_was_written_is_answered_without_the_store(store: CachedStore) -> None:
    """It goes through to the store and stays here as well; what was removed is known to be gone."""
    await keep(store, 1)
    assert await value(store) == 1
    await store.transact(lambda tx: tx.delete(COUNTERS, "n"))
    assert await value(store) is None
    assert (store.figures().hits, store.figures().misses) == (2, 0)


async def test_a_written_record_is_kept_as_a_read_would_give_it(store: CachedStore) -> None:
    """Who wrote it may go on changing what it was made of."""
    metadata = {"a": [1]}
    await fill(store, [part("a", metadata=metadata)])
    metadata["a"].append(2)
    if isinstance(store.inner, SqliteStore):
        found = await store.read(lambda tx: tx.get(PARTS, "a"))
        assert found == part("a", metadata={"a": [1]})


async def test_a_record_that_only_memory_can_hold_is_not_kept() -> None:
    """It has no size and no second form; a commit that was made must not fail for that, nor a read."""
    inner = MemoryStore(COLLECTIONS)
    store = MeteredStore(CachedStore(inner))
    await store.open()
    strange = part("a", metadata={"of": object()})
    await fill(store, [strange])
    for _ in range(2):
        assert await store.read(lambda tx: tx.get(PARTS, "a")) is strange
    assert store.figures().operations["get"] == 2
    await store.close()


async def test_a_change_of_another_store_is_seen_at_once(pair: tuple[CachedStore, SqliteStore]) -> None:
    """Every agent has a server of its own on the file; also changes that append nothing to any sequence."""
    store, other = pair
    for number in range(20):
        await keep(other, number)
        assert [await value(store), await value(store)] == [number, number]
        await keep(store, -number)
        assert await value(store) == -number
    assert store.figures().hits == 40


async def test_an_own_change_does_not_cost_what_else_is_kept(pair: tuple[CachedStore, SqliteStore]) -> None:
    """Only others' commits may make everything doubtful; own ones are known record by record."""
    store, other = pair
    await keep(other, 7, "still")
    assert await value(store, "still") == 7
    for number in range(10):
        await asyncio.gather(keep(store, number), keep(store, number, "m"), marks(store, "x"))
        assert await value(store, "still") == 7
    assert store.figures().misses == 1
    await keep(other, 8, "still")
    assert await value(store, "still") == 8
    assert store.figures().misses == 2


async def test_what_was_rolled_back_is_not_kept(store: CachedStore) -> None:
    """Whether the transaction failed, a savepoint in it, or the store refused what it wrote."""
    await keep(store, 1)
    await fill(store, [part("a", path="taken")])

    def fails(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="n", value=2))
        stop()

    def refused(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="n", value=3))
        tx.put(PARTS, part("b", path="taken"))

    def partly(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="m", value=4))
        try:
            with tx.savepoint():
                fails(tx)
        except Stopped:
            tx.put(COUNTERS, Counter(id="o", value=5))

    ends = [await asyncio.gather(store.transact(work), return_exceptions=True) for work in (fails, refused)]
    assert all(isinstance(end, Exception) for (end,) in ends)
    assert await value(store) == 1
    await store.transact(partly)
    assert [await value(store, key) for key in "nmo"] == [1, 4, 5]
    assert [await value(store, key) for key in "nmo"] == [1, 4, 5]
    assert await store.read(lambda tx: tx.get(PARTS, "b")) is None


async def test_a_transaction_reads_the_store_alone(pair: tuple[CachedStore, SqliteStore]) -> None:
    """What it decides is kept for ever; it must not rest on what was so."""
    store, other = pair
    lazy = CachedStore(untelling(SqliteStore(other.path, COLLECTIONS)), staleness=timedelta(hours=1))
    await lazy.open()
    for cached in (store, lazy):
        await keep(cached, 1)
        assert await value(cached) == 1
        await keep(other, 2)
        got = await cached.transact(
            lambda tx: (tx.get(COUNTERS, "n"), tx.get_many(COUNTERS, ["n"]), tx.query(Query(COUNTERS)))
        )
        second = Counter(id="n", value=2)
        assert got.value == (second, {"n": second}, [second])
    await lazy.close()


async def test_a_restored_snapshot_is_seen_at_once() -> None:
    """Nothing was committed, and everything is different."""
    inner = MemoryStore(COLLECTIONS)
    store = CachedStore(inner)
    await store.open()
    await keep(store, 1)
    snapshot = inner.snapshot()
    await keep(store, 2)
    assert await value(store) == 2
    inner.restore(snapshot)
    assert [await value(store), await value(store)] == [1, 1]
    await store.close()


async def test_a_read_is_never_older_than_the_stated_staleness(tmp_path: Path) -> None:
    """A store that cannot tell others' changes is asked again after that time; until then one moment is shown."""
    clock = Clock()
    inner = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    with pytest.raises(ConfigError):
        CachedStore(untelling(inner))
    store = CachedStore(untelling(inner), staleness=timedelta(seconds=2), clock=clock)
    other = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await store.open()
    await other.open()
    assert store.capabilities.staleness == timedelta(seconds=2)
    await other.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=1), Counter(id="y", value=1)]))
    assert await value(store, "x") == 1
    await other.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=2), Counter(id="y", value=2)]))
    assert await value(store, "y") == 2
    both = await store.read(lambda tx: [tx.get(COUNTERS, "x"), tx.get(COUNTERS, "y")])
    assert both == [Counter(id="x", value=2), Counter(id="y", value=2)], "records of two moments"
    await keep(other, 3, "x")
    assert await value(store, "x") == 2
    clock.now += 2.001
    assert await value(store, "x") == 3
    await other.close()
    await store.close()


async def test_an_announced_change_is_seen_before_the_staleness_ends(tmp_path: Path) -> None:
    """Journaled changes append an event, of which subscribers are told; own ones are not taken for others'."""
    store = CachedStore(untelling(SqliteStore(tmp_path / "atlas.db", COLLECTIONS)), staleness=timedelta(hours=1))
    other = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await store.open()
    await other.open()
    told = asyncio.Event()
    store.subscribe(lambda seq: told.set() if seq == 3 else None)
    await marks(store, "own")
    await keep(store, 1)
    await marks(store, "own")
    assert await value(store) == 1
    assert store.figures().hits == 1, "the own commits were taken for others'"

    def change(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="n", value=2))
        tx.append(MARKS, Mark(text="changed"))

    await other.transact(change)
    await asyncio.wait_for(told.wait(), 5)
    assert await value(store) == 2
    await other.close()
    await store.close()


@pytest.mark.parametrize("whose", ["own", "other"])
async def test_a_read_that_began_before_a_change_leaves_nothing_old(tmp_path: Path, whose: str) -> None:
    """A slow read comes back after a quick write: what it saw is no longer so, and must not be served to others."""
    store = CachedStore(Slow(tmp_path / "atlas.db", COLLECTIONS))
    other = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await store.open()
    await other.open()
    await keep(store, 1)
    store.invalidate()
    reading = asyncio.create_task(value(store))
    inner = store.inner
    assert isinstance(inner, Slow)
    await inner.has_read.wait()
    await keep(store if whose == "own" else other, 2)
    looking = asyncio.create_task(value(store, "m"))
    await asyncio.sleep(0)
    inner.go_on.set()
    assert await looking is None
    assert await reading == 1
    assert await value(store) == 2
    assert await value(store) == 2
    await other.close()
    await store.close()


class Slow(SqliteStore):
    """Answers the first read when it is let go, with what was so when it was asked."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.has_read = asyncio.Event()
        self.go_on = asyncio.Event()

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        found = await super().read(work)
        self.has_read.set()
        await self.go_on.wait()
        return found


async def test_a_read_does_not_mix_what_was_before_a_change_and_after(store: CachedStore) -> None:
    """Another thread commits between two gets of one read, both of which the cache could answer."""
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=1), Counter(id="y", value=1)]))

    async def change() -> None:
        await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=2), Counter(id="y", value=2)]))

    changes = [lambda: asyncio.run(change())]

    def both(tx: Transaction) -> list[Counter | None]:
        first = tx.get(COUNTERS, "x")
        if changes:
            elsewhere = threading.Thread(target=changes.pop())
            elsewhere.start()
            elsewhere.join()
        return [first, tx.get(COUNTERS, "y")]

    assert await store.read(both) == [Counter(id="x", value=2), Counter(id="y", value=2)]
    assert changes == []


async def test_numbers_that_are_still_to_come_are_not_known_to_be_missing(store: CachedStore) -> None:
    """Their records are made by the commit itself, which names none of them."""
    assert await store.read(lambda tx: tx.get_many(MARKS, [1, 2])) == {}
    await store.transact(lambda tx: tx.delete(MARKS, 1))
    assert await marks(store, "a", "b") == 2
    assert await store.read(lambda tx: tx.get(MARKS, 1)) == Mark(number=1, text="a")
    assert await store.read(lambda tx: tx.get(MARKS, 2)) == Mark(number=2, text="b")
    await store.transact(lambda tx: tx.delete(MARKS, 1))
    assert await store.read(lambda tx: tx.get(MARKS, 1)) is None


async def test_what_was_in_doubt_is_kept_again_after_the_next_commit(store: CachedStore) -> None:
    """A refused commit must not leave its records uncached for ever."""
    await fill(store, [part("a", path="taken"), part("b")])
    with pytest.raises(ConflictError):
        await fill(store, [part("b", path="taken")])
    await keep(store, 1)
    before = store.figures()
    for _ in range(3):
        assert await store.read(lambda tx: tx.get(PARTS, "b")) == part("b")
    assert store.figures().misses == before.misses + 1
    assert store.figures().hits == before.hits + 2


def test_a_witness_tells_others_commits_from_its_own(tmp_path: Path) -> None:
    """While an own commit is becoming visible nothing can be told; afterwards it was nobody else's."""
    connections = [apsw.Connection(str(tmp_path / "a.db")) for _ in range(3)]
    own, other, looking = connections
    other.execute("PRAGMA journal_mode = wal; CREATE TABLE t (n)").fetchall()
    witness = Witness(looking)
    first = witness.look()
    own.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
    assert witness.look() == first
    with witness.own():
        assert witness.look() == first
        own.execute("COMMIT")
        assert witness.look() is None
    assert witness.look() == first
    other.execute("INSERT INTO t VALUES (2)")
    with witness.own():
        own.execute("INSERT INTO t VALUES (3)")
    second = witness.look()
    assert second != first
    other.execute("INSERT INTO t VALUES (4)")
    assert witness.look() not in {first, second}
    for connection in connections:
        connection.close()


async def test_what_is_being_committed_is_not_kept_as_it_was(pair: tuple[CachedStore, SqliteStore]) -> None:
    """Its caller may have gone by the time it is in, so that nothing says when to forget the old record."""
    store, other = pair
    await keep(store, 1)
    has_announced, go_on = threading.Event(), threading.Event()
    inner = store.inner.transact

    async def pausing(work: Callable[[Transaction], Any], **how: Any) -> Any:
        def paused(tx: Transaction) -> Any:
            done = work(tx)
            has_announced.set()
            go_on.wait()
            return done

        # Two at once are committed on a thread of their own.
        return (await asyncio.gather(inner(paused, **how), inner(lambda _: None)))[0]

    store.inner.transact = pausing  # type: ignore[method-assign]
    caller = asyncio.create_task(keep(store, 2))
    await asyncio.to_thread(has_announced.wait)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert [await value(store), await value(store)] == [1, 1]
    go_on.set()
    async with asyncio.timeout(10):
        while await value(other) != 2:  # noqa: ASYNC110 - nobody sets an event for another store's commit
            await asyncio.sleep(0.001)
    assert await value(store) == 2


async def test_a_cancelled_caller_s_change_is_seen(pair: tuple[CachedStore, SqliteStore]) -> None:
    """It may be committed when nobody waits for it any more; until that is known, the store is asked."""
    store, other = pair
    for number in range(40):
        await keep(store, -1)
        assert await value(store) == -1
        others = [asyncio.create_task(keep(store, number, f"{key}")) for key in range(number % 3)]
        caller = asyncio.create_task(keep(store, number))
        for _ in range(number % 5):
            await asyncio.sleep(0.0001 * (number % 2))
        caller.cancel()
        await asyncio.gather(caller, *others, return_exceptions=True)
        for _ in range(5):
            before, there, after = await value(store), await value(other), await value(store)
            assert there in {before, after}
            await asyncio.sleep(0.0002)


async def test_readers_and_writers_of_several_threads_and_stores_see_no_past(tmp_path: Path) -> None:
    """A number that only grows never falls for anybody, however often it is read from the cache."""
    path = tmp_path / "atlas.db"
    store, other = CachedStore(SqliteStore(path, COLLECTIONS), entries=3), SqliteStore(path, COLLECTIONS)
    await store.open()
    await other.open()
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x"), Counter(id="y")]))
    is_done = threading.Event()
    falls: list[tuple[int, int]] = []

    def grow(tx: Transaction) -> None:
        held = tx.get_many(COUNTERS, ["x", "y"])
        assert held["x"].value == held["y"].value
        tx.put_many(COUNTERS, [Counter(id=key, value=held["x"].value + 1) for key in ("x", "y")])

    def both(tx: Transaction) -> tuple[int, int]:
        held = [tx.get(COUNTERS, "x"), tx.get(COUNTERS, "y")]
        return tuple(counter.value for counter in held if counter is not None)  # type: ignore[return-value]

    async def look() -> None:
        last = 0
        while not is_done.is_set():
            x, y = await store.read(both)
            if x != y or x < last:
                falls.append((last, x))
            last = x
            await asyncio.sleep(0)

    elsewhere = threading.Thread(target=lambda: asyncio.run(look()))
    elsewhere.start()
    lookers = [asyncio.create_task(look()) for _ in range(2)]
    for turn in range(100):
        await asyncio.gather(*(store.transact(grow) for _ in range(turn % 3)), other.transact(grow))
    is_done.set()
    await asyncio.gather(*lookers)
    await asyncio.to_thread(elsewhere.join)
    assert falls == []
    assert await store.read(both) == (199, 199)
    await other.close()
    await store.close()


async def test_the_longest_unused_leave_first() -> None:
    """Within a number of entries."""
    store = CachedStore(MemoryStore(COLLECTIONS), entries=3)
    await store.open()
    for key in "abc":
        await value(store, key)
    await value(store, "a")
    await value(store, "d")
    hits = store.figures().hits
    for key in "acd":
        await value(store, key)
    assert store.figures().hits == hits + 3
    await value(store, "b")
    assert store.figures().hits == hits + 3
    assert (store.figures().entries, store.figures().evictions) == (3, 2)
    await store.close()


async def test_bytes_are_bounded() -> None:
    """They are those of the records as JSON; what alone is too large is never kept."""
    store = CachedStore(MemoryStore(COLLECTIONS), most_bytes=1_000)
    await store.open()
    for key in "abcdefgh":
        await fill(store, [part(key, note="x" * 200)])
        assert store.figures().bytes <= 1_000
    assert store.figures().entries == 4
    assert store.figures().evictions == 4
    await fill(store, [part("big", note="x" * 1_000)])
    assert await store.read(lambda tx: tx.get(PARTS, "big")) == part("big", note="x" * 1_000)
    assert store.figures().entries == 4
    store.invalidate()
    assert (store.figures().entries, store.figures().bytes) == (0, 0)
    await store.close()


async def test_a_record_is_kept_for_its_time_to_live() -> None:
    """Who writes past the wrapper is seen after that time at the latest."""
    clock = Clock()
    inner = MemoryStore(COLLECTIONS)
    store = CachedStore(inner, time_to_live=timedelta(seconds=10), clock=clock)
    await store.open()
    await keep(store, 1)
    await keep(inner, 2)
    clock.now += 9.9
    assert await value(store) == 1
    clock.now += 0.2
    assert await value(store) == 2
    assert store.figures().expirations == 1
    await store.close()


async def test_entries_are_forgotten_by_key_collection_and_pattern() -> None:
    """For whoever writes past the wrapper and knows it."""
    inner = MemoryStore(COLLECTIONS)
    store = CachedStore(inner)
    await store.open()
    keys = ["a", "a/b", "a/b/c", "b"]
    await fill(store, [part(key) for key in keys])
    await keep(store, 1, "a")
    assert store.invalidate(PARTS, key="b") == 1
    assert store.invalidate(PARTS, key="b") == 0
    assert store.invalidate(PARTS, pattern="a/**") == 3
    assert store.figures().entries == 1
    await fill(store, [part(key) for key in keys])
    assert store.invalidate(PARTS) == 4
    assert store.invalidate() == 1
    assert store.figures().invalidations == 9
    with pytest.raises(InputError):
        store.invalidate(key="a")
    await store.close()


async def test_a_warmed_cache_needs_no_store(store: CachedStore) -> None:
    """A server fills it before the first agent asks; warming is neither hit nor miss."""
    await fill(store, [part(f"p{i}", kind="odd" if i % 2 else "plain") for i in range(10)])
    store.invalidate()
    assert await store.warm(Query(PARTS).where().limit(6)) == 6
    for i in range(6):
        assert await store.read(partial(_get_part, key=f"p{i}")) is not None
    assert (store.figures().hits, store.figures().misses) == (6, 0)
    with pytest.raises(InputError):
        await store.warm(Query(PARTS).select("id"))


def _get_part(tx: Transaction, *, key: str) -> Any:
    return tx.get(PARTS, key)


async def test_at_least_four_of_five_hit_on_a_trace_of_everyday_use(store: CachedStore) -> None:
    """A thousand records, the popular ones asked most (Zipf), a write for every twentieth read, room for a third."""
    store = CachedStore(store.inner, entries=300)
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id=f"{i}") for i in range(1_000)]))
    drawn = random.Random(7)
    weights = [1 / (rank + 1) ** 1.1 for rank in range(1_000)]
    for number, rank in enumerate(drawn.choices(range(1_000), weights, k=3_000)):
        await value(store, f"{rank}")
        if number % 20 == 0:
            await keep(store, number, f"{rank}")
    assert store.figures().hit_rate >= 0.8


async def test_an_error_of_the_work_reaches_the_caller(store: CachedStore) -> None:
    """Also when it comes of what the cache answered."""
    await keep(store, 1)

    def work(tx: Transaction) -> None:
        assert tx.get(COUNTERS, "n") is not None
        stop()

    for _ in range(2):
        with pytest.raises(Stopped):
            await store.read(work)


async def test_a_closed_cache_knows_nothing(store: CachedStore) -> None:
    """What it held may be changed by anybody before it is opened again."""
    await keep(store, 1)
    assert await value(store) == 1
    await store.close()
    with pytest.raises(StoreClosedError):
        await value(store)
    await store.open()
    await keep(store.inner, 2)
    assert await value(store) == 2


async def test_what_middleware_inside_writes_is_what_is_read(store: CachedStore) -> None:
    """It may stamp records, and write others beside them; wrappers go around each other in any order."""
    inside = ObservedStore(store.inner)
    outside = CachedStore(inside)

    def twins(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
        if operation.kind == "set":
            doubled = [Counter(id=counter.id, value=2 * counter.value) for counter in operation.records]
            twin = [Counter(id=f"{counter.id}-twin", value=counter.value) for counter in operation.records]
            return go_on(msgspec.structs.replace(operation, records=(*doubled, *twin)))
        return go_on(operation)

    async def seen() -> list[int | None]:
        return [await value(outside, key) for key in ("n", "n-twin")]

    assert await seen() == [None, None]
    stop_it = inside.use(twins)
    for number in (1, 2):
        await keep(outside, number)
        assert [await seen(), await seen()] == [[2 * number, number]] * 2
    assert outside.figures().hits == 4
    stop_it()
    await keep(outside, 3)
    assert [await seen(), await seen()] == [[3, 2]] * 2
    assert outside.figures().hits == 8


async def test_statistics_tell_of_the_cache(store: CachedStore) -> None:
    await keep(store, 1)
    await value(store)
    told = (await store.statistics())["cache"]
    assert told["hits"] == 1
    assert told["entries"] == 1


@pytest.mark.parametrize("given", [{"entries": 0}, {"most_bytes": -1}])
def test_a_cache_without_room_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(InputError):
        CachedStore(MemoryStore(COLLECTIONS), **given)  # type: ignore[arg-type]
