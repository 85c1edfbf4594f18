"""A store can lie in any place that keeps it; in any other it is refused in one line, and nothing is altered."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from atlas.errors import (
    AtlasError,
    ConfigError,
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreLocationError,
    StoreReadOnlyError,
)
from atlas.storage import place
from atlas.storage.locking import WriterLock
from atlas.storage.memory import MemoryStore
from atlas.storage.open import open_store
from atlas.storage.sqlite import SqliteStore
from atlas.storage.sqlite.place import check_header
from atlas.testing.samples import COLLECTIONS, fill, ids, part


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def used(url: str) -> list[str]:
    """Open the store at a URL, put a part, close it, open it again; returns the ids there are."""
    found: list[str] = []
    for number in range(2):
        store = open_store(url, COLLECTIONS)
        await store.open()
        await fill(store, [part(f"p{number}")])
        found = await ids(store)
        await store.close()
    return found


async def refused(url: str) -> AtlasError:
    """Return the error by which the store at a URL is refused, having checked that it is one line with a way out."""
    with pytest.raises(AtlasError) as refusal:
        await open_store(url, COLLECTIONS).open()
    assert "\n" not in refusal.value.message
    assert refusal.value.hint
    return refusal.value


def content(folder: Path) -> dict[str, bytes | str]:
    """Return what lies in a folder: files with their bytes, everything else with its kind."""
    return {
        found.name: found.read_bytes() if found.is_file() else oct(stat.S_IFMT(found.lstat().st_mode))
        for found in folder.iterdir()
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        "plain.db",
        "with space.db",
        "no-ending",
        "größe 日本.db",
        'it\'s "so".db',
        "a&b=c.db",
        "[x]*.db",
        "-dash.db",
        "€.db",
    ],
)
async def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    """People name folders as they like, and what means something to SQLite, a shell or a URL is still a name."""
    assert await used(f"sqlite:///{tmp_path / 'own folder' / name}") == ["p0", "p1"]
    assert set(content(tmp_path / "own folder")) == {name, f"{name}-lock"}


@pytest.mark.anyio
async def test_a_name_that_means_something_in_urls_is_written_with_percents(tmp_path: Path) -> None:
    """A question mark begins the options."""
    await used(f"sqlite:///{tmp_path}/100%25%3F%23.db?synchronous=normal")
    assert set(content(tmp_path)) == {"100%?#.db", "100%?#.db-lock"}


@pytest.mark.anyio
async def test_a_relative_place_is_meant_from_where_the_program_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its folder later goes on with the same file, on every connection it opens."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.db", COLLECTIONS)
    monkeypatch.chdir("/")
    await store.open()
    await fill(store, [part("a")])
    assert await store.verify() == []
    copy = await store.copy_to(tmp_path / "copy.db")
    await store.close()
    assert set(content(tmp_path)) == {"here.db", "here.db-lock", copy.name}
    assert store.url == f"sqlite:///{tmp_path / 'here.db'}"


@pytest.mark.anyio
async def test_a_home_is_found_by_its_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell; a user who does not exist has none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await used("sqlite:///~/mine.db") == ["p0", "p1"]
    assert "mine.db" in content(tmp_path)
    with pytest.raises(ConfigError, match="names no file"):
        open_store("sqlite:///~nobody.of.that.name/x.db", COLLECTIONS)


@pytest.mark.anyio
async def test_a_link_is_the_file_it_leads_to(tmp_path: Path) -> None:
    """Log and lock lie beside the file; two that come by different names must still take turns, and see one log."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real" / "atlas.db")
    first = open_store(f"sqlite:///{link}", COLLECTIONS)
    await first.open()
    second = open_store(f"sqlite:///{tmp_path / 'real' / 'atlas.db'}", COLLECTIONS)
    await second.open()
    await fill(first, [part("a")])
    await fill(second, [part("b")])
    figures = [await store.statistics() for store in (first, second)]
    assert figures[0]["log_bytes"] == figures[1]["log_bytes"] > 0
    assert await ids(first) == await ids(second) == ["a", "b"]
    await second.close()
    await first.close()
    assert set(content(tmp_path / "real")) == {"atlas.db", "atlas.db-lock"}
    assert set(content(tmp_path)) == {"real", "link.db"}
    assert link.is_symlink()


