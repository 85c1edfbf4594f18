"""The command line, each command a process of its own, from its start to its end."""

from __future__ import annotations

from pathlib import Path

from .peer import run
from .rows import Bench, Measured, at_most, row
from .stores import copied, large

RUNS = 5
EVERYDAY = (
    ("add", "p0000/new{}"),
    ("show", "p0000/wide/t0001"),
    ("tree", "p0000/g2/**"),
    ("list", "p0000/**"),
    ("ready",),
    ("start", "p0000/new{}"),
    ("done", "p0000/new{}"),
    ("reopen", "p0000/new{}"),
    ("block", "p0000/new{}"),
    ("move", "p0000/new{}", "p0000/moved{}"),
    ("delete", "--yes", "p0000/moved{}"),
    ("log",),
    ("stats",),
)


def _command(path: Path, *words: str) -> float:
    return run("-m", "atlas", "--store", f"sqlite:///{path}", *words)


@row("cli-list", "`atlas list` on all tasks, cold", against="`python -c pass`", goal=at_most(300, "ms"))
async def cli_list(bench: Bench) -> Measured:
    path = copied(await large(bench.folder, bench.tasks), bench.place("listed.db"))
    mine = min(_command(path, "list") for _ in range(RUNS))
    return Measured(mine * 1e3, min(run("-c", "pass") for _ in range(RUNS)) * 1e3, "ms", mine * 1e3)


@row("cli", "the slowest everyday command, cold", against="`python -c pass`", goal=at_most(120, "ms"))
async def cli(bench: Bench) -> Measured:
    path = copied(await large(bench.folder, 1_000), bench.place("used.db"))
    best = dict.fromkeys((words[0] for words in EVERYDAY), float("inf"))
    for number in range(RUNS):
        for name, *words in EVERYDAY:
            best[name] = min(best[name], _command(path, name, *(word.format(number) for word in words)))
    slowest = sorted(best, key=lambda name: -best[name])
    floor = min(run("-c", "pass") for _ in range(RUNS))
    said = ", ".join(f"{name} {best[name] * 1e3:.0f}" for name in slowest)
    return Measured(best[slowest[0]] * 1e3, floor * 1e3, "ms", best[slowest[0]] * 1e3, note=said)
