"""The JSON file store keeps the contract, and what it promises beyond it: one readable file, and a log beside it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.processes import environment

from atlas.errors import (
    AtlasError,
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreLocationError,
    StoreReadOnlyError,
    StoreTimeoutError,
)
from atlas.storage import place
from atlas.storage.file import FileStore, content, engine
from atlas.storage.locking import WriterLock
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query, eq
from atlas.testing import (
    StoreContract,
    StoreFactory,
    concurrency,
    lifecycle,
    run_contract,
    sequences,
    transactions,
)
from atlas.testing.laws import LAWS
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
    rows,
    varied,
)

CHANGING = (concurrency, lifecycle, sequences, transactions)

FORKED = """
import asyncio, os, sys, warnings
from datetime import timedelta
from pathlib import Path
from atlas.errors import StorageError
from atlas.storage.file import FileStore
from atlas.testing.samples import COLLECTIONS, fill, ids, part

warnings.simplefilter("ignore")  # some Pythons warn of forking beside a thread, which is the point
store = FileStore(Path(sys.argv[1]), COLLECTIONS)


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


class TestFileStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: FileStore(tmp_path / "plan.json", collections)


class TestInlineFileStore(StoreContract):
    """As the command line opens it: on the one thread there is, which nothing else needs."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: FileStore(tmp_path / "plan.json", collections, is_inline=True)


def test_a_store_that_always_writes_its_file_anew_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new snapshot after every commit: what others must read anew, and what a crash may find half done."""
    monkeypatch.setattr(engine.Engine, "is_untidy", property(lambda self: self.content.size[1] > 0))
    numbers = count()
    changing = [name for name, law in LAWS.items() if law.__module__ in {m.__name__ for m in CHANGING}]
    assert len(changing) > 40
    assert run_contract(lambda: partial(FileStore, tmp_path / f"{next(numbers)}.json"), changing) == {}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(path: Path, **how: Any) -> FileStore:
    store = FileStore(path, COLLECTIONS, **how)
    await store.open()
    return store


def names(folder: Path) -> set[str]:
    return {found.name for found in folder.iterdir()}


@pytest.mark.anyio
async def test_the_file_is_readable_and_compares_line_by_line(tmp_path: Path) -> None:
    """People read it, keep it in version control and look at what changed: one record on a line, in order."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part("b", name="größer", tags=("red",)), part("a", parent="b")])
    await marks(store, "one")
    await store.close()
    assert names(tmp_path) == {"plan.json", "plan.json-lock"}
    text = path.read_text("utf-8")
    data = json.loads(text)
    assert (data["format"], data["version"], data["seq"]) == ("atlas-store", 1, 1)
    assert [made["id"] for made in data["collections"]["parts"]] == ["a", "b"]
    assert '      {"id":"b","path":"b","name":"größer","tags":["red"]}\n' in text
    store = await opened(path)
    await fill(store, [part("a", name="changed", parent="b")])
    await store.close()
    before, after = text.splitlines(), path.read_text("utf-8").splitlines()
    different = [line.strip()[:9] for line, other in zip(before, after, strict=True) if line != other]
    assert different == ['"generati', '"now": "2', '{"id":"a"', '"checksum']


@pytest.mark.anyio
async def test_one_write_to_a_large_store_only_adds_to_the_log(tmp_path: Path) -> None:
    """Ten thousand tasks are megabytes; written anew each time, a change of one would cost them all."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part(f"p{i:05d}", note="x" * 100) for i in range(10_000)])
    await store.maintain()
    before = path.stat()
    assert before.st_size > 1_000_000
    beside = path.with_name("plan.json-log")
    for number in range(20):
        await fill(store, [part(f"p{number:05d}", note="changed")])
    await store.close()
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert beside.stat().st_size < 20 * 200
    store = await opened(path)
    assert await store.read(lambda tx: tx.count(Query(PARTS).where(eq("path", "p00019")))) == 1
    assert await store.read(lambda tx: tx.get(PARTS, "p00019")) == part("p00019", note="changed")
    assert await store.read(lambda tx: tx.count(Query(PARTS))) == 10_000
    await store.close()


