"""Tasks as they are shown: ids become paths, and what is derived is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..errors import InputError
from ..model import lifecycle, limits
from ..model.lifecycle import FINISHED
from ..model.path import parent_of, project_of
from ..model.task import Status, Task, Type
from ..storage.query import Query, eq
from .board import Reading
from .collections import NOTES, TALLIES, TASKS

BRIEF = ("path", "name", "type", "status", "priority", "block", "progress")
BRIEF_COLUMNS = ("id", "path", "name", "type", "status", "priority")
_BRIEF_BLOCKERS = 3


def _paths(reading: Reading, task: Task) -> list[str]:
    known = reading.tx.get_many(TASKS, task.dependencies)
    return [known[key].path for key in task.dependencies if key in known]


def _inherited(reading: Reading, task: Task) -> list[str]:
    keys = [key for holder in reading.above(task) for key in holder.dependencies]
    known = reading.tx.get_many(TASKS, keys)
    return [known[key].path for key in dict.fromkeys(keys) if key in known]


def _block(reading: Reading, task: Task) -> dict[str, Any] | None:
    """Show the block with the unfinished dependencies behind it, failed ones marked (RULES, statuses)."""
    if task.status is not Status.BLOCKED:
        return None
    waiting = reading.waiting_on(task)
    cause = "dependency" if task.block is None else str(task.block.cause)
    made: dict[str, Any] = {"cause": cause, "by": [d.path for d in waiting]}
    failed = [d.path for d in waiting if d.status is Status.FAILED]
    if failed:
        made["failed"] = failed
    if task.block is not None and task.block.reason is not None:
        made["reason"] = task.block.reason
    return made


def _full_block(reading: Reading, task: Task) -> dict[str, Any] | None:
    made = _block(reading, task)
    return None if made is None else {"failed": [], "reason": None, **made}


def _progress(reading: Reading, task_id: str) -> dict[str, Any] | None:
    tally = reading.tally(task_id)
    if tally.children == 0:
        return None
    counts = dict(zip(lifecycle.ORDER, tally.leaves, strict=True))
    total, finished = sum(tally.leaves), sum(counts[status] for status in FINISHED)
    shown = {str(status): count for status, count in counts.items() if count}
    return {"total": total, "finished": finished, "percent": round(100 * finished / total), "by_status": shown}


def _notes(reading: Reading, task: Task) -> list[dict[str, Any]]:
    newest = reading.tx.query(Query(NOTES).where(eq("task", task.id)).order_by("-at", "-id").limit(limits.NOTES))
    return [msgspec.to_builtins({"id": n.id, "text": n.text, "by": n.by, "at": n.at}) for n in reversed(newest)]


def _warnings(reading: Reading, task: Task) -> list[str]:
    if task.status is not Status.IN_PROGRESS or reading.is_container(task):
        return []
    waiting = reading.waiting_on(task)
    if not waiting:
        return []
    return [f"in progress, but cannot complete before {', '.join(d.path for d in waiting[:5])}"]


_SHOWN: dict[str, Callable[[Reading, Task], Any]] = {
    "id": lambda _, t: t.id,
    "path": lambda _, t: t.path,
    "name": lambda _, t: t.name,
    "type": lambda _, t: str(t.type),
    "status": lambda _, t: str(t.status),
    "description": lambda _, t: t.description,
    "parent": lambda _, t: parent_of(t.path),
    "position": lambda _, t: t.position,
    "dependencies": _paths,
    "inherited_dependencies": _inherited,
    "acceptance": lambda _, t: [{"text": c.text, "done": c.done} for c in t.acceptance],
    "requires": lambda _, t: list(t.requires),
    "priority": lambda _, t: str(t.priority),
    "assignee": lambda _, t: t.assignee,
    "estimated_hours": lambda _, t: t.estimated_hours,
    "due_at": lambda _, t: msgspec.to_builtins(t.due_at),
    "tags": lambda _, t: list(t.tags),
    "notes": _notes,
    "notes_total": lambda r, t: r.tx.count(Query(NOTES).where(eq("task", t.id))),
    "reasoning": lambda _, t: t.reasoning,
    "metadata": lambda _, t: t.metadata,
    "block": _full_block,
    "progress": lambda r, t: _progress(r, t.id),
    "archived": lambda _, t: t.archived,
    "project": lambda _, t: project_of(t.path),
    "created_at": lambda _, t: msgspec.to_builtins(t.created_at),
    "updated_at": lambda _, t: msgspec.to_builtins(t.updated_at),
    "started_at": lambda _, t: msgspec.to_builtins(t.started_at),
    "completed_at": lambda _, t: msgspec.to_builtins(t.completed_at),
    "version": lambda _, t: t.version,
    "warnings": _warnings,
}

FULL = tuple(_SHOWN)


def check_fields(fields: str | Sequence[str]) -> None:
    """Refuse names that no task has."""
    if isinstance(fields, str):
        return
    for name in fields:
        if name not in _SHOWN:
            raise InputError(f"a task has no field {name!r}", field="fields", given=name, bound=list(FULL))


def view(reading: Reading, task: Task, fields: str | Sequence[str] = "brief") -> dict[str, Any]:
    """Return the task as JSON data: `brief`, `full`, or the fields named."""
    if fields == "brief":
        return _brief(reading, task)
    names = FULL if fields == "full" else fields
    return {name: _SHOWN[name](reading, task) for name in names}


def briefs(reading: Reading, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return brief data of tasks known by their BRIEF_COLUMNS: whole tasks are read only where they are blocked."""
    tx = reading.tx
    blocked = tx.get_many(TASKS, [row[0] for row in rows if row[4] == Status.BLOCKED])
    # Read together, they are at hand when each task's block and progress ask for them.
    tx.get_many(TASKS, {key for task in blocked.values() for key in task.dependencies})
    tx.get_many(TALLIES, [row[0] for row in rows if row[3] != Type.TASK])
    return [
        _with_rest(reading, dict(zip(BRIEF_COLUMNS[1:], row[1:], strict=True)), row[0], blocked.get(row[0]))
        for row in rows
    ]


def _brief(reading: Reading, task: Task) -> dict[str, Any]:
    # `value` is a property looked up by hand at each use; here it would be half the cost of a list.
    plain = {
        "path": task.path,
        "name": task.name,
        "type": task.type._value_,
        "status": task.status._value_,
        "priority": task.priority._value_,
    }
    return _with_rest(reading, plain, task.id, task)


def _with_rest(reading: Reading, made: dict[str, Any], task_id: str, task: Task | None) -> dict[str, Any]:
    """Add the block and the progress, where there is one."""
    if made["status"] == "BLOCKED" and task is not None:
        block = _block(reading, task) or {}
        by = block["by"]
        made["block"] = {**block, "by": by[:_BRIEF_BLOCKERS]}
        if len(by) > _BRIEF_BLOCKERS:
            made["block"]["by_total"] = len(by)
    if made["type"] != "TASK":
        progress = _progress(reading, task_id)
        if progress is not None:
            made["progress"] = {"total": progress["total"], "finished": progress["finished"]}
    return made


def data_of(reading: Reading, task: Task) -> dict[str, Any]:
    """Return the whole task but for its notes, as an error shows it."""
    return {name: _SHOWN[name](reading, task) for name in FULL if not name.startswith("notes")}
