"""Laws of a store's life: opening, telling, looking after itself, closing."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import StorageError, StoreClosedError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, eq, match
from .laws import Place, law
from .samples import COUNTERS, ECHOES, MARKS, PARTS, Counter, Mark, fill, ids, marks, part, rows, varied

SOON_SECONDS = 2.0


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait until `is_so`, for stores that tell from other threads or processes."""
    async with asyncio.timeout(SOON_SECONDS):
        while not is_so():  # noqa: ASYNC110 - the condition is the law's, nobody sets an event for it
            await asyncio.sleep(0.005)


@law
async def a_new_store_is_empty(place: Place) -> None:
    """And well."""
    store = await place.open()
    assert [await rows(store, Query(collection)) for collection in (PARTS, COUNTERS, MARKS, ECHOES)] == [[], [], [], []]
    assert await store.read(lambda tx: tx.seq) == 0
    assert await store.verify() == []


@law
async def a_store_says_what_it_can_do(place: Place) -> None:
    """Receipts repeat the durability to callers."""
    store = await place.open()
    assert store.capabilities.durability in {"memory", "disk"}
    assert store.capabilities.is_writable
    assert ":" in store.url


@law
async def a_closed_store_refuses(place: Place) -> None:
    """With STORE_CLOSED, whatever is asked; closing it again does nothing."""
    store = await place.open()
    await fill(store, [part("a")])
    await store.close()
    await store.close()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.transact(lambda tx: tx.put(PARTS, part("b"))),
        lambda: store.read(lambda tx: tx.get(PARTS, "a")),
        store.verify,
        store.statistics,
        store.maintain,
    ]
    for call in calls:
        is_refused = False
        try:
            await call()
        except StoreClosedError:
            is_refused = True
        assert is_refused


@law
async def reopening_keeps_everything(place: Place) -> None:
    """Records, what finds them, versions, times: as durable as the store says."""
    store = await place.open_lasting()
    parts = varied()
    await fill(store, parts)
    await marks(store, "a", "b")
    await store.transact(lambda tx: tx.delete(PARTS, parts[-1].id))
    last = await store.read(lambda tx: tx.now)
    await place.close()
    store = await place.open()
    assert await rows(store, Query(PARTS)) == sorted(parts[:-1], key=lambda made: made.id)
    assert await ids(store, eq("path", "a/b/c"), match("cafe")) == [
        made.id for made in parts if made.path == "a/b/c" and "caf" in made.name
    ]
    assert await store.read(lambda tx: tx.query(Query(MARKS))) == [Mark(number=1, text="a"), Mark(number=2, text="b")]
    assert await store.read(lambda tx: tx.now) >= last
    assert await store.verify() == []


@law
async def a_place_may_be_opened_by_several_at_once(place: Place) -> None:
    """The first agents of a team start together, on a store that is not there yet."""
    first, _ = await place.open_two()
    stores = [first, *await asyncio.gather(*(place.open() for _ in range(3)))]
    await asyncio.gather(*(fill(store, [part(f"p{i}")]) for i, store in enumerate(stores)))
    for store in stores:
        assert await ids(store) == ["p0", "p1", "p2", "p3"]


@law
async def subscribers_are_told_after_the_commit(place: Place) -> None:
    """They come and read what happened; it must be there, and nothing may be told that did not happen."""
    store = await place.open()
    told: list[int] = []
    seen: list[tuple[int, int]] = []
    loop = asyncio.get_running_loop()
    looking: set[asyncio.Task[None]] = set()

    async def look(seq: int) -> None:
        seen.append((seq, await store.read(lambda tx: tx.seq)))

    def hear(seq: int) -> None:
        told.append(seq)
        loop.call_soon_threadsafe(lambda: looking.add(loop.create_task(look(seq))))

    def fail(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text="lost"))
        assert tx.count(Query(MARKS)) == tx.seq + 1
        raise ZeroDivisionError

    stop = store.subscribe(hear)
    await asyncio.gather(*(marks(store, f"{i}") for i in range(5)))
    await asyncio.gather(store.transact(fail), return_exceptions=True)
    await asyncio.sleep(0.02)
    assert await marks(store, "last") == 6
    await _until(lambda: 6 in told and len(seen) == len(told))
    stop()
    assert max(told) == 6
    assert all(there >= seq for seq, there in seen)