@pytest.mark.anyio
async def test_a_log_that_outgrows_its_snapshot_becomes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise opening would read every change that there ever was; other processes go on without noticing."""
    monkeypatch.setattr(engine, "COMPACT_BYTES", 2_000)
    path = tmp_path / "plan.json"
    store, other = await opened(path), await opened(path)
    for number in range(60):
        await fill(store if number % 2 else other, [part(f"p{number % 7}", note="x" * 200, size=number)])
        assert len(await ids(other)) == len(await ids(store)) == min(number + 1, 7)
    async with asyncio.timeout(5):
        while (await store.statistics())["log_bytes"] > 4_000:
            await fill(store, [part("next")])
    assert json.loads(path.read_text())["generation"] > 3
    assert await rows(store, Query(PARTS)) == await rows(other, Query(PARTS))
    assert await store.verify() == await other.verify() == []
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_new_snapshots_of_several_processes_follow_each_other(tmp_path: Path) -> None:
    """Two of one number would let the log of one be taken for that of the other."""
    path = tmp_path / "plan.json"
    stores = [await opened(path), await opened(path)]
    for number in range(6):
        await fill(stores[number % 2], [part(f"p{number}")])
        await stores[number // 2 % 2].maintain()
        assert json.loads(path.read_text())["generation"] == number + 2
        assert not path.with_name("plan.json-log").exists()
    for store in stores:
        assert await ids(store) == [f"p{i}" for i in range(6)]
        assert await store.verify() == []
        await store.close()


@pytest.mark.anyio
async def test_a_file_that_a_person_edited_is_taken_as_it_is(tmp_path: Path) -> None:
    """The file is meant to be read and mended; the doctor says that somebody did, until it is written anew."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part("a", note="a tpyo"), part("b")])
    await store.close()
    path.write_text(json.dumps(json.loads(path.read_text().replace("tpyo", "typo")), indent=4))
    store = await opened(path)
    assert await store.read(lambda tx: tx.get(PARTS, "a")) == part("a", note="a typo")
    (found,) = await store.verify()
    assert "changed by another program" in found
    await fill(store, [part("c")])
    await store.maintain()
    assert await store.verify() == []
    assert await store.read(lambda tx: tx.get(PARTS, "a")) == part("a", note="a typo")
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("is_replaced", [False, True])
async def test_an_edit_under_a_running_server_is_seen_and_kept(tmp_path: Path, *, is_replaced: bool) -> None:
    """Editors write in place or put a new file there; either way the next snapshot must not undo it."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part("a", note="a tpyo"), part("b")])
    await store.maintain()
    await fill(store, [part("c")])
    edited = tmp_path / "edited.json" if is_replaced else path
    edited.write_text(path.read_text().replace("tpyo", "typo, mended"))
    edited.replace(path)
    assert await store.read(lambda tx: tx.get(PARTS, "a")) == part("a", note="a typo, mended")
    await fill(store, [part("d")])
    await store.maintain()
    assert "a typo, mended" in path.read_text()
    assert await ids(store) == ["a", "b", "c", "d"]
    broken = path.read_text()
    path.write_text(broken[:-20])
    for call in (lambda: ids(store), lambda: fill(store, [part("e")])):
        with pytest.raises(StoreFormatError):
            await call()
    assert path.read_text() == broken[:-20]
    path.write_text(broken)
    assert await ids(store) == ["a", "b", "c", "d"]
    await store.close()


@pytest.mark.anyio
async def test_references_that_an_edit_broke_are_found(tmp_path: Path) -> None:
    """They do not keep the store from being opened; `verify` names them."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part("a"), part("b", parent="a")])
    await store.close()
    path.write_text(path.read_text().replace('      {"id":"a","path":"a"},\n', ""))
    store = await opened(path)
    assert "parts b refers to a missing a in parent" in await store.verify()
    await store.close()


@pytest.mark.anyio
async def test_what_a_caller_does_to_its_values_afterwards_is_not_stored(tmp_path: Path) -> None:
    """What is read before the store is opened again must be what is read after."""
    store = await opened(tmp_path / "plan.json")
    metadata: dict[str, Any] = {"pair": (1, 2)}
    await fill(store, [part("a", metadata=metadata)])
    metadata["pair"] = None
    (made,) = await rows(store, Query(PARTS))
    assert made.metadata == {"pair": [1, 2]}
    await store.close()