@pytest.mark.anyio
async def test_a_new_store_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Work is nobody else's business, whatever the umask."""
    path = tmp_path / "new" / "atlas.db"
    before = os.umask(0)
    try:
        await used(f"sqlite:///{path}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.anyio
async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """Programs make an empty file to reserve a name; there is nothing in it to lose."""
    (tmp_path / "empty.db").touch()
    assert await used(f"sqlite:///{tmp_path / 'empty.db'}") == ["p0", "p1"]


@pytest.mark.anyio
async def test_a_store_that_was_never_finished_is_made_anew(tmp_path: Path) -> None:
    """A crash in the middle of making it leaves a file beside, and nobody's work in it."""
    (tmp_path / "atlas.db").touch()
    (tmp_path / "atlas.db-unfinished").write_bytes(b"SQLite format 3\0" + b"half" * 100)
    (tmp_path / "atlas.db-unfinished-journal").write_bytes(b"half")
    (tmp_path / "atlas.db-new").write_bytes(b"somebody's own")
    assert await used(f"sqlite:///{tmp_path / 'atlas.db'}") == ["p0", "p1"]
    assert set(content(tmp_path)) == {"atlas.db", "atlas.db-lock", "atlas.db-new"}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _below_a_file(path: Path) -> None:
    path.parent.write_text("a file")


def _short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(50))


def _text(path: Path) -> None:
    path.write_text("my notes\n" * 50)


def _other(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(4_080))


WRONG: dict[str, tuple[str, Callable[[Path], None], type[AtlasError]]] = {
    "a folder": ("x", Path.mkdir, StoreFormatError),
    "a pipe": ("x", _pipe, StoreFormatError),
    "a socket": ("x", _socket, StoreFormatError),
    "a link to itself": ("x", _loop, StorageError),
    "below a file": ("file/x", _below_a_file, StorageError),
    "not a database": ("x", _text, StoreFormatError),
    "cut short": ("x", _short, StoreFormatError),
    "of another program": ("x", _other, StoreFormatError),
}


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path, wrong: str) -> None:
    """A pipe that is opened never answers, and what is taken for an empty file is replaced."""
    name, make, kind = WRONG[wrong]
    make(tmp_path / name)
    before = content(tmp_path)
    error = await refused(f"sqlite:///{tmp_path / name}")
    assert isinstance(error, kind)
    assert str(tmp_path) in error.message
    assert content(tmp_path) == before


def test_a_device_is_refused() -> None:
    """Replaced by a store, `/dev/null` would take every program's output."""
    for device in ("/dev/null", "/dev/zero"):
        with pytest.raises(StoreFormatError):
            check_header(Path(device))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "",
        "atlas.db",
        "sqlite:",
        "sqlite:/x.db",
        "sqlite://x.db",
        "sqlite:///",
        "sqlite:///x\0y.db",
        "sqlite:///x.db?synchronous=off",
        "sqlite:///x.db?mode=ro",
        "sqlite:///x.db?force=",
        "oracle://host/db",
    ],
)
async def test_an_address_of_nothing_is_refused_with_what_there_is(url: str) -> None:
    """Before anything is made anywhere."""
    error = await refused(url)
    assert isinstance(error, ConfigError)
    assert error.field == "store"


def test_memory_is_an_address() -> None:
    """For trying things out."""
    for url in ("memory:", "memory://"):
        assert isinstance(open_store(url, COLLECTIONS), MemoryStore)


@pytest.mark.anyio
async def test_options_come_with_the_address(tmp_path: Path) -> None:
    """Receipts say what they come to."""
    for option, durability in (("", "disk"), ("?synchronous=full", "disk"), ("?synchronous=normal&force=0", "memory")):
        store = open_store(f"sqlite:///{tmp_path / 'atlas.db'}{option}", COLLECTIONS)
        assert store.capabilities.durability == durability


