"""The SQLite store keeps the contract."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.acceptance.disks import FullDisk

from atlas.errors import StorageError, StoreFullError
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteSettings, SqliteStore, database
from atlas.testing import StoreContract, StoreFactory
from atlas.testing.samples import (
    COLLECTIONS,
    COUNTERS,
    MARKS,
    PARTS,
    Counter,
    Mark,
    fill,
    ids,
    marks,
    numbered,
    part,
)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: SqliteStore(tmp_path / "atlas.db", collections)


class TestInlineSqliteStore(StoreContract):
    """As the command line opens it: on the one thread there is, which nothing else needs."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: SqliteStore(tmp_path / "atlas.db", collections, is_inline=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(path: Path, **how: Any) -> SqliteStore:
    store = SqliteStore(path, COLLECTIONS, **how)
    await store.open()
    return store


def _moved(tx: Transaction) -> None:
    """Move one from x to y, and say so."""
    held = tx.get_many(COUNTERS, ["x", "y"])
    tx.put(COUNTERS, Counter(id="x", value=held["x"].value - 1))
    tx.put(COUNTERS, Counter(id="y", value=held["y"].value + 1))
    tx.append(MARKS, Mark(text=f"{held['y'].value + 1}"))


@pytest.mark.anyio
async def test_a_copy_taken_while_others_write_is_one_moment(tmp_path: Path) -> None:
    """Backups are taken while agents work; each is a store of its own, whole, of what was there when it was taken."""
    store, other = await opened(tmp_path / "atlas.db"), await opened(tmp_path / "atlas.db")
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=1_000), Counter(id="y")]))
    is_done = asyncio.Event()

    async def write(to: SqliteStore) -> None:
        while not is_done.is_set():
            await to.transact(_moved)

    writers = [asyncio.create_task(write(to)) for to in (store, other, other)]
    before = []
    for number in range(6):
        before.append(await store.read(lambda tx: tx.seq))
        made = await store.copy_to(tmp_path / "copies" / f"{number}.db")
        assert made == tmp_path / "copies" / f"{number}.db"
    is_done.set()
    await asyncio.gather(*writers)
    assert await store.read(lambda tx: tx.seq) > before[-1]
    for number, seq in enumerate(before):
        copy = await opened(tmp_path / "copies" / f"{number}.db")
        assert await copy.verify() == []
        x, y = await copy.read(lambda tx: [counter.value for counter in tx.query(Query(COUNTERS))])
        numbers = await numbered(copy)
        assert x + y == 1_000
        assert numbers == [(n, f"{n}") for n in range(1, y + 1)]
        assert y >= seq, "it lacks what was acknowledged before"
        assert await marks(copy, "its own") == y + 1
        await copy.close()
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_a_copy_is_its_owner_s_alone(tmp_path: Path) -> None:
    """It holds what the store holds, whatever the program that takes it lets others see of its files."""
    store = await opened(tmp_path / "atlas.db")
    mask = os.umask(0)
    try:
        copy = await store.copy_to(tmp_path / "copies" / "a.db")
    finally:
        os.umask(mask)
    await store.close()
    assert oct(copy.stat().st_mode & 0o777) == oct(0o600)
    assert oct(copy.parent.stat().st_mode & 0o777) == oct(0o700)
    assert names(copy.parent) == {"a.db"}


@pytest.mark.anyio
async def test_a_copy_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next step may destroy what was copied; a copy that the power cut takes away was none."""
    synced: list[tuple[int, bool]] = []
    target = tmp_path / "copies" / "a.db"
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, target.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    await store.copy_to(target)
    await store.close()
    assert (target.stat().st_ino, False) in synced
    assert synced[-1] == (target.parent.stat().st_ino, True)


@pytest.mark.anyio
@pytest.mark.parametrize("failing", ["os.fsync", "os.link"])
async def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Nor does what a killed process left of one stand in the way of the next."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    target = tmp_path / "copies" / "a.db"
    with monkeypatch.context() as broken:
        broken.setattr(failing, fail)
        with pytest.raises(StorageError):
            await store.copy_to(target)
    assert names(target.parent) == set()
    for rest in ("a.db-unfinished", "a.db-unfinished-journal"):
        target.with_name(rest).write_text("half of one")
    await store.copy_to(target)
    assert names(target.parent) == {"a.db"}
    await store.close()
    copy = await opened(target)
    assert await ids(copy) == ["a"]
    await copy.close()


@pytest.mark.anyio
async def test_a_copy_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    """Half a copy would be taken for one; the store goes on."""
    disk = FullDisk(f"full-{uuid.uuid4()}")
    store = await opened(tmp_path / "atlas.db", vfs=disk.name)
    await fill(store, [part(f"p{i}", note="x" * 2_000) for i in range(100)])
    disk.room = 50_000
    with pytest.raises(StoreFullError):
        await store.copy_to(tmp_path / "copies" / "a.db")
    disk.room = None
    assert names(tmp_path / "copies") == set()
    await fill(store, [part("next")])
    await store.copy_to(tmp_path / "copies" / "a.db")
    await store.close()
    disk.unregister()


def names(folder: Path) -> set[str]:
    return {found.name for found in folder.iterdir()}


@pytest.mark.anyio
async def test_time_never_runs_back_with_the_clock(tmp_path: Path) -> None:
    """Clocks are set back, and machines differ; what comes later is never dated before, not even after reopening."""
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    now = noon

    def clock() -> datetime:
        return now

    store = await opened(tmp_path / "atlas.db", clock=clock)
    await marks(store, "a")
    now = noon - timedelta(hours=1)
    assert await store.read(lambda tx: tx.now) == noon
    assert (await store.transact(lambda tx: tx.now)).value == noon
    await store.close()
    now = noon - timedelta(days=1)
    store = await opened(tmp_path / "atlas.db", clock=clock)
    assert (await store.transact(lambda tx: tx.now)).value == noon
    now = noon + timedelta(microseconds=1)
    assert (await store.transact(lambda tx: tx.now)).value == now
    await store.close()


@pytest.mark.anyio
async def test_the_log_is_cut_back_once_no_reader_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stays makes it grow, keeps seeing its moment, and keeps nobody from writing."""
    monkeypatch.setattr(database, "TRUNCATE_BYTES", 100_000)
    store = await opened(tmp_path / "atlas.db", settings=SqliteSettings(checkpoint=20))
    await fill(store, [part("first")])
    reader = apsw.Connection(str(tmp_path / "atlas.db"))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM parts").get == 1
    for number in range(10):
        await fill(store, [part(f"p{number}", note="x" * 20_000)])
    assert (await store.statistics())["log_bytes"] > 200_000
    assert reader.execute("SELECT count(*) FROM parts").get == 1
    reader.execute("COMMIT")
    reader.close()
    async with asyncio.timeout(5):
        while (await store.statistics())["log_bytes"] > 100_000:
            await fill(store, [part("next", note="x" * 90_000)])
    assert await store.verify() == []
    await store.close()


