"""Reads of a warm store: one record by its index, a page, and a subtree out of many tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atlas import Atlas, Task
from atlas.storage.query import Query, eq, glob
from atlas.work.collections import TASKS
from atlas.work.views import BRIEF_COLUMNS

from .clock import alternate, timed
from .raw import raw_connection
from .rows import Bench, Goal, Measured, at_most, row
from .stores import large, opened, small

READS = 2_000
PAGES = 200
SUBTREE = Query(TASKS).where(glob("path", "p0003/wide/**"))
DECODED = "the raw driver plus decoding"


@row("read", "one record by an index, warm", against=DECODED, goal=at_most(2))
async def read(bench: Bench) -> Measured:
    path = bench.place("reads.db")
    paths = [task.path for task in await small(path, 1_000)]

    async def work(a: Atlas, number: int) -> object:
        wanted = paths[number * 7 % len(paths)]
        return await a.store.read(lambda tx: tx.query(Query(TASKS).where(eq("path", wanted))))

    def raw(number: int) -> tuple[str, tuple[Any, ...]]:
        return 'SELECT "value" FROM "task" WHERE "path" = ?', (paths[number * 7 % len(paths)],)

    return await _compared(path, work, raw, times=READS)


@row("read-page", "a page of 20 by status, warm", against=DECODED, goal=at_most(2), is_bar=False)
async def read_page(bench: Bench) -> Measured:
    path = bench.place("pages.db")
    await small(path, 1_000)

    async def work(a: Atlas, _number: int) -> object:
        query = Query(TASKS).where(eq("hidden", False), eq("status", "PENDING")).order_by("path").limit(20)
        return await a.store.read(lambda tx: tx.query(query))

    text = 'SELECT "value" FROM "task" WHERE "hidden" = 0 AND "status" = ? ORDER BY "path" LIMIT 20'
    return await _compared(path, work, lambda _: (text, ("PENDING",)), times=PAGES)


@row("get", "tasks.get, with children, dependents and blocks", against=DECODED, goal=at_most(20), is_bar=False)
async def get(bench: Bench) -> Measured:
    path = bench.place("gets.db")
    paths = [task.path for task in await small(path, 1_000)]

    def raw(number: int) -> tuple[str, tuple[Any, ...]]:
        return 'SELECT "value" FROM "task" WHERE "path" = ?', (paths[number * 7 % len(paths)],)

    return await _compared(path, lambda a, number: a.tasks.get(paths[number * 7 % len(paths)]), raw, times=PAGES * 2)


async def _compared(
    path: Path, work: Callable[[Atlas, int], Any], statement: Callable[[int], tuple[str, Any]], *, times: int
) -> Measured:
    """Compare the time of one read with the raw driver's, decoding included."""
    connection = raw_connection(path)
    decode = msgspec.json.Decoder(Task).decode
    async with opened(path) as a:

        async def ours() -> float:
            start = time.perf_counter()
            for number in range(times):
                await work(a, number)
            return time.perf_counter() - start

        async def raw() -> float:
            start = time.perf_counter()
            for number in range(times):
                for (text,) in connection.execute(*statement(number)):
                    decode(text)
            return time.perf_counter() - start

        mine, best = await alternate(ours, raw)
    connection.close()
    return Measured(mine / times * 1e6, best / times * 1e6, "µs", mine / best)


@row(
    "subtree",
    "a subtree of 1,000 out of all tasks (100,000; 1,000,000 with --large), as lists read it",
    against="the raw indexed range scan",
    goal=at_most(3),
)
async def subtree(bench: Bench) -> Measured:
    path = await large(bench.folder, bench.tasks)
    return await _subtree(path, rounds=15, query=SUBTREE.select(*BRIEF_COLUMNS))


@row(
    "subtree-whole",
    "the same as whole tasks, decoded",
    against="the raw indexed range scan",
    goal=at_most(8),
    is_bar=False,
)
async def subtree_whole(bench: Bench) -> Measured:
    path = await large(bench.folder, bench.tasks)
    return await _subtree(path, rounds=15, query=SUBTREE)


async def _subtree(path: Path, *, rounds: int, query: Query[Task]) -> Measured:
    connection = raw_connection(path)
    text = 'SELECT "value" FROM "task" WHERE "path" >= ? AND "path" < ? ORDER BY "path"'
    async with opened(path) as a:
        found: list[Sequence[object]] = []

        async def ours() -> float:
            found.append([])
            return await timed(lambda: _kept(a, query, found))

        async def raw() -> float:
            start = time.perf_counter()
            found[-1:] = [connection.execute(text, ("p0003/wide", "p0003/wide0")).fetchall()]
            return time.perf_counter() - start

        await ours()
        await raw()
        mine, best = await alternate(ours, raw, rounds=rounds)
    connection.close()
    if len(found[-1]) != 1_000 or len(found[-2]) != 1_000:
        raise AssertionError(f"expected 1,000 tasks, found {len(found[-1])} and {len(found[-2])}")
    return Measured(mine * 1e3, best * 1e3, "ms", mine / best)


async def _kept(a: Atlas, query: Query[Task], found: list[Sequence[object]]) -> None:
    found[-1] = await a.store.read(lambda tx: tx.query(query))


@row("subtree-flat", "the same subtree out of all tasks", against="out of 10,000", goal=Goal("≤", 1.3))
async def subtree_flat(bench: Bench) -> Measured:
    brief = SUBTREE.select(*BRIEF_COLUMNS)
    many = await _subtree(await large(bench.folder, bench.tasks), rounds=10, query=brief)
    few = await _subtree(await large(bench.folder, 10_000), rounds=10, query=brief)
    return Measured(many.ours, few.ours, "ms", many.ours / few.ours)
