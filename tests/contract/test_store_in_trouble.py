"""A SQLite store among stuck processes, replaced files, forks and full disks loses nothing and waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from tests.acceptance.disks import FullDisk

import atlas
from atlas.errors import StorageError, StoreClosedError, StoreTimeoutError
from atlas.journal.feed import follow, wait_beyond
from atlas.operations.doctor import examine
from atlas.storage import committing
from atlas.storage.file import FileStore
from atlas.storage.locking import WriterLock
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteSettings, SqliteStore, database
from atlas.storage.sqlite.store import POLL_SECONDS
from atlas.testing.samples import COLLECTIONS, PARTS, fill, ids, marks, part

pytestmark = pytest.mark.anyio

FORKED = """
import asyncio, os, sys, warnings
from datetime import timedelta
from pathlib import Path

from atlas.errors import StorageError
from atlas.storage.sqlite import SqliteStore
from atlas.testing.samples import COLLECTIONS, fill, ids, part

warnings.simplefilter("ignore")  # some Pythons warn of forking beside a thread, which is the point
store = SqliteStore(Path(sys.argv[1]), COLLECTIONS)


async def parent():
    await store.open()
    await asyncio.gather(fill(store, [part("a")]), fill(store, [part("b")]))


async def child():
    for call in (ids(store), store.transact(lambda tx: tx.seq, timeout=timedelta(seconds=2)), store.verify()):
        try:
            await call
        except StorageError as error:
            print(error.code, flush=True)
        else:
            print("answered", flush=True)


asyncio.run(parent())
process = os.fork()
if not process:
    asyncio.run(child())
    os._exit(0)
os.waitpid(process, 0)
asyncio.run(fill(store, [part("c")]))
print(*asyncio.run(ids(store)))
"""

FORKED_IN_WORK = """
import asyncio, os, signal, sys, threading, warnings
from pathlib import Path

from atlas.storage.sqlite import SqliteStore
from atlas.testing.samples import COLLECTIONS, PARTS, ids, part

warnings.simplefilter("ignore")
store = SqliteStore(Path(sys.argv[1]), COLLECTIONS)
entered, leave = threading.Event(), threading.Event()


def work(tx):
    tx.put(PARTS, part("a"))
    if threading.current_thread().name == "atlas-writer":
        entered.set()
        leave.wait(20)


async def parent():
    await store.open()
    both = asyncio.gather(store.transact(work), store.transact(lambda tx: tx.put(PARTS, part("b"))))
    await asyncio.to_thread(entered.wait)
    process = os.fork()
    if process:
        status = os.waitpid(process, 0)[1]
        leave.set()
        await both
        print(os.waitstatus_to_exitcode(status), *await ids(store), *await store.verify())
        await store.close()
    else:
        signal.alarm(10)
        try:
            await store.close()
            os._exit(0)
        finally:
            os._exit(1)


asyncio.run(parent())
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob("*-unfinished*"))


async def opened(path: Path, **how: Any) -> SqliteStore:
    store = SqliteStore(path, COLLECTIONS, **how)
    await store.open()
    return store


class Other:
    """Another process in the middle of a write. It ends by itself after a while, for the case that it is waited for."""

    def __init__(self, path: Path) -> None:
        self._lock = WriterLock(path)
        self._end = threading.Timer(5, self._lock.close)

    def begin(self) -> None:
        self._lock.acquire(None)
        self._end.start()

    def end(self) -> bool:
        """Say whether it was still writing."""
        was_writing = self._end.is_alive()
        self._end.cancel()
        self._end.join()
        self._lock.close()
        return was_writing


@contextmanager
def staying_reader(path: Path) -> Iterator[None]:
    """Another program in the middle of a read."""
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM parts").fetchall()
    try:
        yield
    finally:
        connection.close()


def holds_nothing(store: SqliteStore) -> bool:
    return store._database._writer is None and store._database._reader is None


async def test_closing_does_not_wait_for_a_stuck_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops its server kills it when it does not end."""
    monkeypatch.setattr(database, "CHECKPOINT_WAIT", 0.02)
    store, other = await opened(tmp_path / "atlas.db"), Other(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    other.begin()
    await store.close()
    assert other.end()
    assert holds_nothing(store)
    store = await opened(tmp_path / "atlas.db")
    assert await ids(store) == ["a"]
    await store.close()


async def test_an_inline_write_is_answered_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one takes its turn between the commit and the tidying, which can be left to the next commit."""
    monkeypatch.setattr(database, "CHECKPOINT_WAIT", 0.02)
    store = await opened(tmp_path / "atlas.db", settings=SqliteSettings(checkpoint=1), is_inline=True)
    other = Other(tmp_path / "atlas.db")
    stop = store.subscribe(lambda _seq: other.begin())
    assert await marks(store, "a") == 1
    assert other.end()
    stop()
    assert await marks(store, "b") == 2
    await store.close()


