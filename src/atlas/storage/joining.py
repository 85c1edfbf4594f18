"""Joins, and conditions on groups: what the overlay adds to the queries of every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec

from .evaluate import aggregate_rows, condition_test, count_rows, select_rows
from .overlay import Asked
from .query import Both, Compare, Condition, Either, Join, Negate, Query, field_value, isin

Fetch = Callable[[Query[Any]], list[Any]]
"""Runs a query on one collection in the backend."""

_AT_ONCE = 1_000


class Row:
    """A record with those joined to it: its fields by their names, theirs by `name.field`."""

    __slots__ = ("_fields", "record")

    def __init__(self, record: Any, fields: dict[str, Any]) -> None:
        self.record = record
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            joined = self._fields[name]
            return None if joined is None else {key: getattr(joined, key) for key in joined.__struct_fields__}
        return None if self.record is None else getattr(self.record, name)

    def with_joined(self, name: str, record: Any) -> Row:
        """Return this row with one more record."""
        return Row(self.record, {**self._fields, name: record})

    def parts(self) -> tuple[Any, ...]:
        """Return the record and those joined to it, in the order of the joins."""
        return (self.record, *self._fields.values())


def select(query: Query[Any], fetch: Fetch) -> list[Any]:
    """Return the selected fields, or tuples of the record and those joined to it (None where there is none)."""
    found = select_rows(query, _source(query, fetch))
    return found if query.fields else [row.parts() for row in found]


def count(query: Query[Any], fetch: Fetch) -> int:
    """Count the rows of the condition."""
    return count_rows(query, _source(query, fetch))


def aggregate(query: Query[Any], session: Asked) -> list[dict[str, Any]]:
    """Return one row for each group, of joined rows too, for which the condition on groups holds."""
    fetch = session.query
    plain = msgspec.structs.replace(query, kept=None)
    rows = aggregate_rows(plain, _source(plain, fetch)) if query.joins else session.aggregate(plain)
    if query.kept is None:
        return rows
    test = condition_test(query.kept, lambda asked: fetch(Query(asked.collection)))
    return [row for row in rows if test(SimpleNamespace(**row))]


def _source(query: Query[Any], fetch: Fetch) -> Callable[[Query[Any]], Iterable[Any]]:
    def source(asked: Query[Any]) -> Iterable[Any]:
        return _rows(query, fetch) if asked is query else fetch(Query(asked.collection))

    return source


def _rows(query: Query[Any], fetch: Fetch) -> list[Row]:
    base = Query(query.collection)
    names = {join.name for join in query.joins}
    if not any(join.kind == "right" for join in query.joins):
        # What speaks of the record alone narrows it before anything is joined; rows without it do not exist then.
        parts = query.condition.parts if isinstance(query.condition, Both) else (query.condition,)
        own = [part for part in parts if part is not None and not _fields_of(part) & names]
        base = base.where(*own)
    rows = [Row(record, {}) for record in fetch(base)]
    for number, join in enumerate(query.joins):
        alone = Row(None, {earlier.name: None for earlier in query.joins[:number]})
        rows = list(_joined(rows, join, alone, fetch))
    return rows


def _joined(rows: list[Row], join: Join, alone: Row, fetch: Fetch) -> Iterator[Row]:
    """Yield each row with each of its partners; a partner of a right join that has no row stands beside `alone`."""
    values = [field_value(row, join.field) for row in rows]
    partners: dict[Any, list[Any]] = {}
    for record in _partners(join, values, fetch):
        partners.setdefault(field_value(record, join.key), []).append(record)
    met: set[Any] = set()
    for row, value in zip(rows, values, strict=True):
        found = [] if value is None else partners.get(value, [])
        met.update([value] if found else ())
        if not found and join.kind == "left":
            yield row.with_joined(join.name, None)
        for record in found:
            yield row.with_joined(join.name, record)
    if join.kind == "right":
        for value, records in partners.items():
            for record in records if value not in met else ():
                yield alone.with_joined(join.name, record)


def _partners(join: Join, values: list[Any], fetch: Fetch) -> list[Any]:
    if join.kind == "right":
        return fetch(Query(join.collection))
    wanted = list(dict.fromkeys(value for value in values if value is not None))
    found = []
    for start in range(0, len(wanted), _AT_ONCE):
        found += fetch(Query(join.collection).where(isin(join.key, wanted[start : start + _AT_ONCE])))
    return found


def _fields_of(part: Condition) -> set[str]:
    if isinstance(part, Compare):
        return {part.field.partition(".")[0]}
    if isinstance(part, Negate):
        return _fields_of(part.part)
    assert isinstance(part, (Both, Either))
    return {name for inner in part.parts for name in _fields_of(inner)}
