"""The tables of a store in PostgreSQL: made fresh under the writers' turn, and compared when a store is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from ...errors import StoreFormatError, StoreNewerError
from ..collection import Collection
from ..sql import quoted
from .address import Address
from .columns import MIXED, TEXT, kind_of
from .compile import direction

SCHEMA = 1
_TEXT = 'text COLLATE "C"'


def statements_of(schema: str, collection: Collection[Any]) -> list[str]:
    """Return the statements that make a collection's tables and indexes; references come later."""
    name = collection.name
    table = f"{schema}.{quoted(name)}"
    key = _typed(kind_of(collection, collection.key))
    lines = [f'"key" {key} PRIMARY KEY', '"value" text NOT NULL']
    lines += [_column(collection, field) for field in collection.stored]
    made = [f"CREATE TABLE {table} (\n  {','.join(lines)}\n)"]
    for field in collection.unique:
        index = quoted(f"{name}__by_{field}")
        made.append(f"CREATE UNIQUE INDEX {index} ON {table} ({direction(collection, field, False)})")
    made += [_index(collection, table, fields) for fields in collection.indexes]
    for field, value in ((f, "value") for f in collection.lists):
        made += _side_table(schema, f"{name}__{field}", value, key)
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


def _references(schema: str, collection: Collection[Any]) -> list[str]:
    table = f"{schema}.{quoted(collection.name)}"
    return [
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(f'{collection.name}__{field}_refers')} FOREIGN KEY"
        f' ({quoted(field)}) REFERENCES {schema}.{quoted(target)} ("key") DEFERRABLE INITIALLY DEFERRED'
        for field, target in collection.references.items()
    ]


def _own_tables(schema: str) -> list[str]:
    meta = '"id" bigint PRIMARY KEY CHECK ("id" = 1), "seq" bigint NOT NULL, "now" text NOT NULL'
    return [
        f'CREATE TABLE {schema}."meta" ({meta}, "schema" bigint NOT NULL)',
        # The last commit of each writer, by which one whose connection broke learns what became of it.
        f'CREATE TABLE {schema}."writer" ("id" text PRIMARY KEY, "number" bigint NOT NULL, "at" text NOT NULL)',
        f"INSERT INTO {schema}.\"meta\" VALUES (1, 0, '1970-01-01T00:00:00.000000Z', {SCHEMA:d})",
    ]


def prepare(connection: Connection, address: Address, collections: Sequence[Collection[Any]]) -> None:
    """Make the store where there is none, in one transaction, and compare it with what it should be."""
    if not _exists(connection, address):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (address.turn,))
            if not _exists(connection, address):
                _create(connection, address, collections)
    found = connection.execute(f'SELECT "schema" FROM {address.quoted_schema}."meta"').fetchone()
    check_number(found[0] if found else 0, address)
    different = differences(connection, address, collections)
    if different:
        raise StoreFormatError(
            f"the tables of {address.url} are not as Atlas made them: {'; '.join(different[:5])}",
            hint="Restore a copy, or name another schema in the URL.",
            details={"differences": different},
        )


def check_number(found: int, address: Address) -> None:
    """Refuse a store that a newer Atlas wrote."""
    if found > SCHEMA:
        raise StoreNewerError(f"{address.url} has schema {found}, this Atlas knows {SCHEMA}")
    if found < 1:
        raise StoreFormatError(f"{address.url} has schema {found}, and no Atlas made one", hint="Restore a copy.")


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


_COLUMNS = """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), l.collname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""
_INDEXES = """SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = to_regnamespace(%s) AND i.indisvalid"""


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
    return wrong


def _expected(collection: Collection[Any]) -> dict[tuple[str, str], str]:
    def shown(field: str) -> str:
        return _typed(kind_of(collection, field)).replace('COLLATE "C"', "C")

    name, key = collection.name, shown(collection.key)
    made = {(name, "key"): key, (name, "value"): "text"}
    made |= {(name, field): shown(field) for field in collection.stored}
    sides = [(f"{name}__{field}", "value") for field in collection.lists]
    sides += [(f"{name}__text", "word")] if collection.text else []
    for table, value in sides:
        made |= {(table, "key"): key, (table, value): "text C"}
    return made
