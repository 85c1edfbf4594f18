"""Collections as tables and queries as SQL: bound parameters only, one table per collection.

Each table has `key`, `value` (the record as JSON text), `version`, `created_at` and `updated_at` where the record has
them, and one column for each indexed field, so that anyone with a SQL prompt can read it. A list field has a table
`collection__field (value, key)` of its own, text fields an FTS5 table `collection__text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

import msgspec

from ..errors import InputError
from ..model.path import Pattern
from .collection import Collection, to_scalar
from .query import Aggregate, Both, Compare, Condition, Negate, Order, Query, Trail
from .words import words_of

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_MOST = 2**63 - 1


@lru_cache(maxsize=1024)
def quoted(name: str) -> str:
    """Return an identifier as SQL; raises InputError for anything but lower-case letters, digits and underscores."""
    if not _NAME.match(name):
        raise InputError(f"{name!r} cannot name a table or column", field="name", given=name, bound="[a-z][a-z0-9_]*")
    return f'"{name}"'


def schema_of(collection: Collection[Any]) -> list[str]:
    """Return the statements that make a collection's tables and indexes."""
    name = collection.name
    table = quoted(name)
    lines = [*_key_lines(collection), '"value" TEXT NOT NULL CHECK (json_valid("value"))']
    lines += [_column_line(collection, column) for column in collection.stored]
    body = ",\n  ".join(lines)
    return [
        f"CREATE TABLE {table} (\n  {body}\n) STRICT",
        *(
            f"CREATE UNIQUE INDEX {quoted(f'{name}__by_{field}')} ON {table} ({quoted(field)})"
            for field in collection.unique
        ),
        *(_index(collection, fields) for fields in collection.indexes),
        *(_list_table(collection, field) for field in collection.lists),
        *([_text_table(name)] if collection.text else []),
    ]


def _index_name(collection: Collection[Any], fields: tuple[str, ...]) -> str:
    return f"{collection.name}__by_" + "_".join(field.strip("-?") for field in fields)


def _index(collection: Collection[Any], fields: tuple[str, ...]) -> str:
    plain = [field.rstrip("?") for field in fields]
    name = quoted(_index_name(collection, fields))
    columns = ", ".join(_index_column(collection, field) for field in plain)
    present = " AND ".join(f"{quoted(field.rstrip('?'))} IS NOT NULL" for field in fields if field.endswith("?"))
    return f"CREATE INDEX {name} ON {quoted(collection.name)} ({columns})" + (f" WHERE {present}" if present else "")


def planner_facts(collection: Collection[Any]) -> list[tuple[str, str, str]]:
    """Return table, index and typical shape (`sqlite_stat1`) of each index.

    Without them SQLite takes any equality to be selective, and would read every task that is not hidden to show ten.
    """
    facts: list[tuple[str, tuple[str, ...]]] = [(f"{collection.name}__by_{f}", (f,)) for f in collection.unique]
    facts += [(_index_name(collection, fields), fields) for fields in collection.indexes]
    return [(collection.name, name, _shape(collection, fields)) for name, fields in facts]


def _shape(collection: Collection[Any], fields: tuple[str, ...]) -> str:
    counts, most = [1_000_000], 1_000_000
    for field in fields:
        most = min(most, collection.alike.get(field.strip("-?"), 1))
        counts.append(most)
    return " ".join(str(count) for count in counts)


def _list_table(collection: Collection[Any], field: str) -> str:
    kind = "INTEGER" if collection.sequence else "TEXT"
    return (
        f'CREATE TABLE {quoted(f"{collection.name}__{field}")} (\n  "value" TEXT NOT NULL,\n  "key" {kind} NOT NULL,\n'
        '  PRIMARY KEY ("value", "key")\n) STRICT, WITHOUT ROWID'
    )


def _text_table(name: str) -> str:
    return (
        f"CREATE VIRTUAL TABLE {quoted(f'{name}__text')} USING fts5"
        "(words, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0')"
    )


def _key_lines(collection: Collection[Any]) -> list[str]:
    if collection.sequence:
        return ['"key" INTEGER PRIMARY KEY']
    if collection.text:
        return ['"n" INTEGER PRIMARY KEY', '"key" TEXT NOT NULL UNIQUE']
    return ['"key" TEXT NOT NULL PRIMARY KEY']


