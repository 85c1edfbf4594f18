"""Which records a query has to look at: ranges of indexes that its condition and order allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..collection import Scalar
from ..query import Both, Compare, Either, Order, Query
from ..words import words_of
from .layout import PRESENT, TEXT, Field, Index, Shelf, behind, encoded, encoded_text

MOST_RANGES = 256

Range = tuple[bytes, bytes | None]
"""At or above, and below; None: no end."""


class Fact(msgspec.Struct):
    """What a condition demands of one field: one of `values`, or a code at or above `low` and below `high`."""

    values: list[Scalar] | None = None
    low: bytes = b""
    high: bytes | None = None

    def narrow(self, low: bytes, high: bytes | None) -> None:
        """Demand these bounds as well."""
        self.low = max(self.low, low)
        if high is not None:
            self.high = high if self.high is None else min(self.high, high)

    @property
    def is_present(self) -> bool:
        """Whether records without the field are left out."""
        return None not in self.values if self.values is not None else self.low >= PRESENT


class Way(msgspec.Struct, frozen=True):
    """One index with the ranges to look through; `order`: forward or reverse is the query's order, as far as known."""

    index: Index
    ranges: Sequence[Range]
    is_narrow: bool
    order: str | None = None


def parts_of(condition: Any) -> Iterator[Compare]:
    """Return the comparisons that all have to hold."""
    if isinstance(condition, Compare):
        yield condition
    elif isinstance(condition, Both):
        for part in condition.parts:
            yield from parts_of(part)


def facts_of(condition: Any) -> dict[str, Fact]:
    """Return what a condition demands of each field, as far as an index can use it."""
    facts: dict[str, Fact] = {}
    for part in parts_of(condition):
        fact = facts.setdefault(part.field, Fact())
        if part.op in {"eq", "in"}:
            values = list(dict.fromkeys(part.value)) if part.op == "in" else [part.value]
            if fact.values is None or len(values) < len(fact.values):
                fact.values = values
        else:
            _narrow(fact, part.op, part.value)
    return facts


def _narrow(fact: Fact, op: str, value: Any) -> None:
    if op == "exists" or (op == "ne" and value is None):
        fact.narrow(PRESENT, None)
    elif op in {"gt", "ge"} and value is not None:
        fact.narrow(encoded(value), None)
    elif op in {"lt", "le"} and value is not None:
        fact.narrow(PRESENT, behind(encoded(value)))
    elif op == "glob":
        fact.narrow(encoded_text(value.low), behind(TEXT) if value.high is None else encoded_text(value.high))
    elif op == "like":
        fact.narrow(TEXT, behind(TEXT))


def ways_of(query: Query[Any], shelf: Shelf) -> list[Way]:
    """Return the ways to answer a query; the last resort, all records by key, is always among them."""
    facts = facts_of(query.condition)
    made = [_by_columns(index, facts, query) for index in (*shelf.columns, shelf.by_key)]
    return [*(way for way in made if way is not None), *_by_values(query, shelf)]


def _by_columns(index: Index, facts: dict[str, Fact], query: Query[Any]) -> Way | None:
    starts, number = [b""], 0
    for field in index.fields:
        values = facts[field.name].values if field.name in facts else None
        if values is None or len(starts) * len(values) > MOST_RANGES:
            break
        starts = [start + field.code(value) for start in starts for value in values]
        number += 1
    if any(field.is_sparse and not (field.name in facts and facts[field.name].is_present) for field in index.fields):
        return None
    rest = (*index.fields[number:], Field(query.collection.key))
    fact = facts.get(rest[0].name, Fact())
    low, high = rest[0].between(fact.low, fact.high)
    ranges = [_below(start, low, high) for start in starts]
    is_narrow = number > 0 or fact.low > b"" or fact.high is not None
    order = _order_of(rest, [field.name for field in index.fields[:number]], query) if len(starts) == 1 else None
    if order is not None and query.start is not None:
        ranges = [_from_start(ranges[0], starts[0], rest, order, query)]
    return Way(index, ranges, is_narrow, order)


def _below(start: bytes, low: bytes, high: bytes | None) -> Range:
    return start + low, behind(start) if high is None else start + high


def _order_of(rest: Sequence[Field], fixed: Sequence[str], query: Query[Any]) -> str | None:
    key = query.collection.key
    held = _up_to(key, [Order(field.name, field.is_descending) for field in rest])
    wanted = _up_to(key, [order for order in query.sorting if order.field not in fixed])
    if held == wanted:
        return "forward"
    return "reverse" if held == [Order(order.field, not order.descending) for order in wanted] else None


def _up_to(key: str, orders: Sequence[Order]) -> list[Order]:
    names = [order.field for order in orders]
    return list(orders[: names.index(key) + 1]) if key in names else list(orders)


def _from_start(bounds: Range, start: bytes, rest: Sequence[Field], order: str, query: Query[Any]) -> Range:
    """Leave out what lies before the cursor's place; the row at the place itself stays in."""
    assert query.start is not None
    values = dict(zip((o.field for o in query.sorting), query.start, strict=True))
    place = start
    for field in rest:
        place += field.code(values[field.name])
        if field.name == query.collection.key:
            break
    low, high = bounds
    if order == "forward":
        return max(low, place), high
    end = behind(place)
    return low, end if high is None or (end is not None and end < high) else high


def _by_values(query: Query[Any], shelf: Shelf) -> Iterator[Way]:
    for part in parts_of(query.condition):
        if part.op == "contains" and part.field in shelf.lists and isinstance(part.value, str):
            code = encoded(part.value)
            yield Way(shelf.lists[part.field], [(code, behind(code))], is_narrow=True)
        elif part.op == "match" and shelf.words is not None:
            for word in words_of(part.value):
                code = encoded_text(word)
                yield Way(shelf.words, [(code, behind(code))], is_narrow=True)


def exact_way(query: Query[Any], shelf: Shelf) -> Way | None:
    """Return a way along which there are the records of the condition and no others, where an index knows that."""
    parts = [query.condition] if isinstance(query.condition, Compare) else getattr(query.condition, "parts", ())
    if isinstance(query.condition, Compare) and query.condition.op == "contains":
        return next(_by_values(query, shelf), None)
    names = {part.field for part in parts if isinstance(part, Compare) and part.op in {"eq", "in"}}
    if isinstance(query.condition, Either) or not parts or len(names) < len(parts):
        return None
    facts = facts_of(query.condition)
    for index in shelf.columns:
        if {field.name for field in index.fields[: len(names)]} == names and len(index.fields) >= len(names):
            way = _by_columns(index, facts, query)
            if way is not None and not any(field.is_sparse for field in index.fields[len(names) :]):
                return way if _spans(facts, names) <= MOST_RANGES else None
    return None


def _spans(facts: dict[str, Fact], names: Iterable[str]) -> int:
    return math.prod(len(facts[name].values or ()) for name in names)
