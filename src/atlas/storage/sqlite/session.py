"""One transaction on one SQLite connection, as the overlay asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
import msgspec

from ...errors import ConflictError, InputError, StorageError, StoreFormatError
from ..collection import Collection, Scalar, encode, to_scalar
from ..overlay import Write
from ..query import Query
from ..refusing import refers_to_nothing
from ..sql import Compiler, Statement, quoted
from ..words import words_of

if TYPE_CHECKING:
    from ..explaining import Step

R = TypeVar("R")


class SqliteSession:
    """Reads and writes inside the transaction that is open on `connection` (`overlay.Session` states the promise).

    Unless `is_guarded`, level 0 is not marked: undoing it leaves the session `is_spoiled`, and the transaction with it.
    """

    def __init__(self, connection: apsw.Connection, *, now: datetime, seq: int, is_guarded: bool = True) -> None:
        self._connection = connection
        self.now = now
        self.seq = seq
        self.has_written = False
        self.is_spoiled = False
        self._marks: dict[int, int] = {}
        self._lowest = 0 if is_guarded else 1

    def get_many(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """See Session."""
        if len(keys) == 1:
            record = self.get(collection, keys[0])
            return {} if record is None else {keys[0]: record}
        decode = collection.decode
        rows = self._connection.execute(_get_many(collection), (msgspec.json.encode(list(keys)).decode(),))
        return {key: _decoded(collection, decode, text) for key, text in rows}

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Session."""
        text = self._connection.execute(_get(collection), (key,)).get
        return None if text is None else _decoded(collection, collection.decode, text)

    def find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        """See Session."""
        text = self._connection.execute(_find(collection, field), (value,)).get
        return None if text is None else _decoded(collection, collection.decode, text)

    def query(self, query: Query[R]) -> list[Any]:
        """See Session."""
        statement = Compiler(query).select()
        rows = self._rows(statement)
        if query.fields:
            return rows
        collection, decode = query.collection, query.collection.decode
        return [_decoded(collection, decode, row[0]) for row in rows]

    def count(self, query: Query[Any]) -> int:
        """See Session."""
        return int(self._rows(Compiler(query).count())[0][0])

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Session."""
        names = [*query.groups, *(aggregate.name for aggregate in query.aggregates)]
        return [dict(zip(names, row, strict=True)) for row in self._rows(Compiler(query).aggregate())]

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """See Session."""
        from .explaining import explain

        return explain(self._connection, query)

    def _rows(self, statement: Statement) -> list[Any]:
        return self._connection.execute(statement.text, statement.parameters).fetchall()

    def write(self, writes: Sequence[Write]) -> None:
        """See Session."""
        self._check_transaction()
        self.has_written = True
        ordered = sorted(writes, key=_kind) if len(writes) > 1 else writes
        phases: tuple[dict[str, list[Sequence[Any]]], ...] = ({}, {}, {})
        for text, values in _freed(ordered):
            phases[0].setdefault(text, []).append(values)
        for write in ordered:
            for number, text, row in _statements(write):
                phases[number].setdefault(text, []).append(row)
        try:
            for statements in phases:
                for text, rows in statements.items():
                    self._run(text, rows)
        except apsw.ConstraintError as error:
            raise _constraint(error, [(w.collection, w.after) for w in writes if w.after is not None]) from error

    def _run(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) == 1:
            self._connection.execute(text, rows[0])
        else:
            self._connection.executemany(text, rows)

    def append(self, collection: Collection[R], records: Sequence[R]) -> None:
        """See Session."""
        self._check_transaction()
        self.has_written = True
        rows, sides = [], []
        for record in records:
            self.seq += 1
            numbered = msgspec.structs.replace(record, **{collection.key: self.seq})  # type: ignore[type-var]
            rows.append(_row(collection, self.seq, numbered))
            sides += _sides(collection, self.seq, None, numbered)
        try:
            self._run(_insert(collection), rows)
            for _, text, row in sides:
                self._run(text, [row])
        except apsw.ConstraintError as error:
            raise _constraint(error, [(collection, record) for record in records]) from error

    def start_over(self) -> None:
        """See Session."""
        self.has_written = True
        self.seq = 0

    def savepoint(self, level: int) -> None:
        """See Session."""
        self._check_transaction()
        if level >= self._lowest:
            self._connection.execute(f"SAVEPOINT s{level:d}")
        self._marks[level] = self.seq

    def _check_transaction(self) -> None:
        """Refuse to go on once SQLite gave the transaction up: each statement would be committed by itself."""
        if not self._connection.in_transaction:
            raise StorageError("the transaction was given up", hint="Let the error that ended it leave the work.")

    def rollback(self, level: int) -> None:
        """See Session."""
        self.seq = self._marks[level]
        # An interrupt ends the whole transaction: there is nothing left to go back to.
        if level < self._lowest or not self._connection.in_transaction:
            self.is_spoiled = True
            return
        self._connection.execute(f"ROLLBACK TO s{level:d}")
        self._connection.execute(f"RELEASE s{level:d}")

    def release(self, level: int) -> None:
        """See Session."""
        if level >= self._lowest:
            self._connection.execute(f"RELEASE s{level:d}")


class SnapshotSession(SqliteSession):
    """A session that only reads; the store's time and last number are looked up when they are asked for."""

    def __init__(self, connection: apsw.Connection, *, look: Callable[[], tuple[int, datetime]]) -> None:
        self._connection = connection
        self._look = look
        self._seen: tuple[int, datetime] | None = None

    @property
    def seq(self) -> int:  # type: ignore[override]
        """See Session."""
        return self._looked()[0]

    @property
    def now(self) -> datetime:  # type: ignore[override]
        """See Session."""
        return self._looked()[1]

    def _looked(self) -> tuple[int, datetime]:
        if self._seen is None:
            self._seen = self._look()
        return self._seen