def _column_line(collection: Collection[Any], field: str) -> str:
    line = f"{quoted(field)} ANY"
    if field in collection.values:
        allowed = ", ".join("'" + value.replace("'", "''") + "'" for value in collection.values[field])
        line += f" CHECK ({quoted(field)} IN ({allowed}))"
    if field in collection.references:
        line += f' REFERENCES {quoted(collection.references[field])} ("key") DEFERRABLE INITIALLY DEFERRED'
    return line


def _index_column(collection: Collection[Any], field: str) -> str:
    name = field.lstrip("-")
    column = '"key"' if name == collection.key else quoted(name)
    return f"{column} DESC" if field.startswith("-") else column


class Statement(msgspec.Struct, frozen=True):
    """SQL text with its parameters."""

    text: str
    parameters: tuple[Any, ...]


class Compiler:
    """Compiles one query; parameters gather in the order of their marks."""

    def __init__(self, query: Query[Any]) -> None:
        self.query = query
        self.collection = query.collection
        self.parameters: list[Any] = []

    def select(self) -> Statement:
        """Return the statement for records (their `value`) or selected fields."""
        if self.query.trail is not None:
            return self._reach(self.query.trail)
        wanted = ", ".join(self.field(field) for field in self.query.fields) or f'{self._table}."value"'
        text = f"SELECT {wanted} FROM {self._table}"
        conditions = [] if self.query.condition is None else [self.condition(self.query.condition)]
        if self.query.start is not None:
            conditions.append(self._behind(self.query.sorting, self.query.start))
        if conditions:
            text += " WHERE " + " AND ".join(conditions)
        text += " ORDER BY " + ", ".join(
            self.field(o.field) + (" DESC" if o.descending else "") for o in self.query.sorting
        )
        if self.query.most is not None or self.query.skip:
            text += " LIMIT ? OFFSET ?"
            most = -1 if self.query.most is None else min(self.query.most, _MOST)
            self.parameters += [most, min(self.query.skip, _MOST)]
        return Statement(text, tuple(self.parameters))

    def _reach(self, trail: Trail) -> Statement:
        """Return the statement that goes along records: a value already found leads nowhere again, so circles end."""
        parts = ["SELECT value FROM json_each(?)"]
        self.parameters.append(msgspec.json.encode(trail.start).decode())
        for near, far in trail.along:
            text = f'SELECT {self.field(far)} FROM "found" CROSS JOIN {self._table}'
            text += f' ON {self.field(near)} = "found"."value" WHERE {self.field(far)} IS NOT NULL'
            if self.query.condition is not None:
                text += " AND " + self.condition(self.query.condition)
            parts.append(text)
        # Only a limit inside keeps the rest from being looked for.
        found = " UNION ".join(parts) + " LIMIT ?"
        self.parameters.append(-1 if self.query.most is None else min(self.query.most, _MOST))
        text = f'WITH RECURSIVE "found"("value") AS ({found}) SELECT "value" FROM "found" ORDER BY 1'
        return Statement(text, tuple(self.parameters))

    def count(self) -> Statement:
        """Return the statement that counts what the condition holds for."""
        text = f"SELECT count(*) FROM {self._table}"
        if self.query.condition is not None:
            text += " WHERE " + self.condition(self.query.condition)
        return Statement(text, tuple(self.parameters))

    def aggregate(self) -> Statement:
        """Return the statement for groups and their aggregates, in that order of columns."""
        groups = [self.field(field) for field in self.query.groups]
        wanted = [*groups, *(self._aggregate(a) for a in self.query.aggregates)]
        text = f"SELECT {', '.join(wanted)} FROM {self._table}"
        if self.query.condition is not None:
            text += " WHERE " + self.condition(self.query.condition)
        if groups:
            numbers = ", ".join(str(i + 1) for i in range(len(groups)))
            text += f" GROUP BY {numbers} ORDER BY {numbers}"
        return Statement(text, tuple(self.parameters))

    @property
    def _table(self) -> str:
        return quoted(self.collection.name)

    def _aggregate(self, aggregate: Aggregate) -> str:
        if aggregate.op not in {"count", "sum", "avg", "min", "max"}:
            raise InputError(f"no aggregate {aggregate.op!r}", field="aggregate", given=aggregate.op)
        if aggregate.op in {"sum", "avg"}:
            # SQLite would read numbers out of text.
            kind = f"typeof({self.field(aggregate.field)})"
            return f"{aggregate.op}(CASE WHEN {kind} <> 'text' THEN {self.field(aggregate.field)} END)"
        return f"{aggregate.op}({self.field(aggregate.field) if aggregate.field else '*'})"

    def field(self, field: str) -> str:
        """Return the SQL of a field: its column, or the value at its place in the JSON text."""
        collection = self.collection
        if field == collection.key:
            return f'{self._table}."key"'
        if field in collection.stored:
            return f"{self._table}.{quoted(field)}"
        self.parameters.append("$" + "".join(f'."{part}"' for part in field.split(".")))
        text = f'json_extract({self._table}."value", ?)'
        default = _default(collection, field)
        if default is not None:
            self.parameters.append(default)
            text = f"coalesce({text}, ?)"
        return f"atlas_time({text})" if _is_time(collection, field) else text

    def condition(self, part: Condition) -> str:
        """Return the SQL of a condition; null counts as false, which only a negation needs to be told."""
        if isinstance(part, Compare):
            return _COMPARE[part.op](self, part)
        if isinstance(part, Negate):
            return f"(NOT coalesce({self.condition(part.part)}, 0))"
        joined = [self.condition(inner) for inner in part.parts]
        if isinstance(part, Both):
            return f"({' AND '.join(joined)})" if joined else "(1)"
        return f"({' OR '.join(joined)})" if joined else "(0)"

    def _behind(self, sorting: tuple[Order, ...], start: tuple[Any, ...]) -> str:
        """Return the condition of lying behind a place, field by field from the last to the first."""
        # The leading bound is implied by the rest; without it no index would be used.
        lead = ""
        if start[0] is not None and not sorting[0].descending:
            lead = f"{self.field(sorting[0].field)} >= ? AND "
            self.parameters.append(start[0])
        text = ""
        for index, (order, value) in enumerate(zip(sorting, start, strict=True)):
            is_last = index == len(sorting) - 1
            text += f"({self._past(order, value)}" + (")" if is_last else f" OR ({self._at(order.field, value)} AND ")
        return f"({lead}{text}{'))' * (len(sorting) - 1)})"

    def _past(self, order: Order, value: Any) -> str:
        if value is None:
            return "0" if order.descending else f"{self.field(order.field)} IS NOT NULL"
        if order.descending:
            text = f"({self.field(order.field)} < ? OR "
            self.parameters.append(value)
            return f"{text}{self.field(order.field)} IS NULL)"
        text = f"{self.field(order.field)} > ?"
        self.parameters.append(value)
        return text

    def _at(self, field: str, value: Any) -> str:
        text = f"{self.field(field)} IS ?"
        self.parameters.append(value)
        return text


