"""The doctor finds what is wrong with a store or its place, says what to do about it, and changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest
from tests.services.desk import Desk

import atlas
from atlas import Atlas, Limits
from atlas.atlas import COLLECTIONS
from atlas.errors import StoreFormatError, StoreNewerError
from atlas.operations.doctor import examine
from atlas.storage import place
from atlas.storage.health import Finding
from atlas.storage.locking import WriterLock
from atlas.storage.sqlite import SqliteStore

PAGE = 4_096
CHECKS = (
    *("versions", "store", "log", "cache", "pool", "queries", "mode", "location", "space", "turn"),
    *("integrity", "migrations", "clock", "columns", "journal", "records"),
)


@pytest.fixture
async def path(anyio_backend: str, tmp_path: Path) -> Path:
    """A store in a file with a bit of everything in it."""
    made = tmp_path / "atlas.db"
    async with atlas.open(f"sqlite:///{made}") as a:
        await a.tasks.create("shop", type=atlas.Type.GROUP)
        await a.tasks.create("shop/api", tags=("x",), notes=("a note",), description="long " * 50)
        await a.tasks.create("shop/page", dependencies=("shop/api",))
    return made


async def examined(path: Path, *, options: str = "", is_full: bool = False) -> dict[str, Finding]:
    """Return what the doctor finds, by name, having checked that it changed no byte."""
    async with atlas.open(f"sqlite:///{path}{options}") as a:
        before = content(path)
        found = await examine(a, is_full=is_full)
        assert content(path) == before
    for finding in found:
        assert "\n" not in finding.what + finding.what_to_do
        assert finding.status == "ok" or finding.what_to_do
    return {finding.name: finding for finding in found}


def content(path: Path) -> bytes:
    return path.read_bytes()


def wrong(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.status for name, finding in found.items() if finding.status != "ok"}


def changed(path: Path, *statements: str) -> None:
    """Change the file as another program would, behind Atlas's back."""
    connection = apsw.Connection(str(path))
    connection.create_scalar_function("atlas_time", lambda *values: values[0], 1, deterministic=True)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


@pytest.mark.anyio
async def test_a_good_store_is_found_good(path: Path) -> None:
    """Every check is there, and none cries wolf."""
    found = await examined(path)
    assert tuple(found) == CHECKS
    assert wrong(found) == {}
    assert "seq 4, 3 tasks, 4 events" in found["store"].what
    assert "4 events, replayed" in found["journal"].what


@pytest.mark.anyio
async def test_a_store_in_memory_is_found_to_be_no_lasting_place(memory_desk: Desk) -> None:
    """Nothing in a file is looked for where there is none."""
    await memory_desk.atlas.tasks.create("a")
    found = {finding.name: finding for finding in await examine(memory_desk.atlas)}
    assert wrong(found) == {"durability": "warning"}
    assert "file" in found["durability"].what_to_do
    assert not {"mode", "location", "space", "turn", "log"} & set(found)


@pytest.mark.anyio
async def test_an_unsynced_store_is_warned_of(path: Path) -> None:
    """With the option that made it so."""
    found = await examined(path, options="?synchronous=normal")
    assert wrong(found) == {"durability": "warning"}
    assert "synchronous=normal" in found["durability"].what_to_do


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "name", "to_do"),
    [(0o640, "mode", "chmod 600"), (0o604, "mode", "chmod 600"), (0o400, "writable", "write permission")],
)
async def test_a_wrong_mode_is_warned_of(path: Path, mode: int, name: str, to_do: str) -> None:
    """A copy by hand takes the umask's; one that can only be read is examined all the same."""
    os.chmod(path, mode)  # noqa: PTH101 - a Path's own methods are taken for a wait here
    found = await examined(path)
    assert wrong(found) == {name: "warning"}
    assert to_do in found[name].what_to_do


