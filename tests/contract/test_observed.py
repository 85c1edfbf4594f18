"""Who watches a store is told everything and harms nothing; who stands before it may change and refuse."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atlas.errors import InputError, RuleError, VersionError
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, eq
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore, Notice, ObservedStore, Operation
from atlas.storage.wrappers.observed import NAMES
from atlas.testing.laws import Stopped, stop
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, fill, ids, marks, part

pytestmark = pytest.mark.anyio

LONG = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObservedStore]:
    inner: Store
    inner = MemoryStore(COLLECTIONS) if request.param == "memory" else SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    made = ObservedStore(inner)
    await made.open()
    yield made
    await made.close()


def everything(tx: Transaction) -> None:
    """Do one of each."""
    tx.put(COUNTERS, Counter(id="a"))
    tx.put_many(COUNTERS, [Counter(id="b"), Counter(id="c")])
    tx.get(COUNTERS, "a")
    tx.delete(COUNTERS, "b")
    tx.append(MARKS, Mark(text="x"))
    tx.query(Query(COUNTERS))
    tx.count(Query(COUNTERS))
    tx.aggregate(Query(COUNTERS).compute(most="max:value"))


KINDS = ["set", "set", "get", "delete", "append", "query", "count", "aggregate", "commit"]


async def test_every_operation_is_told_before_and_after(store: ObservedStore) -> None:
    """In order, with what it was about and what it came to, by the same number for one call of the store."""
    told: list[Notice] = []
    store.on(NAMES, told.append)
    made = await store.transact(everything)
    assert await store.drained()
    assert [notice.name for notice in told] == [f"{when}_{kind}" for kind in KINDS for when in ("before", "after")]
    after = [notice for notice in told if notice.name.startswith("after")]
    assert [notice.count for notice in after] == [1, 2, 1, 1, 1, 2, 2, 1, 3]
    assert len({notice.transaction for notice in told}) == 1
    assert after[-1].seq == made.seq == 1
    assert after[-1].operation is not None
    assert after[-1].operation.keys == (("counters", "a"), ("counters", "b"), ("counters", "c"))
    assert after[2].operation == Operation(kind="get", collection=COUNTERS, keys=("a",))
    assert all(notice.seconds > 0 for notice in after)


async def test_reads_and_the_life_of_the_store_are_told(store: ObservedStore) -> None:
    """So that a log of all that happened begins and ends where the store does."""
    told: list[str] = []
    store.on(NAMES, lambda notice: told.append(notice.name))
    await store.read(lambda tx: tx.get(COUNTERS, "a"))
    await store.close()
    await store.open()
    assert await store.drained()
    assert told == ["before_get", "after_get", "before_close", "after_close", "before_open", "after_open"]


async def test_a_savepoint_that_was_undone_is_not_in_the_commit(store: ObservedStore) -> None:
    """Who follows the commits copies just what was kept."""
    told: list[Notice] = []
    store.on("after_commit", told.append)

    def work(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="a"))
        try:
            with tx.savepoint():
                tx.put_many(COUNTERS, [Counter(id="a", value=1), Counter(id="lost")])
                stop()
        except Stopped:
            tx.put(COUNTERS, Counter(id="b"))

    await store.transact(work)
    assert await store.drained()
    (notice,) = told
    assert notice.operation is not None
    assert notice.operation.keys == (("counters", "a"), ("counters", "b"))


async def test_an_error_is_told_once_and_no_commit(store: ObservedStore) -> None:
    """Whether the work raised it or the store refused; it reaches the caller as it is."""
    told: list[Notice] = []
    store.on(["error", "after_commit"], told.append)

    def work(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="a"))
        stop()

    def overtaken(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="a"), expected_version=7)

    def unknown(tx: Transaction) -> None:
        tx.put(PARTS, part("a", kind="unknown"))

    for wrong, kind in ((work, Stopped), (overtaken, VersionError), (unknown, InputError)):
        with pytest.raises(kind):
            await store.transact(wrong)
    with pytest.raises(Stopped):
        await store.read(lambda _: stop())
    assert await store.drained()
    assert [notice.code for notice in told] == ["Stopped", "CONCURRENT_MODIFICATION", "INVALID_INPUT", "Stopped"]


async def test_a_handler_that_fails_harms_nobody(store: ObservedStore, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged and counted; the operation stands, other handlers are told, it itself is told the next."""
    told: list[str] = []

    def fails(notice: Notice) -> None:
        told.append(notice.name)
        raise ZeroDivisionError

    async def fails_later(_: Notice) -> None:
        raise ZeroDivisionError

    subscriptions = [store.on("after_commit", handler) for handler in (fails, fails_later)]
    await fill(store, [part("a")])
    await fill(store, [part("b")])
    assert await store.drained()
    assert told == ["after_commit"] * 2
    assert [subscription.failed for subscription in subscriptions] == [2, 2]
    assert [record.exc_info is not None for record in caplog.records] == [True] * 4
    assert await ids(store) == ["a", "b"]


