"""Planting: the drafts of a reading become tasks, new ones created, known ones brought up to date.

A known task takes only what changed in the source since the last import, and never what was changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import AtlasError
from ..model import lifecycle, limits
from ..model.path import depth_of, is_id, parent_of, project_of
from ..model.task import Block, Cause, Note, Origin, Status, Task, Type
from ..storage.query import Query, eq
from . import changing, moving
from .board import Board, stamped
from .collections import NOTES, ORIGINS, TASKS
from .imports.draft import Draft, DraftNote, Reading, Remark
from .linking import check_new_dependency
from .placing import check_room, position_for

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
    """One import inside one transaction: `created` and `updated` hold ids, `remarks` say what went otherwise.

    `made` names the tasks that earlier transactions of the same import created: connecting them is no update.
    """

    def __init__(self, board: Board, reading: Reading, report: Callable[[], None], made: Collection[str] = ()) -> None:
        self.board = board
        self.created: dict[str, None] = dict.fromkeys(made)
        self.updated: dict[str, None] = {}
        self.remarks: list[Remark] = []
        self._format = reading.format
        self._known = {draft.source: draft for draft in reading.drafts}
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
            self._remember(draft, present, dependencies=None, archived=draft.archived)
            if not self._is_same(draft, present):
                self._remark(draft, f"{present.path!r} was there already and is kept as it is")
            return
        try:
            task = self._create(draft)
        except AtlasError as error:
            self._remark(draft, f"not taken: {error.message}")
            return
        self._remember(draft, task, dependencies=[], archived=False)
        self.created[task.id] = None

    def _is_same(self, draft: Draft, task: Task) -> bool:
        return all(getattr(draft, name) == getattr(task, name) for name in _PLAIN if name != "type")

    def _create(self, draft: Draft) -> Task:
        board = self.board
        parent = self._parent(draft)
        check_room(board, parent)
        now = board.now
        task = Task(
            id=draft.id if draft.id is not None and is_id(draft.id) else board.tx.new_id(),
            path=draft.path,
            parent=None if parent is None else parent.id,
            position=position_for(board, parent, None),
            created_at=draft.created_at or now,
            # It only grows, so a clock that ran ahead elsewhere must not be ahead of the next change here.
            updated_at=min(draft.updated_at or draft.created_at or now, now),
            started_at=draft.started_at,
            completed_at=draft.completed_at,
            **{name: getattr(draft, name) for name in _PLAIN},
        )
        task = _given_status(task, draft)
        board.insert(task)
        board.recheck(task)
        if draft.id not in {None, task.id}:
            self._remark(draft, f"{draft.id!r} is no id of a task; it got one of its own")
        self._add_notes(task, draft)
        return task

    def _parent(self, draft: Draft) -> Task | None:
        """Return the container of a draft, made where it is missing; raises before anything is made."""
        above = parent_of(draft.path)
        if above is None:
            return None
        parent = self.board.by_path(above)
        lifecycle.check_holds(Type.GROUP if parent is None else parent.type, draft.type, above, draft.path)
        if parent is None:
            parent = changing.create_parents(self.board, above)
            self._remark(draft, f"its parent {above!r} was not there: made as a GROUP")
        self.board.check_open(parent)
        return parent

    def _add_notes(self, task: Task, draft: Draft, last: Collection[str] = ()) -> bool:
        """Add the notes that the last import did not bring; an id that is taken is another note's, as in a copy."""
        fresh = [note for note in draft.notes if _noted(note) not in last]
        for note in fresh:
            is_free = note.id is not None and is_id(note.id) and self.board.tx.get(NOTES, note.id) is None
            made = Note(
                id=note.id if is_free and note.id is not None else self.board.tx.new_id(),
                task=task.id,
                text=note.text,
                by=note.by,
                at=note.at or self.board.now,
            )
            self.board.tx.put(NOTES, made)
        if fresh:
            self._count_notes(task, draft)
        return bool(fresh)

    def _count_notes(self, task: Task, draft: Draft) -> None:
        count = self.board.tx.count(Query(NOTES).where(eq("task", task.id)))
        if count > limits.NOTES:
            self._remark(
                draft, f"has {count} notes, over the limit of {limits.NOTES}: all are kept, no more can follow"
            )

    def _refresh(self, draft: Draft, origin: Origin, task: Task) -> None:
        """Take over what the source changed since the last import, unless it was changed here too."""
        last = origin.fields
        task = self._unarchived(draft, origin, task)
        if task.hidden:
            said = {**_said(draft), "dependencies": list(draft.dependencies)}
            if any(last.get(name, value) != value for name, value in said.items()) or draft.path != origin.path:
                self._remark(draft, f"{task.path!r} is archived here and is kept as it is")
            return
        merged = self._merged(draft, last, task)
        if merged != task:
            task = self._change(task, merged)
        if self._add_notes(task, draft, last.get("notes", ())):
            self.updated[task.id] = None
        if draft.path != origin.path and task.path == origin.path:
            self._move(draft, task)
        is_archived = draft.archived and last.get("archived", False)
        self._remember(draft, task, dependencies=last.get("dependencies"), archived=is_archived)

    def _merged(self, draft: Draft, last: Mapping[str, Any], task: Task) -> Task:
        said = _said(draft)
        changed = {name for name in said if said[name] != last.get(name)} - {"notes"}
        held = {name for name in changed if name in _PLAIN and _value(task, name) != last.get(name)}
        fields: dict[str, Any] = {name: getattr(draft, name) for name in changed if name in _PLAIN and name not in held}
        merged = msgspec.structs.replace(task, **fields)
        if changed & {"status", "reason"} and draft.status is not None and not self.board.is_container(task):
            if _is_as_told(task, last):
                merged = _given_status(stamped(merged, draft.status, self.board.now), draft)
            else:
                held.add("status")
        for name in sorted(held):
            self._remark(draft, f"{name} was changed both in the source and here; what is here is kept")
        return merged

    def _unarchived(self, draft: Draft, origin: Origin, task: Task) -> Task:
        """Bring a task back that the source has brought back, so that its other changes can be taken."""
        was_told = origin.fields.get("archived", False)
        if draft.archived or not was_told or not task.archived or any(t.archived for t in self.board.above(task)):
            return task
        return self._archive(task, is_archived=False)

    def _change(self, task: Task, merged: Task) -> Task:
        try:
            if merged.type is not task.type:
                changing.check_type(self.board, task, merged)
        except AtlasError as error:
            self.remarks.append(Remark(source=task.path, path=task.path, message=f"type kept: {error.message}"))
            merged = msgspec.structs.replace(merged, type=task.type)
        after = self._replace(task, **{name: getattr(merged, name) for name in merged.__struct_fields__})
        self.board.recheck(after)
        return after

    def _move(self, draft: Draft, task: Task) -> None:
        try:
            moving.move(self.board, task.id, draft.path)
        except AtlasError as error:
            self._remark(draft, f"kept at {task.path!r}: {error.message}")
        else:
            self.updated[task.id] = None

    def connect(self, drafts: Sequence[Draft]) -> None:
        """Give the tasks of the drafts their dependencies, once all of them are there."""
        for draft, origin, task in self._planted(drafts):
            is_open = not task.hidden or task.id in self.created
            if is_open and list(draft.dependencies) != origin.fields.get("dependencies"):
                self._connect(draft, origin, task)
                self._note_told(origin, dependencies=list(draft.dependencies))
        self.board.settle()
        self._give_reasons(drafts)

    def archive(self, drafts: Sequence[Draft]) -> None:
        """Archive what the source has archived since the last import; the last step, since it closes what it hides."""
        archived = [draft for draft in drafts if draft.archived]
        for _, origin, task in self._planted(archived):
            if not origin.fields.get("archived"):
                self._archive(task, is_archived=True)
                self._note_told(origin, archived=True)

    def _planted(self, drafts: Sequence[Draft]) -> Iterator[tuple[Draft, Origin, Task]]:
        for draft in drafts:
            origin = self.board.tx.get(ORIGINS, self.key(draft))
            task = None if origin is None else self.board.tx.get(TASKS, origin.task)
            if origin is not None and task is not None:
                yield draft, origin, task

    def _note_told(self, origin: Origin, **told: Any) -> None:
        self.board.tx.put(ORIGINS, msgspec.structs.replace(origin, fields={**origin.fields, **told}))

    def _give_reasons(self, drafts: Sequence[Draft]) -> None:
        """Give blocks by dependency the reason that somebody wrote to them: only now is it known that they block."""
        for draft in drafts:
            if draft.reason is None or draft.status is not None:
                continue
            task = self.board.by_path(draft.path)
            block = None if task is None else task.block
            if task is not None and task.id in self.created and block is not None:
                after = msgspec.structs.replace(task, block=msgspec.structs.replace(block, reason=draft.reason))
                self.board.replace(task, after)

    def _archive(self, task: Task, *, is_archived: bool) -> Task:
        if task.archived is is_archived:
            return task
        after = self._replace(task, archived=is_archived)
        changing.hide_below(self.board, after)
        return self.board.present(after)

    def _connect(self, draft: Draft, origin: Origin, task: Task) -> None:
        wanted = {key: source for source in draft.dependencies if (key := self._target(source))}
        told = origin.fields.get("dependencies")
        if told is None:
            if {*wanted} != {*task.dependencies}:
                self._remark(draft, f"{task.path!r} was there already and keeps its dependencies")
            return
        for source in draft.dependencies:
            if self._target(source) is None:
                self._remark(draft, f"dependency on {source!r} dropped: no such task")
        last = {key for key in (self._target(source) for source in told) if key}
        kept = [key for key in task.dependencies if key in wanted or key not in last]
        # What the last import brought and somebody removed here stays removed.
        for key in [key for key in wanted if key not in kept and key not in last]:
            try:
                check_new_dependency(self.board, task, [*kept, key], key)
            except AtlasError as error:
                self._remark(draft, f"dependency on {wanted[key]!r} dropped: {error.message}")
            else:
                kept.append(key)
        self._replace(task, dependencies=tuple(kept))

    def _replace(self, task: Task, **fields: Any) -> Task:
        """Put a task with other fields in place; only for one that was there before is it a change of its own."""
        after = msgspec.structs.replace(task, **fields)
        if after == task:
            return task
        if task.id not in self.created:
            after = msgspec.structs.replace(after, version=task.version + 1, updated_at=self.board.now)
            self.updated[task.id] = None
        self.board.replace(task, after)
        return after

    def _target(self, source: str) -> str | None:
        """Return the id of the task that a dependency names: a draft of this file, or an id or path of the store."""
        draft = self._known.get(source)
        if draft is not None:
            origin = self.board.tx.get(ORIGINS, self.key(draft))
            return None if origin is None or self.board.tx.get(TASKS, origin.task) is None else origin.task
        present = self.board.tx.get(TASKS, source) or self.board.by_path(source)
        return None if present is None else present.id

    def _remember(self, draft: Draft, task: Task, *, dependencies: list[str] | None, archived: bool) -> None:
        """Keep what the source said; dependencies are None while a task that was there already is not yet compared."""
        fields = {**_said(draft), "dependencies": dependencies, "archived": archived}
        made = Origin(id=self.key(draft), task=task.id, path=draft.path, fields=fields)
        if made != self.board.tx.get(ORIGINS, made.id):
            self.board.tx.put(ORIGINS, made)

    def _remark(self, draft: Draft, message: str) -> None:
        self.remarks.append(Remark(source=draft.source, path=draft.path, message=message))