def _damage(path: Path) -> None:
    """Overwrite a page in the middle, where records lie."""
    content = bytearray(path.read_bytes())
    pages = [at for at in range(PAGE, len(content), PAGE) if b"long long" in content[at : at + PAGE]]
    content[pages[0] : pages[0] + 8] = b"\xa5" * 8
    path.write_bytes(content)


class Harm(NamedTuple):
    """What another program or a failing disk does, and the checks that must find it."""

    done: Callable[[Path], None]
    found: set[str]


HARMS = {
    "a damaged page": Harm(_damage, {"integrity"}),
    "a reference to nothing": Harm(
        lambda path: changed(
            path, "UPDATE note SET task = 'gone'", "UPDATE note SET value = json_set(value, '$.task', 'gone')"
        ),
        {"integrity", "journal"},
    ),
    "a column of another value": Harm(
        lambda path: changed(path, "UPDATE task SET status = 'COMPLETED' WHERE path = 'shop/api'"), {"columns"}
    ),
    "a record changed without an event": Harm(
        lambda path: changed(
            path, "UPDATE task SET value = json_set(value, '$.name', 'Other') WHERE path = 'shop/api'"
        ),
        {"journal"},
    ),
    "a record of nonsense": Harm(
        lambda path: changed(path, "UPDATE task SET value = '{\"id\": 7}' WHERE path = 'shop/api'"),
        {"columns", "journal", "records"},
    ),
    "an event of nonsense": Harm(
        lambda path: changed(path, "UPDATE event SET value = json_remove(value, '$.change.created.id') WHERE key = 2"),
        {"journal"},
    ),
    "a lost event": Harm(lambda path: changed(path, "DELETE FROM event WHERE key = 2"), {"journal"}),
    "a wrong count": Harm(
        lambda path: changed(path, "UPDATE tally SET value = json_set(value, '$.children', 9)"), {"records"}
    ),
    "a lost place in the queue": Harm(lambda path: changed(path, "DELETE FROM ready"), {"records"}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("harm", HARMS)
async def test_harm_is_found_and_the_other_checks_go_on(path: Path, harm: str) -> None:
    """What one check stumbles over must not hide what the others would find, nor end in a traceback."""
    HARMS[harm].done(path)
    found = await examined(path)
    assert {"versions", "store"} <= set(found)
    errors = {name for name, status in wrong(found).items() if status == "error"}
    assert errors >= HARMS[harm].found, found
    assert errors


@pytest.mark.anyio
async def test_many_faults_are_counted_and_a_few_shown(path: Path) -> None:
    """A list of ten thousand lines helps nobody."""
    changed(path, "DELETE FROM event WHERE key > 1")
    found = await examined(path)
    assert found["journal"].what.endswith(" more") or found["journal"].what.count(";") < 3


@pytest.mark.anyio
async def test_a_clock_behind_the_journal_is_warned_of(path: Path) -> None:
    """A machine whose clock once stood in the future dates everything by that for ever after."""
    store = SqliteStore(path, COLLECTIONS, clock=lambda: datetime.now(UTC) + timedelta(days=400))
    async with Atlas(store, limits=Limits(), actor="test", source="test") as a:
        await a.tasks.create("tomorrow")
    found = await examined(path)
    assert wrong(found) == {"clock": "warning"}
    assert "ahead" in found["clock"].what


@pytest.mark.anyio
async def test_a_long_journal_is_replayed_only_when_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor is for every day; minutes of it are for the day something is wrong."""
    monkeypatch.setattr("atlas.operations.doctor.REPLAY_EVENTS", 3)
    found = await examined(path)
    assert wrong(found) == {}
    assert "not replayed" in found["journal"].what
    assert "--full" in found["journal"].what_to_do
    assert "replayed to the present state" in (await examined(path, is_full=True))["journal"].what


def _left_open(path: Path) -> None:
    """Create a task in a process that ends without closing anything."""
    program = (
        "import asyncio, os, sys, atlas\n"
        "async def main():\n"
        "    a = await atlas.open(sys.argv[1]).__aenter__()\n"
        "    await a.tasks.create('left')\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{path}"], check=True)
    assert path.with_name("atlas.db-wal").stat().st_size


@pytest.mark.anyio
async def test_a_log_left_over_is_taken_in_and_a_long_one_warned_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process leaves its log, which is part of the store; one that grows and grows has a reader behind it."""
    _left_open(path)
    found = await examined(path)
    assert wrong(found) == {}
    assert "4 tasks" in found["store"].what
    assert "0 bytes" not in found["log"].what
    monkeypatch.setattr("atlas.storage.health.LOG_BYTES", 1_000)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM task").fetchall()
    async with atlas.open(f"sqlite:///{path}") as a:
        await a.tasks.create("more")
        (finding,) = (finding for finding in await examine(a) if finding.name == "log")
    reader.close()
    assert finding.status == "warning"
    assert "KiB" in finding.what


class Usage(NamedTuple):
    """As `shutil.disk_usage` tells it."""

    total: int
    used: int
    free: int


@pytest.mark.anyio
@pytest.mark.parametrize(("free", "status"), [(50 << 20, "error"), (200 << 20, "warning"), (9 << 30, "ok")])
async def test_a_disk_that_fills_up_is_told_of_before_it_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    """Upkeep needs room for a copy; below some megabytes the next change may fail."""
    with path.open("r+b") as file:
        file.truncate(110 << 20)  # the rest is a hole
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    async with atlas.open(f"sqlite:///{path}") as a:
        (finding,) = (finding for finding in await examine(a) if finding.name == "space")
    assert finding.status == status
    assert ("MiB" in finding.what) or ("GiB" in finding.what)


@pytest.mark.anyio
async def test_a_place_that_cannot_be_trusted_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Where `force` opened it all the same: synced folders, and network file systems."""
    synced = tmp_path / "Dropbox"
    synced.mkdir()
    shutil.copy(path, synced / "atlas.db")
    found = await examined(synced / "atlas.db", options="?force=1")
    assert wrong(found)["location"] == "warning"
    assert "Dropbox" in found["location"].what
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/home {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    found = await examined(path, options="?force=1")
    assert "nfs4" in found["location"].what
    assert "local disk" in found["location"].what_to_do


@pytest.mark.anyio
async def test_the_process_that_writes_is_named(path: Path) -> None:
    """Whoever is told STORE_BUSY wants to know by whom."""
    lock = WriterLock(path)
    lock.acquire(None)
    async with atlas.open(f"sqlite:///{path}") as a:
        (held,) = (finding for finding in await examine(a) if finding.name == "turn")
        lock.release()
        (free,) = (finding for finding in await examine(a) if finding.name == "turn")
    lock.close()
    assert held.status == "warning"
    assert f"process {os.getpid()} (" in held.what
    assert free == Finding("turn", "ok", "nobody is writing")


@pytest.mark.anyio
async def test_a_file_that_is_gone_is_an_error_and_no_fault(path: Path) -> None:
    """Somebody removes the folder while a server runs."""
    async with atlas.open(f"sqlite:///{path}") as a:
        shutil.move(path, path.with_name("away.db"))
        found = {finding.name: finding.status for finding in await examine(a)}
        shutil.move(path.with_name("away.db"), path)
    assert found["file"] == "error"


@pytest.mark.anyio
async def test_a_store_of_another_schema_never_reaches_the_doctor(path: Path) -> None:
    """Opening names it; nothing is altered."""
    changed(path, "DROP INDEX task__by_path")
    with pytest.raises(StoreFormatError, match="task__by_path is missing"):
        await examined(path)
    changed(path, "PRAGMA user_version = 99")
    before = content(path)
    with pytest.raises(StoreNewerError):
        await examined(path)
    assert content(path) == before
