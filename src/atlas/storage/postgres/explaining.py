"""How PostgreSQL would answer a query: its own plan, in the words that all stores share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import Connection

from ..explaining import Step
from ..query import Query
from .compile import Compiler

_SCANS = frozenset({"Index Scan", "Index Only Scan", "Bitmap Index Scan"})
_SORTS = frozenset({"Sort", "Incremental Sort"})


def explain(connection: Connection, schema: str, query: Query[Any]) -> tuple[Step, ...]:
    """Return the steps that the server would take, and those that remain for this side."""
    compiler = Compiler(schema, query.collection)
    statement = compiler.aggregate(query) if query.aggregates else compiler.select(query)
    text, values = statement or compiler.candidates(query)
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {text}", values).fetchone()
    sizes = connection.execute(
        "SELECT relname, greatest(reltuples, 0)::bigint FROM pg_class WHERE relnamespace = to_regnamespace(%s)",
        (schema,),
    )
    assert row is not None
    plan = row[0][0]["Plan"]
    steps = list(_steps(plan, query.collection.name, dict(sizes.fetchall())))
    if statement is None:
        # What SQL cannot say is looked at and sorted here.
        rows = int(plan["Plan Rows"])
        steps += [Step(kind=kind, collection=query.collection.name, rows=rows) for kind in ("filter", "sort")]
    return tuple(steps)


def _steps(plan: Mapping[str, Any], collection: str, sizes: Mapping[str, int], table: str = "") -> Iterator[Step]:
    """Yield the steps of a plan from the inside out, as they are taken."""
    table = str(plan.get("Relation Name", table))
    for part in plan.get("Plans", ()):
        yield from _steps(part, collection, sizes, table)
    kind, rows = str(plan["Node Type"]), int(plan["Plan Rows"])
    name = collection if table.startswith(f"{collection}__from_") else table or collection
    if kind == "Seq Scan":
        yield Step(kind="scan", collection=name, rows=sizes.get(table, rows))
    elif kind in _SCANS:
        yield Step(kind="index", collection=name, index=str(plan["Index Name"]), rows=rows)
    elif kind in _SORTS:
        yield Step(kind="sort", collection=collection, rows=rows)
    if "Filter" in plan:
        yield Step(kind="filter", collection=name, rows=rows)
