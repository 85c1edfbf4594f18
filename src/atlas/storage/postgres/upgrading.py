"""Bringing the tables of an earlier schema up to date: a copy beside them, then what is missing, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection, Error, errors, sql

from ...errors import StorageError, StoreReadOnlyError
from ..collection import Collection
from ..migration import Migration, check_applied, check_number, misfit
from ..protocol import DEFAULT_TIMEOUT
from . import partitions
from .address import Address

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "partitions",
        """CREATE TABLE "migration" (
  "number" bigint PRIMARY KEY, "name" text NOT NULL, "checksum" text NOT NULL, "applied_at" text NOT NULL
);
DO $$
DECLARE
  span bigint := current_setting('atlas.span');
  name text;
  low bigint;
  statement text;
  statements text[];
BEGIN
  FOREACH name IN ARRAY string_to_array(current_setting('atlas.sequences'), ',') LOOP
    SELECT coalesce(array_agg(pg_get_indexdef(indexrelid) ORDER BY indexrelid), '{}') INTO statements
      FROM pg_index WHERE indrelid = to_regclass(quote_ident(name)) AND NOT indisprimary;
    SELECT statements || coalesce(array_agg(format('ALTER TABLE %I ADD CONSTRAINT %I %s', name, conname,
        pg_get_constraintdef(oid)) ORDER BY oid), '{}') INTO statements
      FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(name)) AND contype = 'f';
    EXECUTE format('ALTER TABLE %I RENAME TO %I', name, name || '__whole');
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE ("key")',
      name, name || '__whole');
    FOR low IN SELECT generate_series(0, "seq" + span / 2, span) FROM "meta" LOOP
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
        name || '__from_' || low, name, low, low + span);
    END LOOP;
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', name, name || '__whole');
    EXECUTE format('DROP TABLE %I', name || '__whole');
    EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY ("key")', name);
    FOREACH statement IN ARRAY statements LOOP
      EXECUTE statement;
    END LOOP;
    EXECUTE format('ANALYZE %I', name);
  END LOOP;
END $$;""",
    ),
)
"""What leads from schema 1 to the newest, in turn; none is changed once released.

A script finds the store's schema as its search path, the names of all sequences in the setting `atlas.sequences`
(between commas) and the size of their parts in `atlas.span`.
"""

_TABLES = """SELECT c.relname, pg_get_partkeydef(c.oid), p.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') ORDER BY c.relispartition, c.relname"""
_INDEXES = """SELECT replace(pg_get_indexdef(i.indexrelid, 0, true), ' ON ONLY ', ' ON ')
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = to_regnamespace(%s) AND NOT c.relispartition
AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid) ORDER BY i.indexrelid"""
_CONSTRAINTS = """SELECT format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', c.relname, k.conname,
pg_get_constraintdef(k.oid, true)) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = to_regnamespace(%s) AND NOT c.relispartition AND k.contype IN ('p', 'u', 'f')
ORDER BY k.contype = 'f', k.oid"""


def latest() -> int:
    """Return the number of the newest schema."""
    return 1 + len(MIGRATIONS)


def upgrade(connection: Connection, address: Address, collections: Sequence[Collection[Any]]) -> None:
    """Bring the store to the newest schema, after a copy, or leave it as it was.

    Other writers wait meanwhile, and so do readers once tables change. Raises StoreNewerError for a newer store and
    StoreFormatError for one that a migration does not fit, or to which an altered one was applied.
    """
    if _checked(connection, address) < latest():
        if _is_read_only(connection):
            raise StoreReadOnlyError(
                f"{address.url} has an older schema and cannot be written", hint="Open it where it can, once."
            )
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (address.turn,))
            found = _checked(connection, address)
            if found < latest():
                _limit(connection)
                _copy(connection, address, copy_name(address.schema, found + 1))
                _apply_all(connection, address, collections, found)


def _checked(connection: Connection, address: Address) -> int:
    """Return the number of the store's schema, to which these migrations and no others led."""
    row = connection.execute(f'SELECT "schema" FROM {address.quoted_schema}."meta"').fetchone()
    found = int(row[0]) if row else 0
    check_number(found, latest(), address.url)
    if found > 1:
        rows = connection.execute(f'SELECT "number", "checksum" FROM {address.quoted_schema}."migration"')
        check_applied({row[0]: row[1] for row in rows}, MIGRATIONS[: found - 1], address.url)
    return found