@law
async def stopping_ends_the_telling(place: Place) -> None:
    """A feed that is closed must not be held for ever; stopping twice is harmless, and others are still told."""
    store = await place.open()
    first: list[int] = []
    second: list[int] = []
    stop_first, stop_second = store.subscribe(first.append), store.subscribe(second.append)
    await marks(store, "a")
    await _until(lambda: first == [1] and second == [1])
    stop_first()
    stop_first()
    await marks(store, "b")
    await _until(lambda: second == [1, 2])
    stop_second()
    await marks(store, "c")
    await asyncio.sleep(0.12)
    assert (first, second) == ([1], [1, 2])


@law
async def one_listener_may_subscribe_twice(place: Place) -> None:
    """Two feeds over one queue are two: the end of the first, said twice, must not end the second."""
    store = await place.open()
    told: list[int] = []
    stop_first, stop_second = store.subscribe(told.append), store.subscribe(told.append)
    await marks(store, "a")
    await _until(lambda: told == [1, 1])
    stop_first()
    stop_first()
    await marks(store, "b")
    await _until(lambda: told == [1, 1, 2])
    stop_second()


@law
async def closing_tells_subscribers_once_more(place: Place) -> None:
    """Who waits for news looks again, and finds the store closed; otherwise it would wait for ever."""
    store = await place.open()
    told: list[int] = []
    stopped: list[int] = []
    looks: list[asyncio.Future[Any]] = []

    def hear(seq: int) -> None:
        told.append(seq)
        looks.append(asyncio.ensure_future(store.read(lambda tx: tx.seq)))

    store.subscribe(hear)
    store.subscribe(stopped.append)()
    await marks(store, "a")
    await _until(lambda: 1 in told)
    await asyncio.gather(*looks)
    told.clear()
    looks.clear()
    await store.close()
    await store.close()
    found = await asyncio.gather(*looks, return_exceptions=True)
    assert (told, stopped) == ([1], [])
    assert [type(error) for error in found] == [StoreClosedError]


@law
async def what_a_closing_store_acknowledges_is_there(place: Place) -> None:
    """Servers are stopped while agents write: each is refused, or finds its change when the store is opened again."""
    for number, before in enumerate(([], ["first"], ["x", "y", "z"])):
        store = await place.open_lasting()
        await asyncio.gather(*(fill(store, [part(name)]) for name in before))
        names = [f"{number}-{i}" for i in range(8)]
        *ends, _ = await asyncio.gather(
            *(fill(store, [part(name)]) for name in names), store.close(), return_exceptions=True
        )
        await store.close()
        there = await ids(await place.open())
        assert {name for name, end in zip(names, ends, strict=True) if end is None} <= set(there)
        assert {type(end) for end in ends} <= {type(None), StoreClosedError}
        await place.close()


@law
async def a_failing_subscriber_harms_nobody(place: Place) -> None:
    """Its error is its own: the commit stands, and the others are told."""
    store = await place.open()
    told: list[int] = []

    def fail(seq: int) -> None:
        raise ZeroDivisionError(f"told {seq}")

    stops = [store.subscribe(fail), store.subscribe(told.append)]
    level, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        assert await marks(store, "a") == 1
        await _until(lambda: told == [1])
    finally:
        logging.root.manager.disable = level
        for stop in stops:
            stop()
    assert await marks(store, "b") == 2


@law
async def another_store_is_told(place: Place) -> None:
    """Live pages follow what other processes do."""
    first, second = await place.open_two()
    told: list[int] = []
    stop = second.subscribe(told.append)
    await marks(first, "a")
    await marks(first, "b")
    await _until(lambda: 2 in told)
    stop()


