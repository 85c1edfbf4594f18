"""Looking after a SQLite file: giving back space, checking it, copying it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import apsw

from ..place import made_beside, storage_error, taken
from ..protocol import DEFAULT_TIMEOUT
from .database import Database
from .schema import seed_planner


def maintain(database: Database, *, analyze: bool) -> dict[str, Any]:
    """Rewrite the file without gaps and tell the planner of its contents; returns sizes before and after in bytes."""
    before = _size(database)
    with (
        database.lock.held(DEFAULT_TIMEOUT.total_seconds()),
        contextlib.closing(database.connect()) as connection,
    ):
        connection.execute("PRAGMA query_only = OFF; VACUUM").fetchall()
        if analyze:
            connection.execute("PRAGMA analysis_limit = 1000; ANALYZE").fetchall()
            seed_planner(connection, database.collections)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        database.checkpoints += 1
    return {"before": before, "after": _size(database), "analyzed": analyze}


def _size(database: Database) -> int:
    return database.path.stat().st_size + database.log_bytes()


def verify(database: Database) -> list[str]:
    """Return what SQLite finds wrong with the pages, the indexes and the references."""
    connection = database.connect()
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(100)").fetchall()]
        wrong = [line for line in found if line != "ok"]
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
            wrong.append(f"{table} row {row} refers to a missing {parent}")
        return wrong
    finally:
        connection.close()


def copy_to(database: Database, target: Path) -> Path:
    """Write a copy of one moment, private, synced, and whole or not at all."""
    if target.exists():
        raise taken(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise storage_error(error, target) from error
    connection = database.connect()
    try:
        connection.execute("PRAGMA query_only = OFF")
        if database.settings.page_size:
            connection.execute(f"PRAGMA page_size = {database.settings.page_size:d}")
        with made_beside(target, is_new=True) as beside:
            connection.execute("VACUUM INTO ?", (str(beside),))
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        connection.close()
    return target