def _is_read_only(connection: Connection) -> bool:
    row = connection.execute("SELECT current_setting('transaction_read_only')").fetchone()
    return row is not None and row[0] == "on"


def _limit(connection: Connection) -> None:
    """Wait for tables only so long, so that nobody else waits behind this; but take as long as it takes."""
    wait = f"{int(DEFAULT_TIMEOUT.total_seconds() * 1000)}ms"
    connection.execute(
        "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', '0', true)", (wait,)
    )


def _copy(connection: Connection, address: Address, name: str) -> None:
    """Copy all tables into a schema beside the store's, so that the Atlas that wrote them can open it."""
    there = connection.execute("SELECT to_regnamespace(%s)", (f'"{name}"',)).fetchone()
    tables = connection.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%s)", (f'"{name}"',)
    )
    held = tables.fetchone()
    if held and held[0]:
        raise StorageError(
            f"the schema {name}, which an upgrade of {address.url} copies to, is taken",
            hint="Rename that schema, or drop it if it is an earlier copy that nobody needs.",
        )
    if not (there and there[0]):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    _search(connection, address.quoted_schema)
    made = [row[0] for query in (_CONSTRAINTS, _INDEXES) for row in connection.execute(query, (address.quoted_schema,))]
    for table, divided, parent, bounds in connection.execute(_TABLES, (address.quoted_schema,)).fetchall():
        _copy_table(connection, (address.schema, name), table, (divided, parent, bounds))
    _search(connection, f'"{name}"')
    for text in made:
        connection.execute(text)


def copy_name(schema: str, number: int) -> str:
    """Return the schema into which one is copied before a migration; names have 63 letters at most."""
    ending = f"_before_{number:d}"
    return schema[: 63 - len(ending)] + ending


def _copy_table(
    connection: Connection, schemas: tuple[str, str], table: str, partition: tuple[str | None, str | None, str | None]
) -> None:
    source, target = (sql.Identifier(schema, table) for schema in schemas)
    divided, parent, bounds = partition
    if parent is not None:
        whole = sql.Identifier(schemas[1], parent)
        connection.execute(sql.SQL("CREATE TABLE {} PARTITION OF {} {}").format(target, whole, sql.SQL(bounds or "")))
    else:
        like = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES)").format(target, source)
        connection.execute(like + sql.SQL(f" PARTITION BY {divided}" if divided else ""))
    if divided is None:
        connection.execute(sql.SQL("INSERT INTO {} SELECT * FROM {}").format(target, source))


def _apply_all(connection: Connection, address: Address, collections: Sequence[Collection[Any]], found: int) -> None:
    sequences = ",".join(collection.name for collection in collections if collection.sequence)
    settings = (sequences, str(partitions.SPAN))
    connection.execute("SELECT set_config('atlas.sequences', %s, true), set_config('atlas.span', %s, true)", settings)
    _search(connection, address.quoted_schema)
    for number, migration in enumerate(MIGRATIONS[found - 1 :], found + 1):
        try:
            connection.execute(migration.script)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except errors.InsufficientPrivilege:
            raise
        except (errors.IntegrityError, errors.ProgrammingError, errors.DataError, errors.NotSupportedError) as error:
            raise misfit(number, migration, address.url, _told(address, error)) from error
        connection.execute('UPDATE "meta" SET "schema" = %s', (number,))
        record(connection, address.quoted_schema, number, migration)


def _told(address: Address, error: Error) -> str:
    return address.masked(str(error.diag.message_primary or error)).strip()


def _search(connection: Connection, schema: str) -> None:
    """Have names without a schema mean this one's, until the transaction ends."""
    connection.execute("SELECT set_config('search_path', %s, true)", (schema,))


def record(connection: Connection, schema: str, number: int, migration: Migration) -> None:
    """Note that a migration was applied, or that the tables were made as it leaves them."""
    row = number, migration.name, migration.checksum, datetime.now(UTC).isoformat()
    connection.execute(f'INSERT INTO {schema}."migration" VALUES (%s, %s, %s, %s)', row)
