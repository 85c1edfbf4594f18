"""How a store would answer a query: step by step, over which indexes, and at about what cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from .protocol import Store, Transaction
from .query import Query, check_query

Kind = Literal["scan", "index", "join", "filter", "sort"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: what it looks at, by which index, and how many records it is expected to touch."""

    kind: Kind
    collection: str
    index: str | None = None
    rows: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a query; `cost` counts the records that all of them touch, a sorted one twice."""

    steps: tuple[Step, ...]

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes used, each once."""
        return tuple(dict.fromkeys(step.index for step in self.steps if step.index is not None))

    @property
    def cost(self) -> int:
        """About how many records are touched."""
        return sum(step.rows * (2 if step.kind == "sort" else 1) for step in self.steps)


@runtime_checkable
class Explains(Protocol):
    """A store that knows how it would answer."""

    async def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """Return the steps on the query's own collection."""
        ...


async def explain(store: Store, query: Query[Any]) -> Plan:
    """Return the plan of a query, joins included; raises InputError for what no collection has."""
    check_query(query)
    own = msgspec.structs.replace(query, joins=(), kept=None)
    if query.joins:
        own = Query(query.collection)
    steps = await store.explain(own) if isinstance(store, Explains) else await _by_counting(store, own)
    made = list(steps)
    for join in query.joins:
        index = join.key if join.key in _indexed(join.collection) else None
        made.append(Step(kind="join", collection=join.collection.name, index=index, rows=made[-1].rows if made else 0))
    if query.joins and query.condition is not None:
        made.append(Step(kind="filter", collection=query.collection.name, rows=made[-1].rows))
    return Plan(steps=tuple(made))


def _indexed(collection: Any) -> set[str]:
    leading = {fields[0].strip("-?") for fields in collection.indexes}
    return {collection.key, *collection.unique, *leading}


async def _by_counting(store: Store, query: Query[Any]) -> tuple[Step, ...]:
    """Return the steps of a store that does not tell: everything is looked at, and counted."""

    def count(tx: Transaction) -> int:
        return tx.count(Query(query.collection))

    return looked_at(query, await store.read(count), None, rows=None)


def looked_at(query: Query[Any], total: int, index: str | None, rows: int | None) -> tuple[Step, ...]:
    """Return the steps of a store that goes through records in memory: all of them, or those that an index leaves."""
    name = query.collection.name
    touched = total if rows is None else rows
    steps = [Step(kind="scan" if rows is None else "index", collection=name, index=index, rows=touched)]
    if query.condition is not None:
        steps.append(Step(kind="filter", collection=name, rows=touched))
    steps.append(Step(kind="sort", collection=name, rows=touched))
    return tuple(steps)


_DETAIL = re.compile(
    r"(?P<kind>SCAN|SEARCH) (?P<table>\S+)(?: USING (?:(?:COVERING )?INDEX (?P<index>\S+)|(?P<key>.*)))?"
)


def steps_of(details: Sequence[str], query: Query[Any], rows: dict[str, int], total: int) -> tuple[Step, ...]:
    """Read the lines of SQLite's EXPLAIN QUERY PLAN; `rows` are the usual rows for one value of each index."""
    made = []
    for detail in details:
        found = _DETAIL.match(detail)
        if found is not None:
            index = found["index"] or ("key" if found["key"] else None)
            if found["kind"] == "SEARCH":
                made.append(Step(kind="index", collection=found["table"], index=index, rows=rows.get(index or "", 1)))
            else:
                made.append(Step(kind="scan", collection=found["table"], index=index, rows=total))
        elif "TEMP B-TREE" in detail:
            made.append(Step(kind="sort", collection=query.collection.name, rows=made[-1].rows if made else total))
    return tuple(made)
