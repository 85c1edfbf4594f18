"""Finding and mending records that disagree with the rules, as another program or a fault may leave them.

The verbs cannot make such records. Finding is pure: it mends copies, and everything that follows is derived from the
mended copies; fixing writes what differs, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..journal import Recording
from ..model.path import is_within, name_of, parent_of, parse_pattern
from ..model.task import Block, Ready, Status, Tally, Task, Type
from ..storage.protocol import Transaction
from .board import stamped
from .circles import circles
from .collections import NOTES, READY, TALLIES, TASKS
from .rebuild import Tree, counted, every, rewrite, settled, slim, stale_ready, stale_tallies

_LISTS = ("dependencies", "tags", "requires")
_DIRECT = ("parent", "type", *_LISTS)


class Issue(msgspec.Struct, frozen=True):
    """One disagreement and what mends it."""

    kind: str
    path: str
    message: str


class Findings:
    """What is wrong with a store within a pattern, and the records as they must be."""

    def __init__(self, tx: Transaction | Recording, pattern: str) -> None:
        self.issues: list[Issue] = []
        self._created: list[str] = []
        self.notes: list[str] = []
        self._matches = parse_pattern(pattern).matches
        self._is_all = pattern == "**"
        self._new_id = tx.new_id
        self._now = tx.now
        self._kept = {task.id: slim(task) for task in every(tx, TASKS)}
        self._made = dict(self._kept)
        self._keys = [t.id for t in sorted(self._kept.values(), key=lambda t: t.path) if self._matches(t.path)]
        self._parents()
        self._types()
        self._lists()
        self._dependencies()
        self._circles()
        self._derived()
        self.tallies, self.ready = self._counts(tx)
        self._loose_notes(tx)

    def changed(self) -> Iterator[tuple[Task, Task]]:
        """Yield each kept task that must change, with itself as it must be (both without their long fields)."""
        for key, before in self._kept.items():
            if self._made[key] is not before:
                yield before, self._made[key]

    def created(self) -> list[Task]:
        """Return the containers that were missing, those above first."""
        return [self._made[key] for key in self._created]

    def _note(self, kind: str, path: str, message: str) -> None:
        self.issues.append(Issue(kind, path, message))

    def _change(self, task: Task, kind: str, message: str, **fields: Any) -> None:
        self._note(kind, task.path, message)
        self._made[task.id] = msgspec.structs.replace(self._made[task.id], **fields)

    def _tasks(self) -> list[Task]:
        """Return the tasks to look at, as mended so far, by path."""
        return [self._made[key] for key in self._keys]

    # Places.

    def _parents(self) -> None:
        by_path = {task.path: task for task in self._made.values()}
        for task in self._tasks():
            above = parent_of(task.path)
            if above is None:
                if task.parent is not None:
                    self._change(task, "parent", "stands at the root, but names a parent: taken from it", parent=None)
                continue
            if above not in by_path:
                self._note("orphan", task.path, f"its parent {above!r} does not exist: created as a GROUP")
                self._create(above, by_path)
            holder = by_path[above]
            if task.parent == holder.id:
                continue
            if task.parent is None or task.parent in self._kept:
                self._change(task, "parent", f"names another parent than {above!r}: its path decides", parent=holder.id)
            else:
                message = f"names a parent that does not exist: put under {above!r}"
                self._change(task, "orphan", message, parent=holder.id)

    def _create(self, path: str, by_path: dict[str, Task]) -> None:
        """Create a missing container, and those missing above it, so that the paths below stay as they are."""
        above = parent_of(path)
        if above is not None and above not in by_path:
            self._create(above, by_path)
        holder = None if above is None else by_path[above].id
        last = max((t.position for t in self._made.values() if t.parent == holder), default=0.0)
        task = Task(
            id=self._new_id(),
            path=path,
            name=name_of(path),
            type=Type.GROUP,
            parent=holder,
            position=float(int(last) + 1),
            created_at=self._now,
            updated_at=self._now,
        )
        by_path[path] = self._made[task.id] = task
        self._created.append(task.id)

    def _types(self) -> None:
        holders = {task.parent for task in self._made.values()}
        for task in self._tasks():
            if task.type is Type.TASK and task.id in holders:
                self._change(task, "type", "is a TASK and holds children: made a GROUP", type=Type.GROUP)
            elif task.type is Type.MILESTONE and task.parent is not None:
                self._change(task, "type", "is a MILESTONE below something: made a GROUP", type=Type.GROUP)

    # Dependencies.

    def _lists(self) -> None:
        for task in self._tasks():
            for name in _LISTS:
                values = getattr(self._made[task.id], name)
                once = tuple(dict.fromkeys(values))
                if once != values:
                    self._change(task, "duplicate", f"{name} names something twice: kept once", **{name: once})

    def _dependencies(self) -> None:
        for task in self._tasks():
            for key in task.dependencies:
                other = self._made.get(key)
                if other is None:
                    self._drop(task, key, "dangling", f"depends on {key}, which does not exist: dropped")
                elif is_within(task.path, other.path) or is_within(other.path, task.path):
                    self._drop(task, key, "line", f"depends on {other.path!r}, in its own line: dropped")

    def _circles(self) -> None:
        for circle in circles(Tree(self._made), self._matches):
            task, other = (self._made[key] for key in circle.dropped)
            chain = " -> ".join(self._made[key].path for key in circle.chain)
            message = f"waits in a circle, {chain}: its dependency on {other.path!r}, the newest, dropped"
            self._drop(task, other.id, "cycle", message)

    def _drop(self, task: Task, key: str, kind: str, message: str) -> None:
        kept = tuple(d for d in self._made[task.id].dependencies if d != key)
        self._change(task, kind, message, dependencies=kept)

    # What is derived.

    def _derived(self) -> None:
        due = settled(self._made)
        tree = Tree(self._made)
        for task in self._tasks():
            must = due[task.id]
            if must.status is not task.status or must.block != task.block:
                kind, reason = ("roll_up", "children") if tree.is_container(task.id) else ("block", "dependencies")
                self._note(kind, task.path, f"is {_told(task)}, but its {reason} make it {_told(must)}")
            if must.hidden is not task.hidden:
                self._note("hidden", task.path, "its mark of lying in an archived subtree is wrong")
            self._made[task.id] = must
        for key in self._followers(due):
            self._made[key] = due[key]

    def _followers(self, due: Mapping[str, Task]) -> set[str]:
        """Return the tasks beyond the pattern that what is mended changes: they were right before, and must be after.

        What is above a mended task rolls up anew; others differ when the rules say another thing of them than before.
        """
        followers = {*self._created}
        mended = [key for key, task in self._kept.items() if self._made[key] is not task]
        if not mended and not followers:
            return followers
        parent = Tree(self._made).parent
        for key in [*mended, *followers]:
            above = parent[key]
            while above is not None and above not in followers:
                followers.add(above)
                above = parent[above]
        before = settled(self._kept)
        followers |= {key for key, task in before.items() if _derived_of(task) != _derived_of(due[key])}
        return followers

    def _counts(self, tx: Transaction | Recording) -> tuple[dict[str, Tally | None], dict[str, Ready | None]]:
        """Return what to write; reported is only what was wrong before, not what follows from the rest."""
        present = counted(self._kept)
        derived = counted(self._made) if self.issues else present
        for key in sorted(stale_tallies(tx, present)):
            if self._is_wanted(key):
                self._note("counts", self._path(key), "its counts are not those of the tasks: counted again")
        for key in sorted(stale_ready(tx, present)):
            if self._is_wanted(key):
                self._note("ready", self._path(key), "its place in the queue of ready work is wrong: placed again")
        tallies = {
            key: tally
            for key, tally in stale_tallies(tx, derived).items()
            if self._is_wanted(key) or present.tallies.get(key) != derived.tallies.get(key)
        }
        ready = {
            key: entry
            for key, entry in stale_ready(tx, derived).items()
            if self._is_wanted(key) or present.ready.get(key) != derived.ready.get(key)
        }
        return tallies, ready

    def _is_wanted(self, key: str) -> bool:
        task = self._kept.get(key)
        return self._is_all if task is None else self._matches(task.path)

    def _path(self, key: str) -> str:
        task = self._made.get(key)
        return "" if task is None else task.path

    def _loose_notes(self, tx: Transaction | Recording) -> None:
        """Find notes without a task; they have no path, so only a look at everything sees them."""
        for note in every(tx, NOTES) if self._is_all else ():
            if note.task not in self._made:
                self._note("note", "", f"the note {note.id} belongs to {note.task}, which does not exist: removed")
                self.notes.append(note.id)


def _derived_of(task: Task) -> tuple[Status, Block | None, bool]:
    return task.status, task.block, task.hidden


def _told(task: Task) -> str:
    if task.status is Status.BLOCKED and task.block is not None:
        return f"{task.status} ({task.block.cause})"
    return str(task.status)


def mend(tx: Recording, found: Findings) -> None:
    """Write what the findings say; statuses are derived changes, all else raises the version."""
    for task in found.created():
        tx.put(TASKS, stamped(msgspec.structs.replace(task, status=Status.PENDING), task.status, tx.now))
    for before, after in found.changed():
        kept = tx.get(TASKS, before.id)
        if kept is None:
            continue
        direct = {name: getattr(after, name) for name in _DIRECT if getattr(after, name) != getattr(before, name)}
        made = msgspec.structs.replace(kept, **direct, block=after.block, hidden=after.hidden)
        if after.status is not before.status:
            made = stamped(made, after.status, tx.now)
        if direct:
            made = msgspec.structs.replace(made, version=kept.version + 1, updated_at=tx.now)
        tx.put(TASKS, made)
    tx.delete_many(NOTES, found.notes)
    rewrite(tx, TALLIES, found.tallies)
    rewrite(tx, READY, found.ready)
