"""Stores that answer queries wrongly, each in one way."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..errors import InputError
from ..storage.memory_session import MemorySession
from ..storage.overlay import Asked, Overlay
from ..storage.query import (
    Both,
    Compare,
    Condition,
    Either,
    Negate,
    Order,
    Query,
    both,
    check_query,
    either,
    eq,
    exists,
    like,
    match,
)
from ..storage.words import words_of
from .faults import Fault, breaks

T = TypeVar("T")

QUERY_FAULTS: dict[str, Fault] = {}
_breaks = partial(breaks, QUERY_FAULTS)


class _Rewriting(MemorySession):
    """Answers another question than the one asked."""

    def change(self, part: Condition) -> Condition:
        return part

    def _changed(self, part: Any) -> Any:
        if isinstance(part, (Both, Either)):
            return type(part)(tuple(self._changed(inner) for inner in part.parts))
        if isinstance(part, Negate):
            return self.change(Negate(self._changed(part.part)))
        return self.change(part)

    def query(self, query: Query[T]) -> list[Any]:
        asked = query.condition
        return super().query(query if asked is None else msgspec.structs.replace(query, condition=self._changed(asked)))


@_breaks("equality_tells_absent_from_zero")
class _DropsAbsentFromUnequal(_Rewriting):
    def change(self, part: Condition) -> Condition:
        return both(part, exists(part.field)) if isinstance(part, Compare) and part.op == "ne" else part


@_breaks("an_absent_field_compares_as_false")
class _KnowsUnknown(_Rewriting):
    def change(self, part: Condition) -> Condition:
        if isinstance(part, Negate) and isinstance(part.part, Compare) and part.part.op in {"gt", "ge", "lt", "le"}:
            return both(part, exists(part.part.field))
        return part


@_breaks("numbers_come_before_text")
class _ReadsNumbersFromText(_Rewriting):
    def change(self, part: Condition) -> Condition:
        if isinstance(part, Compare) and part.op == "eq" and str(part.value).isdigit():
            return either(eq(part.field, int(part.value)), eq(part.field, str(part.value)))
        return part


@_breaks("a_glob_respects_segments")
class _GlobsAcrossSegments(_Rewriting):
    def change(self, part: Condition) -> Condition:
        if isinstance(part, Compare) and part.op == "glob":
            return like(part.field, part.value.text.replace("**", "*").replace("*", "%").replace("?", "_"))
        return part


@_breaks("a_list_contains_whole_members")
class _FindsPartsOfMembers(_Rewriting):
    def change(self, part: Condition) -> Condition:
        return like(part.field, f"%{part.value}%") if isinstance(part, Compare) and part.op == "contains" else part


@_breaks("words_are_found_by_their_beginnings")
class _MatchesAnyWord(_Rewriting):
    def change(self, part: Condition) -> Condition:
        if isinstance(part, Compare) and part.op == "match":
            return either(*(match(word) for word in words_of(part.value)))
        return part


@_breaks("absent_values_come_first_upwards")
class _SortsAbsentLast(MemorySession):
    def query(self, query: Query[T]) -> list[Any]:
        found = super().query(query)
        if not query.order or query.order[0].descending or query.fields:
            return found
        field = query.order[0].field.partition(".")[0]
        return sorted(found, key=lambda record: getattr(record, field) is None)


@_breaks("each_field_has_its_own_direction")
class _BreaksTiesDownwards(MemorySession):
    def query(self, query: Query[T]) -> list[Any]:
        order = (*query.order, Order(query.collection.key, descending=True))
        return super().query(query if query.start else msgspec.structs.replace(query, order=order))


@_breaks("limit_and_offset_cut_the_ordered_rows")
class _TakesZeroForNoLimit(MemorySession):
    def query(self, query: Query[T]) -> list[Any]:
        return super().query(query.limit(query.most or None))


@_breaks("pages_show_every_row_once")
class _RepeatsTheLastRow(MemorySession):
    def query(self, query: Query[T]) -> list[Any]:
        if query.start is None:
            return super().query(query)
        whole = super().query(msgspec.structs.replace(query, start=None, most=None))
        behind = super().query(query.limit(None))
        return whole[max(0, len(whole) - len(behind) - 1) :][: query.most]


@_breaks("a_count_heeds_only_the_condition")
class _CountsAPage(MemorySession):
    def count(self, query: Query[Any]) -> int:
        return len(super().query(query))


@_breaks("aggregates_leave_absent_values_out")
class _SumsNothingToZero(MemorySession):
    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        return [
            {name: 0 if value is None else value for name, value in row.items()} for row in super().aggregate(query)
        ]


@_breaks("queries_see_buffered_writes")
class _QueriesTheCommitted(Overlay):
    def _prepare(self, query: Query[Any]) -> Asked:
        check_query(query)
        return self._session


class _AsksAnything(Overlay):
    """Takes a name that nothing has for one that holds nothing."""

    def _prepare(self, query: Query[Any]) -> Asked:
        with suppress(InputError):
            return super()._prepare(query)
        return self._session

    def query(self, query: Query[Any]) -> list[Any]:
        with suppress(AttributeError, TypeError):
            return super().query(query)
        return []

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        with suppress(AttributeError, TypeError):
            return super().aggregate(query)
        return []


_breaks("an_impossible_query_is_refused")(_AsksAnything)


@_breaks("an_unknown_aggregate_is_refused")
class _ComputesAnything(_AsksAnything):
    """The same for aggregates."""
