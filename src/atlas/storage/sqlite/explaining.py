"""How SQLite would answer a query: its own plan, in the words that all stores share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import apsw

from ..explaining import Step
from ..query import Query
from ..sql import Compiler, quoted


def explain(connection: apsw.Connection, query: Query[Any]) -> tuple[Step, ...]:
    """Return the steps that SQLite would take."""
    compiler = Compiler(query)
    statement = compiler.aggregate() if query.aggregates else compiler.select()
    table = query.collection.name
    lines = connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters).fetchall()
    facts = connection.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = ?", (table,)).fetchall()
    total = int(connection.execute(f"SELECT count(*) FROM {quoted(table)}").get)
    rows = {str(index): min(int(str(shape).split()[-1]), total) for index, shape in facts if index is not None}
    return steps_of([str(line[3]) for line in lines], query, rows, total)


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
