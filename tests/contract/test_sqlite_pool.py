"""The readers' pool of a SQLite store: no more than its size, in order, and no broken connection reaches a caller."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from atlas.errors import ConfigError, NotFoundError, StorageError, StoreClosedError
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteSettings, SqliteStore
from atlas.storage.sqlite.pool import ReaderPool
from atlas.testing.samples import COLLECTIONS, PARTS, fill, part

pytestmark = pytest.mark.anyio

PATIENCE = 10


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    await made.open()
    await fill(made, [part("a")])
    yield made
    await made.close()


class Gate:
    """Reads that stay until they are let through."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.names: list[str] = []
        self._open = threading.Event()

    def wait(self, count: int) -> None:
        """Wait until so many more have begun."""
        for _ in range(count):
            assert self.began.acquire(timeout=PATIENCE)

    def open(self) -> None:
        self._open.set()

    def read(self, tx: Transaction) -> int:
        self.names.append(threading.current_thread().name)
        self.began.release()
        assert self._open.wait(PATIENCE)
        return tx.count(Query(PARTS))


@contextmanager
def gated() -> Iterator[Gate]:
    gate = Gate()
    try:
        yield gate
    finally:
        gate.open()


def count(tx: Transaction) -> int:
    return tx.count(Query(PARTS))


def slow_count(tx: Transaction) -> int:
    """Count in a way that takes longer than a read on the event loop may."""
    connection = tx._session._connection  # type: ignore[attr-defined]
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT max(i) FROM n"
    ).fetchall()
    return tx.count(Query(PARTS))


def numbers(pool: ReaderPool) -> tuple[int, ...]:
    found = pool.figures()
    return tuple(found[name] for name in ("size", "total", "active", "idle", "waiting"))


async def settled(pool: ReaderPool, *, active: int = 0) -> None:
    """Wait until no more readers are active: a caller has its answer a moment before."""
    async with asyncio.timeout(PATIENCE):
        while pool.figures()["active"] > active:  # noqa: ASYNC110 - threads tell no event loop
            await asyncio.sleep(0)


async def test_a_pool_uses_no_more_connections_than_its_size(store: SqliteStore) -> None:
    """The rest waits, and is counted."""
    pool = store.pool
    assert numbers(pool) == (2, 0, 0, 0, 0)
    with gated() as gate:
        reads = [pool.submit(gate.read) for _ in range(7)]
        gate.wait(2)
        assert numbers(pool) == (2, 2, 2, 0, 5)
        assert not gate.began.acquire(timeout=0.02)
        gate.open()
        assert [read.result(PATIENCE) for read in reads] == [1] * 7
    await settled(pool)
    assert numbers(pool) == (2, 2, 0, 2, 0)
    assert sum(each["calls"] for each in pool.figures()["each"]) == 7


async def test_reads_have_their_turn_in_the_order_they_came(store: SqliteStore) -> None:
    """None waits for ever."""
    store.pool.resize(1)
    order: list[int] = []
    with gated() as gate:
        store.pool.submit(gate.read)
        gate.wait(1)
        later = [store.pool.submit(partial(_append, number, order)) for number in range(20)]
        gate.open()
        wait(later, PATIENCE)
    assert order == list(range(20))


def _append(number: int, order: list[int], _tx: Transaction) -> None:
    order.append(number)


async def test_one_read_after_the_other_needs_one_connection(store: SqliteStore) -> None:
    """Each has a cache of its own, so none is made that is not needed."""
    for _ in range(5):
        assert store.pool.submit(count).result(PATIENCE) == 1
        await settled(store.pool)
    (each,) = store.pool.figures()["each"]
    assert (each["state"], each["calls"], each["errors"]) == ("idle", 5, 0)
    assert each["mean_seconds"] > 0


async def test_a_pool_grows_at_once(store: SqliteStore) -> None:
    """What waits is begun while the others still run."""
    with gated() as gate:
        reads = [store.pool.submit(gate.read) for _ in range(5)]
        gate.wait(2)
        store.pool.resize(4)
        gate.wait(2)
        assert numbers(store.pool) == (4, 4, 4, 0, 1)
        gate.open()
        assert [read.result(PATIENCE) for read in reads] == [1] * 5