def _decoded(collection: Collection[R], decode: Any, text: str) -> R:
    try:
        record: R = decode(text)
    except msgspec.DecodeError as error:
        raise StoreFormatError(
            f"a {collection.name} in the store cannot be read: {error}",
            hint="Run `atlas doctor`; a record was changed by another program.",
        ) from error
    return record


def _kind(write: Write) -> int:
    """Deletes first, so that what they held is free; then changes; then what is new."""
    if write.after is None:
        return 0
    return 1 if write.before is not None else 2


def _freed(writes: Sequence[Write]) -> list[tuple[str, tuple[Any, ...]]]:
    """Empty the unique values that another record of the same batch takes over, so that swaps succeed."""
    if len(writes) < 2:
        return []
    made = []
    changed = [w for w in writes if w.before is not None and w.after is not None and w.collection.unique]
    if len(changed) < 2:
        return []
    for write in changed:
        for field in write.collection.unique:
            if getattr(write.before, field) != getattr(write.after, field):
                table = quoted(write.collection.name)
                made.append((f'UPDATE {table} SET {quoted(field)} = NULL WHERE "key" = ?', (write.key,)))
    return made


_Statement = tuple[int, str, Sequence[Any]]


def _statements(write: Write) -> list[_Statement]:
    """Return phase, text and values of all that one write comes to.

    Words leave before their row does (phase 0), rows change (1), and what refers to a row comes after it (2).
    """
    collection, key, before, after = write
    made: list[_Statement] = []
    if after is None:
        made.append((1, f'DELETE FROM {quoted(collection.name)} WHERE "key" = ?', (key,)))
    elif before is None:
        made.append((1, _insert(collection), _row(collection, key, after)))
    else:
        made.append((1, *_update(collection, key, before, after)))
    return made + _sides(collection, key, before, after)


def _sides(collection: Collection[Any], key: Any, before: Any, after: Any) -> list[_Statement]:
    """Return what the tables of lists and words come to."""
    made: list[_Statement] = []
    for field in collection.lists:
        made += _list_statements(collection, field, key, before, after)
    if collection.text:
        made += _text_statements(collection, key, before, after)
    return made


def _list_statements(collection: Collection[Any], field: str, key: Any, before: Any, after: Any) -> list[_Statement]:
    old = () if before is None else getattr(before, field)
    new = () if after is None else getattr(after, field)
    if old == new:
        return []
    table = quoted(f"{collection.name}__{field}")
    gone, came = set(old) - set(new), set(new) - set(old)
    return [
        *((0, f'DELETE FROM {table} WHERE "value" = ? AND "key" = ?', (value, key)) for value in sorted(gone)),
        *((2, f'INSERT INTO {table} ("value", "key") VALUES (?, ?)', (value, key)) for value in sorted(came)),
    ]


