"""Figures of the work: counts and progress, from aggregates and the counts kept, so that a large store is quick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..model import limits
from ..model.lifecycle import FINISHED, ORDER
from ..model.path import ancestors_of, parse_pattern, project_of
from ..model.task import RANK, Priority, Status, Task, Type
from ..storage.protocol import Transaction
from ..storage.query import Condition, Query, eq, glob
from .board import Reading
from .collections import TALLIES, TASKS

Leaves = dict[str, list[int]]
"""The leaves per status (in the order of Status) of each project."""

_INDEX = {status: index for index, status in enumerate(ORDER)}
_DONE = tuple(_INDEX[status] for status in FINISHED)


def figures(tx: Transaction, pattern: str) -> dict[str, Any]:
    """Return the counts of the tasks that match, archived ones apart, and their progress in leaves."""
    parsed = parse_pattern(pattern)
    chosen: list[Condition] = [] if pattern == "**" else [glob("path", parsed)]
    rows = tx.aggregate(
        Query(TASKS).where(eq("hidden", False), *chosen).group_by("type", "status", "priority").compute(n="count")
    )
    reading = Reading(tx)
    if pattern == "**":
        leaves = _kept(reading, reading.children(None))
    elif parsed.subtree is not None:
        root = reading.by_path(parsed.subtree)
        leaves = {} if root is None else _kept(reading, [root])
    else:
        leaves = _counted(reading, chosen)
    projects = [{"path": path, **_progress(counts)} for path, counts in sorted(leaves.items()) if sum(counts)]
    return {
        "total": sum(row["n"] for row in rows),
        "archived": tx.count(Query(TASKS).where(eq("hidden", True), *chosen)),
        "by_status": _sums(rows, "status", ORDER),
        "by_type": _sums(rows, "type", Type),
        "by_priority": _sums(rows, "priority", RANK),
        "progress": _progress([sum(of) for of in zip(*leaves.values(), strict=True)]),
        "projects": projects[: limits.PAGE],
        "projects_total": len(projects),
    }


def _sums(rows: Iterable[dict[str, Any]], field: str, names: Iterable[Status | Type | Priority]) -> dict[str, int]:
    made = {str(name): 0 for name in names}
    for row in rows:
        made[row[field]] += row["n"]
    return made


def _progress(leaves: Sequence[int]) -> dict[str, int]:
    total = sum(leaves)
    finished = sum(leaves[index] for index in _DONE) if leaves else 0
    return {"total": total, "finished": finished, "percent": round(100 * finished / total) if total else 0}


def _kept(reading: Reading, roots: Iterable[Task]) -> Leaves:
    """Take the leaves of whole subtrees from the counts kept with them, less those of archived parts."""
    made: Leaves = {}
    shown = [root for root in roots if not root.hidden]
    for root in shown:
        made[project_of(root.path)] = _leaves_of(reading, root)
    archived: list[Condition] = [eq("hidden", True)]
    if len(shown) == 1:
        archived.append(glob("path", f"{shown[0].path}/**"))
    tops: set[str] = set()
    for task in reading.tx.query(Query(TASKS).where(*archived, eq("archived", True)).order_by("path")):
        project = made.get(project_of(task.path))
        if project is None or not tops.isdisjoint(ancestors_of(task.path)):
            continue
        tops.add(task.path)
        project[:] = [have - less for have, less in zip(project, _leaves_of(reading, task), strict=True)]
    return made


def _leaves_of(reading: Reading, task: Task) -> list[int]:
    if reading.is_container(task):
        return list(reading.tally(task.id).leaves)
    return [int(status is task.status) for status in ORDER]


def _counted(reading: Reading, chosen: Sequence[Condition]) -> Leaves:
    """Count the leaves one by one, where a pattern takes only some of a subtree."""
    asked = Query(TASKS).where(eq("hidden", False), *chosen)
    rows = reading.tx.query(asked.select("id", "path", "type", "status"))
    holders = reading.tx.get_many(TALLIES, [row[0] for row in rows if row[2] != Type.TASK])
    made: Leaves = {}
    for key, path, _, status in rows:
        if key in holders and holders[key].children:
            continue
        counts = made.setdefault(project_of(path), [0] * len(ORDER))
        counts[_INDEX[Status(status)]] += 1
    return made
