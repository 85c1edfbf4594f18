"""Laws of many callers: nothing is lost, nothing is seen half, and a caller that leaves does no harm."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from ..errors import ConflictError, StoreBusyError, StoreClosedError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query
from .laws import PATIENCE_SECONDS, Place, law
from .samples import COUNTERS, MARKS, PARTS, Counter, Mark, fill, ids, marks, numbered, part, rows


def _increment(tx: Transaction, key: str = "n") -> int:
    counter = tx.get(COUNTERS, key) or Counter(id=key)
    tx.put(COUNTERS, Counter(id=key, value=counter.value + 1))
    return counter.value + 1


async def _value(store: Store, key: str = "n") -> int:
    counter = await store.read(lambda tx: tx.get(COUNTERS, key))
    return counter.value if counter else 0


async def _aged(store: Store) -> None:
    """Let the time pass in which a store may show what others have changed."""
    await asyncio.sleep(store.capabilities.staleness.total_seconds())


@law
async def no_increment_is_lost(place: Place) -> None:
    """Thirty-two callers read and write the same record; each sees what the one before wrote."""
    store = await place.open()
    done = await asyncio.gather(*(store.transact(_increment) for _ in range(32)))
    assert sorted(end.value for end in done) == list(range(1, 33))
    assert await _value(store) == 32


@law
async def no_increment_is_lost_between_stores(place: Place) -> None:
    """Every agent starts a server of its own on the same store."""
    stores = await place.open_two()
    done = await asyncio.gather(*(stores[i % 2].transact(_increment) for i in range(32)))
    assert sorted(end.value for end in done) == list(range(1, 33))
    await _aged(stores[0])
    assert [await _value(store) for store in stores] == [32, 32]


@law
async def exactly_one_caller_takes_a_unique_value(place: Place) -> None:
    """A claim is a unique value that several want at once."""
    store = await place.open()
    takers = (fill(store, [part(f"p{i}", path="wanted")]) for i in range(16))
    done = await asyncio.gather(*takers, return_exceptions=True)
    assert done.count(None) == 1
    assert all(isinstance(end, ConflictError) for end in done if end is not None)
    assert await ids(store) == [f"p{done.index(None)}"]


@law
async def what_one_store_commits_another_reads(place: Place) -> None:
    """As soon as the commit is answered, without reopening; also records that the other has read before.

    A store that states a `staleness` may take as long.
    """
    first, second = await place.open_two()
    for i in range(10):
        await fill(first, [part("a", size=i)])
        await _aged(second)
        assert await rows(second, Query(PARTS)) == [part("a", size=i)]
        assert await second.read(lambda tx: tx.get(PARTS, "a")) == part("a", size=i)
        await fill(second, [part("b", size=i)])
        await _aged(first)
        assert await first.read(lambda tx: tx.get(PARTS, "b")) == part("b", size=i)
        await first.transact(lambda tx: tx.delete(PARTS, "b"))
    assert await marks(first, "a") == 1
    assert await marks(second, "b") == 2
    assert await numbered(first) == [(1, "a"), (2, "b")]


async def _sums(store: Store, writers: list[asyncio.Task[Any]]) -> None:
    def total(tx: Transaction) -> int:
        first = tx.get(COUNTERS, "x")
        listed = tx.query(Query(COUNTERS).select("id", "value"))
        time.sleep(0.001)
        again = tx.query(Query(COUNTERS).select("id", "value"))
        assert again == listed
        assert first is not None
        assert ("x", first.value) in again
        return sum(value for _, value in again)

    while not all(writer.done() for writer in writers):
        assert await store.read(total) == 100
        await asyncio.sleep(0)


@law
async def a_read_sees_one_moment(place: Place) -> None:
    """Money moves between two accounts; no reader ever sees it twice, or not at all."""
    store = await place.open()
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=100), Counter(id="y")]))

    def move(tx: Transaction) -> None:
        held = tx.get_many(COUNTERS, ["x", "y"])
        tx.put(COUNTERS, Counter(id="x", value=held["x"].value - 1))
        tx.put(COUNTERS, Counter(id="y", value=held["y"].value + 1))

    async def several() -> None:
        for _ in range(10):
            await store.transact(move)

    writers = [asyncio.create_task(several()) for _ in range(4)]
    await _sums(store, writers)
    await asyncio.gather(*writers)
    assert [await _value(store, key) for key in ("x", "y")] == [60, 40]


def _write_three(tx: Transaction, *, key: str) -> None:
    tx.put(PARTS, part(key))
    tx.append(MARKS, Mark(text=key))
    tx.put(COUNTERS, Counter(id=key))


def _read_three(tx: Transaction, *, key: str) -> list[bool]:
    texts = [text for (text,) in tx.query(Query(MARKS).select("text"))]
    return [tx.get(PARTS, key) is not None, key in texts, tx.get(COUNTERS, key) is not None]


@law
async def a_cancelled_caller_leaves_all_or_nothing(place: Place) -> None:
    """Clients hang up at any moment; the store must stay whole, and answer the next one."""
    store = await place.open()
    for i in range(24):
        work = partial(_write_three, key=f"{i}")
        caller = asyncio.create_task(store.transact(work))
        for _ in range(i % 6):
            await asyncio.sleep(0 if i < 12 else 0.0002)
        is_cancelled = caller.cancel()
        ends = await asyncio.gather(caller, return_exceptions=True)
        await store.transact(_increment)
        found = await store.read(partial(_read_three, key=f"{i}"))
        assert found in ([True, True, True], [False, False, False])
        assert all(found) or (is_cancelled and isinstance(ends[0], asyncio.CancelledError))
    assert await _value(store) == 24
    assert await store.verify() == []


@law
async def a_cancelled_reader_does_no_harm(place: Place) -> None:
    """Nor does it keep the store from going on."""
    store = await place.open()
    await fill(store, [part("a")])

    def work(tx: Transaction) -> list[Any]:
        time.sleep(0.003)
        return tx.query(Query(PARTS))

    for i in range(8):
        reader = asyncio.create_task(store.read(work))
        for _ in range(i % 4):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await store.transact(_increment)
    assert await _value(store) == 8
    assert await ids(store) == ["a"]


@law
async def callers_do_not_keep_the_event_loop(place: Place) -> None:
    """A program that only ever awaits the store must still run its other tasks."""
    store = await place.open_aside()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    for _ in range(20):
        await store.transact(_increment)
    counting.cancel()
    assert turns >= 20


HELD_SECONDS = 1.0


@asynccontextmanager
async def _at_work(store: Store) -> AsyncIterator[None]:
    """Have a thread in the middle of a transaction while the block runs."""
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        tx.put(PARTS, part("held"))
        assert tx.count(Query(PARTS)) == 1
        entered.set()
        leave.wait(HELD_SECONDS)

    running = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(store.transact(hold))))
    try:
        assert await asyncio.to_thread(entered.wait, PATIENCE_SECONDS)
        yield
    finally:
        leave.set()
        await running


@law
async def a_store_that_stays_busy_says_so(place: Place) -> None:
    """A caller that gives up must hear it in the time it gave, and that nothing was changed."""
    store = await place.open()
    asked = await place.open() if store.capabilities.is_shared else store
    refusal = None
    async with _at_work(store):
        begun = time.monotonic()
        try:
            await asked.transact(lambda tx: tx.put(PARTS, part("late")), timeout=timedelta(milliseconds=50))
        except StoreBusyError as error:
            refusal = error
        assert time.monotonic() - begun < HELD_SECONDS / 2
    assert refusal is not None, "it waited longer than it was told"
    assert refusal.retryable
    assert await ids(asked) == ["held"]
    await fill(asked, [part("next")])
    assert await ids(store) == ["held", "next"]


@law
async def a_read_does_not_wait_for_a_writer(place: Place) -> None:
    """A long import must not stop everybody who only looks."""
    first, second = await place.open_two()
    async with _at_work(first):
        begun = time.monotonic()
        assert await ids(second) == []
        assert time.monotonic() - begun < HELD_SECONDS / 2
    assert await ids(second) == ["held"]


@law
async def closing_ends_what_is_under_way(place: Place) -> None:
    """Each caller is answered with its commit or with STORE_CLOSED, and reopening shows just what was answered."""
    store = await place.open_lasting()
    callers = [asyncio.create_task(fill(store, [part(f"{i:02d}")])) for i in range(20)]
    await asyncio.sleep(0.0005)
    await store.close()
    ends = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 10)
    assert all(end is None or isinstance(end, StoreClosedError) for end in ends), ends
    await place.close()
    store = await place.open()
    assert await ids(store) == [f"{i:02d}" for i, end in enumerate(ends) if end is None]