@pytest.mark.anyio
async def test_upkeep_and_writers_take_turns(tmp_path: Path) -> None:
    """Vacuum holds the turn like any writer; who asks meanwhile waits, and no busy error reaches anybody."""
    store, other = await opened(tmp_path / "atlas.db"), await opened(tmp_path / "atlas.db")
    await fill(store, [part(f"q{i}", note="x" * 4_000) for i in range(300)])
    writes = [fill(to, [part(f"{name}{i}")]) for i in range(20) for name, to in (("a", store), ("b", other))]
    copy = store.copy_to(tmp_path / "copy.db")
    await asyncio.gather(store.maintain(), *writes, other.maintain(), copy, store.maintain(analyze=False))
    assert len(await ids(store)) == 340
    assert await store.verify() == []
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_what_ended_a_transaction_within_a_savepoint_reaches_the_caller(tmp_path: Path) -> None:
    """SQLite gives up the whole at an interrupt, savepoints too: going back to one must not hide what happened."""
    store = await opened(tmp_path / "atlas.db")

    def work(tx: Transaction) -> None:
        with tx.savepoint():
            tx.put(PARTS, part("a"))
            tx.count(Query(PARTS))
            store._engine.database.writer().execute("ROLLBACK")  # as an interrupted write does
            raise StoreFullError("what happened")

    with pytest.raises(StoreFullError, match="what happened"):
        await store.transact(work)
    assert await ids(store) == []
    await fill(store, [part("b")])
    assert await ids(store) == ["b"]
    await store.close()


def late_part(tx: Transaction) -> None:
    tx.put(PARTS, part("late"))


def late_mark(tx: Transaction) -> None:
    tx.append(MARKS, Mark(text="late"))


def late_savepoint(tx: Transaction) -> None:
    with tx.savepoint():
        tx.put(PARTS, part("late"))
        tx.count(Query(PARTS))


@pytest.mark.anyio
@pytest.mark.parametrize("last", [late_part, late_mark, late_savepoint])
async def test_work_that_goes_on_after_its_transaction_ended_changes_nothing(
    tmp_path: Path, last: Callable[[Transaction], None]
) -> None:
    """Without a transaction, SQLite would commit each statement by itself, of work that is then refused."""
    store = await opened(tmp_path / "atlas.db")

    def work(tx: Transaction) -> None:
        with contextlib.suppress(StoreFullError), tx.savepoint():
            tx.put(PARTS, part("a"))
            tx.count(Query(PARTS))
            store._engine.database.writer().execute("ROLLBACK")  # as a full disk has SQLite do
            raise StoreFullError("what happened")
        last(tx)

    with pytest.raises(StorageError):
        await store.transact(work)
    assert (await ids(store), await numbered(store)) == ([], [])
    assert await marks(store, "first") == 1
    await store.close()


@pytest.mark.anyio
async def test_the_writer_thread_outlives_work_that_ends_as_a_program_does(tmp_path: Path) -> None:
    """Even where its transaction was given up: nobody else's work ends with it, then or later."""
    store = await opened(tmp_path / "atlas.db")

    class GoneError(BaseException):
        pass

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("a"))
        tx.count(Query(PARTS))
        store._engine.database.writer().execute("ROLLBACK")  # as a full disk has SQLite do
        raise GoneError

    both = asyncio.gather(store.transact(work), fill(store, [part("b")]), return_exceptions=True)
    gone, other = await asyncio.wait_for(both, 5)
    assert isinstance(gone, GoneError)
    assert isinstance(other, StorageError)
    await asyncio.wait_for(asyncio.gather(fill(store, [part("c")]), fill(store, [part("d")])), 5)
    assert await ids(store) == ["c", "d"]
    await store.close()
