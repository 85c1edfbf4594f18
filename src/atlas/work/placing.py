"""Places in the tree: room below a parent, and positions among siblings."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..model.task import Task
from .board import Board
from .collections import ROOT


def check_room(board: Board, parent: Task | None) -> None:
    """Refuse one more child than the limit; the root level has none."""
    if parent is None:
        return
    children = board.tally(parent.id).children
    if children >= board.limits.children:
        raise InputError(
            f"{parent.path!r} holds {children} children already",
            field="path",
            given=children + 1,
            bound=board.limits.children,
            hint="Group the children under further containers.",
        )


def neighbours(
    board: Board, parent: Task | None, before: str | None, after: str | None, *, moving: str = ""
) -> tuple[Task, bool] | None:
    """Return the sibling to stand next to, and whether before it; `moving` is the id of a task that moves."""
    if before is not None and after is not None:
        raise InputError("before and after exclude each other", field="before", given=before, hint="Pass one of them.")
    given, field = (before, "before") if before is not None else (after, "after")
    if given is None:
        return None
    sibling = board.find(given, field)
    if sibling.id == moving:
        raise InputError(
            f"{sibling.path!r} cannot stand next to itself",
            field=field,
            given=given,
            bound="another child of the parent",
        )
    if sibling.parent != (None if parent is None else parent.id):
        raise InputError(
            f"{sibling.path!r} is not a sibling there",
            field=field,
            given=given,
            bound="a child of the same parent",
        )
    return sibling, before is not None


def position_for(board: Board, parent: Task | None, neighbour: tuple[Task, bool] | None, moving: str = "") -> float:
    """Return the position of a task `moving` or new: next to a sibling, or behind the last one."""
    key = ROOT if parent is None else parent.id
    if neighbour is None:
        return float(int(board.tally(key).last) + 1)
    sibling, is_before = neighbour
    ordered = [task for task in board.children(sibling.parent) if task.id != moving]
    index = next(i for i, task in enumerate(ordered) if task.id == sibling.id)
    low, high = _gap(ordered, index - 1 if is_before else index)
    if not low < (low + high) / 2 < high:
        board.renumber(ordered, sibling.id)
        place = float(index if is_before else index + 1)
        low, high = place, place + 1
    return (low + high) / 2


def _gap(ordered: Sequence[Task], index: int) -> tuple[float, float]:
    """Return the positions around the gap behind the sibling at `index` (-1: in front of the first)."""
    low = ordered[index].position if index >= 0 else ordered[0].position - 2
    high = ordered[index + 1].position if index + 1 < len(ordered) else low + 2
    return low, high
