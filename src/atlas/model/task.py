"""The task and what hangs on it, as records."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from . import limits


class Type(StrEnum):
    """What a task may hold (`lifecycle.HOLDS`)."""

    TASK = "TASK"
    GROUP = "GROUP"
    MILESTONE = "MILESTONE"


class Status(StrEnum):
    """Where work stands (`lifecycle` has the table of changes)."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"
    CANCELLED = "CANCELLED"


class Priority(StrEnum):
    """How urgent, the most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


RANK = {priority: rank for rank, priority in enumerate(Priority)}


class Cause(StrEnum):
    """Why a task is blocked; only a dependency block is lifted by itself."""

    MANUAL = "manual"
    DEPENDENCY = "dependency"


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block as kept; the unfinished dependencies are read from the dependencies themselves."""

    cause: Cause
    reason: str | None = None


class Criterion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of acceptance."""

    text: Annotated[str, Meta(min_length=1, max_length=limits.CRITERION)]
    done: bool = False


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node of the work tree. `parent` and `dependencies` hold ids, so that a move rewrites paths and nothing else."""

    id: str
    path: str
    name: str
    type: Type = Type.TASK
    status: Status = Status.PENDING
    parent: str | None = None
    position: float = 0.0
    description: str = ""
    dependencies: tuple[str, ...] = ()
    acceptance: tuple[Criterion, ...] = ()
    requires: tuple[str, ...] = ()
    priority: Priority = Priority.MEDIUM
    assignee: str | None = None
    estimated_hours: float | None = None
    due_at: datetime | None = None
    tags: tuple[str, ...] = ()
    reasoning: str = ""
    metadata: dict[str, Any] = {}
    block: Block | None = None
    archived: bool = False
    hidden: bool = False
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    version: int = 1


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A remark on a task; notes are only added and removed."""

    id: str
    task: str
    text: str
    by: str | None = None
    at: datetime


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts kept beside a task so that a change costs its depth; derived, rebuilt by repair.

    `leaves` counts the descendants without children per status, in the order of Status. `open_dependents` counts
    the unfinished tasks that name this one as a dependency. `last` is the highest position ever given to a child.
    The tally with the empty id belongs to the root level.
    """

    id: str
    children: int = 0
    leaves: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    open_dependents: int = 0
    last: float = 0.0


class Ready(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of the queue of ready work, in its order; derived, rebuilt by repair."""

    id: str
    path: str
    rank: int
    dependents: int = 0
    due_at: str = "~"
    position: float = 0.0
    requires: tuple[str, ...] = ()


class Once(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an idempotency key stands for: the call, and the answer it got; `seq` is the store's just before it."""

    key: str
    verb: str
    arguments: str
    correlation: str
    answer: msgspec.Raw
    seq: int
    at: datetime


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an imported task came from: its record's name in the source, and what the source last said of it."""

    id: str
    task: str
    path: str
    fields: dict[str, Any] = {}
