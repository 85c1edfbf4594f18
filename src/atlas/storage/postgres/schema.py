"""The tables of a store in PostgreSQL: made fresh under the writers' turn, and compared when a store is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from ...errors import StoreFormatError
from ..collection import Collection
from ..migration import check_number as check_known
from ..sql import quoted
from . import upgrading
from .address import Address
from .columns import MIXED, TEXT, beside, kind_of
from .compile import direction
from .partitions import make_room, missing

_TEXT = 'text COLLATE "C"'


def statements_of(schema: str, collection: Collection[Any]) -> list[str]:
    """Return the statements that make a collection's tables and indexes; references come later."""
    name = collection.name
    table = f"{schema}.{quoted(name)}"
    key = _typed(kind_of(collection, collection.key))
    lines = [f'"key" {key} PRIMARY KEY', '"value" text NOT NULL']
    lines += [_column(collection, field) for field in collection.stored]
    divided = ' PARTITION BY RANGE ("key")' if collection.sequence else ""
    made = [f"CREATE TABLE {table} (\n  {','.join(lines)}\n){divided}"]
    for field in collection.unique:
        # Across partitions no index is unique but that of the key: a table beside the sequence is, for all of them.
        index = f"{'' if collection.sequence else 'UNIQUE '}INDEX {quoted(f'{name}__by_{field}')}"
        made.append(f"CREATE {index} ON {table} ({direction(collection, field, False)})")
    made += [_index(collection, table, fields) for fields in collection.indexes]
    for field in beside(collection):
        made += (
            _side_table(schema, f"{name}__{field}", "value", key)
            if field in collection.lists
            else [_only_table(schema, collection, field)]
        )
    return made + (_side_table(schema, f"{name}__text", "word", key) if collection.text else [])


def _typed(kind: str | None) -> str:
    return _TEXT if kind in {TEXT, MIXED, None} else str(kind)


def _column(collection: Collection[Any], field: str) -> str:
    line = f"{quoted(field)} {_typed(kind_of(collection, field))}"
    if field in collection.values:
        allowed = ", ".join("'" + value.replace("'", "''") + "'" for value in collection.values[field])
        line += f" CONSTRAINT {quoted(f'{collection.name}__{field}_values')} CHECK ({quoted(field)} IN ({allowed}))"
    return line


def index_name(collection: Collection[Any], fields: tuple[str, ...]) -> str:
    """Return the name of an index over these fields."""
    return f"{collection.name}__by_" + "_".join(field.strip("-?") for field in fields)


def _index(collection: Collection[Any], table: str, fields: tuple[str, ...]) -> str:
    plain = [field.rstrip("?") for field in fields]
    columns = ", ".join(direction(collection, field.lstrip("-"), field.startswith("-")) for field in plain)
    present = " AND ".join(f"{quoted(field.rstrip('?'))} IS NOT NULL" for field in fields if field.endswith("?"))
    name = quoted(index_name(collection, fields))
    return f"CREATE INDEX {name} ON {table} ({columns})" + (f" WHERE {present}" if present else "")


def _side_table(schema: str, name: str, value: str, key: str) -> list[str]:
    """Return what makes a table from values (of a list, or words) to keys, and back."""
    table = f"{schema}.{quoted(name)}"
    return [
        f'CREATE TABLE {table} ({quoted(value)} {_TEXT} NOT NULL, "key" {key} NOT NULL, PRIMARY KEY ({value}, "key"))',
        f'CREATE INDEX {quoted(f"{name}__by_key")} ON {table} ("key")',
    ]


def _only_table(schema: str, collection: Collection[Any], field: str) -> str:
    """Return what makes the table in which a value stands once, whichever part of a sequence its record is in."""
    name = f"{collection.name}__{field}"
    value = f'"value" {_typed(kind_of(collection, field))} CONSTRAINT {quoted(f"{name}_only")} PRIMARY KEY'
    return f'CREATE TABLE {schema}.{quoted(name)} ({value}, "key" bigint NOT NULL)'


def _references(schema: str, collection: Collection[Any]) -> list[str]:
    table = f"{schema}.{quoted(collection.name)}"
    return [
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(f'{collection.name}__{field}_refers')} FOREIGN KEY"
        f' ({quoted(field)}) REFERENCES {schema}.{quoted(target)} ("key") DEFERRABLE INITIALLY DEFERRED'
        for field, target in collection.references.items()
    ]