Step = Callable[[Planting, Sequence[Draft]], None]

STEPS: tuple[Step, ...] = (Planting.plant, Planting.connect, Planting.archive)
"""What is done with the drafts, one after the other: each needs the one before to be done with all of them."""


def _given_status(task: Task, draft: Draft) -> Task:
    """Set the status that the source tells, and its times; what is blocked there is blocked by hand here."""
    status = draft.status or Status.PENDING
    return msgspec.structs.replace(
        task,
        status=status,
        block=Block(cause=Cause.MANUAL, reason=draft.reason) if status is Status.BLOCKED else None,
        started_at=draft.started_at or task.started_at,
        completed_at=draft.completed_at or task.completed_at,
    )


def _is_as_told(task: Task, last: Mapping[str, Any]) -> bool:
    """Say whether the status is the one that the last import gave, or what followed from it by itself."""
    told = Status(last.get("status") or Status.PENDING)
    if task.block is None:
        return task.status is told
    if task.block.cause is Cause.DEPENDENCY:
        return told is Status.PENDING
    return told is Status.BLOCKED and task.block.reason == last.get("reason")


def _said(draft: Draft) -> dict[str, Any]:
    """Return what the source says, as JSON data: what the next import compares with."""
    said = {name: _value(draft, name) for name in _PLAIN}
    said["status"] = None if draft.status is None else str(draft.status)
    said["reason"] = draft.reason
    said["notes"] = [_noted(note) for note in draft.notes]
    return said


def _value(record: Task | Draft, name: str) -> Any:
    """Return a field as it comes back from the store, where a tuple has become a list."""
    value = msgspec.to_builtins(getattr(record, name))
    return list(value) if isinstance(value, tuple) else value


def _noted(note: DraftNote) -> str:
    """Return what tells a note from others, short however long it is."""
    # Late: few imports need it, and every command that can import would pay for it.
    import hashlib

    digest = hashlib.blake2b(note.text.encode(), digest_size=8).hexdigest()
    return f"{'' if note.at is None else note.at.isoformat()} {note.by or ''} {digest}"


def in_order(drafts: Sequence[Draft]) -> list[Draft]:
    """Return the drafts parents first, else as they came."""
    return sorted(drafts, key=lambda draft: depth_of(draft.path))
