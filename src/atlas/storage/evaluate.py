"""Queries answered in memory: the meaning of a query that every other backend is held against.

Where `storage.query` leaves room: an absent field is `in` values that name None, and never in what a query selects;
`like` and `glob` look at text only, `contains` at lists only, and `sum` and `avg` at numbers only. Aggregates heed
the condition and the groups, and nothing else of the query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from .collection import Scalar
from .query import Both, Compare, Either, Negate, Order, Query, Trail, field_value, isin
from .words import matches_words, words_of

Source = Callable[[Query[Any]], Iterable[Any]]
"""Gives the records among which those of a query are: all of its collection, or fewer where an index knows."""

_Test = Callable[[Any], bool]


def select_rows(query: Query[Any], source: Source) -> list[Any]:
    """Return the records, or tuples of the selected fields, in the query's order."""
    if query.trail is not None:
        return _reached(query, query.trail, source)
    found = _matching(query, source)
    sorting = query.sorting
    if query.start is not None:
        found = [record for record in found if _is_behind(record, sorting, query.start)]
    for order in reversed(sorting):
        found.sort(key=_sort_key(order.field), reverse=order.descending)
    found = found[query.skip : None if query.most is None else query.skip + query.most]
    if not query.fields:
        return found
    return [tuple(field_value(record, field) for field in query.fields) for record in found]


def _reached(query: Query[Any], trail: Trail, source: Source) -> list[Any]:
    """Go level by level: all that the values found last lead to."""
    found, level = dict.fromkeys(trail.start), trail.start
    while level and (query.most is None or len(found) < query.most):
        beyond: dict[Any, None] = {}
        for near, far in trail.along:
            onward = Query(query.collection, query.condition).where(isin(near, level))
            beyond.update((field_value(record, far), None) for record in _matching(onward, source))
        level = tuple(value for value in beyond if value is not None and value not in found)
        found.update(dict.fromkeys(level))
    return [(value,) for value in sorted(list(found)[: query.most], key=rank_of)]


def count_rows(query: Query[Any], source: Source) -> int:
    """Count the records of the condition."""
    return len(_matching(query, source))


def aggregate_rows(query: Query[Any], source: Source) -> list[dict[str, Any]]:
    """Return one row for each group, sorted by the group's values; exactly one when there are no groups."""
    groups: dict[tuple[Scalar, ...], list[Any]] = {} if query.groups else {(): []}
    for record in _matching(query, source):
        groups.setdefault(tuple(field_value(record, field) for field in query.groups), []).append(record)
    made = []
    for values in sorted(groups, key=lambda values: [rank_of(value) for value in values]):
        row: dict[str, Any] = dict(zip(query.groups, values, strict=True))
        for wanted in query.aggregates:
            row[wanted.name] = _aggregated(wanted.op, wanted.field, groups[values])
        made.append(row)
    return made


def condition_test(part: Any, source: Source) -> _Test:
    """Return the test of a condition on any object with attributes; `source` gives the records of inner queries."""
    return _test_of(part, None, source)


def rank_of(value: Scalar) -> tuple[int, Any]:
    """Return what sorts `value` among values of any kind: absent ones, then numbers, then text."""
    if value is None:
        return 0, 0
    return (2, value) if isinstance(value, str) else (1, value)


def _matching(query: Query[Any], source: Source) -> list[Any]:
    if query.condition is None:
        return list(source(query))
    test = _test_of(query.condition, query, source)
    return [record for record in source(query) if test(record)]


def _sort_key(field: str) -> Callable[[Any], tuple[int, Any]]:
    return lambda record: rank_of(field_value(record, field))


def _is_behind(record: Any, sorting: Iterable[Order], start: tuple[Any, ...]) -> bool:
    for order, left in zip(sorting, start, strict=True):
        here, there = rank_of(field_value(record, order.field)), rank_of(left)
        if here != there:
            return (here < there) is order.descending
    return False


