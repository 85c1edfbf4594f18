"""What every reader makes of a file: drafts of tasks, and a report of what did not fit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ...model.task import Criterion, Priority, Status, Type


class DraftNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A remark that came with a record."""

    text: str
    by: str | None = None
    at: datetime | None = None
    id: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task as a foreign file tells it, in Atlas's words.

    `source` names the record in its file and stays the same from one import to the next. `path` is final and valid.
    `dependencies` hold the `source` of other drafts of the same file, or a path that the store should know.
    `status` is None where the file says nothing. A time that is None was not told. `id` is set by Atlas's own export
    alone. Parents come before children in a reading, and siblings stand in their order.
    """

    source: str
    path: str
    name: str
    type: Type = Type.TASK
    status: Status | None = None
    reason: str | None = None
    description: str = ""
    dependencies: tuple[str, ...] = ()
    acceptance: tuple[Criterion, ...] = ()
    requires: tuple[str, ...] = ()
    priority: Priority = Priority.MEDIUM
    assignee: str | None = None
    estimated_hours: float | None = None
    due_at: datetime | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[DraftNote, ...] = ()
    reasoning: str = ""
    metadata: dict[str, Any] = {}
    archived: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    id: str | None = None


class Remark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record, or part of one, that could not be taken as it stood, and what became of it."""

    source: str
    path: str | None = None
    message: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All that a reader got out of a file."""

    format: str
    drafts: tuple[Draft, ...]
    remarks: tuple[Remark, ...] = ()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to read: `files` maps names relative to the place (one entry for a single file) to their bytes."""

    name: str
    files: Mapping[str, bytes]