async def test_a_pool_shrinks_as_reads_end(store: SqliteStore) -> None:
    """None is cut short, none is begun beyond the new size, and idle connections are given back at once."""
    pool = store.pool
    pool.resize(4)
    with gated() as first, gated() as second:
        reads = [pool.submit(first.read) for _ in range(4)]
        first.wait(4)
        reads += [pool.submit(second.read) for _ in range(2)]
        pool.resize(1)
        assert numbers(pool) == (1, 4, 4, 0, 2)
        first.open()
        second.wait(1)
        await settled(pool, active=1)
        assert numbers(pool) == (1, 1, 1, 0, 1)
        second.open()
        assert [read.result(PATIENCE) for read in reads] == [1] * 6
    await settled(pool)
    assert numbers(pool) == (1, 1, 0, 1, 0)
    assert pool.submit(count).result(PATIENCE) == 1


async def test_a_size_out_of_bounds_is_refused(store: SqliteStore) -> None:
    """And the one there is stays."""
    for size in (0, 65):
        with pytest.raises(ConfigError):
            store.pool.resize(size)
    assert store.pool.figures()["size"] == 2


async def test_reads_go_on_while_a_pool_is_resized(store: SqliteStore) -> None:
    """No wish to be woken is lost on a reader that ends."""
    reads = []
    for number in range(400):
        reads.append(store.pool.submit(count))
        if number % 7 == 0:
            store.pool.resize(1 + number % 5)
    assert {read.result(PATIENCE) for read in reads} == {1}


async def test_a_broken_connection_is_replaced_unnoticed(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets an answer; the log and the figures tell."""
    pool = store.pool
    assert pool.submit(count).result(PATIENCE) == 1
    for number in (1, 2):
        await _close_idle(pool)
        with caplog.at_level(logging.WARNING):
            assert pool.submit(count).result(PATIENCE) == 1
        found = pool.figures()
        assert (found["lost"], found["regained"], found["total"]) == (number, number, 1)
    assert [record.message.partition(":")[0] for record in caplog.records if "lost" in record.message] == [
        "a reading connection was lost"
    ] * 2
    assert sum("is read again" in record.message for record in caplog.records) == 2


async def _close_idle(pool: ReaderPool) -> None:
    """Break the one connection of a pool once it is idle."""
    await settled(pool)
    (reader,) = pool._readers
    assert reader.connection is not None
    reader.connection.close()


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_is_gone_is_not_read_until_it_is_back(
    store: SqliteStore, tmp_path: Path, *, is_replaced: bool
) -> None:
    """Another file in its place is not read: that would show two stores as one."""
    path, aside = tmp_path / "atlas.db", tmp_path / "aside.db"
    assert store.pool.submit(count).result(PATIENCE) == 1
    copy = await store.copy_to(tmp_path / "copy.db")
    path.rename(aside)
    if is_replaced:
        copy.rename(path)
    for _ in range(2):
        error = store.pool.submit(count).exception(PATIENCE)
        assert isinstance(error, StorageError)
        assert "Open the store again" in error.hint
    found = store.pool.figures()
    assert (found["lost"], found["regained"]) == (1, 0)
    assert sum(each["errors"] for each in found["each"]) == 2
    aside.replace(path)
    assert store.pool.submit(count).result(PATIENCE) == 1
    assert store.pool.figures()["regained"] == 1


async def test_a_connection_is_made_anew_when_it_is_old(store: SqliteStore) -> None:
    """What a driver gathers over months goes with it. Nothing remembers the old one."""
    now = 0.0
    pool = ReaderPool(store._engine, size=1, age=timedelta(minutes=1), clock=lambda: now)
    before = len(store._engine._versions)
    for moment, recycled in ((0.0, 0), (59.0, 0), (61.0, 1), (62.0, 1), (121.0, 2), (500.0, 3)):
        now = moment
        assert pool.submit(count).result(PATIENCE) == 1
        assert (pool.figures()["recycled"], pool.figures()["lost"]) == (recycled, 0)
    assert len(store._engine._versions) <= before + 1
    assert [each["calls"] for each in pool.figures()["each"]] == [6]
    pool.close()
    assert len(store._engine._versions) == before


async def test_an_idle_connection_tells_how_long(store: SqliteStore) -> None:
    """By the pool's clock, since its last read ended."""
    now = 100.0
    pool = ReaderPool(store._engine, size=1, clock=lambda: now)
    assert pool.submit(count).result(PATIENCE) == 1
    await settled(pool)
    now = 107.5
    (each,) = pool.figures()["each"]
    assert each["unused_seconds"] == 7.5
    pool.close()


async def test_closing_waits_for_the_reads_there_are(store: SqliteStore) -> None:
    """Those that run and those that wait have their answers; then there is no thread and no connection."""
    pool = store.pool
    with gated() as gate:
        reads = [pool.submit(gate.read) for _ in range(4)]
        gate.wait(2)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0.02)
        assert not closing.done()
        gate.open()
        await closing
    assert [read.result(0) for read in reads] == [1] * 4
    with pytest.raises(StoreClosedError):
        pool.submit(count)
    with pytest.raises(StoreClosedError):
        _ = store.pool
    assert numbers(pool) == (2, 0, 0, 0, 0)
    assert not any(thread.is_alive() for thread in pool._threads)