@pytest.mark.anyio
async def test_a_copy_opens_by_itself_and_is_one_moment(tmp_path: Path) -> None:
    """Backups are taken while agents work; each is one file, private, and a store of its own."""
    path = tmp_path / "plan.json"
    store, other = await opened(path), await opened(path)
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x", value=100), Counter(id="y")]))

    def move(tx: Transaction) -> None:
        held = tx.get_many(COUNTERS, ["x", "y"])
        tx.put(COUNTERS, Counter(id="x", value=held["x"].value - 1))
        tx.put(COUNTERS, Counter(id="y", value=held["y"].value + 1))
        tx.append(MARKS, Mark(text="moved"))

    async def write(to: FileStore) -> None:
        for _ in range(40):
            await to.transact(move)

    writers = [asyncio.create_task(write(to)) for to in (store, other)]
    copies = []
    for number in range(5):
        seq = await store.read(lambda tx: tx.seq)
        copies.append((seq, await store.copy_to(tmp_path / "copies" / f"{number}.json")))
    await asyncio.gather(*writers)
    assert names(tmp_path / "copies") == {f"{number}.json" for number in range(5)}
    for seq, made in copies:
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        copy = await opened(made)
        assert await copy.verify() == []
        x, y = [counter.value for counter in await rows(copy, Query(COUNTERS))]
        assert (x + y, await copy.read(lambda tx: tx.seq)) == (100, y)
        assert y >= seq, "it lacks what was acknowledged before"
        assert await marks(copy, "its own") == y + 1
        await copy.close()
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_time_never_runs_back_with_the_clock(tmp_path: Path) -> None:
    """Clocks are set back, and machines differ; what comes later is never dated before, not even after reopening."""
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    now = noon

    def clock() -> datetime:
        return now

    path = tmp_path / "plan.json"
    store, other = await opened(path, clock=clock), await opened(path, clock=clock)
    await marks(store, "a")
    now = noon - timedelta(hours=1)
    assert await store.read(lambda tx: tx.now) == await other.read(lambda tx: tx.now) == noon
    assert (await other.transact(lambda tx: tx.now)).value == noon
    await other.close()
    await store.close()
    store = await opened(path, clock=clock)
    assert (await store.transact(lambda tx: tx.now)).value == noon
    now = noon + timedelta(microseconds=1)
    assert (await store.transact(lambda tx: tx.now)).value == now
    await store.close()


@pytest.mark.anyio
async def test_a_long_search_ends_at_the_deadline(tmp_path: Path) -> None:
    """The caller has gone by then; nothing of its work stays, and the next one gets its turn."""
    store = await opened(tmp_path / "plan.json")
    await fill(store, [part(f"p{i}") for i in range(5_000)])

    def search(tx: Transaction) -> None:
        tx.put(PARTS, part("lost"))
        for _ in range(10_000):
            tx.count(Query(PARTS).where(eq("note", "nothing")))

    with pytest.raises(StoreTimeoutError):
        await store.transact(search, timeout=timedelta(milliseconds=50))
    assert await store.read(lambda tx: tx.get(PARTS, "lost")) is None
    await fill(store, [part("next")])
    await store.close()


@pytest.mark.anyio
async def test_a_long_write_runs_on_a_thread_of_its_own(tmp_path: Path) -> None:
    """A short one is done sooner where it is asked for; a long one would keep everybody else from the event loop."""
    store = await opened(tmp_path / "plan.json")
    await fill(store, [part("a")])
    threads: list[int] = []
    is_slow, entered, leave = False, threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        threads.append(threading.get_ident())
        tx.put(COUNTERS, Counter(id="n", value=len(threads)))
        if is_slow and threads[-1] == here:
            leave.wait(0.01)
        elif is_slow:
            entered.set()
            leave.wait(10)
        tx.append(MARKS, Mark(text="a"))

    here = threading.get_ident()
    for _ in range(100):
        # A disk that was slow a moment ago is not waited for on the event loop.
        store._engine._commit_seconds = 0.0
        await store.transact(work)
    assert here in threads
    threads.clear()
    is_slow = True
    writing = asyncio.create_task(store.transact(work))
    assert await asyncio.to_thread(entered.wait, 10)
    assert await rows(store, Query(PARTS)) == [part("a")]
    leave.set()
    await writing
    assert threads[-1] != here
    assert await store.read(lambda tx: tx.get(COUNTERS, "n")) == Counter(id="n", value=len(threads))
    await store.close()


