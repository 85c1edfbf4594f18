"""Imports of real files of other tools, where they lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from .clock import timed
from .rows import AbsentError, Bench, Measured, at_most, row
from .stores import opened

DATA = Path(os.environ.get("ATLAS_TEST_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
ROUNDS = 3


async def _imported(bench: Bench, name: str) -> Measured:
    file = DATA / name
    if not file.exists():
        raise AbsentError(f"{name} is not there")
    best, created = float("inf"), 0
    for _ in range(ROUNDS):
        async with opened(bench.place("imported.db")) as a:
            best = min(best, await timed(lambda a=a: a.plans.load(file=str(file))))  # type: ignore[misc]
            created = (await a.lists.by_path("**", limit=1)).total
    return Measured(best * 1e3, None, "ms", best * 1e3, note=f"{created} tasks")


@row("import-taskmaster", "import of a real tasks.json", against="2 s", goal=at_most(2_000, "ms"))
async def taskmaster(bench: Bench) -> Measured:
    return await _imported(bench, "taskmaster-tasks.json")


@row("import-beads", "import of a real issues.jsonl", against="2 s", goal=at_most(2_000, "ms"))
async def beads(bench: Bench) -> Measured:
    return await _imported(bench, "beads-issues.jsonl")
