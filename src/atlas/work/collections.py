"""The collections of work: tasks and notes, and the counts and the queue that are derived from them."""

from __future__ import annotations

from ..model.task import Note, Origin, Ready, Status, Tally, Task, Type
from ..storage.collection import Collection

TASKS: Collection[Task] = Collection(
    "task",
    Task,
    columns=("path", "name", "type", "status", "parent", "position", "priority", "assignee", "due_at", "hidden"),
    indexes=(("parent", "position"), ("hidden", "status", "path"), ("assignee?",)),
    unique=("path",),
    lists=("dependencies", "tags"),
    text=("name", "description"),
    references={"parent": "task"},
    values={"type": tuple(Type), "status": tuple(Status)},
    derived=frozenset({"hidden"}),
    alike={"hidden": 990_000, "status": 200_000, "parent": 10, "assignee": 1_000},
)

NOTES: Collection[Note] = Collection(
    "note",
    Note,
    columns=("task", "at"),
    indexes=(("task", "at"),),
    text=("text",),
    references={"task": "task"},
    owner="task",
    alike={"task": 5},
)

TALLIES: Collection[Tally] = Collection("tally", Tally, journaled=False)

READY: Collection[Ready] = Collection(
    "ready",
    Ready,
    columns=("path", "rank", "dependents", "due_at", "position"),
    indexes=(("rank", "-dependents", "due_at", "position", "id"), ("path",)),
    journaled=False,
    alike={"rank": 500_000, "dependents": 400_000, "due_at": 400_000, "position": 1_000},
)

ORIGINS: Collection[Origin] = Collection("origin", Origin, columns=("task",), indexes=(("task",),), journaled=False)

ROOT = ""
"""The id of the tally that counts the root level."""
