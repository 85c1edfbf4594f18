"""Planting: the drafts of a reading become tasks, new ones created, known ones brought up to date.

A known task takes only what changed in the source since the last import, and never what was changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..errors import AtlasError
from ..model import lifecycle
from ..model.path import depth_of, parent_of, project_of
from ..model.task import Block, Cause, Note, Origin, Status, Task
from . import changing, moving
from .board import Board, stamped
from .collections import NOTES, ORIGINS, ROOT, TASKS
from .imports.draft import Draft, DraftNote, Remark
from .linking import check_new_dependency

_PLAIN = (
    "name",
    "type",
    "description",
    "acceptance",
    "requires",
    "priority",
    "assignee",
    "estimated_hours",
    "due_at",
    "tags",
    "reasoning",
    "metadata",
)


class Planting:
    """One import inside one transaction; `created`, `updated` and `skipped` count drafts, `remarks` explain."""

    def __init__(self, board: Board, format: str, report: Callable[[], None]) -> None:  # noqa: A002 - the verb's word
        self.board = board
        self.created: dict[str, None] = {}
        self.updated: dict[str, None] = {}
        self.remarks: list[Remark] = []
        self._format = format
        self._report = report

    def key(self, draft: Draft) -> str:
        """Return the name under which a draft's record is remembered."""
        return f"{self._format}/{project_of(draft.path)}/{draft.source}"

    def plant(self, drafts: Sequence[Draft]) -> None:
        """Create or update the tasks of the drafts, without their dependencies."""
        for draft in drafts:
            origin = self.board.tx.get(ORIGINS, self.key(draft))
            task = None if origin is None else self.board.tx.get(TASKS, origin.task)
            if origin is not None and task is not None:
                self._refresh(draft, origin, task)
            else:
                self._meet(draft)
            self._report()
        self.board.settle()

    def _meet(self, draft: Draft) -> None:
        """Create the task of a draft seen for the first time; a task that is there already is left as it is."""
        present = self.board.by_path(draft.path)
        if present is None and draft.id is not None:
            present = self.board.tx.get(TASKS, draft.id)
        if present is not None:
            self._remember(draft, present)
            if not self._is_same(draft, present):
                self._remark(draft, f"{present.path!r} was there already and is kept as it is")
            return
        try:
            task = self._create(draft)
        except AtlasError as error:
            self._remark(draft, f"not taken: {error.message}")
            return
        self._remember(draft, task)
        self.created[task.id] = None

    def _is_same(self, draft: Draft, task: Task) -> bool:
        return all(getattr(draft, name) == getattr(task, name) for name in _PLAIN if name != "type")

    def _create(self, draft: Draft) -> Task:
        board = self.board
        above = parent_of(draft.path)
        parent = None if above is None else board.by_path(above) or changing.create_parents(board, above)
        if parent is not None:
            board.check_open(parent)
            lifecycle.check_holds(parent.type, draft.type, parent.path, draft.path)
        now = board.now
        task = Task(
            id=draft.id or board.tx.new_id(),
            path=draft.path,
            parent=None if parent is None else parent.id,
            position=float(int(board.tally(ROOT if parent is None else parent.id).last) + 1),
            created_at=draft.created_at or now,
            updated_at=draft.updated_at or draft.created_at or now,
            started_at=draft.started_at,
            completed_at=draft.completed_at,
            **{name: getattr(draft, name) for name in _PLAIN},
        )
        task = _given_status(task, draft)
        board.insert(task)
        self._add_notes(task, draft.notes)
        return task

    def _add_notes(self, task: Task, notes: Sequence[DraftNote]) -> None:
        for note in notes:
            made = Note(
                id=note.id or self.board.tx.new_id(),
                task=task.id,
                text=note.text,
                by=note.by,
                at=note.at or self.board.now,
            )
            self.board.tx.put(NOTES, made)

    def _refresh(self, draft: Draft, origin: Origin, task: Task) -> None:
        """Take over what the source changed since the last import, unless it was changed here too."""
        said, last = _said(draft), origin.fields
        changed = {name for name in said if said[name] != last.get(name)} - {"dependencies", "notes"}
        held = {name for name in changed if name in _PLAIN and _value(task, name) != last.get(name)}
        fields: dict[str, Any] = {name: getattr(draft, name) for name in changed if name in _PLAIN and name not in held}
        merged = msgspec.structs.replace(task, **fields)
        if "status" in changed and draft.status is not None and not self.board.is_container(task):
            if task.status == last.get("status") or (task.status is Status.BLOCKED and last.get("status") == "PENDING"):
                merged = _given_status(stamped(merged, draft.status, self.board.now), draft)
            else:
                held.add("status")
        for name in sorted(held):
            self._remark(draft, f"{name} was changed both in the source and here; what is here is kept")
        if merged != task:
            self._change(task, merged)
        fresh = [note for note in draft.notes if _noted(note) not in last.get("notes", ())]
        self._add_notes(task, fresh)
        if fresh:
            self.updated[task.id] = None
        if draft.path != origin.path and task.path == origin.path:
            self._move(draft, task)
        self._remember(draft, task)

    def _change(self, task: Task, merged: Task) -> None:
        try:
            if merged.type is not task.type:
                changing.check_type(self.board, task, merged)
        except AtlasError as error:
            self.remarks.append(Remark(source=task.path, path=task.path, message=f"type kept: {error.message}"))
            merged = msgspec.structs.replace(merged, type=task.type)
        after = msgspec.structs.replace(merged, version=task.version + 1, updated_at=self.board.now)
        self.board.replace(task, after)
        self.updated[task.id] = None

    def _move(self, draft: Draft, task: Task) -> None:
        try:
            moving.move(self.board, task.id, draft.path)
        except AtlasError as error:
            self._remark(draft, f"kept at {task.path!r}: {error.message}")
        else:
            self.updated[task.id] = None

    def connect(self, drafts: Sequence[Draft], known: dict[str, Draft]) -> None:
        """Give the tasks of the drafts their dependencies; `known` finds a draft of the same file by its source."""
        for draft in drafts:
            origin = self.board.tx.get(ORIGINS, self.key(draft))
            task = None if origin is None else self.board.tx.get(TASKS, origin.task)
            if (
                origin is not None
                and task is not None
                and list(draft.dependencies) != origin.fields.get("dependencies")
            ):
                self._connect(draft, origin, task, known)
            if draft.archived and task is not None and task.id in self.created:
                self._archive(task.id)
        self.board.settle()

    def _archive(self, task_id: str) -> None:
        """Archive last of all: below an archived task nothing could be created."""
        task = self.board.tx.get(TASKS, task_id)
        if task is not None and not task.archived:
            archived = msgspec.structs.replace(task, archived=True)
            self.board.replace(task, archived)
            changing.hide_below(self.board, archived)

    def _connect(self, draft: Draft, origin: Origin, task: Task, known: dict[str, Draft]) -> None:
        last = {key for key in (self._target(s, known) for s in origin.fields.get("dependencies", ())) if key}
        wanted = {key: source for source in draft.dependencies if (key := self._target(source, known))}
        for source in draft.dependencies:
            if self._target(source, known) is None:
                self._remark(draft, f"dependency on {source!r} dropped: no such task")
        kept = [key for key in task.dependencies if key in wanted or key not in last]
        fresh = [key for key in wanted if key not in kept and key not in last]
        # What the last import brought and somebody removed here stays removed.
        for key in fresh:
            try:
                check_new_dependency(self.board, task, [*kept, key], key)
            except AtlasError as error:
                self._remark(draft, f"dependency on {wanted[key]!r} dropped: {error.message}")
            else:
                kept.append(key)
        if tuple(kept) != task.dependencies:
            is_new = task.id in self.created
            after = msgspec.structs.replace(task, dependencies=tuple(kept))
            if not is_new:
                after = msgspec.structs.replace(after, version=task.version + 1, updated_at=self.board.now)
                self.updated[task.id] = None
            self.board.replace(task, after)
        fields = {**origin.fields, "dependencies": list(draft.dependencies)}
        self.board.tx.put(ORIGINS, msgspec.structs.replace(origin, fields=fields))

    def _target(self, source: str, known: dict[str, Draft]) -> str | None:
        """Return the id of the task that a dependency names: a draft of this file, or a path of the store."""
        draft = known.get(source)
        if draft is not None:
            origin = self.board.tx.get(ORIGINS, self.key(draft))
            return None if origin is None or self.board.tx.get(TASKS, origin.task) is None else origin.task
        present = self.board.by_path(source)
        return None if present is None else present.id

    def _remember(self, draft: Draft, task: Task) -> None:
        known = self.board.tx.get(ORIGINS, self.key(draft))
        dependencies = [] if known is None else known.fields.get("dependencies", [])
        fields = {**_said(draft), "dependencies": dependencies}
        made = Origin(id=self.key(draft), task=task.id, path=draft.path, fields=fields)
        if made != known:
            self.board.tx.put(ORIGINS, made)

    def _remark(self, draft: Draft, message: str) -> None:
        self.remarks.append(Remark(source=draft.source, path=draft.path, message=message))


def _given_status(task: Task, draft: Draft) -> Task:
    """Set the status that the source tells; what is blocked there is blocked by hand here."""
    status = draft.status or Status.PENDING
    block = Block(cause=Cause.MANUAL, reason=draft.reason) if status is Status.BLOCKED else None
    return msgspec.structs.replace(task, status=status, block=block)


def _said(draft: Draft) -> dict[str, Any]:
    """Return what the source says, as JSON data: what the next import compares with."""
    said = {name: _value(draft, name) for name in _PLAIN}
    said["status"] = None if draft.status is None else str(draft.status)
    said["notes"] = [_noted(note) for note in draft.notes]
    return said


def _value(record: Task | Draft, name: str) -> Any:
    """Return a field as it comes back from the store, where a tuple has become a list."""
    value = msgspec.to_builtins(getattr(record, name))
    return list(value) if isinstance(value, tuple) else value


def _noted(note: DraftNote) -> str:
    return f"{'' if note.at is None else note.at.isoformat()} {note.by or ''} {note.text}"[:500]


def in_order(drafts: Sequence[Draft]) -> list[Draft]:
    """Return the drafts parents first, else as they came."""
    return sorted(drafts, key=lambda draft: depth_of(draft.path))
