"""A JSON file store whose files are torn, cut, altered, put back or out of room loses nothing acknowledged."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.processes import ended, finished, start

from atlas.errors import (
    AtlasError,
    StorageError,
    StoreFormatError,
    StoreFullError,
    StoreNewerError,
)
from atlas.storage.file import FileStore, engine, log
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
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
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _kept_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have closing leave the log: that is what these tests harm."""
    monkeypatch.setattr(engine, "CHEAP_BYTES", 0)


async def opened(path: Path, **how: Any) -> FileStore:
    store = FileStore(path, COLLECTIONS, **how)
    await store.open()
    return store


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, but for the lock, which holds nothing."""
    files = [found for found in folder.iterdir() if found.is_file() and not found.name.endswith("-lock")]
    return {found.name: found.read_bytes() for found in files}


async def made(folder: Path) -> tuple[Path, Path]:
    """Make a store with some records in its snapshot and three commits in its log; returns both files."""
    path = folder / "plan.json"
    store = await opened(path)
    await fill(store, [part("old", name="größer", tags=("red",)), part("older", size=3)])
    await store.maintain()
    await fill(store, [part("a")])
    await marks(store, "one", "two")
    await fill(store, [part("b", name="日本")])
    await store.close()
    return path, path.with_name("plan.json-log")


def line_at(whole: bytes, offset: int) -> int:
    return whole.count(b"\n", 0, offset) + 1


async def refused(path: Path) -> AtlasError:
    """Return the error by which a store is refused, having checked that it is clear and altered nothing."""
    before = content(path.parent)
    with pytest.raises(AtlasError) as refusal:
        await FileStore(path, COLLECTIONS).open()
    assert content(path.parent) == before
    assert "\n" not in refusal.value.message
    assert str(path.parent) in refusal.value.message
    assert refusal.value.hint
    return refusal.value


@pytest.mark.anyio
async def test_a_log_torn_anywhere_keeps_every_commit_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The power goes in the middle of a write: what was whole is there, what was not was never acknowledged."""
    path, beside = await made(tmp_path)
    whole = beside.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 4
    expected = {0: [], 1: [], 2: ["a"], 3: ["a"], 4: ["a", "b"]}
    snapshot = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(snapshot)
        beside.write_bytes(whole[:size])
        caplog.clear()
        store = await opened(path, is_inline=True)
        lines = sum(end <= size for end in ends)
        assert await ids(store) == sorted([*expected[lines], "old", "older"])
        assert len(await numbered(store)) == (2 if lines >= 3 else 0)
        is_torn = size not in {0, *ends}
        assert bool(await store.verify()) == (is_torn and lines > 0)
        assert beside.read_bytes() == whole[:size], "looking at it altered it"
        await fill(store, [part("next")])
        assert ("never finished" in caplog.text) == (is_torn and lines > 0)
        assert await store.verify() == []
        await store.close()
        store = await opened(path, is_inline=True)
        assert await ids(store) == sorted([*expected[lines], "next", "old", "older"])
        await store.close()


@pytest.mark.anyio
async def test_a_hole_at_the_end_of_the_log_is_a_torn_end(tmp_path: Path) -> None:
    """Some file systems lengthen a file before its bytes are on the disk; after a power cut there are zeros."""
    path, beside = await made(tmp_path)
    whole = beside.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    holes = [whole + bytes(700), whole[: last + 20] + bytes(30), whole[: last + 20] + bytes(30) + b"}\n"]
    for number, harmed in enumerate(holes):
        beside.write_bytes(harmed)
        store = await opened(path, is_inline=True)
        assert await ids(store) == ["a", *(["b"] if number == 0 else []), "old", "older"]
        await store.close()


@pytest.mark.anyio
async def test_damage_within_the_log_is_refused_by_its_line(tmp_path: Path) -> None:
    """A bit that flipped in a commit, or a line that somebody took away: what comes after it was acknowledged too."""
    path, beside = await made(tmp_path)
    whole = beside.read_bytes()
    for offset in range(0, len(whole), 7):
        if whole[offset] == ord("\n"):
            continue
        beside.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        error = await refused(path)
        assert isinstance(error, StoreFormatError)
        assert f"line {line_at(whole, offset)}," in error.message
    lines = whole.splitlines(keepends=True)
    for removed in range(1, len(lines) - 1):
        beside.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
        assert f"line {removed + 1}," in (await refused(path)).message
    beside.write_bytes(whole)
    await (await opened(path)).close()


