"""Refusals that tell more than one fact: what is waited for, and who changed a task meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DependencyError, VersionError
from ..journal import EVENTS
from ..model import limits
from ..model.task import Status, Task
from ..storage.query import Query, eq
from .board import Board
from .collections import TASKS
from .views import data_of


def not_free(task: Task, wanted: Status, waiting: Sequence[Task]) -> DependencyError:
    """Return the refusal to start or complete a task before its dependencies."""
    shown = ", ".join(f"{d.path} ({d.status})" for d in waiting[:5])
    more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
    return DependencyError(
        f"{task.path!r} waits for {shown}{more}",
        field="status",
        given=str(wanted),
        bound="every dependency COMPLETED or CANCELLED",
        hint=f"Finish {waiting[0].path!r} first, or remove it with remove_dependencies.",
        details={"waiting_on": [{"path": d.path, "status": str(d.status)} for d in waiting[: limits.AFFECTED]]},
    )


def check_version(board: Board, task: Task, expected: int | None) -> None:
    """Refuse an outdated change, saying who changed what since, and when."""
    if expected is not None and task.version != expected:
        raise _conflict(board, task, expected)


def _conflict(board: Board, task: Task, expected: int) -> VersionError:
    newest = board.tx.query(Query(EVENTS).where(eq("subject", task.id)).order_by("-seq").limit(100))
    fields: dict[str, None] = {}
    by = at = None
    for event in newest:
        changed = (event.change or {}).get("fields", {})
        before_after = changed.get("version")
        if event.collection != TASKS.name or not isinstance(before_after, list):
            continue
        if before_after[1] <= expected:
            break
        by, at = by or event.actor, at or event.time
        fields.update(dict.fromkeys(name for name in changed if name not in {"version", "updated_at"}))
    details = {
        "current": data_of(board, task),
        "changed_by": by,
        "changed_at": None if at is None else at.isoformat(),
        "fields": list(fields),
    }
    return VersionError(repr(task.path), expected, task.version, details=details)
