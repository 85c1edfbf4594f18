"""Queries as PostgreSQL's SQL, as far as that means exactly the same: what it cannot say is left to `evaluate`.

A condition compiles to SQL that holds for every record it means; `is_exact` says that it holds for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..collection import Collection
from ..query import Both, Compare, Condition, Negate, Order, Query, Trail
from ..sql import quoted
from ..words import words_of
from .columns import MIXED, REAL, TEXT, fitting, is_storable, kind_of

_MOST = 2**63 - 1
_LAST = "\U0010ffff"
_ABOVE = frozenset({"gt", "ge"})
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


class Part(NamedTuple):
    """SQL of a condition with its parameters."""

    text: str
    values: tuple[Any, ...] = ()
    is_exact: bool = True


ALWAYS, NEVER, PERHAPS = Part("TRUE"), Part("FALSE"), Part("TRUE", (), is_exact=False)


class Statement(NamedTuple):
    """SQL text with its parameters."""

    text: str
    values: tuple[Any, ...]


class Compiler:
    """Compiles queries of one collection in one schema, whose name comes quoted."""

    def __init__(self, schema: str, collection: Collection[Any]) -> None:
        self.schema = schema
        self.collection = collection
        self.table = f"{schema}.{quoted(collection.name)}"

    def select(self, query: Query[Any]) -> Statement | None:
        """Return the statement for records (their `value`) or selected fields; None where SQL cannot say it."""
        if query.trail is not None:
            return self._reach(query, query.trail)
        where = self._where(query)
        if where is None or not all(self._is_comparable(order.field) for order in query.sorting):
            return None
        if query.fields and all(self._is_comparable(field) for field in query.fields):
            wanted = ", ".join(self.column(field) for field in query.fields)
        else:
            wanted = 't."value"'
        text = f"SELECT {wanted} FROM {self.table} AS t WHERE {where.text} ORDER BY {self._order(query.sorting)}"
        values = where.values
        if query.most is not None or query.skip:
            text += " LIMIT %s OFFSET %s"
            values += (None if query.most is None else min(query.most, _MOST), min(query.skip, _MOST))
        return Statement(text, values)

    def _reach(self, query: Query[Any], trail: Trail) -> Statement | None:
        """Return the statement that goes along records: a value already found leads nowhere again, so circles end."""
        where = ALWAYS if query.condition is None else self.condition(query.condition)
        kinds = {kind_of(self.collection, field) for pair in trail.along for field in pair}
        kind = kinds.pop()
        start = [fitting(kind, value) for value in trail.start]
        if kinds or kind in {None, MIXED} or not where.is_exact or None in start:
            return None
        collated = ' COLLATE "C"' if kind == TEXT else ""
        ways = " UNION ALL ".join(
            f'SELECT {self.column(far)} FROM {self.table} AS t WHERE {self.column(near)} = f."value"'
            f" AND {self.column(far)} IS NOT NULL AND ({where.text})"
            for near, far in trail.along
        )
        text = (
            f'WITH RECURSIVE found("value") AS (SELECT unnest(%s::{kind}[]){collated} UNION '
            f'SELECT w."value" FROM found AS f CROSS JOIN LATERAL ({ways}) AS w("value")) '
            'SELECT "value" FROM (SELECT "value" FROM found LIMIT %s) AS nearest ORDER BY 1'
        )
        most = None if query.most is None else min(query.most, _MOST)
        return Statement(text, (start, *(value for _ in trail.along for value in where.values), most))

    def gives_fields(self, query: Query[Any]) -> bool:
        """Say whether `select` gives the selected fields and not whole records."""
        return bool(query.fields) and all(self._is_comparable(field) for field in query.fields)

    def candidates(self, query: Query[Any]) -> Statement:
        """Return the statement for records among which all those of the condition are."""
        where = ALWAYS if query.condition is None else self.condition(query.condition)
        return Statement(f'SELECT t."value" FROM {self.table} AS t WHERE {where.text}', where.values)

    def count(self, query: Query[Any]) -> Statement | None:
        """Return the statement that counts; None where SQL cannot say it."""
        where = ALWAYS if query.condition is None else self.condition(query.condition)
        if not where.is_exact:
            return None
        return Statement(f"SELECT count(*) FROM {self.table} AS t WHERE {where.text}", where.values)

    def aggregate(self, query: Query[Any]) -> Statement | None:
        """Return the statement for groups and what `summed` makes aggregates of; None where SQL cannot say it."""
        where = ALWAYS if query.condition is None else self.condition(query.condition)
        fields = [*query.groups, *(a.field for a in query.aggregates if a.field)]
        if not where.is_exact or not all(self._is_comparable(field) for field in fields):
            return None
        groups = [self.column(field) for field in query.groups]
        wanted = [*groups, *(self._aggregate(a.op, a.field) for a in query.aggregates)]
        text = f"SELECT {', '.join(wanted)} FROM {self.table} AS t WHERE {where.text}"
        if groups:
            numbers = [str(number) for number in range(1, len(groups) + 1)]
            text += f" GROUP BY {', '.join(numbers)} ORDER BY {', '.join(f'{n} NULLS FIRST' for n in numbers)}"
        return Statement(text, where.values)

    def _aggregate(self, op: str, field: str) -> str:
        if not field:
            return "count(*)"
        column = self.column(field)
        if op not in {"sum", "avg"}:
            return f"{op}({column})"
        kind = kind_of(self.collection, field)
        if kind == TEXT:
            return "NULL"
        if kind == REAL:
            # Summed here, since the sum of rounded sums depends on their order.
            return f"array_agg({column}) FILTER (WHERE {column} IS NOT NULL)"
        return f"ARRAY[sum({column}), count({column})]"

    def _where(self, query: Query[Any]) -> Part | None:
        """Return condition and cursor together; None unless they are exact."""
        parts = [] if query.condition is None else [self.condition(query.condition)]
        if query.start is not None:
            parts.append(self._behind(query.sorting, query.start))
        joined = _joined(parts, " AND ", ALWAYS)
        return joined if joined.is_exact else None

    def column(self, field: str) -> str:
        """Return the SQL of a field that has a column."""
        return 't."key"' if field == self.collection.key else f"t.{quoted(field)}"

    def _is_comparable(self, field: str) -> bool:
        return kind_of(self.collection, field) not in {None, MIXED}

    def _order(self, sorting: Sequence[Order]) -> str:
        return ", ".join(direction(self.collection, order.field, order.descending) for order in sorting)

    def condition(self, part: Condition) -> Part:
        """Return the SQL of a condition; null counts as false, which only a negation needs to be told."""
        if isinstance(part, Compare):
            return self._compare(part)
        if isinstance(part, Negate):
            inner = self.condition(part.part)
            return Part(f"({inner.text}) IS NOT TRUE", inner.values) if inner.is_exact else PERHAPS
        joined = [self.condition(inner) for inner in part.parts]
        return _joined(joined, " AND ", ALWAYS) if isinstance(part, Both) else _joined(joined, " OR ", NEVER)

    def _compare(self, part: Compare) -> Part:
        if part.op == "match":
            return self._match(part.value)
        if part.op == "contains":
            return self._contains(part)
        kind = kind_of(self.collection, part.field)
        if kind is None or kind == MIXED:
            return PERHAPS
        column = self.column(part.field)
        if part.op in _SIGNS:
            return _ordered(column, kind, part.op, part.value)
        return _COMPARE[part.op](self, column, kind, part.value)

    def _contains(self, part: Compare) -> Part:
        if part.field not in self.collection.lists or not isinstance(part.value, str):
            return PERHAPS
        if not is_storable(part.value):
            return NEVER
        table = f"{self.schema}.{quoted(f'{self.collection.name}__{part.field}')}"
        return Part(f't."key" IN (SELECT l."key" FROM {table} AS l WHERE l."value" = %s)', (part.value,))

    def _match(self, text: str) -> Part:
        words = words_of(text)
        if not words or not self.collection.text:
            return NEVER
        table = f"{self.schema}.{quoted(f'{self.collection.name}__text')}"
        one = f't."key" IN (SELECT w."key" FROM {table} AS w WHERE w."word" >= %s AND w."word" < %s)'
        return _joined([Part(one, (word, word + _LAST)) for word in dict.fromkeys(words)], " AND ", NEVER)

    def among(self, query: Query[Any]) -> Statement | None:
        """Return the statement of a query to be in, by its one field; None where SQL cannot say it."""
        return self.select(query) if self.gives_fields(query) else None

    def _behind(self, sorting: Sequence[Order], start: Sequence[Any]) -> Part:
        """Return the condition of lying behind a place, field by field from the last to the first."""
        if not all(self._is_comparable(order.field) for order in sorting):
            return PERHAPS
        made = NEVER
        for order, value in zip(reversed(sorting), reversed(start), strict=True):
            column, kind = self.column(order.field), str(kind_of(self.collection, order.field))
            behind = _joined([_equal(self, column, kind, value), made], " AND ", ALWAYS)
            made = _joined([_past(column, kind, order, value), behind], " OR ", NEVER)
        lead, value = sorting[0], start[0]
        if value is not None and not lead.descending:
            # Implied by the rest; without it no index would be used.
            kind = str(kind_of(self.collection, lead.field))
            made = _joined([_ordered(self.column(lead.field), kind, "ge", value), made], " AND ", ALWAYS)
        return made


def direction(collection: Collection[Any], field: str, is_descending: bool) -> str:
    """Return a column with the direction in which it is sorted, alike in queries and indexes; absent ones first."""
    if field == collection.key:
        return '"key" DESC' if is_descending else '"key"'
    return quoted(field) + (" DESC NULLS LAST" if is_descending else " NULLS FIRST")


def _joined(parts: Sequence[Part], word: str, empty: Part) -> Part:
    if not parts:
        return empty
    text = word.join(f"({part.text})" for part in parts)
    return Part(text, tuple(v for part in parts for v in part.values), all(part.is_exact for part in parts))


def _ordered(column: str, kind: str, op: str, value: Any) -> Part:
    if value is None:
        return NEVER
    if isinstance(value, str) != (kind == TEXT):
        # Numbers come before text.
        return Part(f"{column} IS NOT NULL") if (op in _ABOVE) == (kind == TEXT) else NEVER
    bound = fitting(kind, value)
    return PERHAPS if bound is None else Part(f"{column} {_SIGNS[op]} %s", (bound,))


def _past(column: str, kind: str, order: Order, value: Any) -> Part:
    if value is None:
        return NEVER if order.descending else Part(f"{column} IS NOT NULL")
    if not order.descending:
        return _ordered(column, kind, "gt", value)
    return _joined([_ordered(column, kind, "lt", value), Part(f"{column} IS NULL")], " OR ", NEVER)


def _equal(_: Compiler, column: str, kind: str, value: Any) -> Part:
    if value is None:
        return Part(f"{column} IS NULL")
    bound = fitting(kind, value)
    return NEVER if bound is None else Part(f"{column} = %s", (bound,))


def _unequal(_: Compiler, column: str, kind: str, value: Any) -> Part:
    if value is None:
        return Part(f"{column} IS NOT NULL")
    bound = fitting(kind, value)
    return ALWAYS if bound is None else Part(f"{column} IS DISTINCT FROM %s", (bound,))


def _in(compiler: Compiler, column: str, kind: str, value: Any) -> Part:
    if isinstance(value, Query):
        inner = Compiler(compiler.schema, value.collection).among(value)
        if inner is None or kind_of(value.collection, value.fields[0]) != kind:
            return PERHAPS
        return Part(f"{column} IN ({inner.text})", inner.values)
    fits = [bound for bound in (fitting(kind, each) for each in value if each is not None) if bound is not None]
    found = [Part(f"{column} = ANY(%s::{kind}[])", (fits,))] if fits else []
    if None in value:
        found.append(Part(f"{column} IS NULL"))
    return _joined(found, " OR ", NEVER)


def _like(_: Compiler, column: str, kind: str, value: Any) -> Part:
    if kind != TEXT:
        return NEVER
    # Of the collation "C", only ASCII letters lose their case.
    return Part(f"{column} ILIKE %s ESCAPE ''", (value,)) if is_storable(value) else NEVER


def _glob(_: Compiler, column: str, kind: str, value: Any) -> Part:
    if kind != TEXT:
        return NEVER
    if value.text == "**":
        return Part(f"{column} IS NOT NULL")
    if value.low == value.text:
        return Part(f"{column} = %s", (value.text,))
    parts = [Part(f"{column} >= %s", (value.low,))] if value.low else []
    if value.high is not None:
        parts.append(Part(f"{column} < %s", (value.high,)))
    if value.subtree is not None:
        parts.append(Part(f"{column} = %s OR {column} >= %s", (value.subtree, value.subtree + "/")))
    else:
        # Atomic groups only spare a backtracking matcher time; this one does not backtrack.
        parts.append(Part(f"{column} ~ %s", ("^" + value.regex.replace("(?>", "(?:"),)))
    return _joined(parts, " AND ", ALWAYS)


def _exists(_: Compiler, column: str, __: str, ___: Any) -> Part:
    return Part(f"{column} IS NOT NULL")


_COMPARE: dict[str, Callable[[Compiler, str, str, Any], Part]] = {
    "eq": _equal,
    "ne": _unequal,
    "in": _in,
    "like": _like,
    "glob": _glob,
    "exists": _exists,
}
