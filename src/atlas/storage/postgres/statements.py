"""The statements by which records are written and read, and which of them a write comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..collection import Collection, encode
from ..overlay import Write
from ..sql import quoted
from ..words import words_of
from .columns import beside, held, kinds_of, row_of, values_beside


class Step(NamedTuple):
    """One row for a statement; `phase` orders the statements of a batch, `copied` is the same statement as COPY."""

    phase: int
    text: str
    row: tuple[Any, ...]
    copied: str | None = None


def ordered_steps(schema: str, writes: Iterable[Write]) -> list[Step]:
    """Return what the writes come to, in an order in which unique values may move between records."""
    kept = list(writes)
    steps = _freed(schema, kept)
    for write in kept:
        steps += _steps(schema, write)
    return sorted(steps, key=lambda step: step.phase)


def insertion(schema: str, collection: Collection[Any], records: Sequence[Any]) -> tuple[str, str, list[Any]] | None:
    """Return the INSERT, the COPY and the rows of new records; None where other tables hold a part of them."""
    if beside(collection) or collection.text:
        return None
    rows = [(collection.key_of(record), encode(record).decode(), *row_of(collection, record)) for record in records]
    return _insert(schema, collection), _copy(schema, collection), rows


def _freed(schema: str, writes: list[Write]) -> list[Step]:
    """Empty the unique values that another record of the same batch may take over, so that swaps succeed."""
    changed = [w for w in writes if w.before is not None and w.after is not None and not w.collection.sequence]
    if len(writes) < 2:
        return []
    return [
        Step(0, f'UPDATE {table_of(schema, w.collection)} SET {quoted(field)} = NULL WHERE "key" = %s', (w.key,))
        for w in changed
        for field in w.collection.unique
        if getattr(w.before, field) != getattr(w.after, field)
    ]


def _steps(schema: str, write: Write) -> list[Step]:
    """Return the steps of one write: deletes (1) before changes (2) before what is new (3)."""
    collection, key, before, after = write
    table = table_of(schema, collection)
    if after is None:
        made = [Step(1, f'DELETE FROM {table} WHERE "key" = %s', (key,))]
    elif before is None:
        made = [_insertion(schema, collection, key, after)]
    else:
        made = [_update(schema, collection, key, before, after)]
    for field in beside(collection):
        old, new = values_beside(collection, before, field), values_beside(collection, after, field)
        made += _side(schema, f"{collection.name}__{field}", key, old, new)
    if collection.text:
        words = _words(collection, before), _words(collection, after)
        made += _side(schema, f"{collection.name}__text", key, *words)
    return made


def _side(schema: str, name: str, key: Any, old: set[Any], new: set[Any]) -> list[Step]:
    if old == new:
        return []
    table = f"{schema}.{quoted(name)}"
    value = '"word"' if name.endswith("__text") else '"value"'
    insert, copied = f"INSERT INTO {table} VALUES (%s, %s)", f"COPY {table} FROM STDIN"
    gone = [
        Step(1, f'DELETE FROM {table} WHERE {value} = %s AND "key" = %s', (each, key)) for each in sorted(old - new)
    ]
    return gone + [Step(3, insert, (each, key), copied) for each in sorted(new - old)]


def _words(collection: Collection[Any], record: Any) -> set[str]:
    if record is None:
        return set()
    return words_in(getattr(record, field) for field in collection.text)


def words_in(texts: Iterable[Any]) -> set[str]:
    """Return the words that texts are found by."""
    return {word for text in texts if isinstance(text, str) for word in words_of(text)}


def _insertion(schema: str, collection: Collection[Any], key: Any, record: Any) -> Step:
    row = (key, encode(record).decode(), *row_of(collection, record))
    return Step(3, _insert(schema, collection), row, _copy(schema, collection))


def _update(schema: str, collection: Collection[Any], key: Any, before: Any, after: Any) -> Step:
    """Set only the columns that differ: where none of them is indexed, no index is written."""
    columns: list[str] = []
    values: list[Any] = [encode(after).decode()]
    read, kinds = collection.read, kinds_of(collection)
    for column, kind, old, new in zip(collection.stored, kinds, read(before), read(after), strict=True):
        if old is not new and old != new:
            columns.append(column)
            values.append(held(kind, new))
    return Step(2, _update_text(schema, collection, tuple(columns)), (*values, key))


@lru_cache(maxsize=1024)
def _update_text(schema: str, collection: Collection[Any], columns: tuple[str, ...]) -> str:
    sets = ", ".join(['"value" = %s', *(f"{quoted(column)} = %s" for column in columns)])
    return f'UPDATE {table_of(schema, collection)} SET {sets} WHERE "key" = %s'


@lru_cache(maxsize=256)
def _names(collection: Collection[Any]) -> tuple[str, ...]:
    return ('"key"', '"value"', *(quoted(column) for column in collection.stored))


@lru_cache(maxsize=256)
def _insert(schema: str, collection: Collection[Any]) -> str:
    names = _names(collection)
    marks = ", ".join(["%s"] * len(names))
    return f"INSERT INTO {table_of(schema, collection)} ({', '.join(names)}) VALUES ({marks})"


@lru_cache(maxsize=256)
def _copy(schema: str, collection: Collection[Any]) -> str:
    return f"COPY {table_of(schema, collection)} ({', '.join(_names(collection))}) FROM STDIN"


@lru_cache(maxsize=256)
def get_text(schema: str, collection: Collection[Any]) -> str:
    """Return the statement that reads one record."""
    return f'SELECT "value" FROM {table_of(schema, collection)} WHERE "key" = %s'


@lru_cache(maxsize=256)
def get_many_text(schema: str, collection: Collection[Any], kind: str) -> str:
    """Return the statement that reads several records."""
    return f'SELECT "key", "value" FROM {table_of(schema, collection)} WHERE "key" = ANY(%s::{kind}[])'


@lru_cache(maxsize=256)
def find_text(schema: str, collection: Collection[Any], field: str) -> str:
    """Return the statement that reads the holder of a unique value."""
    return f'SELECT "value" FROM {table_of(schema, collection)} WHERE {quoted(field)} = %s'


@lru_cache(maxsize=256)
def dangling_text(schema: str, collection: Collection[Any], field: str) -> str:
    """Return the statement that finds references to nothing among some records, or to some that are gone."""
    table, target = table_of(schema, collection), f"{schema}.{quoted(collection.references[field])}"
    missing = f'NOT EXISTS (SELECT 1 FROM {target} AS r WHERE r."key" = t.{quoted(field)})'
    return (
        f'SELECT t.{quoted(field)} FROM {table} AS t WHERE t."key" = ANY(%s) AND t.{quoted(field)} IS NOT NULL'
        f" AND {missing} UNION ALL SELECT t.{quoted(field)} FROM {table} AS t WHERE t.{quoted(field)} = ANY(%s)"
        f" AND {missing} LIMIT 1"
    )


@lru_cache(maxsize=256)
def table_of(schema: str, collection: Collection[Any]) -> str:
    """Return a collection's table as SQL."""
    return f"{schema}.{quoted(collection.name)}"