@lru_cache(maxsize=1024)
def _default(collection: Collection[Any], field: str) -> Any:
    """Return the comparable default of a field, which the JSON text leaves out."""
    if "." in field:
        return None
    for known in msgspec.structs.fields(collection.record):
        if known.name == field:
            if known.default is not msgspec.NODEFAULT:
                return to_scalar(known.default)
            if known.default_factory is not msgspec.NODEFAULT:
                return to_scalar(known.default_factory())
    return None


@lru_cache(maxsize=1024)
def _is_time(collection: Collection[Any], field: str) -> bool:
    kinds = {known.name: known.type for known in msgspec.structs.fields(collection.record)}
    kind = kinds.get(field)
    return datetime in (get_args(kind) or (kind,))


def _plain(sign: str) -> Callable[[Compiler, Compare], str]:
    def compiled(compiler: Compiler, part: Compare) -> str:
        if part.value is None:
            return "(0)"
        text = compiler.field(part.field)
        compiler.parameters.append(part.value)
        return f"({text} {sign} ?)"

    return compiled


def _equal(compiler: Compiler, part: Compare) -> str:
    text = compiler.field(part.field)
    if part.value is None:
        return f"({text} IS NULL)"
    compiler.parameters.append(part.value)
    return f"({text} = ?)"


