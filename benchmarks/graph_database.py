"""`python -m benchmarks.graph_database [--most EDGES]`: a graph moves from SQLite into LadybugDB, and both are timed.

It does what docs/graph.md tells users to do: export to CSV, load, compare counts, digests and a walk. Needs the
package `ladybug`, which Atlas itself does not.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from atlas.storage.graph import EDGES, GRAPH, NODES, Edge, Graph, Node
from atlas.storage.plain import Storage
from atlas.storage.sqlite import SqliteStore

from .backends import lasting
from .graphs import SIZES, load
from .machine import described
from .raw import raw_connection

SCHEMA = (
    "CREATE NODE TABLE Node(id STRING PRIMARY KEY, kind STRING, data STRING)",
    "CREATE REL TABLE Edge(FROM Node TO Node, id STRING, kind STRING, data STRING)",
)
REACHED = """
WITH RECURSIVE found(key) AS (
  VALUES ('0') UNION SELECT e."target" FROM found JOIN "edge" AS e ON e."source" = found.key
)
SELECT count(*) - 1 FROM found
"""
TRIANGLES = """
SELECT count(*) FROM "edge" AS a JOIN "edge" AS b ON b."source" = a."target"
JOIN "edge" AS c ON c."source" = b."target" AND c."target" = a."source"
"""
WORK = {
    "count what is reached": (
        REACHED,
        "MATCH (a:Node {id: '0'})-[e:Edge* SHORTEST 1..30]->(b:Node) WHERE b.id <> '0' RETURN count(*)",
    ),
    "count ways of two edges": (
        'SELECT count(*) FROM "edge" AS a JOIN "edge" AS b ON b."source" = a."target"',
        "MATCH (a:Node)-[:Edge]->(b:Node)-[:Edge]->(c:Node) RETURN count(*)",
    ),
    "count triangles": (
        TRIANGLES,
        "MATCH (a:Node)-[:Edge]->(b:Node)-[:Edge]->(c:Node)-[:Edge]->(a) RETURN count(*)",
    ),
}
"""The same question in SQL and in Cypher."""
AWKWARD = (
    Node(id='a "quoted", name', data={"text": "lines\nand\r\nlines, \\ and é"}),
    Node(id="null", kind="NULL", data={"nothing": None}),
    Node(id=" \n", kind="\\"),
)
"""What files of comma-separated values easily lose."""


def digest(rows: Iterable[Iterable[Any]]) -> str:
    """Return the digest of rows, whatever their order."""
    total = 0
    for row in rows:
        total += int.from_bytes(hashlib.blake2b(msgspec.json.encode(list(row)), digest_size=16).digest())
    return f"{total:x}"


def text_of(data: dict[str, Any]) -> str:
    """Return an object as JSON text, the same for the same object."""
    return msgspec.json.encode(data, order="sorted").decode()


async def exported(store: SqliteStore, folder: Path) -> dict[str, tuple[int, str]]:
    """Write nodes.csv and edges.csv, a page at a time; returns count and digest of each."""
    told = {}
    nodes = ((n.id, n.kind, text_of(n.data)) async for n in Storage(store, NODES).query())
    told["nodes"] = await _written(folder / "nodes.csv", nodes)
    edges = ((e.source, e.target, e.id, e.kind, text_of(e.data)) async for e in Storage(store, EDGES).query())
    told["edges"] = await _written(folder / "edges.csv", edges)
    return told


async def _written(path: Path, rows: Any) -> tuple[int, str]:
    count, total = 0, 0
    with path.open("w", newline="", encoding="utf-8") as file:
        # Unquoted, an empty text would come back as null.
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        async for row in rows:
            writer.writerow(row)
            count += 1
            total += int(digest([row]), 16)
    return count, f"{total:x}"


def imported(connection: Any, folder: Path) -> dict[str, tuple[int, str]]:
    """Load the files; returns count and digest of what is there afterwards."""
    for text in SCHEMA:
        connection.execute(text)
    how = "(HEADER=false, PARALLEL=false, AUTO_DETECT=false, ESCAPE='\"')"
    connection.execute(f'COPY Node FROM "{folder / "nodes.csv"}" {how}')
    connection.execute(f'COPY Edge FROM "{folder / "edges.csv"}" {how}')
    asked = {
        "nodes": "MATCH (n:Node) RETURN n.id, n.kind, n.data",
        "edges": "MATCH (a:Node)-[e:Edge]->(b:Node) RETURN a.id, b.id, e.id, e.kind, e.data",
    }
    told = {}
    for name, text in asked.items():
        rows = rows_of(connection, text)
        told[name] = len(rows), digest(rows)
    return told


def rows_of(connection: Any, text: str) -> list[Any]:
    """Return all rows of a query."""
    answer, rows = connection.execute(text), []
    while answer.has_next():
        rows.append(answer.get_next())
    return rows


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the best of three times, and what it came to."""
    rounds = []
    for _ in range(3):
        begun = time.perf_counter()
        found = run()
        rounds.append((time.perf_counter() - begun, found))
    return min(rounds)