@pytest.mark.anyio
async def test_a_long_read_holds_nobody_up(tmp_path: Path) -> None:
    """It runs on a thread once it proves long, and sees its own moment; others read and write meanwhile."""
    store = await opened(tmp_path / "plan.json")
    await fill(store, varied())
    threads: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def work(tx: Transaction) -> int:
        threads.append(threading.get_ident())
        if len(threads) == 1:
            leave.wait(0.01)
        else:
            entered.set()
            leave.wait(10)
        return tx.count(Query(PARTS))

    reading = asyncio.create_task(store.read(work))
    assert await asyncio.to_thread(entered.wait, 10)
    await fill(store, [part("new")])
    assert await store.read(lambda tx: tx.count(Query(PARTS))) == len(varied()) + 1
    assert not reading.done()
    leave.set()
    assert await reading == len(varied())
    assert threads[0] == threading.get_ident() != threads[1]
    await store.close()


@pytest.mark.anyio
async def test_a_writer_waits_for_other_processes_no_longer_than_told(tmp_path: Path) -> None:
    """An agent would rather hear STORE_BUSY than nothing."""
    path = tmp_path / "plan.json"
    for is_inline in (True, False):
        store = await opened(path, is_inline=is_inline)
        other = WriterLock(path)
        other.acquire(None)
        with pytest.raises(StoreBusyError) as refusal:
            await store.transact(lambda tx: tx.seq, timeout=timedelta(milliseconds=20))
        assert refusal.value.retryable
        other.close()
        await fill(store, [part("a")])
        await store.close()


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    """It has its parent's turn to write and place in the log, and would take them for its own."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "plan.json")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["STORE_CLOSED", "STORE_CLOSED", "STORE_CLOSED", "a", "b", "c"]


@pytest.mark.anyio
async def test_a_store_may_have_any_name_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Work is nobody else's business, whatever the umask; who opens it to a group keeps that."""
    mask = os.umask(0)
    try:
        for name in ("plan.json", "with space", "größe 日本.json", "[x]*?.json", "-dash", "plan.json-log-log"):
            path = tmp_path / "new" / name
            store = await opened(path)
            await fill(store, [part("a")])
            beside = path.with_name(f"{name}-log")
            assert {stat.S_IMODE(made.stat().st_mode) for made in (path, beside)} == {0o600}
            path.chmod(0o640)
            await store.close()
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            assert names(path.parent) == {name, f"{name}-lock"}
            for made in path.parent.iterdir():
                made.unlink()
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    finally:
        os.umask(mask)


@pytest.mark.anyio
async def test_a_link_is_the_file_it_leads_to(tmp_path: Path) -> None:
    """Two that come by different names take turns, and a new snapshot takes the file's place, not the link's."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "plan.json")
    first, second = await opened(link), await opened(tmp_path / "real" / "plan.json")
    await fill(first, [part("a")])
    await fill(second, [part("b")])
    await first.maintain()
    assert await ids(first) == await ids(second) == ["a", "b"]
    await second.close()
    await first.close()
    assert link.is_symlink()
    assert names(tmp_path) == {"real", "link.json"}
    assert names(tmp_path / "real") == {"plan.json", "plan.json-lock"}


@pytest.mark.anyio
async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """Programs make an empty file to reserve a name; what a killed one left of making a store is in nobody's way."""
    path = tmp_path / "plan.json"
    path.touch(mode=0o644)
    path.with_name("plan.json-unfinished").write_text('{"format": "atl')
    store = await opened(path)
    await fill(store, [part("a")])
    await store.close()
    assert names(tmp_path) == {"plan.json", "plan.json-lock"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _loop(path: Path) -> None:
    path.symlink_to(path)


WRONG: dict[str, tuple[Callable[[Path], Any], type[AtlasError]]] = {
    "a folder": (Path.mkdir, StoreFormatError),
    "a pipe": (os.mkfifo, StoreFormatError),
    "a link to itself": (_loop, StorageError),
    "a text": (lambda path: path.write_text("my notes\n"), StoreFormatError),
    "no UTF-8": (lambda path: path.write_bytes(b'{"format": "\xff"}'), StoreFormatError),
    "a database": (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4_080)), StoreFormatError),
    "another program's JSON": (lambda path: path.write_text('{"name": "x", "version": "1.0"}'), StoreFormatError),
    "a list": (lambda path: path.write_text("[]"), StoreFormatError),
    "a deep nest": (lambda path: path.write_text('{"a":' * 100_000), StoreFormatError),
    "a number": (lambda path: path.write_text("1"), StoreFormatError),
}


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path, wrong: str) -> None:
    """A pipe that is opened never answers, and what is taken for an empty file is replaced."""
    make, kind = WRONG[wrong]
    path = tmp_path / "plan.json"
    make(path)
    before = path.read_bytes() if path.is_file() else path.lstat()
    with pytest.raises(kind) as refusal:
        await opened(path)
    assert str(path) in refusal.value.message
    assert "\n" not in refusal.value.message
    assert refusal.value.hint
    assert before == (path.read_bytes() if path.is_file() else path.lstat())
    assert names(tmp_path) == {"plan.json"}


