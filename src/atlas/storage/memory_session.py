"""The records of the memory store with their indexes, and one transaction on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import ConflictError, InputError
from .collection import Collection, encode, to_scalar
from .evaluate import aggregate_rows, count_rows, select_rows
from .overlay import Write
from .query import Both, Compare, Query
from .refusing import refers_to_nothing

if TYPE_CHECKING:
    from .explaining import Step

R = TypeVar("R")
Index = dict[Any, dict[Any, None]]


def check_text(record: Any) -> None:
    """Raise UnicodeEncodeError for a text that is none; what else only memory can hold is let through."""
    try:
        encode(record)
    except (TypeError, OverflowError, msgspec.MsgspecError):
        return


class Table:
    """The records of one collection by key, and the keys by the values of each indexed field."""

    def __init__(self, collection: Collection[Any]) -> None:
        self.collection = collection
        self.records: dict[Any, Any] = {}
        leading = (fields[0].lstrip("-").rstrip("?") for fields in collection.indexes)
        plain = {*collection.unique, *collection.references, *leading} - {collection.key}
        self._lists = frozenset(collection.lists)
        self.indexes: dict[str, Index] = {field: {} for field in sorted({*plain, *collection.lists})}

    def put(self, key: Any, record: Any) -> Any:
        """Hold `record` (None: nothing) under `key`; returns what was there before."""
        before = self.records.pop(key, None)
        for field, index in self.indexes.items():
            if field in self._lists:
                self._move(index, key, self.values_of(before, field), self.values_of(record, field))
                continue
            new = None if record is None else to_scalar(getattr(record, field))
            if before is not None:
                old = to_scalar(getattr(before, field))
                if record is not None and old == new:
                    continue
                self._move(index, key, (old,), ())
            if record is not None:
                keys = index.get(new)
                if keys is None:
                    index[new] = {key: None}
                else:
                    keys[key] = None
        if record is not None:
            self.records[key] = record
        return before

    @staticmethod
    def _move(index: Index, key: Any, left: Iterable[Any], come_to: Iterable[Any]) -> None:
        for value in left:
            keys = index[value]
            del keys[key]
            if not keys:
                del index[value]
        for value in come_to:
            index.setdefault(value, {})[key] = None

    def values_of(self, record: Any, field: str) -> Iterable[Any]:
        """Return the values of a list under which a record is found; none where there is no record."""
        return () if record is None else dict.fromkeys(getattr(record, field) or ())

    def among(self, part: Any) -> set[Any] | None:
        """Return the keys that a condition leaves possible, None where no index knows."""
        if isinstance(part, Both):
            known = [keys for keys in map(self.among, part.parts) if keys is not None]
            return min(known, key=len, default=None)
        if not isinstance(part, Compare) or isinstance(part.value, Query):
            return None
        is_list = part.field in self.collection.lists
        if part.op not in ({"contains"} if is_list else {"eq", "in"}):
            return None
        values = part.value if part.op == "in" else (part.value,)
        if part.field == self.collection.key:
            return {value for value in values if value in self.records}
        index = self.indexes.get(part.field)
        return None if index is None else {key for value in values for key in index.get(value, ())}

    def fields_of(self, part: Any) -> list[str]:
        """Return the fields of a condition that `among` looks up."""
        if isinstance(part, Both):
            return [field for inner in part.parts for field in self.fields_of(inner)]
        return [part.field] if isinstance(part, Compare) and self.among(part) is not None else []


class State:
    """All that a memory store holds."""

    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        self.tables = {collection.name: Table(collection) for collection in collections}
        self.seq = 0
        self.now = datetime.min.replace(tzinfo=UTC)
        self.referring = [
            (table, field, target)
            for table in self.tables.values()
            for field, target in table.collection.references.items()
        ]

    def size(self) -> int:
        """Return the bytes of all records as JSON."""
        return sum(len(encode(record)) for table in self.tables.values() for record in table.records.values())

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """Return the steps that a query takes over these records."""
        from .explaining import looked_at

        table = self.tables[query.collection.name]
        keys = table.among(query.condition)
        fields = table.fields_of(query.condition)
        return looked_at(query, len(table.records), ", ".join(fields) or None, None if keys is None else len(keys))

    def missing(self, table: Table, record: Any) -> tuple[str, Any] | None:
        """Return a reference of `record` that leads nowhere, with its field."""
        for field, target in table.collection.references.items():
            key = to_scalar(getattr(record, field))
            if key is not None and key not in self.tables[target].records:
                return field, key
        return None

    def faults(self) -> list[str]:
        """Compare indexes, unique values, references and numbers with the records; returns what is wrong."""
        found: list[str] = []
        for name, table in self.tables.items():
            fresh = Table(table.collection)
            for key, record in table.records.items():
                fresh.put(key, record)
                dangling = self.missing(table, record)
                if dangling is not None:
                    found.append(f"{name} {key} refers to a missing {dangling[1]} in {dangling[0]}")
            found += [
                f"the index of {name} by {f} is wrong" for f in fresh.indexes if fresh.indexes[f] != table.indexes[f]
            ]
            for field in table.collection.unique:
                doubles = [value for value, keys in fresh.indexes[field].items() if value is not None and len(keys) > 1]
                found += [f"several {name} hold {value!r} as their {field}" for value in doubles]
            if table.collection.sequence and any(key > self.seq for key in table.records):
                found.append(f"{name} goes beyond the last number {self.seq}")
        return found


class MemorySession:
    """One transaction: writes go into the tables at once and are noted, so that they can be undone."""

    def __init__(self, state: State, clock_now: datetime) -> None:
        self._state = state
        state.now = max(state.now, clock_now)
        self.now = state.now
        self._undo: list[tuple[Table, Any, Any]] = []
        self._marks: dict[int, tuple[int, int]] = {}
        self._seq_before = state.seq

    @property
    def seq(self) -> int:
        """See Session."""
        return self._state.seq

    def get_many(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """See Session."""
        records = self._table(collection).records
        return {key: records[key] for key in keys if key in records}

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Session."""
        record: R | None = self._table(collection).records.get(key)
        return record

    def find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        """See Session."""
        table = self._table(collection)
        keys = table.indexes[field].get(value)
        return table.records[next(iter(keys))] if keys else None

    def query(self, query: Query[R]) -> list[Any]:
        """See Session."""
        return select_rows(query, self.candidates)

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """See Session."""
        return self._state.explain(query)

    def count(self, query: Query[Any]) -> int:
        """See Session."""
        return count_rows(query, self.candidates)

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Session."""
        return aggregate_rows(query, self.candidates)

    def candidates(self, query: Query[Any]) -> Iterable[Any]:
        """Return the records that a query has to look at."""
        table = self._table(query.collection)
        keys = table.among(query.condition)
        return table.records.values() if keys is None else [table.records[key] for key in keys]

    def _table(self, collection: Collection[Any]) -> Table:
        return self._state.tables[collection.name]

    def write(self, writes: Sequence[Write]) -> None:
        """See Session. A refused batch leaves nothing of itself."""
        mark = len(self._undo), self._state.seq
        try:
            for write in writes:
                if write.after is not None:
                    check_text(write.after)
                self._put(self._table(write.collection), write.key, write.after)
            for write in writes:
                if write.after is not None:
                    self._check(self._table(write.collection), write.after)
        except BaseException:
            self._back_to(mark)
            raise

    def append(self, collection: Collection[R], records: Sequence[R]) -> None:
        """See Session."""
        table, replace, number = self._table(collection), msgspec.structs.replace, self._state.seq
        is_checked = bool(collection.values or collection.unique)
        for record in records:
            self._state.seq = number = number + 1
            numbered = replace(record, **{collection.key: number})  # type: ignore[type-var]
            check_text(numbered)
            self._put(table, number, numbered)
            if is_checked:
                self._check(table, numbered)

    def start_over(self) -> None:
        """See Session."""
        self._state.seq = 0

    def _put(self, table: Table, key: Any, record: Any) -> None:
        self._undo.append((table, key, table.put(key, record)))

    def _check(self, table: Table, record: Any) -> None:
        collection = table.collection
        for field, allowed in collection.values.items():
            value = to_scalar(getattr(record, field))
            if value is not None and value not in allowed:
                raise InputError(
                    f"{value!r} is no {field} of {collection.name}", field=field, given=value, bound=list(allowed)
                )
        for field in collection.unique:
            value = to_scalar(getattr(record, field))
            if value is not None and len(table.indexes[field][value]) > 1:
                raise ConflictError(
                    f"two {collection.name} cannot both have {value!r} as their {field}", field=field, given=value
                )

    def check_references(self) -> None:
        """Refuse what refers to nothing, now that the transaction is whole; raises ConflictError."""
        for table, key, before in self._undo:
            record = table.records.get(key)
            dangling = None if record is None else self._state.missing(table, record)
            if dangling is not None:
                raise refers_to_nothing(table.collection.name, *dangling)
            if before is not None and record is None:
                self._check_left(table, key)

    def _check_left(self, gone: Table, key: Any) -> None:
        for table, field, target in self._state.referring:
            if target == gone.collection.name and key in table.indexes[field]:
                raise refers_to_nothing(table.collection.name, field, key)

    def savepoint(self, level: int) -> None:
        """See Session."""
        self._marks[level] = len(self._undo), self._state.seq

    def rollback(self, level: int) -> None:
        """See Session."""
        self._back_to(self._marks.pop(level))

    def release(self, level: int) -> None:
        """See Session."""
        del self._marks[level]

    def undo(self) -> None:
        """Leave nothing of this transaction."""
        self._back_to((0, self._seq_before))

    def _back_to(self, mark: tuple[int, int]) -> None:
        kept, self._state.seq = mark
        while len(self._undo) > kept:
            table, key, before = self._undo.pop()
            table.put(key, before)