async def test_a_store_that_is_opened_again_reads_again(store: SqliteStore) -> None:
    """With a pool of its own."""
    assert await store.read(slow_count) == 1
    await store.close()
    await store.open()
    assert await store.read(slow_count) == 1
    assert (await store.statistics())["pool"]["total"] == 1


async def test_an_error_of_the_caller_is_none_of_the_connection(store: SqliteStore) -> None:
    """It reaches the caller as it is, and the connection serves on."""
    error = NotFoundError("nothing")

    def fail(_tx: Transaction) -> None:
        raise error

    assert store.pool.submit(fail).exception(PATIENCE) is error
    assert store.pool.submit(count).result(PATIENCE) == 1
    assert [each["errors"] for each in store.pool.figures()["each"]] == [0]


async def test_a_read_given_up_while_it_waits_never_runs(store: SqliteStore) -> None:
    """Its caller has gone."""
    store.pool.resize(1)
    ran: list[str] = []
    with gated() as gate:
        store.pool.submit(gate.read)
        gate.wait(1)
        second = store.pool.submit(lambda _tx: ran.append("second"))
        third = store.pool.submit(lambda _tx: ran.append("third"))
        assert second.cancel()
        gate.open()
        third.result(PATIENCE)
    assert ran == ["third"]
    with pytest.raises(CancelledError):
        second.result(0)


async def test_a_pool_keeps_nothing_of_what_it_answered(store: SqliteStore) -> None:
    """An idle server would hold the largest answer it ever gave."""

    class Answer:
        pass

    answered = store.pool.submit(lambda _tx: Answer()).result(PATIENCE)
    kept = weakref.ref(answered)
    del answered
    await settled(store.pool)
    gc.collect()
    assert kept() is None


async def test_long_reads_of_a_read_only_file_see_what_its_owner_writes(tmp_path: Path) -> None:
    """Where nobody wrote, it is opened as if nobody would; that the owner came back must not go unseen."""
    path = tmp_path / "atlas.db"
    owner = SqliteStore(path, COLLECTIONS)
    await owner.open()
    await fill(owner, [part("a")])
    await owner.close()
    path.chmod(0o400)
    reader = SqliteStore(path, COLLECTIONS, settings=SqliteSettings(readers=1))
    await reader.open()
    path.chmod(0o600)
    assert reader.pool.submit(count).result(PATIENCE) == 1
    await owner.open()
    await fill(owner, [part("b")])
    assert reader.pool.submit(count).result(PATIENCE) == 2
    await owner.close()
    assert reader.pool.submit(count).result(PATIENCE) == 2
    await reader.close()


async def test_a_program_of_one_thread_has_no_pool(tmp_path: Path) -> None:
    """It reads where it asks."""
    store = SqliteStore(tmp_path / "atlas.db", COLLECTIONS, is_inline=True)
    await store.open()
    await fill(store, [part("a")])
    assert await store.read(slow_count) == 1
    assert "pool" not in await store.statistics()
    await store.close()


async def test_a_pool_that_closes_takes_no_new_size(store: SqliteStore) -> None:
    """A reader added then would outlive it; those that wait have their answers first."""
    pool = store.pool
    pool.resize(1)
    with gated() as gate:
        reads = [pool.submit(gate.read) for _ in range(3)]
        gate.wait(1)
        closing = asyncio.create_task(asyncio.to_thread(pool.close))
        while not pool._is_closed:  # noqa: ASYNC110 - threads tell no event loop
            await asyncio.sleep(0)
        with pytest.raises(StoreClosedError):
            pool.resize(3)
    await closing
    assert [read.result(0) for read in reads] == [1, 1, 1]
    assert pool.figures()["total"] == 0


async def test_a_close_that_was_given_up_is_finished_by_the_next(store: SqliteStore) -> None:
    """Closing waits for reads; who does not wait that long finds a store that can still be closed."""
    told: list[int] = []
    store.subscribe(told.append)
    with gated() as gate:
        store.pool.submit(gate.read)
        gate.wait(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.close(), 0.05)
        told.clear()
    await store.close()
    assert store._database._reader is None
    assert len(told) == 1
    await store.close()
    assert len(told) == 1