@pytest.mark.anyio
async def test_a_place_that_may_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file in it cannot become a store; a store in it is read."""
    path = tmp_path / "atlas.db"
    path.touch(mode=0o444)
    assert isinstance(await refused(f"sqlite:///{path}"), StoreReadOnlyError)
    assert content(tmp_path) == {"atlas.db": b""}
    path.unlink()
    await used(f"sqlite:///{path}")
    path.with_name("atlas.db-lock").unlink()
    before = content(tmp_path)
    # The kernel refuses root nothing, so it is asked whether it would refuse somebody.
    monkeypatch.setattr(os, "access", lambda asked, _mode: Path(asked) != tmp_path)
    store = open_store(f"sqlite:///{path}", COLLECTIONS)
    await store.open()
    assert not store.capabilities.is_writable
    assert await ids(store) == ["p0", "p1"]
    with pytest.raises(StoreReadOnlyError):
        await fill(store, [part("b")])
    await store.close()
    assert content(tmp_path) == before


@pytest.mark.anyio
@pytest.mark.parametrize("folder", ["Dropbox", "OneDrive - Example", "Library/CloudStorage/Box-Box"])
async def test_a_synced_folder_is_refused_unless_forced(tmp_path: Path, folder: str) -> None:
    """They copy a file while it is being written, and put old ones back; also where a link hides it."""
    place_there = tmp_path / folder / "work"
    place_there.mkdir(parents=True)
    (tmp_path / "short").symlink_to(place_there)
    for url in (f"sqlite:///{place_there}/atlas.db", f"sqlite:///{tmp_path}/short/atlas.db"):
        error = await refused(url)
        assert isinstance(error, StoreLocationError)
        assert "force=1" in error.hint
        assert content(place_there) == {}
    assert await used(f"sqlite:///{place_there}/atlas.db?force=1") == ["p0", "p1"]


@pytest.mark.anyio
async def test_a_network_file_system_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that another machine does not see let two writers in."""
    mounts = tmp_path / "mounts"
    shared = tmp_path / "my share"
    (shared / "local").mkdir(parents=True)
    here = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(
        f"disk / ext4 rw 0 0\nserver:/x {here}/my\\040share nfs4 rw 0 0\ndisk {here}/my\\040share/local ext4 rw 0 0\n"
    )
    monkeypatch.setattr(place, "MOUNTS", mounts)
    error = await refused(f"sqlite:///{shared}/atlas.db")
    assert isinstance(error, StoreLocationError)
    assert "nfs4" in error.message
    assert await used(f"sqlite:///{shared}/local/atlas.db") == ["p0", "p1"]
    assert await used(f"sqlite:///{shared}/atlas.db?force=1") == ["p0", "p1"]
    monkeypatch.setattr(place, "MOUNTS", tmp_path / "none")
    assert await used(f"sqlite:///{shared}/other.db") == ["p0", "p1"]


@pytest.mark.anyio
async def test_a_new_store_takes_its_place_only_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed before it is synced, the power could leave a store of nothing under its name."""
    done: list[tuple[str, int]] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        sync(handle)
        done.append(("sync", os.fstat(handle).st_ino))

    def noted_replace(self: Path, target: Path) -> Path:
        done.append(("replace", self.stat().st_ino))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    path = tmp_path / "atlas.db"
    store = SqliteStore(path, COLLECTIONS)
    await store.open()
    await store.close()
    file, folder = _number(path), _number(tmp_path)
    assert done == [("sync", file), ("replace", file), ("sync", folder)]


def _number(path: Path) -> int:
    """Return what names a file or folder whatever it is called."""
    return path.stat().st_ino


def test_threads_of_one_process_take_turns_as_well(tmp_path: Path) -> None:
    """The kernel's lock lets in every thread of its process; upkeep would run into the writer."""
    lock = WriterLock(tmp_path / "atlas.db")
    lock.acquire(None)
    for timeout in (0, 0.01):
        with pytest.raises(StoreBusyError) as refusal:
            lock.acquire(timeout)
        assert refusal.value.retryable
    order: list[str] = []

    def wait() -> None:
        lock.acquire(5)
        order.append("second")
        lock.release()

    thread = threading.Thread(target=wait)
    thread.start()
    order.append("first")
    lock.release()
    thread.join()
    assert order == ["first", "second"]
    lock.acquire(0)
    lock.release()
    lock.close()


def test_processes_take_turns(tmp_path: Path) -> None:
    """Whoever is refused can try again, and gets it as soon as it is free."""
    held, asking = WriterLock(tmp_path / "atlas.db"), WriterLock(tmp_path / "atlas.db")
    held.acquire(None)
    for timeout in (0, 0.01):
        with pytest.raises(StoreBusyError):
            asking.acquire(timeout)
    held.close()
    asking.acquire(0)
    asking.release()
    asking.close()


@pytest.mark.anyio
async def test_a_writer_waits_for_other_processes_no_longer_than_told(tmp_path: Path) -> None:
    """An agent would rather hear STORE_BUSY than nothing."""
    store = SqliteStore(tmp_path / "atlas.db", COLLECTIONS, is_inline=True)
    await store.open()
    other = WriterLock(tmp_path / "atlas.db")
    other.acquire(None)
    with pytest.raises(StoreBusyError) as refusal:
        await store.transact(lambda tx: tx.seq, timeout=timedelta(milliseconds=20))
    assert refusal.value.retryable
    other.close()
    await fill(store, [part("a")])
    await store.close()