def _own_tables(schema: str) -> list[str]:
    meta = '"id" bigint PRIMARY KEY CHECK ("id" = 1), "seq" bigint NOT NULL, "now" text NOT NULL'
    steps = '"name" text NOT NULL, "checksum" text NOT NULL, "applied_at" text NOT NULL'
    return [
        f'CREATE TABLE {schema}."meta" ({meta}, "schema" bigint NOT NULL)',
        # The last commit of each writer, by which one whose connection broke learns what became of it.
        f'CREATE TABLE {schema}."writer" ("id" text PRIMARY KEY, "number" bigint NOT NULL, "at" text NOT NULL)',
        f'CREATE TABLE {schema}."migration" ("number" bigint PRIMARY KEY, {steps})',
        f"INSERT INTO {schema}.\"meta\" VALUES (1, 0, '1970-01-01T00:00:00.000000Z', {upgrading.latest():d})",
    ]


def prepare(connection: Connection, address: Address, collections: Sequence[Collection[Any]]) -> None:
    """Make the store where there is none, bring an earlier one up to date, and compare it with what it should be."""
    if not _exists(connection, address):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (address.turn,))
            if not _exists(connection, address):
                _create(connection, address, collections)
    upgrading.upgrade(connection, address, collections)
    different = differences(connection, address, collections)
    if different:
        raise StoreFormatError(
            f"the tables of {address.url} are not as Atlas made them: {'; '.join(different[:5])}",
            hint="Restore a copy, or name another schema in the URL.",
            details={"differences": different},
        )


def check_number(found: int, address: Address) -> None:
    """Refuse a store that a newer Atlas wrote."""
    check_known(found, upgrading.latest(), address.url)


def _exists(connection: Connection, address: Address) -> bool:
    found = connection.execute("SELECT to_regclass(%s)", (f'{address.quoted_schema}."meta"',)).fetchone()
    return found is not None and found[0] is not None


def _create(connection: Connection, address: Address, collections: Sequence[Collection[Any]]) -> None:
    schema = address.quoted_schema
    there = connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone()
    made = [] if there and there[0] else [f"CREATE SCHEMA {schema}"]
    made += _own_tables(schema)
    for collection in collections:
        made += statements_of(schema, collection)
    for collection in collections:
        made += _references(schema, collection)
    for text in made:
        connection.execute(text)
    make_room(connection, schema, collections, 0)
    for number, migration in enumerate(upgrading.MIGRATIONS, 2):
        upgrading.record(connection, schema, number, migration)


_COLUMNS = """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), l.collname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""
_INDEXES = """SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = to_regnamespace(%s) AND i.indisvalid"""
_WHOLE = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'"


def differences(connection: Connection, address: Address, collections: Sequence[Collection[Any]]) -> list[str]:
    """Compare tables, columns and indexes with those a fresh store has; returns a line for each that differs."""
    schema = address.quoted_schema
    found: dict[tuple[str, str], str] = {}
    for table, column, kind, collation in connection.execute(_COLUMNS, (schema,)):
        found[table, column] = f"{kind} {collation}" if collation not in {None, "default"} else str(kind)
    indexes = {row[0] for row in connection.execute(_INDEXES, (schema,))}
    wrong = []
    for collection in collections:
        for place, kind in _expected(collection).items():
            if found.get(place) != kind:
                wrong.append(f"{place[0]}.{place[1]} is {found.get(place, 'missing')}, not {kind}")
        names = [f"{collection.name}__by_{field}" for field in collection.unique]
        names += [index_name(collection, fields) for fields in collection.indexes]
        wrong += [f"the index {name} is missing" for name in names if name not in indexes]
    return wrong + _undivided(connection, schema, collections)


def _undivided(connection: Connection, schema: str, collections: Sequence[Collection[Any]]) -> list[str]:
    whole = {row[0] for row in connection.execute(_WHOLE, (schema,))}
    wrong = [f"{c.name} is not partitioned" for c in collections if c.sequence and c.name in whole]
    if wrong:
        return wrong
    last = connection.execute(f'SELECT "seq" FROM {schema}."meta"').fetchone()
    return missing(connection, schema, collections, last[0] if last else 0)


def _expected(collection: Collection[Any]) -> dict[tuple[str, str], str]:
    def shown(field: str) -> str:
        return _typed(kind_of(collection, field)).replace('COLLATE "C"', "C")

    name, key = collection.name, shown(collection.key)
    made = {(name, "key"): key, (name, "value"): "text"}
    made |= {(name, field): shown(field) for field in collection.stored}
    for field in beside(collection):
        value = "text C" if field in collection.lists else shown(field)
        made |= {(f"{name}__{field}", "key"): key, (f"{name}__{field}", "value"): value}
    if collection.text:
        made |= {(f"{name}__text", "key"): key, (f"{name}__text", "word"): "text C"}
    return made
