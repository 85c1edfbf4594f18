"""`python -m benchmarks.graphs [--most EDGES] [STORE …]`: walks through graphs of growing size, as tables.

A graph has three edges from each node to nodes drawn at random, so nearly all of it is reached from anywhere. Where
there is SQL, the hand-written recursive statement that finds and decodes the same nodes is timed in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atlas.storage.graph import GRAPH, Edge, Graph, Node, Walk, edge_id
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.sqlite import SqliteStore

from .backends import lasting
from .clock import alternate
from .machine import described
from .raw import raw_connection

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MOST = {"memory": 100_000, "sqlite": 1_000_000, "postgres": 100_000, "redis": 100_000}
OUT = 3
DEPTHS = (1, 2, 4, 6, 8)
ASKED = 200
CHUNK = 10_000

Raw = Callable[[int], int]
"""Runs the hand-written statement to a depth (0: all the way); returns how many nodes were decoded."""


def recursive(table: str, mark: str) -> tuple[str, str]:
    """Return the hand-written statements: all that is reached, and what is reached within a depth.

    `table` comes before the names of tables, `mark` stands for a value.
    """
    node, edge = f'{table}"node"', f'{table}"edge"'
    step = f'SELECT e."target"{{}} FROM found JOIN {edge} AS e ON e."source" = found.key{{}}'
    read = f'SELECT n."value" FROM {{}} AS f JOIN {node} AS n ON n."key" = f.key'
    start = f"SELECT CAST({mark} AS text)" + (' COLLATE "C"' if table else "")
    whole = f"WITH RECURSIVE found(key) AS ({start} UNION {step.format('', '')}) {read.format('found')}"
    near = step.format(", depth + 1", f" WHERE depth < {mark}")
    found = f"WITH RECURSIVE found(key, depth) AS ({start}, 0 UNION {near})"
    return whole, f"{found} {read.format('(SELECT DISTINCT key FROM found)')}"


def raw_of(run: Callable[[str, tuple[Any, ...]], Sequence[Any]], table: str, mark: str) -> Raw:
    """Return what runs the statements and decodes the nodes."""
    whole, deep = recursive(table, mark)
    decode = msgspec.json.Decoder(Node).decode

    def raw(depth: int) -> int:
        rows = run(deep, ("0", depth)) if depth else run(whole, ("0",))
        return len([decode(text) for (text,) in rows])

    return raw


@contextlib.asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncIterator[tuple[Store, Raw | None]]:
    """Give a new store of a kind, and the driver's own way where there is SQL."""
    if name == "memory":
        async with lasting(MemoryStore(GRAPH)) as store:
            yield store, None
    elif name == "sqlite":
        place = folder / f"{uuid.uuid4()}.db"
        async with lasting(SqliteStore(place, GRAPH)) as store:
            connection = raw_connection(place)
            yield store, raw_of(lambda text, values: connection.execute(text, values).fetchall(), "", "?")
            connection.close()
    elif name == "postgres":
        import psycopg
        from tests.contract.postgres_servers import server

        from atlas.storage.postgres import PostgresStore

        with server() as on, on.schema() as url, psycopg.connect(on.url, autocommit=True) as line:
            async with lasting(PostgresStore(url, GRAPH)) as store:
                schema = url.rpartition("schema=")[2]
                yield store, raw_of(lambda text, values: line.execute(text, values).fetchall(), f'"{schema}".', "%s")
    else:
        from tests.contract.redis_servers import running

        from atlas.storage.redis import RedisStore

        with running() as redis_server:
            async with lasting(RedisStore(redis_server.url("graph"), GRAPH)) as store:
                yield store, None


async def load(graph: Graph, edges: int) -> float:
    """Put a graph of so many edges; returns the seconds."""
    draw = random.Random(edges)
    count = edges // OUT
    begun = time.perf_counter()
    for start in range(0, count, CHUNK):
        await graph.load([Node(id=str(n), kind="file") for n in range(start, min(count, start + CHUNK))], [])
    for start in range(0, count, CHUNK // OUT):
        made = [
            Edge(id=edge_id(str(n), "uses", other), source=str(n), target=other, kind="uses")
            for n in range(start, min(count, start + CHUNK // OUT))
            for other in {str(draw.randrange(count)) for _ in range(OUT)}
        ]
        await graph.load([], made)
    return time.perf_counter() - begun


async def measured(name: str, edges: int, folder: Path) -> list[list[str]]:
    """Return the lines of a store and a size: one for all that is reached, one for neighbours, one for each depth."""
    async with opened(name, folder) as (store, raw):
        graph = Graph(store)
        seconds = await load(graph, edges)
        await store.maintain()
        head = [name, f"{edges:,}"]
        lines = [[*head, "load", "", f"{seconds:.2f} s", "", f"{edges / seconds:,.0f} edges/s"]]
        rounds = 5 if edges < 100_000 else 3 if edges < 1_000_000 else 1
        lines.append([*head, "neighbours", *await _near(graph, edges)])
        lines += [
            [*head, f"depth {depth or 'any'}", *await _walk(graph, raw, depth, rounds)] for depth in (*DEPTHS, None)
        ]
    return lines


async def _near(graph: Graph, edges: int) -> list[str]:
    draw = random.Random(7)
    asked = [str(draw.randrange(edges // OUT)) for _ in range(ASKED)]
    begun = time.perf_counter()
    found = sum([len(await graph.neighbours(each)) for each in asked])
    taken = (time.perf_counter() - begun) / ASKED
    return [f"{found / ASKED:.1f}", f"{taken * 1e3:.3f} ms", "", ""]


async def _walk(graph: Graph, raw: Raw | None, depth: int | None, rounds: int) -> list[str]:
    count = 0

    async def ours() -> float:
        nonlocal count
        begun = time.perf_counter()
        count = sum([1 async for _ in graph.traverse("0", Walk(depth=depth))])
        return time.perf_counter() - begun

    async def theirs() -> float:
        assert raw is not None
        begun = time.perf_counter()
        found = raw(depth or 0)
        taken = time.perf_counter() - begun
        assert found == count
        return taken

    await ours()
    if raw is None:
        (mine,) = await alternate(ours, rounds=rounds)
        return [f"{count:,}", f"{mine * 1e3:.2f} ms", "", f"{mine / count * 1e6:.1f} µs a node"]
    mine, best = await alternate(ours, theirs, rounds=rounds)
    return [f"{count:,}", f"{mine * 1e3:.2f} ms", f"{mine / best:.2f}", f"{mine / count * 1e6:.1f} µs a node"]


async def main(names: Sequence[str], most: int) -> None:
    """Measure, and print one table."""
    with tempfile.TemporaryDirectory(prefix="atlas-graphs-") as place:
        folder = Path(place)
        heads = ("Store", "Edges", "What", "Nodes", "Time", "Times the SQL", "")
        print(f"{described(folder)}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for name in names:
            for edges in SIZES:
                if edges <= min(most, MOST[name]):
                    for line in await measured(name, edges, folder):
                        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.graphs", description=__doc__)
    parser.add_argument("stores", nargs="*", choices=[*MOST, []], help=f"of {', '.join(MOST)}; all by themselves")
    parser.add_argument("--most", type=int, default=max(SIZES), help="edges of the largest graph")
    words = parser.parse_args()
    sys.exit(asyncio.run(main(words.stores or list(MOST), words.most)))