def line(name: str, edges: int, here: float, there: float) -> None:
    """Print what a question took on either side."""
    print(f"| {edges:,} | {name} | {here * 1e3:.1f} ms | {there * 1e3:.1f} ms | {here / there:.1f} |", flush=True)


async def compared(edges: int, folder: Path) -> None:
    """Move a graph of so many edges, and print a line for each question."""
    ladybug = importlib.import_module("ladybug")
    path = folder / f"{edges}.db"
    async with lasting(SqliteStore(path, GRAPH)) as store:
        assert isinstance(store, SqliteStore)
        await load(Graph(store), edges)
        await Graph(store).load(AWKWARD, [Edge(id='"', source=" \n", target="null", kind="")])
        await store.maintain()
        begun = time.perf_counter()
        given = await exported(store, folder)
        out = time.perf_counter() - begun
        connection = ladybug.Connection(ladybug.Database(str(folder / f"{edges}.lbug")))
        begun = time.perf_counter()
        assert imported(connection, folder) == given
        taken = time.perf_counter() - begun
        print(f"| {edges:,} | move: export {out:.2f} s, load and verify {taken:.2f} s | | | |", flush=True)
        reach = "MATCH (a:Node {id: '0'})-[e:Edge* SHORTEST 1..30]->(b:Node) RETURN b.id, b.kind, b.data, length(e)"
        rounds, here = [], dict[str, int]()
        for _ in range(3):
            begun = time.perf_counter()
            here = {step.node.id: step.depth async for step in Graph(store).traverse("0")}
            rounds.append(time.perf_counter() - begun)
        theirs, found = timed(lambda: rows_of(connection, reach))
        assert {row[0]: row[3] for row in found if row[0] != "0"} == {
            key: depth for key, depth in here.items() if depth
        }
        line("traverse: read what is reached", edges, min(rounds), theirs)
        raw = raw_connection(path)
        for name, (sql, cypher) in WORK.items():
            mine, counted = timed(lambda sql=sql: raw.execute(sql).get)  # type: ignore[misc]
            theirs, found = timed(lambda cypher=cypher: rows_of(connection, cypher)[0][0])  # type: ignore[misc]
            assert counted == found, (name, counted, found)
            line(name, edges, mine, theirs)
        raw.close()


async def main(most: int) -> None:
    """Measure, and print one table."""
    with tempfile.TemporaryDirectory(prefix="atlas-graphs-") as place:
        print(f"{described(Path(place))}\n\n| Edges | What | SQLite | LadybugDB | SQLite / LadybugDB |\n|{'---|' * 5}")
        for edges in SIZES:
            if edges <= most:
                await compared(edges, Path(place))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.graph_database", description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="edges of the largest graph")
    sys.exit(asyncio.run(main(parser.parse_args().most)))