def _unequal(compiler: Compiler, part: Compare) -> str:
    text = compiler.field(part.field)
    compiler.parameters.append(part.value)
    return f"({text} IS NOT ?)"


def _in(compiler: Compiler, part: Compare) -> str:
    text = compiler.field(part.field)
    if isinstance(part.value, Query):
        inner = Compiler(part.value).select()
        compiler.parameters += inner.parameters
        return f"({text} IN ({inner.text}))"
    kept = [value for value in part.value if value is not None]
    compiler.parameters.append(msgspec.json.encode(kept).decode())
    found = f"({text} IN (SELECT value FROM json_each(?)))"
    if len(kept) == len(part.value):
        return found
    return f"({found} OR {compiler.field(part.field)} IS NULL)"


def _like(compiler: Compiler, part: Compare) -> str:
    text = compiler.field(part.field)
    compiler.parameters.append(part.value)
    return f"({text} LIKE ? AND typeof({compiler.field(part.field)}) = 'text')"


def _glob(compiler: Compiler, part: Compare) -> str:
    pattern: Pattern = part.value
    bounds: list[tuple[Any, ...]] = []
    if pattern.low:
        bounds.append(("{} >= ?", pattern.low))
    if pattern.high is not None:
        bounds.append(("{} < ?", pattern.high))
    if pattern.subtree is not None:
        # One range with a filter keeps the order of the index; two ranges joined by OR would have to be sorted.
        bounds.append(("({} = ? OR {} >= ?)", pattern.subtree, pattern.subtree + "/"))
    elif pattern.text == "**":
        return f"({compiler.field(part.field)} IS NOT NULL)"
    else:
        bounds.append(("atlas_glob({}, ?)", pattern.regex))
    return f"({' AND '.join(_bound(compiler, part.field, *bound) for bound in bounds)})"


def _bound(compiler: Compiler, field: str, text: str, *values: Any) -> str:
    """Fill the places of a field in `text`, binding one value after each."""
    made = text
    for value in values:
        made = made.replace("{}", compiler.field(field), 1)
        compiler.parameters.append(value)
    return made


def _contains(compiler: Compiler, part: Compare) -> str:
    collection = compiler.collection
    table = quoted(collection.name)
    if part.field in collection.lists:
        compiler.parameters.append(part.value)
        return f'({table}."key" IN (SELECT "key" FROM {quoted(f"{collection.name}__{part.field}")} WHERE "value" = ?))'
    place = "$" + "".join(f'."{name}"' for name in part.field.split("."))
    compiler.parameters += [place, place, part.value]
    members = f"SELECT 1 FROM json_each({table}.\"value\", ?) AS item WHERE item.type = 'text' AND item.value = ?"
    return f"(json_type({table}.\"value\", ?) = 'array' AND EXISTS ({members}))"


def _exists(compiler: Compiler, part: Compare) -> str:
    return f"({compiler.field(part.field)} IS NOT NULL)"


def text_query(text: str) -> str | None:
    """Return the FTS5 query for every word of `text` as the beginning of a word; None where there is no word."""
    words = words_of(text)
    return " ".join(f'"{word}"*' for word in words) or None


def _match(compiler: Compiler, part: Compare) -> str:
    collection = compiler.collection
    asked = text_query(part.value)
    if asked is None or not collection.text:
        return "(0)"
    table = quoted(f"{collection.name}__text")
    compiler.parameters.append(asked)
    return f"({quoted(collection.name)}.rowid IN (SELECT rowid FROM {table} WHERE {table} MATCH ?))"


_COMPARE: dict[str, Callable[[Compiler, Compare], str]] = {
    "eq": _equal,
    "ne": _unequal,
    "gt": _plain(">"),
    "ge": _plain(">="),
    "lt": _plain("<"),
    "le": _plain("<="),
    "in": _in,
    "like": _like,
    "glob": _glob,
    "contains": _contains,
    "exists": _exists,
    "match": _match,
}