async def test_a_handler_that_hangs_delays_nothing(store: ObservedStore) -> None:
    """Plain or asynchronous: the line behind it is bounded, and what does not fit is counted."""
    leave, never = threading.Event(), asyncio.Event()

    async def hangs(_: Notice) -> None:
        await never.wait()

    subscriptions = [
        store.on("after_set", lambda _: leave.wait(LONG), most=5),
        store.on("after_set", hangs, most=5),
    ]
    begun = time.monotonic()
    for number in range(20):
        await fill(store, [part(f"p{number:02d}")])
    assert time.monotonic() - begun < LONG / 2
    assert len(await ids(store)) == 20
    assert [14 <= subscription.dropped <= 15 for subscription in subscriptions] == [True, True]
    leave.set()
    never.set()
    assert await store.drained()


async def test_a_handler_is_told_again_after_a_pause(store: ObservedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends when there is nothing to do; what comes then has to start another one."""
    monkeypatch.setattr("atlas.storage.wrappers.handlers.IDLE_SECONDS", 0.01)
    threads: list[threading.Thread] = []
    store.on("after_commit", lambda _: threads.append(threading.current_thread()))
    for _ in range(3):
        await marks(store, "x")
        assert await store.drained()
        await asyncio.to_thread(threads[-1].join, LONG)
        assert not threads[-1].is_alive()
    assert len(threads) == 3


async def test_nothing_is_left_of_a_handler_that_was_taken_away(store: ObservedStore) -> None:
    """Pages subscribe and go; a store that kept their handlers would grow for ever. Ending twice does no harm."""

    class Page:
        def __init__(self) -> None:
            self.told: list[Notice] = []

        def hear(self, notice: Notice) -> None:
            self.told.append(notice)

        async def hear_later(self, notice: Notice) -> None:
            self.told.append(notice)
            await asyncio.Event().wait()

    for handler in ("hear", "hear_later"):
        page = Page()
        end = store.on("after_commit", getattr(page, handler))
        await marks(store, "x")
        await marks(store, "y")
        async with asyncio.timeout(LONG):
            while not page.told:  # noqa: ASYNC110 - the handler is told on a thread of its own
                await asyncio.sleep(0.001)
        end()
        end()
        await marks(store, "z")
        gone = weakref.ref(page)
        told = page.told
        del page
        async with asyncio.timeout(LONG):
            while gone() is not None:
                await asyncio.sleep(0.001)
                gc.collect()
        assert len(told) <= 2


async def test_one_handler_may_be_subscribed_twice(store: ObservedStore) -> None:
    """The end of one is not the end of the other."""
    told: list[Notice] = []
    first, second = store.on("after_commit", told.append), store.on("after_commit", told.append)
    await marks(store, "x")
    assert await store.drained()
    first()
    await marks(store, "y")
    assert await store.drained()
    second()
    assert len(told) == 3


async def test_an_unknown_notice_is_refused(store: ObservedStore) -> None:
    """A misspelled name would wait for ever."""
    with pytest.raises(InputError) as refusal:
        store.on(["after_set", "after_write"], print)
    assert refusal.value.given == ["after_write"]


def refusing(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
    """Let nobody write the counter `x`, nor commit more than two records."""
    if operation.kind in {"set", "delete"} and "x" in operation.touched:
        raise RuleError("x is not yours")
    if operation.kind == "commit" and len(operation.keys) > 2:
        raise RuleError("too much at once")
    return go_on(operation)


async def test_what_middleware_refuses_changes_nothing(store: ObservedStore) -> None:
    """Neither the operation nor what the same transaction did before; the caller sees the refusal itself."""
    await store.inner.transact(lambda tx: tx.put(COUNTERS, Counter(id="x", value=1)))
    cached = CachedStore(store)
    stop_it = store.use(refusing)

    def sets(tx: Transaction) -> None:
        tx.put(COUNTERS, Counter(id="before"))
        tx.put(COUNTERS, Counter(id="x", value=2))

    def deletes(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text="before"))
        tx.delete(COUNTERS, "x")

    def writes_much(tx: Transaction) -> None:
        tx.put_many(COUNTERS, [Counter(id=key) for key in "abc"])

    for work in (sets, deletes, writes_much):
        for through in (store, cached):
            with pytest.raises(RuleError):
                await through.transact(work)
            for reader in (store, cached):
                assert await reader.read(lambda tx: tx.query(Query(COUNTERS))) == [Counter(id="x", value=1)]
                assert await reader.read(lambda tx: (tx.get(COUNTERS, "x"), tx.seq)) == (Counter(id="x", value=1), 0)
    stop_it()
    stop_it()
    await store.transact(sets)
    assert await store.read(lambda tx: tx.count(Query(COUNTERS))) == 2


async def test_middleware_changes_what_is_written_and_read(store: ObservedStore) -> None:
    """Stamps, secrets left out, queries narrowed to what the caller may see; the first used is asked first."""
    order: list[str] = []

    def stamps(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
        order.append("stamps")
        if operation.kind == "set":
            records = tuple(msgspec.structs.replace(record, note="stamped") for record in operation.records)
            return go_on(msgspec.structs.replace(operation, records=records))
        return go_on(operation)

    def narrows(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
        order.append("narrows")
        if operation.query is not None:
            return go_on(msgspec.structs.replace(operation, query=operation.query.where(eq("kind", "plain"))))
        found = go_on(operation)
        if operation.kind == "get":
            return {key: record for key, record in found.items() if record.kind == "plain"}
        return found

    told: list[Notice] = []
    store.on("after_set", told.append)
    store.use(stamps)
    store.use(narrows)
    await fill(store, [part("a"), part("b", kind="odd")])
    assert order == ["stamps", "narrows"] * 2
    assert await store.inner.read(lambda tx: [found.note for found in tx.query(Query(PARTS))]) == ["stamped"] * 2
    assert await ids(store) == ["a"]
    assert await store.read(lambda tx: (tx.get(PARTS, "b"), tx.count(Query(PARTS)))) == (None, 1)
    assert await store.drained()
    assert told[0].operation is not None
    assert [record.note for record in told[0].operation.records] == ["stamped"] * 2


async def test_work_that_ran_again_is_told_once(tmp_path: Path) -> None:
    """Long work is rolled back and run on another thread; who counts notices must not count it twice."""
    store = ObservedStore(SqliteStore(tmp_path / "atlas.db", COLLECTIONS))
    await store.open()
    told: list[str] = []
    runs: list[int] = []
    store.on(NAMES, lambda notice: told.append(notice.name))

    def long_work(tx: Transaction) -> None:
        runs.append(1)
        tx.put(COUNTERS, Counter(id="a"))
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            tx.new_id()
        tx.put(COUNTERS, Counter(id="b"))

    await store.transact(long_work)
    assert await store.drained()
    assert len(runs) == 2
    assert told == ["before_set", "after_set"] * 2 + ["before_commit", "after_commit"]
    await store.close()
