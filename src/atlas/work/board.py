"""The board: tasks inside one transaction, with everything that follows from a change of one of them.

A direct change goes through `insert`, `replace` or `remove`, which keep the counts; `settle` then derives what the
rules say: containers roll up, dependents are blocked or freed, until nothing changes any more. Derived changes carry
the record that caused them and do not raise versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from ..errors import ArchivedError, TaskNotFoundError
from ..journal import Recording
from ..model import lifecycle
from ..model.lifecycle import FINISHED
from ..model.limits import Limits
from ..model.path import depth_of, is_id, parse_path
from ..model.task import RANK, Block, Cause, Ready, Status, Tally, Task, Type
from ..storage.collection import to_scalar
from ..storage.protocol import Transaction
from ..storage.query import Query, contains, eq, glob, isin, negate
from .collections import READY, ROOT, TALLIES, TASKS

_WAITS = (Status.PENDING, Status.BLOCKED)


class Reading:
    """Tasks as a transaction sees them; nothing is changed."""

    def __init__(self, tx: Transaction | Recording) -> None:
        self.tx = tx

    def by_path(self, path: str) -> Task | None:
        """Return the task at a path."""
        found = self.tx.query(Query(TASKS).where(eq("path", path)))
        return found[0] if found else None

    def find(self, given: str, field: str = "path") -> Task:
        """Return the task with that path or id; raises PathError or TaskNotFoundError."""
        task = self.tx.get(TASKS, given) if is_id(given) else self.by_path(parse_path(given, field))
        if task is None:
            raise TaskNotFoundError(given, field=field)
        return task

    def above(self, task: Task) -> Iterator[Task]:
        """Yield the containers above, the nearest first."""
        parent, seen = task.parent, {task.id}
        # In a damaged store parents can form a circle, which `repair` must live to see.
        while parent is not None and parent not in seen:
            holder = self.tx.get(TASKS, parent)
            if holder is None:
                return
            yield holder
            seen.add(parent)
            parent = holder.parent

    def children(self, parent: str | None) -> list[Task]:
        """Return the direct children in their order; None for the root level."""
        return self.tx.query(Query(TASKS).where(eq("parent", parent)).order_by("position"))

    def below(self, task: Task) -> list[Task]:
        """Return everything below, by path."""
        return self.tx.query(Query(TASKS).where(glob("path", f"{task.path}/**"), negate(eq("id", task.id))))

    def dependents(self, task_id: str) -> list[Task]:
        """Return the tasks that name this one as a dependency, by path."""
        return self.tx.query(Query(TASKS).where(contains("dependencies", task_id)).order_by("path"))

    def tally(self, task_id: str) -> Tally:
        """Return the counts of a task."""
        return self.tx.get(TALLIES, task_id) or Tally(id=task_id)

    def is_container(self, task: Task) -> bool:
        """Say whether the task has children, so that its status is derived."""
        return task.type is not Type.TASK and self.tally(task.id).children > 0

    def waiting_on(self, task: Task) -> list[Task]:
        """Return the unfinished dependencies: its own, then those of the containers above."""
        found: dict[str, Task] = {}
        for holder in (task, *self.above(task)):
            wanted = [key for key in holder.dependencies if key not in found]
            if wanted:
                known = self.tx.get_many(TASKS, wanted)
                found.update((key, known[key]) for key in wanted if key in known)
        return [dependency for dependency in found.values() if dependency.status not in FINISHED]

    def waits_for(self, task_id: str) -> list[str]:
        """Return what a task waits for: its dependencies, inherited ones too, and for a container its children."""
        task = self.tx.get(TASKS, task_id)
        if task is None:
            return []
        waits = [*task.dependencies]
        for holder in self.above(task):
            waits += holder.dependencies
        if self.is_container(task):
            waits += [row[0] for row in self.tx.query(Query(TASKS).where(eq("parent", task.id)).select("id"))]
        return waits


class Board(Reading):
    """Tasks in a transaction that changes them."""

    tx: Recording

    def __init__(self, tx: Recording, limits: Limits) -> None:
        super().__init__(tx)
        self.limits = limits
        self._affected: dict[str, str] = {}
        self._rolls: dict[str, str] = {}
        self._checks: dict[str, str] = {}

    @property
    def now(self) -> datetime:
        """The time of the transaction."""
        return self.tx.now

    def affects(self, path: str, task_id: str) -> None:
        """Note that a task may have changed, which is known here by that path."""
        self._affected[path] = task_id

    @property
    def affected(self) -> list[str]:
        """The paths, in order, of tasks that differ from before the transaction, or whose notes do."""
        changed = self.tx.changed_owners()
        return [path for path, task_id in self._affected.items() if task_id in changed]

    def present(self, task: Task) -> Task:
        """Return the task as the transaction holds it now."""
        found = self.tx.get(TASKS, task.id)
        if found is None:
            raise TaskNotFoundError(task.path)
        return found

    def check_open(self, task: Task) -> None:
        """Refuse to change what is archived."""
        if task.hidden:
            holder = next((t for t in (task, *self.above(task)) if t.archived), task)
            raise ArchivedError(task.path, holder.path)

    # Direct changes.

    def insert(self, task: Task) -> None:
        """Put a new leaf under its parent."""
        self._put(task)
        parent = self._parent_tally(task)
        if task.parent is not None and parent.children == 0:
            self._stop_being_leaf(task.parent, task.id)
        last = max(parent.last, task.position)
        self.tx.put(TALLIES, msgspec.structs.replace(parent, children=parent.children + 1, last=last))
        self._count_leaf(task, None, task.status)
        self._count_dependents({}, _open_edges(task))
        self._queue(task)

    def replace(self, before: Task, after: Task, *, cause: str | None = None) -> None:
        """Put a changed task in place of `before`; its place in the tree stays."""
        self._put(after, cause)
        origin = cause or after.id
        if before.status is not after.status:
            if not self.is_container(after):
                self._count_leaf(after, before.status, after.status, origin)
            if (before.status in FINISHED) != (after.status in FINISHED):
                for dependent in self.dependents(after.id):
                    self._checks.setdefault(dependent.id, origin)
        self._count_dependents(_open_edges(before), _open_edges(after))
        if before.dependencies != after.dependencies:
            self._checks.setdefault(after.id, origin)
        self._queue(after)

    def remove(self, task: Task) -> None:
        """Take a leaf away; its parent may become a leaf by that."""
        self._count_leaf(task, task.status, None)
        self._count_dependents(_open_edges(task), {})
        self.tx.delete(TASKS, task.id)
        self.tx.delete(TALLIES, task.id)
        self.tx.delete(READY, task.id)
        self._rolls.pop(task.id, None)
        self._checks.pop(task.id, None)
        self.affects(task.path, task.id)
        self._leave_parent(task)

    def relocate(self, task: Task, moved: Task, below: Iterable[tuple[Task, Task]]) -> None:
        """Put a task and all below it at their new paths; `moved` has its new parent and position."""
        leaves = (
            self.tally(task.id).leaves if self.is_container(task) else lifecycle.shift(_NO_LEAVES, None, task.status)
        )
        self._add_leaves(task, leaves, -1, task.id)
        self._put(moved)
        for old, new in below:
            self._put(new, cause=task.id)
            self._queue(new)
            self.affects(old.path, old.id)
        self.affects(task.path, task.id)
        if task.parent != moved.parent:
            self._leave_parent(task)
            parent = self._parent_tally(moved)
            if moved.parent is not None and parent.children == 0:
                self._stop_being_leaf(moved.parent, task.id)
            self.tx.put(TALLIES, msgspec.structs.replace(parent, children=parent.children + 1))
        parent = self._parent_tally(moved)
        self.tx.put(TALLIES, msgspec.structs.replace(parent, last=max(parent.last, moved.position)))
        self._add_leaves(moved, leaves, 1, task.id)
        self._queue(moved)
        self._checks.setdefault(moved.id, task.id)

    def hide(self, task: Task, *, is_hidden: bool) -> None:
        """Set the derived mark of lying in an archived subtree."""
        if task.hidden is not is_hidden:
            after = msgspec.structs.replace(task, hidden=is_hidden)
            self.tx.put(TASKS, after)
            self._queue(after)

    def renumber(self, siblings: Iterable[Task], cause: str) -> None:
        """Give siblings whole positions again, when halving has left no room between two."""
        for number, task in enumerate(siblings, 1):
            if task.position != float(number):
                after = msgspec.structs.replace(task, position=float(number))
                self._put(after, cause)
                self._queue(after)

    def recheck(self, task: Task) -> None:
        """Have `settle` look at a task's block again."""
        self._checks.setdefault(task.id, task.id)

    def _put(self, task: Task, cause: str | None = None) -> None:
        self.affects(task.path, task.id)
        self.tx.put(TASKS, task, cause=None if cause is None or cause == task.id else (TASKS, cause))

    # Counts.

    def _parent_tally(self, task: Task) -> Tally:
        return self.tally(ROOT if task.parent is None else task.parent)

    def _leave_parent(self, task: Task) -> None:
        parent = self._parent_tally(task)
        self.tx.put(TALLIES, msgspec.structs.replace(parent, children=parent.children - 1))
        if task.parent is not None and parent.children == 1:
            self._become_leaf(task.parent, task.id)

    def _become_leaf(self, task_id: str, cause: str) -> None:
        """An emptied container stands for itself again, as work not begun."""
        task = self.tx.get(TASKS, task_id)
        if task is None:
            return
        self._rolls.pop(task_id, None)
        after = stamped(msgspec.structs.replace(task, block=None), Status.PENDING, self.now)
        self._put(after, cause)
        self._count_leaf(after, None, Status.PENDING, cause)
        self._checks.setdefault(task_id, cause)
        self._follow_finish(task, after, cause)

    def _stop_being_leaf(self, task_id: str, cause: str) -> None:
        """A container's first child: what it said of itself no longer counts, its children decide."""
        task = self.tx.get(TASKS, task_id)
        if task is None:
            return
        self._count_leaf(task, task.status, None, cause)
        if task.block is not None:
            self._put(msgspec.structs.replace(task, block=None), cause)

    def _follow_finish(self, before: Task, after: Task, cause: str) -> None:
        if (before.status in FINISHED) != (after.status in FINISHED):
            for dependent in self.dependents(after.id):
                self._checks.setdefault(dependent.id, cause)
            self._count_dependents(_open_edges(before), _open_edges(after))

    def _count_leaf(self, task: Task, before: Status | None, after: Status | None, cause: str | None = None) -> None:
        change = lifecycle.shift(_NO_LEAVES, before, after)
        self._add_leaves(task, change, 1, cause or task.id)

    def _add_leaves(self, task: Task, leaves: tuple[int, ...], sign: int, cause: str) -> None:
        for holder in self.above(task):
            tally = self.tally(holder.id)
            a, b, c, d, e, f = (have + sign * more for have, more in zip(tally.leaves, leaves, strict=True))
            self.tx.put(TALLIES, msgspec.structs.replace(tally, leaves=(a, b, c, d, e, f)))
            self._rolls.setdefault(holder.id, cause)

    def _count_dependents(self, before: dict[str, int], after: dict[str, int]) -> None:
        """Keep the number of open dependents of everything that a task depends on."""
        for key in {*before, *after}:
            change = after.get(key, 0) - before.get(key, 0)
            dependency = self.tx.get(TASKS, key) if change else None
            if dependency is not None:
                tally = self.tally(key)
                self.tx.put(TALLIES, msgspec.structs.replace(tally, open_dependents=tally.open_dependents + change))
                self._queue(dependency)

    def _queue(self, task: Task) -> None:
        """Keep the task's entry in the queue of ready work as it must be."""
        entry = ready_entry(task, self.tally(task.id).open_dependents)
        if entry is None:
            if self.tx.get(READY, task.id) is not None:
                self.tx.delete(READY, task.id)
        elif self.tx.get(READY, task.id) != entry:
            self.tx.put(READY, entry)

    # Consequences.

    def settle(self) -> None:
        """Derive everything that follows, containers before blocks, until nothing changes."""
        while self._rolls or self._checks:
            if self._rolls:
                self._roll_up_deepest()
            else:
                waiting, self._checks = self._checks, {}
                for task_id, cause in waiting.items():
                    self._check_block(task_id, cause)

    def _roll_up_deepest(self) -> None:
        waiting, self._rolls = self._rolls, {}
        tasks = self.tx.get_many(TASKS, waiting)
        for task in sorted(tasks.values(), key=lambda t: -depth_of(t.path)):
            tally = self.tally(task.id)
            if tally.children == 0:
                continue
            status = lifecycle.roll_up(tally.leaves)
            if status is not task.status:
                after = stamped(task, status, self.now)
                self._put(after, waiting[task.id])
                self._follow_finish(task, after, waiting[task.id])

    def _check_block(self, task_id: str, cause: str) -> None:
        task = self.tx.get(TASKS, task_id)
        if task is None:
            return
        if not self.is_container(task):
            self._check_leaf(task, cause)
            return
        leaves = Query(TASKS).where(glob("path", f"{task.path}/**"), isin("status", _WAITS))
        for leaf in self.tx.query(leaves):
            if not self.is_container(leaf):
                self._check_leaf(leaf, cause)

    def _check_leaf(self, task: Task, cause: str) -> None:
        """Block a pending task that is not free, free a blocked one that is."""
        by_dependency = task.block is not None and task.block.cause is Cause.DEPENDENCY
        if task.status is not Status.PENDING and not (task.status is Status.BLOCKED and by_dependency):
            return
        is_free = not self.waiting_on(task)
        if is_free and task.status is Status.BLOCKED:
            self.replace(task, msgspec.structs.replace(task, status=Status.PENDING, block=None), cause=cause)
        elif not is_free and task.status is Status.PENDING:
            block = Block(cause=Cause.DEPENDENCY)
            self.replace(task, msgspec.structs.replace(task, status=Status.BLOCKED, block=block), cause=cause)


_NO_LEAVES = (0, 0, 0, 0, 0, 0)


def _open_edges(task: Task) -> dict[str, int]:
    """Return the dependencies that an unfinished task holds open."""
    return {} if task.status in FINISHED else dict.fromkeys(task.dependencies, 1)


def ready_entry(task: Task, open_dependents: int) -> Ready | None:
    """Return the task's entry in the queue of ready work, None where it is not ready (RULES, ready work)."""
    if task.type is not Type.TASK or task.status is not Status.PENDING or task.hidden:
        return None
    return Ready(
        id=task.id,
        path=task.path,
        rank=RANK[task.priority],
        dependents=open_dependents,
        due_at="~" if task.due_at is None else str(to_scalar(task.due_at)),
        position=task.position,
        requires=task.requires,
    )


def stamped(task: Task, status: Status, now: datetime) -> Task:
    """Return the task with a status and the times that go with it."""
    started, completed = task.started_at, task.completed_at
    if status is Status.PENDING:
        started = completed = None
    elif status is Status.IN_PROGRESS:
        started, completed = started or now, None
    elif status in FINISHED:
        completed = completed or now
    else:
        completed = None
    return msgspec.structs.replace(task, status=status, started_at=started, completed_at=completed)