async def _worked(store: Store) -> None:
    """Do a bit of everything, some of it in vain."""
    parts = varied()
    await fill(store, parts)
    await marks(store, "a", "b", "c")
    await fill(store, [part(parts[3].id, path="new/place", name="changed", tags=("x",))])
    await asyncio.gather(
        fill(store, [part("bad", kind="unknown")]),
        fill(store, [part("bad", path="a/b/c")]),
        store.transact(lambda tx: tx.delete_many(PARTS, [parts[-1].id, parts[-1].id])),
        store.transact(lambda tx: tx.delete(MARKS, 2)),
        return_exceptions=True,
    )


@law
async def a_used_store_is_well(place: Place) -> None:
    """Indexes, references and numbers fit the records, before and after upkeep."""
    store = await place.open()
    await _worked(store)
    assert await store.verify() == []
    before = await rows(store, Query(PARTS))
    sizes = await store.maintain()
    assert isinstance(sizes["before"], int)
    assert isinstance(sizes["after"], int)
    assert await store.verify() == []
    assert await rows(store, Query(PARTS)) == before
    assert await ids(store, match("changed")) == [varied()[3].id]


@law
async def a_copy_takes_nothing_s_place(place: Place) -> None:
    """The path of yesterday's copy, given again, must not cost it; the error says so, or that there are no copies."""
    store = await place.open()
    await fill(store, [part("a")])
    with tempfile.TemporaryDirectory() as folder:
        for target in _taken(folder):
            refusal = None
            try:
                await store.copy_to(target)
            except StorageError as error:
                refusal = error
            assert refusal is not None
            assert refusal.hint
        _check_kept(folder)
    assert await ids(store) == ["a"]


def _taken(folder: str) -> list[Path]:
    """Return places where there is something already."""
    file, inner = Path(folder, "file"), Path(folder, "folder")
    file.write_text("yesterday's")
    inner.mkdir()
    return [file, inner]


def _check_kept(folder: str) -> None:
    assert Path(folder, "file").read_text() == "yesterday's"
    assert sorted(other.name for other in Path(folder).iterdir()) == ["file", "folder"]


@law
async def statistics_count_the_records(place: Place) -> None:
    """`records` counts them by collection, `seq` is the last number, `bytes` a size."""
    store = await place.open()
    await _worked(store)
    await store.transact(lambda tx: tx.put(COUNTERS, Counter(id="a")))
    figures = await store.statistics()
    assert figures["records"] == {"parts": len(varied()) - 1, "counters": 1, "marks": 2, "echoes": 0, "leases": 0}
    assert figures["seq"] == 3
    assert figures["bytes"] > 0


@law
async def slow_queries_are_kept_without_their_values(place: Place) -> None:
    """What is slow is found where it happens, in a log that neither grows without end nor shows what was compared."""
    store = await place.open()
    await fill(store, [part("a"), part("b")])
    query = Query(PARTS).where(eq("name", "hidden-value")).limit(7)
    await store.read(lambda tx: tx.query(query))
    assert store.slow_queries.total <= 1, "100 ms are not gone"
    store.slow_queries.clear()
    store.slow_queries.after = timedelta(0)
    for _ in range(150):
        await store.read(lambda tx: tx.query(query))
    await store.transact(lambda tx: tx.count(Query(PARTS)))
    log = store.slow_queries
    # A read that proves long, on a busy machine, runs twice.
    assert log.total >= 151
    assert len(log.last) == 100
    assert (log.last[0].collection, log.last[0].shape, log.last[0].rows) == ("parts", "where name eq ? limit 7", 0)
    assert log.last[-1].shape == "everything"
    assert log.last[0].seconds > 0
    assert log.last[0].at <= log.last[-1].at
    told = (await store.statistics())["slow_queries"]
    assert told["total"] >= 151
    assert "hidden-value" not in str(told)
