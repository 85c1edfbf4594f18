"""The changes of tasks, one function each, inside a transaction: what bulk, imports and the single verbs all run."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from ..errors import DependencyError, DuplicateError, ParentNotFoundError, StatusError
from ..model import lifecycle, limits
from ..model.lifecycle import FINISHED, Change
from ..model.path import depth_of, is_within, name_of, parent_of, parse_path
from ..model.task import Block, Cause, Status, Task, Type
from ..storage.query import Query, eq
from .arguments import TaskFields, Updates
from .board import Board, stamped
from .collections import NOTES, TASKS
from .editing import check_reason, check_shape, criteria, differs, merged_task, resolve_links
from .linking import check_dependencies, resolve
from .noting import add_notes, remove_notes
from .placing import check_room, neighbours, position_for
from .refusing import check_version, not_free


def create(board: Board, path: str, fields: TaskFields) -> Task:
    """Create a task; raises in the order of RULES: shape, path, existence, rules."""
    check_shape(fields)
    parsed = parse_path(path)
    known = board.by_path(parsed)
    if known is not None:
        raise DuplicateError(parsed, known.id)
    above = parent_of(parsed)
    parent = None if above is None else board.by_path(above)
    if above is not None and parent is None and not fields.parents:
        raise ParentNotFoundError(parsed, above)
    dependencies = resolve(board, fields.dependencies, "dependencies")
    if above is not None and parent is None:
        parent = create_parents(board, above)
    place = neighbours(board, parent, fields.before, fields.after)
    if parent is not None:
        board.check_open(parent)
        lifecycle.check_holds(parent.type, fields.type, parent.path, parsed)
    check_room(board, parent)
    task = Task(
        id=board.tx.new_id(),
        path=parsed,
        name=fields.name or name_of(parsed)[: limits.NAME],
        type=fields.type,
        parent=None if parent is None else parent.id,
        position=position_for(board, parent, place),
        description=fields.description,
        dependencies=tuple(d.id for d in dependencies),
        acceptance=criteria(fields.acceptance),
        requires=fields.requires,
        priority=fields.priority,
        assignee=fields.assignee,
        estimated_hours=fields.estimated_hours,
        due_at=fields.due_at,
        tags=fields.tags,
        reasoning=fields.reasoning,
        metadata=fields.metadata,
        created_at=board.now,
        updated_at=board.now,
    )
    check_dependencies(board, task, dependencies)
    if board.waiting_on(task):
        task = msgspec.structs.replace(task, status=Status.BLOCKED, block=Block(cause=Cause.DEPENDENCY))
    board.insert(task)
    add_notes(board, task, fields.notes)
    board.settle()
    return board.present(task)


def create_parents(board: Board, path: str) -> Task:
    """Create a missing container, and those above it that are missing, as GROUP."""
    return create(board, path, TaskFields(type=Type.GROUP, parents=True))


def update(board: Board, given: str, updates: Updates, *, expected_version: int | None = None) -> Task:
    """Change fields of a task; what is given is judged against the task as it would be."""
    check_shape(updates)
    task = board.find(given)
    links = resolve_links(board, updates)
    check_version(board, task, expected_version)
    _check_archived(board, task, is_exempt=task.archived and updates.archived is False)
    check_reason(task, updates)
    merged, added = merged_task(board, task, updates, links)
    if merged.type is not task.type:
        check_type(board, task, merged)
    if merged.dependencies != task.dependencies:
        wanted = list(board.tx.get_many(TASKS, merged.dependencies).values())
        check_dependencies(board, merged, wanted, new=added)
    below: list[Task] = []
    if updates.status is not UNSET:
        merged, below = _with_status(board, task, merged, updates)
    remove_notes(board, task, updates.remove_notes)
    add_notes(board, task, updates.notes)
    if merged != task or differs(task, merged):
        changed = msgspec.structs.replace(merged, version=task.version + 1, updated_at=board.now)
        board.replace(task, changed)
        if changed.archived is not task.archived:
            hide_below(board, changed)
    for leaf in below:
        _set_leaf(board, leaf, Status(updates.status))  # type: ignore[arg-type]
    board.settle()
    return board.present(task)


def _check_archived(board: Board, task: Task, *, is_exempt: bool) -> None:
    """Refuse changes of what is archived; the archived root itself may be brought back or deleted."""
    if is_exempt:
        for holder in board.above(task):
            board.check_open(holder)
    else:
        board.check_open(task)


def check_type(board: Board, task: Task, merged: Task) -> None:
    """Refuse a change of type that the parent or a child does not allow."""
    parent = None if task.parent is None else board.tx.get(TASKS, task.parent)
    if parent is not None:
        lifecycle.check_holds(parent.type, merged.type, parent.path, task.path)
    if board.is_container(task):
        for child in board.children(task.id):
            lifecycle.check_holds(merged.type, child.type, task.path, child.path)


def _with_status(board: Board, task: Task, merged: Task, updates: Updates) -> tuple[Task, list[Task]]:
    """Return the task with its new status, or for a container the leaves below that take it."""
    wanted = Status(updates.status)  # type: ignore[arg-type]
    if board.is_container(task):
        return merged, _leaves_to_set(board, task, wanted)
    reason = None if updates.reason is UNSET else updates.reason
    change = lifecycle.transition(task.status, wanted, task.path)
    if change is Change.NONE:
        if wanted is Status.BLOCKED and reason is not None:
            return msgspec.structs.replace(merged, block=Block(cause=Cause.MANUAL, reason=reason)), []
        return merged, []
    waiting = board.waiting_on(merged)
    if change is Change.IF_FREE and waiting:
        raise not_free(merged, wanted, waiting)
    if wanted is Status.PENDING and waiting:
        held = stamped(merged, Status.PENDING, board.now)
        return msgspec.structs.replace(held, status=Status.BLOCKED, block=Block(cause=Cause.DEPENDENCY)), []
    block = Block(cause=Cause.MANUAL, reason=reason) if wanted is Status.BLOCKED else None
    return msgspec.structs.replace(stamped(merged, wanted, board.now), block=block), []


def _leaves_to_set(board: Board, task: Task, wanted: Status) -> list[Task]:
    if wanted not in {Status.CANCELLED, Status.PENDING}:
        children = [child.path for child in board.children(task.id)[:5]]
        raise StatusError(
            f"the status of {task.path!r} follows from its children ({', '.join(children)}…)",
            field="status",
            given=str(wanted),
            bound=["CANCELLED", "PENDING"],
            hint="Set the status of the children; CANCELLED and PENDING pass down to all of them.",
            details={"children": children},
        )
    leaves = [leaf for leaf in board.below(task) if not board.is_container(leaf)]
    if wanted is Status.CANCELLED:
        return [leaf for leaf in leaves if leaf.status not in FINISHED]
    return [leaf for leaf in leaves if leaf.status is Status.CANCELLED]


def _set_leaf(board: Board, leaf: Task, status: Status) -> None:
    present = board.present(leaf)
    after = msgspec.structs.replace(
        stamped(present, status, board.now), block=None, version=present.version + 1, updated_at=board.now
    )
    board.replace(present, after)
    board.recheck(after)


def hide_below(board: Board, root: Task) -> None:
    """Mark everything below an archived task, or unmark what no other archived container holds."""
    held = [root.path] if root.archived else []
    board.hide(root, is_hidden=root.archived)
    for task in board.below(root):
        if task.archived and not any(is_within(task.path, path) for path in held):
            held.append(task.path)
        board.hide(task, is_hidden=any(is_within(task.path, path) for path in held))


def delete(
    board: Board, given: str, *, dependents: str = "refuse", expected_version: int | None = None
) -> tuple[Task, list[str]]:
    """Remove a subtree; returns its root and every path removed.

    Outsiders that depend on it forbid it, or are detached.
    """
    task = board.find(given)
    check_version(board, task, expected_version)
    _check_archived(board, task, is_exempt=task.archived)
    gone = [task, *board.below(task)]
    ids = {t.id for t in gone}
    outsiders = {d.id: d for t in gone for d in board.dependents(t.id) if d.id not in ids}
    if outsiders and dependents == "refuse":
        paths = [d.path for d in outsiders.values()]
        raise DependencyError(
            f"{paths[0]!r} depends on what would be deleted" + (f", and {len(paths) - 1} more" if paths[1:] else ""),
            field="dependents",
            given=dependents,
            bound="refuse or detach",
            hint="Pass dependents='detach' to drop those dependencies.",
            details={"dependents": paths[: limits.AFFECTED], "dependents_total": len(paths)},
        )
    for outsider in outsiders.values():
        present = board.present(outsider)
        kept = tuple(key for key in present.dependencies if key not in ids)
        after = msgspec.structs.replace(present, dependencies=kept, version=present.version + 1, updated_at=board.now)
        board.replace(present, after)
    for t in sorted(gone, key=lambda t: -depth_of(t.path)):
        board.tx.delete_many(
            NOTES, [row[0] for row in board.tx.query(Query(NOTES).where(eq("task", t.id)).select("id"))]
        )
        board.remove(board.present(t))
    board.settle()
    return task, [t.path for t in gone]