@pytest.mark.anyio
async def test_a_place_that_may_not_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what others write there; nothing is made beside it."""
    path = tmp_path / "plan.json"
    store = await opened(path)
    await fill(store, [part("a")])
    path.chmod(0o400)
    reader = await opened(path)
    assert not reader.capabilities.is_writable
    await marks(store, "seen")
    assert await ids(reader) == ["a"]
    assert await numbered(reader) == [(1, "seen")]
    assert await reader.verify() == []
    for refused in (fill(reader, [part("b")]), reader.maintain()):
        with pytest.raises(StoreReadOnlyError):
            await refused
    await reader.close()
    path.chmod(0o600)
    await store.close()
    path.with_name("plan.json-lock").unlink()
    # The kernel refuses root nothing, so it is asked whether it would refuse somebody.
    monkeypatch.setattr(os, "access", lambda asked, _mode: Path(asked) != tmp_path)
    reader = await opened(path)
    assert not reader.capabilities.is_writable
    assert await ids(reader) == ["a"]
    await reader.close()
    assert names(tmp_path) == {"plan.json"}
    path.write_bytes(b"")
    with pytest.raises(StoreReadOnlyError):
        await opened(path)
    assert names(tmp_path) == {"plan.json"}


@pytest.mark.anyio
async def test_synced_folders_and_network_file_systems_are_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They copy a file while it is being written, or hide locks from other machines."""
    synced = tmp_path / "Dropbox"
    synced.mkdir()
    with pytest.raises(StoreLocationError):
        await opened(synced / "plan.json")
    assert names(synced) == set()
    await (await opened(synced / "plan.json", is_forced=True)).close()
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    with pytest.raises(StoreLocationError, match="nfs4"):
        await opened(tmp_path / "plan.json")


@pytest.mark.anyio
async def test_the_address_is_a_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one is meant from where the program was when it named it."""
    monkeypatch.chdir(tmp_path)
    store = FileStore(Path("plan.json"), COLLECTIONS)
    assert store.url == "file:plan.json"
    assert FileStore(tmp_path / "plan.json", COLLECTIONS).url == f"file://{tmp_path}/plan.json"
    monkeypatch.chdir("/")
    await store.open()
    await fill(store, [part("a")])
    await store.close()
    assert names(tmp_path) == {"plan.json", "plan.json-lock"}


@pytest.mark.anyio
@pytest.mark.parametrize("is_inline", [False, True])
async def test_a_snapshot_there_is_no_memory_for_fails_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_inline: bool
) -> None:
    """The change is in the log, and its caller was answered; the thread that tidies up lives on and writes the next."""
    monkeypatch.setattr(engine, "COMPACT_BYTES", 1_000)
    store = FileStore(tmp_path / "atlas.json", COLLECTIONS, is_inline=is_inline)
    await store.open()

    def exhausted(*_: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(content, "write_snapshot", exhausted)
        for name in "abcdef":
            async with asyncio.timeout(5):
                await asyncio.gather(*(fill(store, [part(f"{name}{i}", note="x" * 1_000)]) for i in range(2)))
    assert len(await ids(store)) == 12
    await store.close()
