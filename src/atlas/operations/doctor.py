"""The doctor: looks at a store and the place where it lies, and says what is wrong and what to do about it."""

from __future__ import annotations

import platform
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ..errors import AtlasError, StorageError
from ..journal import EVENTS
from ..journal.proof import disagreements
from ..storage.collection import Collection
from ..storage.health import Finding, health, shown
from ..storage.migrating import standing
from ..storage.protocol import Store, Transaction
from ..storage.query import Query
from ..storage.wrappers.around import path_of
from ..work.collections import NOTES, TASKS
from ..work.upkeep import Upkeep
from . import data_migrations

REPLAY_EVENTS = 100_000
FREE_BYTES = 100 * 1024 * 1024
AHEAD = timedelta(minutes=1)
_SHOWN = 3

_SYNCED_ERROR = "Move the store to a local disk; use `atlas export` to share it."


class Opened(Protocol):
    """The parts of an open Atlas that the doctor looks at."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def upkeep(self) -> Upkeep:
        """The service that finds what disagrees."""
        ...


async def examine(atlas: Opened, *, is_full: bool = False) -> list[Finding]:
    """Look at everything and change nothing. `is_full` replays the whole journal, however long it is."""
    checks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("versions", _versions),
        ("store", lambda: _store(atlas.store)),
        ("file", lambda: _file(atlas.store)),
        ("integrity", lambda: _integrity(atlas.store)),
        ("migrations", lambda: _migrations(atlas.store)),
        ("clock", lambda: _clock(atlas.store)),
        ("columns", lambda: _columns(atlas.store)),
        ("journal", lambda: _journal(atlas.store, is_full=is_full)),
        ("records", lambda: _records(atlas.upkeep)),
    ]
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += await check()
        except AtlasError as error:
            found.append(Finding(name, "error", error.message, error.hint))
        except msgspec.MsgspecError as error:
            hint = "Another program changed the store; restore a copy, or export what can be read into a new one."
            found.append(Finding(name, "error", f"a record cannot be read: {error}", hint))
        except OSError as error:
            found.append(Finding(name, "error", str(error), "Check that the store's folder can be read."))
    return found


async def _versions() -> list[Finding]:
    parts = [f"{name} {metadata.version(name)}" for name in ("atlas-memory", "apsw", "mcp") if _is_installed(name)]
    return [Finding("versions", "ok", f"{', '.join(parts)}, Python {platform.python_version()}, {platform.system()}")]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


async def _store(store: Store) -> list[Finding]:
    looked = await health(store)
    first, *rest = looked.findings
    records = looked.figures.get("records", {})
    what = f"{first.what}, {records.get('task', 0)} tasks, {records.get('event', 0)} events" if records else first.what
    return [Finding(first.name, first.status, what, first.what_to_do), *rest]


async def _file(store: Store) -> list[Finding]:
    path = path_of(store)
    return [] if path is None else [*_mode(path), _location(path), _space(path), _turn(path)]


def _mode(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding("mode", "warning", f"others may read the file (mode {mode:04o})", f"chmod 600 {path}")
    else:
        yield Finding("mode", "ok", f"only its owner may read the file (mode {mode:04o})")


def _location(path: Path) -> Finding:
    from ..storage.place import check_location

    try:
        check_location(path, is_forced=False)
    except StorageError as error:
        return Finding("location", "warning", error.message, _SYNCED_ERROR)
    return Finding("location", "ok", f"{path.absolute().parent} is on a local disk")


def _space(path: Path) -> Finding:
    free, size = shutil.disk_usage(path.absolute().parent).free, path.stat().st_size
    if free < FREE_BYTES:
        return Finding("space", "error", f"{shown(free)} free", "Free some disk space before the next change fails.")
    if free < 2 * size:
        hint = "vacuum and clear copy the store; free some disk space before calling them."
        return Finding("space", "warning", f"{shown(free)} free, the store has {shown(size)}", hint)
    return Finding("space", "ok", f"{shown(free)} free, the store has {shown(size)}")


def _turn(path: Path) -> Finding:
    """Say which process is writing right now, where the system tells (Linux)."""
    lock, table = path.with_name(path.name + "-lock"), Path("/proc/locks")
    if not lock.exists():
        return Finding("turn", "ok", "nobody is writing")
    if not table.exists():
        return Finding("turn", "ok", "this system does not tell who is writing")
    inode = lock.stat().st_ino
    for line in table.read_text().splitlines():
        parts = line.split()
        # Waiting processes are listed with an arrow as their second word.
        if parts[1] == "FLOCK" and parts[5].split(":")[2] == str(inode):
            hint = "If it lasts, end that process; the store is safe."
            return Finding("turn", "warning", f"process {parts[4]} ({_command(parts[4])}) is writing", hint)
    return Finding("turn", "ok", "nobody is writing")


def _command(process: str) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return "unknown"


async def _integrity(store: Store) -> list[Finding]:
    wrong = await store.verify()
    if wrong:
        hint = "Take a copy of the file, then restore a backup, or export what can be read into a new store."
        return [Finding("integrity", "error", _some(wrong), hint)]
    return [Finding("integrity", "ok", "every page, index and reference is sound, the schema as Atlas made it")]


async def _migrations(store: Store) -> list[Finding]:
    found = await standing(store, data_migrations.MIGRATIONS, kept=data_migrations.InJournal(actor=None, source=None))
    if found.waiting:
        what = ", ".join(f"{number} {name}" for number, name in found.waiting)
        hint = "`atlas store migrate` does them, after a copy."
        return [Finding("migrations", "warning", f"data migrations wait: {what}", hint)]
    return [Finding("migrations", "ok", f"{len(found.applied)} data migrations were done, none waits")]


def _some(lines: list[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more


async def _clock(store: Store) -> list[Finding]:
    def look(tx: Transaction) -> datetime | None:
        last = tx.query(Query(EVENTS).order_by("-seq").limit(1))
        return last[0].time if last else None

    last, now = await store.read(look), datetime.now(UTC)
    if last is not None and last > now + AHEAD:
        hint = f"Set the clock right. Times never fall, so all changes until then will be dated {last:%Y-%m-%d %H:%M}."
        return [Finding("clock", "warning", f"the last change lies {last - now} ahead of the clock", hint)]
    return [Finding("clock", "ok", "the clock is not behind the journal")]


async def _columns(store: Store) -> list[Finding]:
    """Compare what queries go by with the records: nothing else notices a column changed by another program."""
    wrong = await store.read(lambda tx: [line for kept in (TASKS, NOTES) for line in _differing(tx, kept)])
    if wrong:
        hint = "Another program changed them; `atlas export` into a new store takes the records as they are."
        return [Finding("columns", "error", f"queries go by other values than the records hold: {_some(wrong)}", hint)]
    return [Finding("columns", "ok", "queries go by what the records hold")]


def _differing(tx: Transaction, kept: Collection[Any]) -> Iterator[str]:
    found = tx.query(Query(kept).select(kept.key, *kept.stored))
    for (key, *columns), record in zip(found, tx.query(Query(kept)), strict=True):
        if tuple(columns) != kept.row(record):
            yield f"{kept.name} {key}"


async def _journal(store: Store, *, is_full: bool) -> list[Finding]:
    def look(tx: Transaction) -> tuple[int, list[str] | None]:
        events = tx.count(Query(EVENTS))
        return events, disagreements(tx, (TASKS, NOTES)) if is_full or events <= REPLAY_EVENTS else None

    events, wrong = await store.read(look)
    if wrong is None:
        return [Finding("journal", "ok", f"{events} events, not replayed", "Pass --full to replay them all.")]
    if wrong:
        hint = "Another program changed the records; `atlas log` shows what Atlas knows of them."
        return [Finding("journal", "error", f"replayed it gives another state: {_some(wrong)}", hint)]
    return [Finding("journal", "ok", f"{events} events, replayed to the present state")]


async def _records(upkeep: Upkeep) -> list[Finding]:
    report = await upkeep.repair()
    if report.issues_total:
        shown = _some([f"{issue.path or '(root)'} {issue.message}" for issue in report.issues])
        hint = "`atlas repair` shows all of it, `atlas repair --fix` mends it."
        return [Finding("records", "error", f"{report.issues_total} disagree with the rules: {shown}", hint)]
    return [Finding("records", "ok", "every task, count and queue entry agrees with the rules")]