async def test_closing_on_a_full_disk_lets_everything_go(tmp_path: Path) -> None:
    """What cannot be moved into the database stays in the log, as safe as before."""
    disk = FullDisk(f"full-{uuid.uuid4()}")
    store = await opened(tmp_path / "atlas.db", vfs=disk.name)
    await fill(store, [part(f"p{i:02}", note="x" * 3_000) for i in range(50)])
    disk.room = 0
    await store.close()
    assert holds_nothing(store)
    store = await opened(tmp_path / "atlas.db")
    assert len(await ids(store)) == 50
    await store.close()
    disk.unregister()


async def test_a_failed_open_lets_the_file_go(tmp_path: Path) -> None:
    """Whoever then repairs the file must be alone with it."""
    store = await opened(tmp_path / "atlas.db")
    await store.close()
    connection = apsw.Connection(str(tmp_path / "atlas.db"))
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    store = SqliteStore(tmp_path / "atlas.db", COLLECTIONS)
    with pytest.raises(StorageError):
        await store.open()
    assert holds_nothing(store)


async def test_readers_keep_no_writer_waiting_in_a_restored_copy(tmp_path: Path) -> None:
    """A copy is written in another mode than a store works in, in which one open read would stop all writers."""
    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    copy = await store.copy_to(tmp_path / "copy.db")
    await store.close()
    store = await opened(copy)
    with staying_reader(copy):
        await store.transact(lambda tx: tx.put(PARTS, part("b")), timeout=timedelta(seconds=1))
    assert await ids(store) == ["a", "b"]
    await store.close()


async def test_a_reader_that_stays_does_not_have_every_commit_tidy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the log long; trying in vain at each commit would make all of them slow."""
    monkeypatch.setattr(database, "TRUNCATE_BYTES", 200_000)
    store = await opened(
        tmp_path / "atlas.db", settings=SqliteSettings(checkpoint=40), is_inline=True, synchronous="OFF"
    )
    tidied: list[int] = []
    checkpoint = store._database.checkpoint

    def counted(mode: int) -> None:
        tidied.append(mode)
        checkpoint(mode)

    with staying_reader(tmp_path / "atlas.db"):
        for number in range(30):
            await fill(store, [part(f"p{number}", note="x" * 8_000)])
        monkeypatch.setattr(store._database, "checkpoint", counted)
        for number in range(20):
            await fill(store, [part("one", size=number)])
        assert len(tidied) <= 5
    await store.close()


@pytest.mark.parametrize("is_inline", [False, True])
async def test_nothing_is_acknowledged_into_a_replaced_file(tmp_path: Path, *, is_inline: bool) -> None:
    """A backup put in place under a running server: what it wrote to the old file would be found nowhere."""
    store = await opened(tmp_path / "atlas.db", is_inline=is_inline)
    await fill(store, [part("a")])
    copy = await store.copy_to(tmp_path / "copy.db")
    copy.replace(tmp_path / "atlas.db")
    with pytest.raises(StorageError) as refusal:
        await fill(store, [part("b")])
    assert "Open the store again" in refusal.value.hint
    with pytest.raises(StorageError):
        await asyncio.gather(fill(store, [part("c")]), fill(store, [part("d")]))
    await store.close()
    store = await opened(tmp_path / "atlas.db")
    assert await ids(store) == ["a"]
    assert await store.verify() == []
    await store.close()


async def test_a_file_that_replaced_the_store_is_left_alone(tmp_path: Path) -> None:
    """A restored copy: looked after or read through the log of the old file, it would end up with that log in it."""
    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    copy = await store.copy_to(tmp_path / "copy.db")
    await fill(store, [part("b")])
    before = copy.read_bytes()
    log = (tmp_path / "atlas.db-wal").read_bytes()
    copy.replace(tmp_path / "atlas.db")
    asked = (store.verify(), store.maintain(), store.copy_to(tmp_path / "next.db"))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [StorageError] * 3
    assert (tmp_path / "atlas.db").read_bytes() == before
    assert (tmp_path / "atlas.db-wal").read_bytes() == log
    await store.close()
    assert (tmp_path / "atlas.db").read_bytes() == before


async def test_nothing_is_acknowledged_into_a_removed_file(tmp_path: Path) -> None:
    """Its folder was cleaned up while the server ran."""
    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part("a")])
    for name in ("atlas.db", "atlas.db-wal", "atlas.db-shm", "atlas.db-lock"):
        (tmp_path / name).unlink()
    with pytest.raises(StorageError):
        await fill(store, [part("b")])
    await store.close()


async def test_a_forked_child_is_told_to_open_its_own(tmp_path: Path) -> None:
    """SQLite's connections do not survive a fork; used in the child, they damage the file. The parent goes on."""
    command = [sys.executable, "-c", FORKED, str(tmp_path / "atlas.db")]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["STORE_CLOSED"] * 3 + ["a b c"], run.stderr


