"""A task with updates applied: lists replaced or edited, metadata merged, nothing judged yet but its shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from ..errors import InputError
from ..model import limits
from ..model.task import Block, Criterion, Status, Task
from .arguments import TaskFields, Updates
from .board import Board
from .collections import TASKS
from .linking import resolve


def check_shape(fields: TaskFields | Updates) -> None:
    """Refuse what single values cannot show: things named twice, metadata too large."""
    if isinstance(fields.metadata, dict):
        limits.check_metadata(fields.metadata)
    for name in ("dependencies", "tags", "requires"):
        values = getattr(fields, name)
        if values is not UNSET:
            limits.check_unique(values, name)


def differs(task: Task, merged: Task) -> bool:
    """Compare metadata as JSON does: 1 and True are equal to Python alone."""
    if task.metadata is merged.metadata:
        return False
    return msgspec.json.encode(task.metadata) != msgspec.json.encode(merged.metadata)


def check_reason(task: Task, updates: Updates) -> None:
    """Refuse a reason without a block for it."""
    if updates.reason is UNSET:
        return
    wanted = task.status if updates.status is UNSET else updates.status
    if wanted is not Status.BLOCKED:
        raise InputError(
            "a reason belongs to a block",
            field="reason",
            given=updates.reason,
            bound="status BLOCKED",
            hint="Set status to BLOCKED with the reason, or write it as a note.",
        )


_PLAIN = (
    "name",
    "description",
    "type",
    "archived",
    "priority",
    "assignee",
    "estimated_hours",
    "due_at",
    "reasoning",
)


def merged_task(board: Board, task: Task, updates: Updates, links: Links) -> tuple[Task, list[Task]]:
    """Return the task with the plain and list fields changed, and the dependencies that are new."""
    fields: dict[str, Any] = {name: getattr(updates, name) for name in _PLAIN if getattr(updates, name) is not UNSET}
    for name in ("tags", "requires"):
        fields[name] = _edited(task, updates, name)
    fields["acceptance"] = _edited_lines(task, updates)
    if updates.metadata is not UNSET:
        fields["metadata"] = merged_metadata(task.metadata, updates.metadata)
        limits.check_metadata(fields["metadata"])
    dependencies, added = _edited_dependencies(board, task, links)
    made = msgspec.structs.replace(task, **fields, dependencies=dependencies)
    if updates.reason is not UNSET and updates.status is UNSET and made.block is not None:
        made = msgspec.structs.replace(made, block=Block(cause=made.block.cause, reason=updates.reason))
    return made, added


def _edited(task: Task, updates: Updates, name: str) -> tuple[str, ...]:
    replaced = getattr(updates, name)
    present: list[str] = list(getattr(task, name) if replaced is UNSET else replaced)
    removed = set(getattr(updates, f"remove_{name}"))
    present = [value for value in present if value not in removed]
    present += [value for value in dict.fromkeys(getattr(updates, f"add_{name}")) if value not in present]
    most = limits.TAGS if name == "tags" else limits.CAPABILITIES
    if len(present) > most:
        raise InputError(f"{name} would have {len(present)} items", field=name, given=len(present), bound=most)
    return tuple(present)


def _edited_lines(task: Task, updates: Updates) -> tuple[Criterion, ...]:
    present = list(task.acceptance if updates.acceptance is UNSET else criteria(updates.acceptance))
    present = [line for line in present if line.text not in updates.remove_acceptance]
    for line in criteria(updates.add_acceptance):
        present = [line if known.text == line.text else known for known in present]
        if line not in present:
            present.append(line)
    if len(present) > limits.CRITERIA:
        raise InputError(
            f"acceptance would have {len(present)} lines",
            field="acceptance",
            given=len(present),
            bound=limits.CRITERIA,
        )
    return tuple(present)


class Links(NamedTuple):
    """The dependencies that an update names, found; `all` is None where it replaces nothing."""

    all: list[str] | None
    removed: list[str]
    added: list[str]


def resolve_links(board: Board, updates: Updates) -> Links:
    """Return the ids that an update names as dependencies; raises TaskNotFoundError."""
    replaced = None if updates.dependencies is UNSET else updates.dependencies
    return Links(
        all=None if replaced is None else [d.id for d in resolve(board, replaced, "dependencies")],
        removed=[d.id for d in resolve(board, updates.remove_dependencies, "remove_dependencies")],
        added=[d.id for d in resolve(board, updates.add_dependencies, "add_dependencies")],
    )


def _edited_dependencies(board: Board, task: Task, links: Links) -> tuple[tuple[str, ...], list[Task]]:
    present = list(task.dependencies) if links.all is None else links.all
    present = [key for key in present if key not in links.removed]
    present += [key for key in links.added if key not in present]
    fresh = [key for key in present if key not in task.dependencies]
    return tuple(present), list(board.tx.get_many(TASKS, fresh).values())


def merged_metadata(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7396): objects merge key by key, null removes, all else replaces."""
    made = dict(target)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            known = made.get(key)
            made[key] = merged_metadata(known if isinstance(known, dict) else {}, value)
        else:
            made[key] = value
    return made


def criteria(lines: Iterable[str | Criterion]) -> tuple[Criterion, ...]:
    """Return lines of acceptance as records; a plain text is a line not yet done."""
    return tuple(Criterion(line) if isinstance(line, str) else line for line in lines)
