"""Changes with consequences: many dependents freed at once, and a leaf deep down among ever more tasks."""

from __future__ import annotations

import time
from pathlib import Path

from .clock import alternate
from .raw import captured_from
from .rows import Bench, Measured, at_least, at_most, row
from .stores import copied, large, opened
from .writes import raw_turn

DEPENDENTS = 1_000
LEAF = "p0000/g2/g3/g4/g5/g6/g7/t{:02d}"
LEAVES = 20


async def _gated(path: Path) -> None:
    """Make a store in which 1,000 tasks wait for one."""
    async with opened(path) as a:
        await a.tasks.create("p", type="GROUP")
        await a.tasks.create("p/gate")
        await a.tasks.bulk(
            [{"op": "create", "path": f"p/t{number}", "dependencies": ["p/gate"]} for number in range(DEPENDENTS)]
        )


async def _opened_gate(path: Path) -> float:
    async with opened(path) as a:
        # The first write makes the connection and its statements; every later one finds them.
        await a.tasks.update("p/gate", {"status": "IN_PROGRESS"})
        start = time.perf_counter()
        done = await a.tasks.update("p/gate", {"status": "COMPLETED"})
        taken = time.perf_counter() - start
    if done.affected_total < DEPENDENTS:
        raise AssertionError(f"only {done.affected_total} tasks were affected")
    return taken


@row(
    "free-1000",
    "a status change that frees 1,000 dependents",
    against="the raw driver writing the same rows, one commit",
    goal=at_least(0.25),
    is_bar=False,
)
async def free_many(bench: Bench) -> Measured:
    base = bench.place("gated.db")
    await _gated(base)
    commits = await captured_from(lambda: _opened_gate(copied(base, bench.place("seen.db"))))

    async def ours() -> float:
        return await _opened_gate(copied(base, bench.place("ours.db")))

    async def raw() -> float:
        return raw_turn(copied(base, bench.place("raw.db")), commits)

    mine, best = await alternate(ours, raw, rounds=3)
    return Measured(mine * 1e3, best * 1e3, "ms", best / mine)


@row(
    "leaf",
    "a leaf change 8 levels deep among all tasks (100,000; 1,000,000 with --large)",
    against="among 1,000 tasks",
    goal=at_most(1.25),
)
async def leaf_change(bench: Bench) -> Measured:
    many = copied(await large(bench.folder, bench.tasks), bench.place("many.db"))
    few = copied(await large(bench.folder, 1_000), bench.place("few.db"))
    mine, best = await alternate(lambda: _leaves(many), lambda: _leaves(few), rounds=8)
    return Measured(mine / LEAVES / 2 * 1e3, best / LEAVES / 2 * 1e3, "ms", mine / best)


async def _leaves(path: Path) -> float:
    """Finish each deep leaf and reopen it, so that every round finds the same; returns the seconds."""
    paths = [LEAF.format(number) for number in range(1, LEAVES + 1)]
    async with opened(path) as a:
        await a.tasks.update(paths[0], {"tags": []})
        await a.tasks.update(paths[0], {"tags": ["bench"]})
        start = time.perf_counter()
        for status in ("COMPLETED", "PENDING"):
            for leaf in paths:
                await a.tasks.update(leaf, {"status": status})
        return time.perf_counter() - start