def _text_statements(collection: Collection[Any], key: Any, before: Any, after: Any) -> list[_Statement]:
    old, new = _texts(collection, before), _texts(collection, after)
    if old == new:
        return []
    table, rows = quoted(f"{collection.name}__text"), quoted(collection.name)
    place = f'(SELECT rowid FROM {rows} WHERE "key" = ?)'
    made: list[_Statement] = []
    if old:
        made.append((0, f"DELETE FROM {table} WHERE rowid = {place}", (key,)))
    if new:
        text = "\n".join(new)
        # The index splits and folds ASCII exactly as words_of does.
        words = text if text.isascii() else " ".join(words_of(text))
        made.append((2, f"INSERT INTO {table} (rowid, words) VALUES ({place}, ?)", (key, words)))
    return made


def _texts(collection: Collection[Any], record: Any) -> list[str]:
    if record is None:
        return []
    return [text for text in (getattr(record, field) for field in collection.text) if text]


def _row(collection: Collection[Any], key: Any, record: Any) -> tuple[Any, ...]:
    return (key, encode(record).decode(), *collection.row(record))


def _update(collection: Collection[Any], key: Any, before: Any, after: Any) -> tuple[str, tuple[Any, ...]]:
    """Set only the columns that differ: every column named costs its indexes a write."""
    columns: list[str] = []
    values: list[Scalar] = [encode(after).decode()]
    for column, old, new in zip(collection.stored, collection.read(before), collection.read(after), strict=True):
        if old is not new and old != new:
            columns.append(column)
            values.append(to_scalar(new))
    return _update_text(collection, tuple(columns)), (*values, key)


@lru_cache(maxsize=1024)
def _update_text(collection: Collection[Any], columns: tuple[str, ...]) -> str:
    sets = ", ".join(['"value" = ?', *(f"{quoted(column)} = ?" for column in columns)])
    return f'UPDATE {quoted(collection.name)} SET {sets} WHERE "key" = ?'


@lru_cache(maxsize=256)
def _insert(collection: Collection[Any]) -> str:
    names = ['"key"', '"value"', *(quoted(column) for column in collection.stored)]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {quoted(collection.name)} ({', '.join(names)}) VALUES ({marks})"


@lru_cache(maxsize=256)
def _get(collection: Collection[Any]) -> str:
    return f'SELECT "value" FROM {quoted(collection.name)} WHERE "key" = ?'


@lru_cache(maxsize=256)
def _get_many(collection: Collection[Any]) -> str:
    return f'SELECT "key", "value" FROM {quoted(collection.name)} WHERE "key" IN (SELECT value FROM json_each(?))'


@lru_cache(maxsize=256)
def _find(collection: Collection[Any], field: str) -> str:
    return f'SELECT "value" FROM {quoted(collection.name)} WHERE {quoted(field)} = ?'


def _constraint(error: apsw.ConstraintError, records: Sequence[tuple[Collection[Any], Any]]) -> Exception:
    text = str(error).removeprefix("ConstraintError: ")
    kind, _, name = text.partition(" constraint failed: ")
    if kind == "CHECK":
        return _undeclared(name, records)
    if kind != "UNIQUE":
        return ConflictError(f"the records contradict each other: {text}", details={"constraint": text})
    table, _, field = name.rpartition(".")
    held = [to_scalar(getattr(r, field)) for c, r in records if c.name == table and field in c.unique]
    return ConflictError(
        f"two {table} cannot have the same {field}",
        field=field,
        given=held[0] if len(held) == 1 else None,
        details={"constraint": text},
    )


def _undeclared(field: str, records: Sequence[tuple[Collection[Any], Any]]) -> InputError:
    """Return the error that names the value which the declaration does not have."""
    for collection, record in records:
        allowed = collection.values.get(field)
        value = None if allowed is None else to_scalar(getattr(record, field))
        if allowed is not None and value is not None and value not in allowed:
            return InputError(
                f"{value!r} is no {field} of {collection.name}", field=field, given=value, bound=list(allowed)
            )
    return InputError(f"a value of {field} is not allowed", field=field, hint="See the collection's declaration.")


def dangling(connection: apsw.Connection) -> ConflictError:
    """Return the error that names a reference to nothing, of which the open transaction has one."""
    for found in connection.execute("PRAGMA foreign_key_check").fetchall():
        table, row, number = str(found[0]), found[1], found[3]
        keys = connection.execute(f"PRAGMA foreign_key_list({quoted(table)})").fetchall()
        field = next(str(key[3]) for key in keys if key[0] == number)
        value = connection.execute(f"SELECT {quoted(field)} FROM {quoted(table)} WHERE rowid = ?", (row,)).get
        return refers_to_nothing(table, field, value)
    return refers_to_nothing("records", None, None)