async def test_who_listens_while_the_file_is_away_is_told_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The trouble is said once, not twenty times a second, and the listening goes on."""
    path, told = tmp_path / "atlas.db", asyncio.Event()
    store, other = await opened(path), await opened(path)
    store.subscribe(lambda _: told.set())
    path.rename(tmp_path / "away.db")
    await asyncio.sleep(3 * POLL_SECONDS)
    (tmp_path / "away.db").rename(path)
    await marks(other, "there")
    await asyncio.wait_for(told.wait(), 5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await other.close()
    await store.close()


async def test_a_forked_child_closes_nothing_of_its_parent_s(tmp_path: Path) -> None:
    """Whatever held a lock or a connection at that moment is not there to let it go, and the connections are shared."""
    made = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FORKED_IN_WORK, str(tmp_path / "a.db")], capture_output=True, text=True
    )
    assert made.stdout.split() == ["0", "a", "b"], made.stderr


async def test_a_read_only_store_shows_what_its_owner_writes(tmp_path: Path) -> None:
    """It may be opened while nobody writes; that the owner comes back later must not go unseen."""
    path = tmp_path / "atlas.db"
    owner = await opened(path)
    await fill(owner, [part("a")])
    await owner.close()
    path.chmod(0o400)
    reader = await opened(path)
    path.chmod(0o600)
    assert not reader.capabilities.is_writable
    assert await ids(reader) == ["a"]
    owner = await opened(path)
    await fill(owner, [part("b")])
    assert await ids(reader) == ["a", "b"]
    await owner.close()
    assert await ids(reader) == ["a", "b"]
    await reader.close()


async def test_several_event_loops_may_read_at_once(tmp_path: Path) -> None:
    """A program with two threads has two; each sees one moment, while others write."""
    store = await opened(tmp_path / "atlas.db")
    await fill(store, [part(f"p{i}") for i in range(20)])
    failed: list[BaseException] = []

    def look(tx: Transaction) -> None:
        before = tx.query(Query(PARTS))
        os.sched_yield()
        assert tx.query(Query(PARTS)) == before

    async def many() -> None:
        for _ in range(100):
            await store.read(look)

    def elsewhere() -> None:
        try:
            asyncio.run(many())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    threads = [threading.Thread(target=elsewhere) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(50):
        await fill(store, [part("p0", size=number)])
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await store.close()
    assert failed == []


@pytest.mark.parametrize("kind", [SqliteStore, FileStore])
def test_a_store_may_be_closed_when_the_loop_that_listened_has_ended(
    tmp_path: Path, kind: type[SqliteStore | FileStore]
) -> None:
    """A program may open its store in one `asyncio.run` and close it in another."""

    async def listening() -> None:
        await store.open()
        store.subscribe(told.append)
        await fill(store, [part("a")])

    told: list[int] = []
    store = kind(tmp_path / "atlas", COLLECTIONS)
    asyncio.run(listening())
    told.clear()
    asyncio.run(store.close())
    assert len(told) == 1


async def test_several_event_loops_share_one_writer_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one would outlive the store, or take the word by which the first one ends."""
    store, meeting = await opened(tmp_path / "atlas.db"), threading.Barrier(2)

    class Late(threading.Thread):
        def __init__(self, *given: Any, **how: Any) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(0.2)
            super().__init__(*given, **how)

    def late_queue() -> queue.SimpleQueue[Any]:
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)
        return queue.SimpleQueue()

    async def both(name: str) -> None:
        await asyncio.gather(*(fill(store, [part(f"{name}{number}")]) for number in range(2)))

    loops = [threading.Thread(target=asyncio.run, args=(both(name),)) for name in "ab"]
    monkeypatch.setattr(committing, "threading", SimpleNamespace(Thread=Late, Lock=threading.Lock))
    monkeypatch.setattr(committing, "queue", SimpleNamespace(SimpleQueue=late_queue, Empty=queue.Empty))
    monkeypatch.setattr(committing, "_JOIN_SECONDS", 1.0)
    before = set(threading.enumerate())
    for loop in loops:
        loop.start()
    for loop in loops:
        await asyncio.to_thread(loop.join)
    assert len(await ids(store)) == 4
    await store.close()
    assert [thread for thread in set(threading.enumerate()) - before if thread.name == "atlas-writer"] == []


