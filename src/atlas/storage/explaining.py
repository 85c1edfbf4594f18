"""How a store would answer a query: step by step, over which indexes, and at about what cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from .protocol import Store
from .query import Query

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


async def explain(store: Store, query: Query[Any]) -> Plan:
    """Return how a store would answer a query now; raises InputError for what no collection has."""
    return await store.read(lambda tx: tx.explain(query))


def planned(query: Query[Any], steps_of: Callable[[Query[Any]], tuple[Step, ...]]) -> Plan:
    """Return the plan of a query, joins included, from the steps that a backend takes on one collection."""
    own = msgspec.structs.replace(query, joins=(), kept=None)
    made = list(steps_of(Query(query.collection) if query.joins else own))
    for join in query.joins:
        index = join.key if join.key in _indexed(join.collection) else None
        made.append(Step(kind="join", collection=join.collection.name, index=index, rows=made[-1].rows if made else 0))
    if query.joins and query.condition is not None:
        made.append(Step(kind="filter", collection=query.collection.name, rows=made[-1].rows))
    return Plan(steps=tuple(made))


def _indexed(collection: Any) -> set[str]:
    leading = {fields[0].strip("-?") for fields in collection.indexes}
    return {collection.key, *collection.unique, *leading}


def looked_at(query: Query[Any], total: int, index: str | None, rows: int | None) -> tuple[Step, ...]:
    """Return the steps of a store that goes through records in memory: all of them, or those that an index leaves."""
    name = query.collection.name
    touched = total if rows is None else rows
    steps = [Step(kind="scan" if rows is None else "index", collection=name, index=index, rows=touched)]
    if query.condition is not None:
        steps.append(Step(kind="filter", collection=name, rows=touched))
    steps.append(Step(kind="sort", collection=name, rows=touched))
    return tuple(steps)
