"""Notes on tasks, which are only added and removed."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..model import limits
from ..model.task import Note, Task
from ..storage.query import Query, eq
from .board import Board
from .collections import NOTES


def add_notes(board: Board, task: Task, texts: Sequence[str]) -> None:
    """Append notes by the caller."""
    if not texts:
        return
    present = board.tx.count(Query(NOTES).where(eq("task", task.id)))
    if present + len(texts) > limits.NOTES:
        raise InputError(
            f"{task.path!r} would have {present + len(texts)} notes",
            field="notes",
            given=present + len(texts),
            bound=limits.NOTES,
            hint="Remove old notes with remove_notes, or gather them in the description.",
        )
    for text in texts:
        note = Note(id=board.tx.new_id(), task=task.id, text=text, by=board.tx.actor, at=board.now)
        board.tx.put(NOTES, note)
    board.affects(task.path, task.id)


def remove_notes(board: Board, task: Task, ids: Sequence[str]) -> None:
    """Remove notes of the task by their ids; raises InputError for one that is not its own."""
    for key in ids:
        note = board.tx.get(NOTES, key)
        if note is None or note.task != task.id:
            raise InputError(
                f"{task.path!r} has no note {key!r}", field="remove_notes", given=key, bound="an id of its notes"
            )
        board.tx.delete(NOTES, key)
        board.affects(task.path, task.id)