async def test_all_writes_use_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones may come from the event loop and from the thread together; a second one would be left open."""
    for number in range(15):
        store = await opened(tmp_path / f"{number}.db")
        made = _counted(store, monkeypatch)
        await asyncio.gather(fill(store, [part("a")]), fill(store, [part("b")]), _later(store))
        assert made == ["connection"]
        await store.close()


def _counted(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    connection: Callable[..., apsw.Connection] = store._database._connection

    def counted(*given: Any) -> apsw.Connection:
        made.append("connection")
        return connection(*given)

    monkeypatch.setattr(store._database, "_connection", counted)
    return made


async def _later(store: SqliteStore) -> None:
    """Write alone, just after what was asked for together went to the thread."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await fill(store, [part("single")])


def _endless(tx: Transaction, reached: list[str]) -> None:
    """Run one statement that takes seconds."""
    tx.put(PARTS, part("late"))
    assert tx.count(Query(PARTS)) > 0
    reached.append("statement")
    connection = tx._session._connection  # type: ignore[attr-defined]
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) SELECT max(i) FROM n"
    ).fetchall()
    reached.append("its end")


@pytest.mark.parametrize("is_inline", [False, True])
async def test_a_long_statement_ends_at_the_deadline(tmp_path: Path, *, is_inline: bool) -> None:
    """Between two calls the deadline is looked at anyway; within one, only SQLite can. All others are answered."""
    store = await opened(tmp_path / "atlas.db", is_inline=is_inline)
    reached: list[str] = []
    long = store.transact(lambda tx: _endless(tx, reached), timeout=timedelta(milliseconds=40))
    ends = await asyncio.gather(fill(store, [part("a")]), long, fill(store, [part("b")]), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), StoreTimeoutError, type(None)]
    with pytest.raises(StoreTimeoutError):
        await store.transact(lambda tx: _endless(tx, reached), timeout=timedelta(milliseconds=40))
    assert set(reached) == {"statement"}
    await fill(store, [part("c")])
    assert await ids(store) == ["a", "b", "c"]
    await store.close()


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/atlas.db"])
async def test_who_follows_or_waits_learns_that_the_store_was_closed(tmp_path: Path, url: str) -> None:
    """Nothing can come any more: a live page ends instead of hanging."""
    opener = atlas.open(url.format(tmp_path))
    await opener.__aenter__()
    store = opener.store
    has_come = asyncio.Event()

    async def all_of_it() -> None:
        async for _ in follow(store, after=0):
            has_come.set()

    following = asyncio.create_task(all_of_it())
    waiting = asyncio.create_task(wait_beyond(store, 1_000, seconds=60))
    await opener.tasks.create("shop")
    async with asyncio.timeout(5):
        await has_come.wait()
        for _ in range(20):
            await asyncio.sleep(0)  # until both wait for what does not come
        await opener.__aexit__(None, None, None)
        ends = await asyncio.gather(following, waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [StoreClosedError, StoreClosedError]


async def test_an_event_that_is_no_record_is_found_by_the_doctor(tmp_path: Path) -> None:
    """It cannot be replayed; the doctor says so instead of failing itself."""
    url = f"sqlite:///{tmp_path / 'atlas.db'}"
    async with atlas.open(url) as a:
        await a.tasks.create("shop")
    connection = apsw.Connection(str(tmp_path / "atlas.db"))
    connection.create_scalar_function("atlas_time", _as_it_is, 1, deterministic=True)
    connection.execute("UPDATE event SET value = json_remove(value, '$.change.created.name')")
    connection.close()
    async with atlas.open(url) as a:
        found = await examine(a)
    assert "journal" in {finding.name for finding in found if finding.status == "error"}


def _as_it_is(*values: Any) -> Any:
    return values[0]


async def test_copies_to_one_place_at_once_leave_one_whole_copy(tmp_path: Path) -> None:
    """Two who are told of success must not share a file that one of them overwrote."""
    store = await opened(tmp_path / "a.db")
    await fill(store, [part(f"p{number}", note="x" * 1_000) for number in range(300)])
    for number in range(5):
        target = tmp_path / f"copy-{number}.db"
        ends = await asyncio.gather(*(store.copy_to(target) for _ in range(3)), return_exceptions=True)
        assert [end for end in ends if not isinstance(end, BaseException)] == [target]
        assert all(isinstance(end, (Path, StorageError)) for end in ends)
        copy = await opened(target)
        assert len(await ids(copy)) == 300
        await copy.close()
    await store.close()
    assert not unfinished(tmp_path)
