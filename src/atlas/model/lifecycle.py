"""Statuses: which change is allowed, what a container's children make of it, who may hold whom."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..errors import ParentTypeError, StatusError
from .task import Status, Type

FINISHED = frozenset({Status.COMPLETED, Status.CANCELLED})
ORDER = tuple(Status)
_INDEX = {status: index for index, status in enumerate(ORDER)}
_CLOSED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

HOLDS: dict[Type, frozenset[Type]] = {
    Type.MILESTONE: frozenset({Type.GROUP, Type.TASK}),
    Type.GROUP: frozenset({Type.GROUP, Type.TASK}),
    Type.TASK: frozenset(),
}


class Change(Enum):
    """What a request to change a status comes to."""

    NONE = "no change"
    ALLOWED = "allowed"
    IF_FREE = "allowed when every dependency is finished"
    REFUSED = "refused"


def _table() -> dict[tuple[Status, Status], Change]:
    p, i, c, f, b, x = (
        Status.PENDING,
        Status.IN_PROGRESS,
        Status.COMPLETED,
        Status.FAILED,
        Status.BLOCKED,
        Status.CANCELLED,
    )
    none, yes, free, no = Change.NONE, Change.ALLOWED, Change.IF_FREE, Change.REFUSED
    columns = (p, i, c, f, b, x)
    rows = {
        p: (none, free, free, yes, yes, yes),
        i: (yes, none, free, yes, yes, yes),
        b: (yes, free, free, yes, none, yes),
        c: (yes, no, none, no, no, no),
        f: (yes, no, no, no, no, yes),
        x: (yes, no, no, no, no, none),
    }
    return {(start, end): change for start, row in rows.items() for end, change in zip(columns, row, strict=True)}


TRANSITIONS = _table()


def transition(start: Status, end: Status, path: str) -> Change:
    """Look the change up in the table of RULES; raise StatusError where it is refused."""
    change = TRANSITIONS[start, end]
    if change is Change.REFUSED:
        raise StatusError(
            f"{path!r} is {start} and cannot become {end}",
            field="status",
            given=str(end),
            bound=[str(s) for s in ORDER if TRANSITIONS[start, s] is not Change.REFUSED],
            hint="Set it to PENDING first."
            if start in _CLOSED and end is not Status.CANCELLED
            else "Leave it as it is.",
        )
    return change


def roll_up(leaves: Sequence[int]) -> Status:
    """Derive a container's status from its counts of leaves per status (DESIGN 5, roll-up).

    Counting leaves instead of children gives the same status, since each case holds of a container exactly when it
    holds of the leaves below it.
    """
    total = sum(leaves)
    of = dict(zip(ORDER, leaves, strict=True))
    finished = of[Status.COMPLETED] + of[Status.CANCELLED]
    if total == 0:
        return Status.PENDING
    if finished == total:
        return Status.CANCELLED if of[Status.CANCELLED] == total else Status.COMPLETED
    if of[Status.FAILED]:
        return Status.FAILED
    if of[Status.IN_PROGRESS] or finished:
        return Status.IN_PROGRESS
    return Status.BLOCKED if of[Status.BLOCKED] == total else Status.PENDING


def shift(
    leaves: tuple[int, int, int, int, int, int], before: Status | None, after: Status | None
) -> tuple[int, int, int, int, int, int]:
    """Return the counts after one leaf went from `before` to `after` (None: it was not, or is no longer, there)."""
    made = list(leaves)
    if before is not None:
        made[_INDEX[before]] -= 1
    if after is not None:
        made[_INDEX[after]] += 1
    return (made[0], made[1], made[2], made[3], made[4], made[5])


def check_holds(parent: Type, child: Type, parent_path: str, child_path: str) -> None:
    """Raise ParentTypeError unless a parent of that type may hold a child of that type."""
    if child in HOLDS[parent]:
        return
    allowed = sorted(HOLDS[parent])
    if not allowed:
        hint = f"Make {parent_path!r} a GROUP first, or put the new task beside it."
    elif child is Type.MILESTONE:
        hint = "A MILESTONE stands at the root; use GROUP here."
    else:
        hint = f"Use one of {', '.join(allowed)}."
    raise ParentTypeError(
        f"{parent_path!r} is a {parent} and cannot hold {child_path!r}, a {child}",
        field="type",
        given=str(child),
        bound=[str(t) for t in allowed],
        hint=hint,
        details={"parent": parent_path},
    )