def _aggregated(op: str, field: str, records: list[Any]) -> Any:
    if op == "count" and not field:
        return len(records)
    values = [value for record in records if (value := field_value(record, field)) is not None]
    if op == "count":
        return len(values)
    if op in {"min", "max"}:
        return (min if op == "min" else max)(values, key=rank_of, default=None)
    numbers = [value for value in values if not isinstance(value, str)]
    if not numbers:
        return None
    is_whole = all(isinstance(number, int) for number in numbers)
    total = sum(numbers) if is_whole else math.fsum(numbers)
    return total if op == "sum" else total / len(numbers)


def _test_of(part: Any, query: Query[Any] | None, source: Source) -> _Test:
    if isinstance(part, Compare):
        return _compare_test(part, query, source)
    if isinstance(part, Negate):
        inner = _test_of(part.part, query, source)
        return lambda record: not inner(record)
    tests = [_test_of(inner, query, source) for inner in part.parts]
    if isinstance(part, Both):
        return lambda record: all(test(record) for test in tests)
    assert isinstance(part, Either)
    return lambda record: any(test(record) for test in tests)


def _compare_test(part: Compare, query: Query[Any] | None, source: Source) -> _Test:
    field, op, value = part.field, part.op, part.value
    if op == "match":
        return _match_test(value, () if query is None else query.collection.text)
    if op == "contains":
        return lambda record: _contains(_raw_value(record, field), value)
    test = _in_test(value, source) if op == "in" else _value_test(op, value)
    return lambda record: test(field_value(record, field))


def _value_test(op: str, value: Any) -> _Test:
    if op == "eq":
        return lambda held: bool(held == value)
    if op == "ne":
        return lambda held: bool(held != value)
    if op == "exists":
        return lambda held: held is not None
    if op == "glob":
        return lambda held: isinstance(held, str) and value.matches(held)
    if op == "like":
        regex = _like_regex(value)
        return lambda held: isinstance(held, str) and regex.match(held) is not None
    return _order_test(op, value)


def _order_test(op: str, value: Scalar) -> _Test:
    if value is None:
        return lambda _: False
    bound = rank_of(value)
    if op == "gt":
        return lambda held: held is not None and rank_of(held) > bound
    if op == "ge":
        return lambda held: held is not None and rank_of(held) >= bound
    if op == "lt":
        return lambda held: held is not None and rank_of(held) < bound
    return lambda held: held is not None and rank_of(held) <= bound


def _in_test(value: Any, source: Source) -> _Test:
    if not isinstance(value, Query):
        listed = frozenset(value)
        return lambda held: held in listed
    selected = frozenset(row[0] for row in select_rows(value, source)) - {None}
    return lambda held: held in selected


def _match_test(text: str, fields: tuple[str, ...]) -> _Test:
    asked = words_of(text)

    def test(record: Any) -> bool:
        held = (field_value(record, field) for field in fields)
        return matches_words(asked, {word for text in held if isinstance(text, str) for word in words_of(text)})

    return test


def _raw_value(record: Any, field: str) -> Any:
    name, *keys = field.split(".")
    value = getattr(record, name)
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _contains(held: Any, value: str) -> bool:
    return isinstance(held, (list, tuple, set, frozenset)) and value in held


@lru_cache(maxsize=512)
def _like_regex(text: str) -> re.Pattern[str]:
    """Translate `%` and `_`; every run but the last is atomic, so that matching never backtracks over the text."""
    chunks = ["".join("." if c == "_" else re.escape(c) for c in chunk) for chunk in text.split("%")]
    flags = re.DOTALL | re.IGNORECASE | re.ASCII
    if len(chunks) == 1:
        return re.compile(rf"{chunks[0]}\Z", flags)
    middle = "".join(f"(?>.*?{chunk})" for chunk in chunks[1:-1])
    return re.compile(rf"{chunks[0]}{middle}.*{chunks[-1]}\Z", flags)