@pytest.mark.anyio
async def test_a_snapshot_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """With all that is left of it in place, for whoever can mend it."""
    path, _ = await made(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole) - 2):
        path.write_bytes(whole[:size])
        assert isinstance(await refused(path), StoreFormatError)
    path.write_bytes(whole)
    await (await opened(path)).close()


@pytest.mark.anyio
async def test_a_snapshot_with_a_byte_that_is_no_text_is_refused_by_its_line(tmp_path: Path) -> None:
    """A damaged block shows as bytes that JSON does not have; the line helps to mend it."""
    path, _ = await made(tmp_path)
    whole = path.read_bytes()
    for offset in range(0, len(whole), 5):
        for byte in (0, 0xFF):
            path.write_bytes(whole[:offset] + bytes([byte]) + whole[offset + 1 :])
            error = await refused(path)
            assert isinstance(error, StoreFormatError)
            assert f"line {line_at(whole, offset)}," in error.message


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"id":"older"', '"id":"old"', "line 15"),
        ('"size":3', '"size":"three"', "line 15"),
        ('"path":"older",', "", "line 15"),
        ('"size":3', '"sizes":3', "line 15, is no record of parts: there is no field 'sizes'"),
        ('"seq": 0', '"seq": -', "line 6"),
        ('Z",', '",', "timezone"),
        ('"seq": 0', '"sequence": 0', "seq"),
        ('"format": "atlas-store"', '"format": "other"', "format"),
        ('"collections"', '"records"', "collections"),
    ],
)
async def test_an_edit_that_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """People mistype; they find the line, and nothing was changed meanwhile."""
    path, _ = await made(tmp_path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    error = await refused(path)
    assert isinstance(error, StoreFormatError)
    assert said in error.message


@pytest.mark.anyio
async def test_what_a_newer_atlas_wrote_is_refused(tmp_path: Path) -> None:
    """In either file: what it does not know, it would lose."""
    path, beside = await made(tmp_path)
    text, lines = path.read_text(), beside.read_bytes()
    for old, new in (('"version": 1,', '"version": 2,'), ('"counters": []', '"counter": [], "visions": []')):
        assert old in text
        path.write_text(text.replace(old, new))
        assert isinstance(await refused(path), StoreNewerError)
    path.write_text(text)
    head = json.loads(lines.splitlines()[0][17:])
    beside.write_bytes(_log_of({**head, "version": 2}))
    assert isinstance(await refused(path), StoreNewerError)
    beside.write_bytes(_log_of(head, {"seq": 1, "now": "2025-01-01T00:00:00Z", "put": {"visions": [{"id": "a"}]}}))
    assert isinstance(await refused(path), StoreNewerError)


def _log_of(*said: dict[str, Any]) -> bytes:
    from atlas.storage.file.layout import write_line

    made, checksum = b"", b""
    for one in said:
        line, checksum = write_line(json.dumps(one).encode(), checksum)
        made += line
    return made


@pytest.mark.anyio
async def test_a_log_without_its_snapshot_is_refused(tmp_path: Path) -> None:
    """Making an empty store beside it would hide what it holds, and the first write replace it."""
    path, _ = await made(tmp_path)
    text = path.read_bytes()
    path.unlink()
    assert "gone" in (await refused(path)).message
    path.touch()
    assert "empty" in (await refused(path)).message
    path.write_bytes(text)
    await (await opened(path)).close()


@pytest.mark.anyio
async def test_a_log_and_a_snapshot_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """A file put back from yesterday without its log: today's commits would be added to it, or be thrown away."""
    path, beside = await made(tmp_path)
    yesterday = path.read_bytes()
    store = await opened(path)
    copy = await store.copy_to(tmp_path / "copies" / "copy.json")
    await store.maintain()
    await fill(store, [part("today")])
    await store.close()
    path.write_bytes(yesterday)
    assert "earlier time" in (await refused(path)).message
    path.write_bytes(copy.read_bytes())
    error = await refused(path)
    assert "another store" in error.message
    assert beside.name in error.hint
    beside.unlink()
    store = await opened(path)
    assert await ids(store) == ["a", "b", "old", "older"]
    await store.close()


@pytest.mark.anyio
async def test_a_log_that_the_snapshot_has_already_is_not_taken_twice(tmp_path: Path) -> None:
    """A crash between writing a new snapshot and removing the log that it takes in."""
    path, beside = await made(tmp_path)
    left = beside.read_bytes()
    store, other = await opened(path), await opened(path)
    await store.maintain()
    await store.transact(lambda tx: tx.delete(PARTS, "a"))
    await store.maintain()
    assert not beside.exists()
    await store.close()
    beside.write_bytes(left)
    store = await opened(path)
    assert await ids(store) == await ids(other) == ["b", "old", "older"]
    assert beside.read_bytes() == left
    await marks(store, "three")
    await fill(other, [part("c")])
    for reader in (store, other):
        assert await ids(reader) == ["b", "c", "old", "older"]
        assert await numbered(reader) == [(1, "one"), (2, "two"), (3, "three")]
        assert await reader.verify() == []
    await other.close()
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("gone", ["plan.json", "plan.json-log"])
async def test_nothing_is_acknowledged_into_files_that_are_gone(tmp_path: Path, gone: str) -> None:
    """Somebody cleans up under a running server: what it wrote then would be found nowhere, or without the rest."""
    path, _ = await made(tmp_path)
    store = await opened(path)
    kept = (tmp_path / gone).read_bytes()
    (tmp_path / gone).unlink()
    with pytest.raises(StorageError, match="removed or replaced"):
        await fill(store, [part("lost")])
    assert await ids(store) == ["a", "b", "old", "older"]
    (tmp_path / gone).write_bytes(kept)
    await store.close()
    store = await opened(path)
    assert await ids(store) == ["a", "b", "old", "older"]
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("is_older", [False, True])
async def test_files_put_back_under_a_running_server_are_not_gone_on_with(tmp_path: Path, *, is_older: bool) -> None:
    """What it acknowledged since is not in them: whoever put them there opens the store again."""
    path, _ = await made(tmp_path)
    before = content(tmp_path)
    store = await opened(path)
    await marks(store, "three")
    if is_older:
        await store.maintain()
    for name, data in before.items():
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").replace(tmp_path / name)
    for call in (lambda: ids(store), lambda: fill(store, [part("lost")])):
        with pytest.raises(StorageError, match="removed or replaced"):
            await call()
    await store.close()
    assert content(tmp_path) == before
    store = await opened(path)
    assert await numbered(store) == [(1, "one"), (2, "two")]
    await store.close()


@pytest.mark.anyio
async def test_nothing_is_acknowledged_into_another_store_s_file(tmp_path: Path) -> None:
    """A copy put in place under a running server is another store; it is opened, not written to unawares."""
    path, beside = await made(tmp_path)
    store = await opened(path)
    copy = await store.copy_to(tmp_path / "copies" / "copy.json")
    await fill(store, [part("later")])
    beside.unlink()
    copy.replace(path)
    with pytest.raises(StorageError, match="removed or replaced"):
        await fill(store, [part("lost")])
    await store.close()
    store = await opened(path)
    assert await ids(store) == ["a", "b", "old", "older"]
    await store.close()


@contextmanager
def largest(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk or a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.anyio
@pytest.mark.parametrize("is_inline", [False, True])
async def test_a_full_disk_refuses_a_commit_and_leaves_nothing_of_it(tmp_path: Path, *, is_inline: bool) -> None:
    """Wherever in the line the room ends; the store is read meanwhile, and goes on once there is room."""
    path, beside = await made(tmp_path)
    store, other = await opened(path, is_inline=is_inline), await opened(path, is_inline=True)
    whole = beside.read_bytes()
    for room in (0, 1, 16, 17, 60, 150):
        with largest(len(whole) + room), pytest.raises(StoreFullError) as refusal:
            await fill(store, [part("large", note="x" * 200)])
        assert refusal.value.retryable
        assert beside.read_bytes() == whole
        assert await ids(store) == await ids(other) == ["a", "b", "old", "older"]
    await fill(store, [part("next")])
    assert await ids(other) == await ids(store) == ["a", "b", "next", "old", "older"]
    assert await store.verify() == []
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_a_snapshot_that_does_not_fit_leaves_everything_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Upkeep fails, copies fail, a new store is not made; no commit is lost, and none fails for it."""
    path, _ = await made(tmp_path)
    store = await opened(path)
    with largest(100):
        with pytest.raises(StoreFullError):
            await store.maintain()
        with pytest.raises(StoreFullError):
            await store.copy_to(tmp_path / "copy.json")
        with pytest.raises(StoreFullError):
            await opened(tmp_path / "new" / "plan.json")
    assert [found.name for found in (tmp_path / "new").iterdir() if found.stat().st_size] == []
    assert set(content(tmp_path)) == {"plan.json", "plan.json-log"}
    await fill(store, [part("next")])
    await store.maintain()
    assert await ids(store) == ["a", "b", "next", "old", "older"]
    await store.close()
    store = await opened(tmp_path / "new" / "plan.json")
    assert await ids(store) == []
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("step", range(5))
async def test_a_new_snapshot_may_fail_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, step: int
) -> None:
    """It is synced before it takes its place, and its place before the log goes; at each step all is there."""
    path, beside = await made(tmp_path)
    store, other = await opened(path), await opened(path)
    steps: list[str] = []
    number = path.parent.stat().st_ino

    def stepped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **how: Any) -> Any:
            if name == "unlink" and given[0] != beside:
                return real(*given, **how)
            if len(steps) == step:
                _fail()
            is_folder = name == "sync" and os.fstat(given[0]).st_ino == number
            steps.append("sync folder" if is_folder else name)
            return real(*given, **how)

        return call

    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", stepped("sync", os.fsync))
        failing.setattr(Path, "replace", stepped("replace", Path.replace))
        failing.setattr(Path, "unlink", stepped("unlink", Path.unlink))
        if step < 4:
            with pytest.raises(StorageError):
                await store.maintain()
        else:
            await store.maintain()
    assert steps == ["sync", "replace", "sync folder", "unlink"][:step]
    late = await opened(path)
    for reader in (store, other, late):
        assert await ids(reader) == ["a", "b", "old", "older"]
        await fill(reader, [part("next")])
        await reader.transact(lambda tx: tx.delete(PARTS, "next"))
        assert await reader.verify() == []
    for reader in (store, other, late):
        await reader.close()


@pytest.mark.anyio
async def test_a_new_snapshot_that_fails_is_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The callers are answered already; trying again at each commit would write the whole file each time."""
    monkeypatch.setattr(engine, "COMPACT_BYTES", 1_000)
    path, _ = await made(tmp_path)
    store = await opened(path, is_inline=True)
    await fill(store, [part(f"p{i}", note="x" * 500) for i in range(10)])
    await store.maintain()
    tries: list[Path] = []
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target == path:
            tries.append(target)
            _fail()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    for number in range(40):
        await fill(store, [part(f"q{number}", note="x" * 500)])
    assert 1 <= len(tries) < 25
    assert "put off" in caplog.text
    monkeypatch.undo()
    await store.close()
    store = await opened(path)
    assert len(await ids(store)) == 54
    await store.close()


def _fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def _lost(tx: Transaction) -> None:
    tx.put(PARTS, part("lost"))
    tx.append(MARKS, Mark(text="lost"))


@pytest.mark.anyio
@pytest.mark.parametrize("is_inline", [False, True])
async def test_a_commit_that_is_not_synced_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_inline: bool
) -> None:
    """Also from those who have read it meanwhile; and the file that the disk failed to keep is not written to again."""
    path, beside = await made(tmp_path)
    store, other = await opened(path, is_inline=is_inline), await opened(path, is_inline=True)
    sync, seen = log._sync, []

    def fail(_: int) -> None:
        monkeypatch.setattr(log, "_sync", sync)
        seen.append(other._engine.read(lambda tx: ([made.id for made in tx.query(Query(PARTS))], tx.seq)))
        _fail()

    before = beside.read_bytes()
    for _ in range(2):
        monkeypatch.setattr(log, "_sync", fail)
        with pytest.raises(StorageError):
            await store.transact(_lost)
        assert seen.pop() == (["a", "b", "lost", "old", "older"], 3)
        assert await ids(other) == await ids(store) == ["a", "b", "old", "older"]
        assert b"lost" not in beside.read_bytes()
    await fill(store, [part("next")])
    assert not beside.read_bytes().startswith(before), "it went on in a file that lost a write"
    assert await ids(other) == await ids(store) == ["a", "b", "next", "old", "older"]
    assert await store.verify() == []
    await other.close()
    await store.close()


@pytest.mark.anyio
async def test_a_commit_is_synced_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its writer before it answers, and by a reader of another process before it shows what it found."""
    path, _ = await made(tmp_path)
    store, other = await opened(path), await opened(path)
    sync, synced = log._sync, []

    def noted(handle: int) -> None:
        sync(handle)
        synced.append(os.fstat(handle).st_size)

    monkeypatch.setattr(log, "_sync", noted)
    await fill(store, [part("c")])
    size = path.with_name("plan.json-log").stat().st_size
    assert synced == [size]
    assert "c" in await ids(other)
    assert synced == [size, size]
    await ids(other)
    assert synced == [size, size]
    await other.close()
    await store.close()


WRITES = 1_000_000


@pytest.mark.anyio
@pytest.mark.parametrize("times", [6, pytest.param(60, marks=pytest.mark.nightly)])
async def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path, times: int) -> None:
    """Whether it is killed while it starts, in a commit, or while it writes a new snapshot."""
    path = tmp_path / "plan.json"
    dice = random.Random(4)
    acknowledged: list[str] = []
    for number in range(times):
        ledger = tmp_path / f"ledger{number}"
        _write_and_kill(path, ledger, number, dice.uniform(0, 0.25))
        text = ledger.read_text()
        acknowledged += [line.split()[0] for line in text[: text.rfind("\n") + 1].splitlines()]
        if not path.exists():
            continue
        store = await opened(path)
        found = await ids(store)
        assert set(acknowledged) <= set(found)
        assert sorted(text for _, text in await numbered(store)) == found
        assert await rows(store, Query(COUNTERS)) == ([Counter(id="n", value=len(found))] if found else [])
        await store.close()
    assert len(acknowledged) > 50, "the writers were killed before they could write"


def _write_and_kill(path: Path, ledger: Path, number: int, seconds: float) -> None:
    """Kill a writer after some time; every third one while it starts."""
    with ledger.open("w") as out, ended(process := start("write_parts.py", path, number, WRITES, 3_000, output=out)):
        end = time.monotonic() + 30
        while number % 3 and not ledger.stat().st_size:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end, "the writer never wrote"
            time.sleep(0.002)
        time.sleep(seconds)
        process.kill()


async def _followed(path: Path, most: int) -> None:
    """Read while others write, until all is there: every commit whole, and none of them gone again."""
    store = await opened(path)
    last = 0
    while last < most:
        counters, parts, seq = await store.read(
            lambda tx: (tx.query(Query(COUNTERS)), tx.count(Query(PARTS)), tx.count(Query(MARKS)))
        )
        value = counters[0].value if counters else 0
        assert value == parts == seq
        assert value >= last
        last = value
        await asyncio.sleep(0)
    await store.close()


@pytest.mark.anyio
async def test_processes_that_write_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each sees all before it, through commits and new snapshots of the others."""
    path = tmp_path / "plan.json"
    count = 150
    running = [start("write_parts.py", path, name, count, 20_000) for name in ("a", "b", "c")]
    with ended(*running):
        async with asyncio.timeout(60):
            await _followed(path, 3 * count)
        told = [line.split() for process in running for line in finished(process).splitlines()]
    assert sorted(int(value) for _, value, _ in told) == list(range(1, 3 * count + 1))
    store = await opened(path)
    assert await numbered(store) == sorted((int(seq), key) for key, _, seq in told)
    assert len(await ids(store)) == 3 * count
    assert await store.verify() == []
    await store.close()


@pytest.mark.anyio
async def test_an_interrupted_commit_is_looked_up_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C strikes anywhere; what memory says afterwards is what the file says."""
    path, _ = await made(tmp_path)
    store = await opened(path, is_inline=True)
    append = log.Log.append

    def struck(self: log.Log, *given: Any) -> None:
        append(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(log.Log, "append", struck)
    with pytest.raises(KeyboardInterrupt):
        await store.transact(lambda tx: tx.append(MARKS, Mark(text="three")))
    monkeypatch.undo()
    assert [text for _, text in await numbered(store)] == ["one", "two", "three"]
    assert await marks(store, "four") == 4
    assert await store.verify() == []
    await store.close()
