"""A short write is committed where it is asked for; all else goes to the writer thread and leaves the loop free."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from atlas.errors import StoreBusyError, StoreTimeoutError
from atlas.storage.collection import Collection
from atlas.storage.locking import WriterLock
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteStore
from atlas.storage.sqlite.engine import SHORT_SECONDS


class Part(msgspec.Struct, frozen=True, kw_only=True):
    id: str


PARTS: Collection[Part] = Collection("part", Part)


def scenario(run: Callable[[SqliteStore], Awaitable[None]], path: Path, **options: object) -> None:
    """Run a scenario on an open store, in an event loop of its own."""

    async def whole() -> None:
        store = SqliteStore(path / "atlas.db", [PARTS], **options)  # type: ignore[arg-type]
        await store.open()
        try:
            await run(store)
        finally:
            await store.close()

    asyncio.run(whole())


@contextmanager
def turn_taken(path: Path) -> Iterator[None]:
    """Another process in the middle of a write."""
    lock = WriterLock(path)
    lock.acquire(None)
    try:
        yield
    finally:
        lock.release()
        lock.close()


@contextmanager
def foreign_write(path: Path) -> Iterator[None]:
    """Another program in the middle of a write, which knows SQLite's locks but not Atlas's turn."""
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def longest_pause(task: asyncio.Future[Any], *, seconds: float) -> float:
    """Return the longest time for which the event loop answered nobody, while the task runs, for so long at most."""
    longest, last = 0.0, time.perf_counter()
    end = last + seconds
    while not task.done() and last < end:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


def put(name: str) -> Callable[[Transaction], None]:
    return lambda tx: tx.put(PARTS, Part(id=name))


async def names(store: SqliteStore) -> list[str]:
    return await store.read(lambda tx: sorted(part.id for part in tx.query(Query(PARTS))))


def test_one_short_write_needs_no_thread(tmp_path: Path) -> None:
    """The way to a thread and back costs as much as the commit itself."""

    async def run(store: SqliteStore) -> None:
        here: list[int] = []

        def noted(tx: Transaction) -> None:
            here.append(threading.get_ident())
            tx.put(PARTS, Part(id=f"p{len(here):03}"))

        for _ in range(50):
            await store.transact(noted)
        # A machine that is busy with other things makes some of them long.
        assert here.count(threading.get_ident()) > 10
        assert len(await names(store)) >= 50

    scenario(run, tmp_path, synchronous="OFF")


def test_what_is_asked_for_together_is_committed_together(tmp_path: Path) -> None:
    """One sync to disk for all of them is what makes many writers quick."""

    async def run(store: SqliteStore) -> None:
        before = store._engine.commits
        await asyncio.gather(*(store.transact(put(f"p{number:02}")) for number in range(20)))
        assert store._engine.commits == before + 1
        assert len(await names(store)) == 20

    scenario(run, tmp_path)


def test_a_write_that_proves_long_runs_again_on_the_thread_and_counts_once(tmp_path: Path) -> None:
    """Rolled back on the event loop, it must leave nothing there, and its writer must not notice."""
    runs: list[str] = []

    def slow(tx: Transaction) -> int:
        runs.append("run")
        tx.put(PARTS, Part(id=f"p{len(tx.query(Query(PARTS)))}"))
        time.sleep(SHORT_SECONDS * 2)
        tx.put(PARTS, Part(id="last"))
        return len(runs)

    async def run(store: SqliteStore) -> None:
        committed = await store.transact(slow)
        assert committed.value == 2
        assert store._committer is not None
        assert store._committer.has_thread
        assert await names(store) == ["last", "p0"]

    scenario(run, tmp_path)


def test_work_cannot_catch_the_end_of_its_patience(tmp_path: Path) -> None:
    """A function that survives its own errors would otherwise commit half of itself, as if that were all."""

    def careless(tx: Transaction) -> None:
        time.sleep(SHORT_SECONDS * 2)
        for name in ("a", "b"):
            try:
                tx.put(PARTS, Part(id=name))
            except Exception:  # noqa: BLE001 - the point
                continue

    async def run(store: SqliteStore) -> None:
        await store.transact(careless)
        assert await names(store) == ["a", "b"]

    scenario(run, tmp_path)


def test_a_write_past_its_deadline_is_late_however_short_writes_may_be(tmp_path: Path) -> None:
    """The caller's own bound is reported as such, not as a busy store."""

    def slow(tx: Transaction) -> None:
        time.sleep(SHORT_SECONDS * 3)
        tx.put(PARTS, Part(id="never"))

    async def run(store: SqliteStore) -> None:
        with pytest.raises(StoreTimeoutError):
            await store.transact(slow, timeout=timedelta(seconds=SHORT_SECONDS * 2))
        assert await names(store) == []

    scenario(run, tmp_path)


@pytest.mark.parametrize("holding", [turn_taken, foreign_write])
def test_waiting_for_another_process_leaves_the_loop_free(tmp_path: Path, holding: Callable[[Path], object]) -> None:
    """One agent's long import must not make another agent's server deaf."""

    async def run(store: SqliteStore) -> None:
        await store.transact(put("first"))
        with holding(store.path):  # type: ignore[attr-defined]
            waiting = asyncio.ensure_future(store.transact(put("second")))
            pause = await longest_pause(waiting, seconds=0.3)
            assert not waiting.done()
            assert pause < 0.15
        await waiting
        assert await names(store) == ["first", "second"]

    scenario(run, tmp_path)


def test_a_turn_that_never_comes_is_given_up_in_time(tmp_path: Path) -> None:
    """Refused means that nothing is written later either."""

    async def run(store: SqliteStore) -> None:
        with turn_taken(store.path):
            with pytest.raises(StoreBusyError):
                await store.transact(put("late"), timeout=timedelta(seconds=0.1))
            patient = asyncio.ensure_future(store.transact(put("patient")))
            await asyncio.sleep(0.05)
        await patient
        assert await names(store) == ["patient"]

    scenario(run, tmp_path)


def test_a_slow_disk_is_waited_for_on_the_thread(tmp_path: Path) -> None:
    """A commit that takes long once will take long again: the event loop waits for it one time, not every time."""

    async def run(store: SqliteStore) -> None:
        store._engine._commit_seconds = SHORT_SECONDS * 2
        await store.transact(put("slow"))
        assert store._committer is not None
        assert store._committer.has_thread
        assert await names(store) == ["slow"]

    scenario(run, tmp_path)


def test_a_caller_cancelled_before_its_turn_writes_nothing(tmp_path: Path) -> None:
    """Who has left must not find a change later that nobody asked for any more."""

    async def run(store: SqliteStore) -> None:
        leaving = asyncio.ensure_future(store.transact(put("left")))
        staying = asyncio.ensure_future(store.transact(put("stays")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await staying
        assert await names(store) == ["stays"]

    scenario(run, tmp_path)


def test_the_log_is_moved_into_the_database_after_short_writes_too(tmp_path: Path) -> None:
    """Without a thread that tidies, the log of a quiet server would grow for ever."""
    writes, page = 2_000, 4_096

    async def run(store: SqliteStore) -> None:
        for number in range(writes):
            await store.transact(put(f"p{number:04}"))
        assert store.path.with_name("atlas.db-wal").stat().st_size < writes * page

    scenario(run, tmp_path, synchronous="OFF")
