"""The schema of a database file: made fresh, compared, and brought up to date by numbered migrations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

from ..collection import Collection
from ..migration import Migration, check_applied, check_number, misfit
from ..place import made_beside
from ..sql import planner_facts, quoted, schema_of
from .place import APPLICATION_ID

_META = """CREATE TABLE "meta" (
  "id" INTEGER PRIMARY KEY CHECK ("id" = 1),
  "seq" INTEGER NOT NULL,
  "now" TEXT NOT NULL,
  "schema" INTEGER NOT NULL
) STRICT"""
_MIGRATION = """CREATE TABLE "migration" (
  "number" INTEGER PRIMARY KEY,
  "name" TEXT NOT NULL,
  "checksum" TEXT NOT NULL,
  "applied_at" TEXT NOT NULL
) STRICT"""


_SMALL = 10_000


def first_migration(collections: Sequence[Collection[Any]]) -> Migration:
    """Return migration 1: the schema as it is made fresh."""
    statements = [_META, _MIGRATION, *(text for collection in collections for text in schema_of(collection))]
    return Migration("first", ";\n".join(statements))


def create(
    connection: apsw.Connection, collections: Sequence[Collection[Any]], migrations: Sequence[Migration]
) -> None:
    """Make the schema in one transaction; only then is the file turned to WAL, so that a crash leaves no half."""
    first = first_migration(collections)
    number = 1 + len(migrations)
    connection.execute("PRAGMA journal_mode = DELETE").get  # noqa: B018 - reading the row runs the statement
    with connection:
        connection.execute(first.script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute('INSERT INTO "meta" VALUES (1, 0, ?, ?)', ("1970-01-01T00:00:00.000000Z", number))
        for index, migration in enumerate((first, *migrations), 1):
            _record(connection, index, migration)
        seed_planner(connection, collections)
    connection.execute("PRAGMA journal_mode = WAL").get  # noqa: B018


def seed_planner(connection: apsw.Connection, collections: Sequence[Collection[Any]]) -> None:
    """Tell the planner the typical shape of each collection that is too small to speak for itself."""
    connection.execute("ANALYZE sqlite_schema")
    for collection in collections:
        table = collection.name
        rows = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {quoted(table)} LIMIT {_SMALL})").get
        if int(rows) < _SMALL:
            connection.execute("DELETE FROM sqlite_stat1 WHERE tbl = ?", (table,))
            connection.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", planner_facts(collection))
    connection.execute("ANALYZE sqlite_schema")


def _record(connection: apsw.Connection, number: int, migration: Migration) -> None:
    connection.execute(
        'INSERT INTO "migration" VALUES (?, ?, ?, ?)',
        (number, migration.name, migration.checksum, datetime.now(UTC).isoformat()),
    )


def version_of(connection: apsw.Connection) -> int:
    """Return the number of the schema that the file has."""
    return int(connection.execute("PRAGMA user_version").get)


def upgrade(connection: apsw.Connection, migrations: Sequence[Migration], path: Path) -> Path | None:
    """Apply what is missing, each migration in a transaction, after a copy of the file; returns the copy.

    Raises StoreNewerError for a newer file and StoreFormatError for a migration that was altered since, or that
    does not fit what the file holds.
    """
    found, known = version_of(connection), 1 + len(migrations)
    check_number(found, known, path)
    applied: dict[Any, Any] = dict(_pairs(connection, 'SELECT "number", "checksum" FROM "migration"'))
    check_applied(applied, migrations[: found - 1], path)
    if found == known:
        return None
    copy = path.with_name(f"{path.name}.schema-{found}.bak")
    with made_beside(copy) as beside:
        connection.execute("VACUUM INTO ?", (str(beside),))
    for number, migration in enumerate(migrations[found - 1 :], found + 1):
        _apply(connection, number, migration, path)
    return copy


def _apply(connection: apsw.Connection, number: int, migration: Migration, path: Path) -> None:
    try:
        with connection:
            # A statement that answers with rows would end the script there, were they not read.
            connection.execute(migration.script).fetchall()
            connection.execute(f"PRAGMA user_version = {number:d}")
            connection.execute('UPDATE "meta" SET "schema" = ?', (number,))
            _record(connection, number, migration)
    except (apsw.ConstraintError, apsw.SQLError) as error:
        raise misfit(number, migration, path, str(error)) from error


def differences(connection: apsw.Connection, collections: Sequence[Collection[Any]]) -> list[str]:
    """Compare the file's schema with a fresh one; returns a line for each table or index that differs.

    Columns may come in any order: one that a migration adds is the last.
    """
    found = dict(_pairs(connection, "SELECT name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'"))
    fresh = {text.split('"')[1]: text for text in first_migration(collections).script.split(";\n")}
    missing = [f"{name} is missing" for name in fresh if name not in found]
    return missing + [
        f"{name} differs"
        for name, text in fresh.items()
        if name in found and found[name] != text and _parts(found[name]) != _parts(text)
    ]


def _parts(text: str) -> tuple[str, list[str], str]:
    """Return what stands before the parentheses of a statement, the sorted definitions inside, and what follows."""
    head, _, rest = text.partition("(")
    body, _, tail = rest.rpartition(")")
    definitions, depth = [""], 0
    for piece in re.split(r"([(),])", body):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and not depth:
            definitions.append("")
        else:
            definitions[-1] += piece
    in_order = [" ".join(definition.split()) for definition in definitions]
    return head.strip(), sorted(in_order) if head.startswith("CREATE TABLE") else in_order, tail.strip()


def _pairs(connection: apsw.Connection, text: str) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in connection.execute(text).fetchall()]
