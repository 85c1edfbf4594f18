"""Moving a subtree: the rules of types, depth and circles hold at the new place too."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..errors import DuplicateError, InputError, ParentNotFoundError
from ..model import lifecycle, limits
from ..model.path import depth_of, is_within, parent_of, parse_path
from ..model.task import Task
from .board import Board
from .collections import TASKS
from .linking import check_cycle
from .placing import check_room, neighbours, position_for
from .refusing import check_version


def move(
    board: Board,
    given: str,
    to: str,
    *,
    before: str | None = None,
    after: str | None = None,
    expected_version: int | None = None,
) -> Task:
    """Give a subtree a new place; its ids, history and dependencies stay."""
    target = parse_path(to, "to")
    task = board.find(given)
    parent = _new_parent(board, task, target)
    place = neighbours(board, parent, before, after, moving=task.id)
    check_version(board, task, expected_version)
    board.check_open(task)
    if parent is not None:
        board.check_open(parent)
    if target == task.path and place is None:
        return task
    if parent is not None:
        lifecycle.check_holds(parent.type, task.type, parent.path, target)
    below = board.below(task)
    _check_depth(task, target, below)
    if task.parent != (None if parent is None else parent.id):
        check_room(board, parent)
        if parent is not None:
            _check_moved_cycles(board, task, below, parent)
    stays = task.parent == (None if parent is None else parent.id) and place is None
    moved = msgspec.structs.replace(
        task,
        path=target,
        parent=None if parent is None else parent.id,
        position=task.position if stays else position_for(board, parent, place, task.id),
        version=task.version + 1,
        updated_at=board.now,
    )
    pairs = [(t, msgspec.structs.replace(t, path=target + t.path[len(task.path) :])) for t in below]
    board.relocate(board.tx.get(TASKS, task.id) or task, moved, pairs)
    board.settle()
    return board.present(task)


def _new_parent(board: Board, task: Task, target: str) -> Task | None:
    if target != task.path:
        if is_within(target, task.path):
            raise InputError(
                f"{task.path!r} cannot move below itself", field="to", given=target, bound=f"not within {task.path}"
            )
        known = board.by_path(target)
        if known is not None:
            raise DuplicateError(target, known.id, field="to")
    above = parent_of(target)
    if above is None:
        return None
    parent = board.by_path(above)
    if parent is None:
        raise ParentNotFoundError(target, above)
    return parent


def _check_depth(task: Task, target: str, below: Sequence[Task]) -> None:
    deepest = max((depth_of(t.path) for t in below), default=depth_of(task.path))
    depth = depth_of(target) + deepest - depth_of(task.path)
    longest = max((len(t.path) for t in below), default=len(task.path)) - len(task.path) + len(target)
    if depth > limits.DEPTH or longest > limits.PATH:
        given, bound = (depth, limits.DEPTH) if depth > limits.DEPTH else (longest, limits.PATH)
        raise InputError(
            f"below {target!r} paths would reach {given}",
            field="to",
            given=given,
            bound=bound,
            hint="Move it nearer to the root, or flatten what lies below it first.",
        )


def _check_moved_cycles(board: Board, task: Task, below: Sequence[Task], parent: Task) -> None:
    """Refuse a move after which the new containers would wait for the subtree and the subtree for them."""
    inside = {t.id: t for t in (task, *below)}

    def waits_for(key: str) -> list[str]:
        # All that the subtree will wait for is where the search begins; its old container lets go of it.
        if key in inside:
            return []
        return [other for other in board.waits_for(key) if other != task.id or key != task.parent]

    outgoing = [key for t in inside.values() for key in t.dependencies]
    check_cycle(board, task.id, task.path, outgoing, lambda path: is_within(parent.path, path), waits_for)
    inherited = [key for holder in (parent, *board.above(parent)) for key in holder.dependencies]
    check_cycle(board, task.id, task.path, inherited, lambda path: is_within(path, task.path), waits_for)
