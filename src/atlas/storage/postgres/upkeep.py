"""Looking after the tables of a store: giving back space, and holding everything kept against the records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from psycopg import Connection

from ..collection import Collection, to_scalar
from ..sql import quoted
from . import partitions
from .address import Address
from .columns import beside, row_of, values_beside
from .database import Database
from .statements import dangling_text, table_of, words_in

_FORGOTTEN = timedelta(days=7)
_PAGE = 1_000


def size_of(connection: Connection, address: Address) -> int:
    """Return the bytes of all tables with their indexes."""
    found = connection.execute(
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
        " WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'",
        (address.quoted_schema,),
    ).fetchone()
    return int(found[0]) if found else 0


def maintain(connection: Connection, database: Database, *, analyze: bool) -> dict[str, Any]:
    """Make the space of old versions free again and tell the planner of the contents; returns sizes in bytes."""
    schema = database.address.quoted_schema
    before = size_of(connection, database.address)
    old = to_scalar(datetime.now(UTC) - _FORGOTTEN)
    connection.execute(f'DELETE FROM {schema}."writer" WHERE "at" < %s', (old,))
    for name in _tables(database):
        connection.execute(f"VACUUM {'(ANALYZE) ' if analyze else ''}{schema}.{quoted(name)}")
    return {"before": before, "after": size_of(connection, database.address), "analyzed": analyze}


def _tables(database: Database) -> Iterator[str]:
    yield from ("meta", "writer", "migration")
    for collection in database.collections:
        yield collection.name
        yield from (f"{collection.name}__{field}" for field in beside(collection))
        if collection.text:
            yield f"{collection.name}__text"


def verify(connection: Connection, database: Database) -> list[str]:
    """Return what does not fit the records, of one moment: columns, lists, words, references, numbers, partitions."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        wrong = _unplaced(connection, database)
        for collection in database.collections:
            wrong += _unlike(connection, database.address.quoted_schema, collection)
            wrong += _dangling(connection, database.address.quoted_schema, collection)
        return wrong


def _unplaced(connection: Connection, database: Database) -> list[str]:
    """Return which numbers, up to the next one, have no partition."""
    schema = database.address.quoted_schema
    found = connection.execute(f'SELECT "seq" FROM {schema}."meta"').fetchone()
    return partitions.missing(connection, schema, database.collections, found[0] + 1 if found else 0)


def _unlike(connection: Connection, schema: str, collection: Collection[Any]) -> list[str]:
    wrong, name = [], collection.name
    columns = ", ".join(['t."key"', 't."value"', *(f"t.{quoted(column)}" for column in collection.stored)])
    sides = [(field, "value") for field in beside(collection)] + ([("text", "word")] if collection.text else [])
    for side, value in sides:
        table = f"{schema}.{quoted(f'{name}__{side}')}"
        columns += f', ARRAY(SELECT s.{quoted(value)} FROM {table} AS s WHERE s."key" = t."key")'
    with connection.cursor(name="atlas_verify") as cursor:
        cursor.itersize = _PAGE
        cursor.execute(f"SELECT {columns} FROM {table_of(schema, collection)} AS t")
        for row in cursor:
            wrong += _faults(collection, row)
    for side, _ in sides:
        table = f"{schema}.{quoted(f'{name}__{side}')}"
        orphans = f"SELECT count(*) FROM {table} AS s WHERE NOT EXISTS (SELECT 1 FROM {table_of(schema, collection)}"
        found = connection.execute(f'{orphans} AS t WHERE t."key" = s."key")').fetchone()
        if found and found[0]:
            wrong.append(f"{found[0]} lines of {name}__{side} belong to no record")
    return wrong


def _faults(collection: Collection[Any], row: tuple[Any, ...]) -> list[str]:
    """Compare one row with the record in it."""
    name, key, text, width = collection.name, row[0], row[1], len(collection.stored)
    try:
        record = collection.decode(text)
    except msgspec.DecodeError as error:
        return [f"{name} {key} cannot be read: {error}"]
    wrong = [] if collection.key_of(record) == key else [f"{name} {key} holds another key"]
    if row_of(collection, record) != row[2 : 2 + width]:
        wrong.append(f"the columns of {name} {key} differ from its record")
    expected: list[set[Any]] = [values_beside(collection, record, field) for field in beside(collection)]
    if collection.text:
        expected.append(words_in(getattr(record, field) for field in collection.text))
    if [set(values) for values in row[2 + width :]] != expected:
        wrong.append(f"{name} {key} is not found by what its lists and texts hold")
    return wrong


def _dangling(connection: Connection, schema: str, collection: Collection[Any]) -> list[str]:
    wrong = []
    for field in collection.references:
        keys = f'SELECT array_agg("key") FROM {table_of(schema, collection)}'
        every = connection.execute(keys).fetchone()
        found = connection.execute(dangling_text(schema, collection, field), ((every and every[0]) or [], []))
        wrong += [f"{collection.name} refer to a missing {row[0]} in {field}" for row in found]
    if collection.sequence:
        beyond = f'SELECT max("key") FROM {table_of(schema, collection)} HAVING max("key") >'
        found = connection.execute(f'{beyond} (SELECT "seq" FROM {schema}."meta")')
        wrong += [f"{collection.name} goes beyond the last number, to {row[0]}" for row in found]
    return wrong
