"""What is derived, computed anew from the tasks alone: the law that the incremental counts are held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from ..journal import Recording
from ..model import lifecycle
from ..model.lifecycle import FINISHED
from ..model.path import parent_of
from ..model.task import Block, Cause, Ready, Status, Tally, Task, Type
from ..storage.collection import Collection
from ..storage.protocol import Transaction
from ..storage.query import Query, gt
from .board import ready_entry
from .collections import READY, ROOT, TALLIES, TASKS

R = TypeVar("R")

_PAGE = 2_000
_NONE = (0, 0, 0, 0, 0, 0)
_INDEX = {status: index for index, status in enumerate(lifecycle.ORDER)}


class Derived(msgspec.Struct, frozen=True):
    """What tasks add up to.

    A tally that counts nothing is left out. `last` is here the highest present position: the one kept may be higher,
    since places given once are not given again.
    """

    tasks: dict[str, Task]
    tallies: dict[str, Tally]
    ready: dict[str, Ready]


def every(tx: Transaction | Recording, collection: Collection[R]) -> Iterator[R]:
    """Yield all records of a collection in order of key, reading a page at a time."""
    key = collection.key
    page = tx.query(Query(collection).order_by(key).limit(_PAGE))
    while page:
        yield from page
        page = tx.query(Query(collection).where(gt(key, collection.key_of(page[-1]))).order_by(key).limit(_PAGE))


def slim(task: Task) -> Task:
    """Return the task without its long fields, so that a whole store of them fits into memory."""
    return msgspec.structs.replace(task, description="", reasoning="", metadata={}, acceptance=())


class Tree:
    """Tasks with their places. A parent counts only where id and path agree, so that the tree has no circles."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks = tasks
        self.order = [task.id for task in sorted(tasks.values(), key=lambda task: task.path)]
        self.parent: dict[str, str | None] = {}
        self.children: dict[str, list[str]] = {}
        for key in self.order:
            task = tasks[key]
            holder = None if task.parent is None else tasks.get(task.parent)
            agrees = holder is not None and holder.path == parent_of(task.path)
            self.parent[key] = task.parent if agrees else None
            if agrees and task.parent is not None:
                self.children.setdefault(task.parent, []).append(key)

    def is_container(self, key: str) -> bool:
        """Say whether a task's status is derived from children."""
        return key in self.children and self.tasks[key].type is not Type.TASK

    def finished(self) -> set[str]:
        """Return the tasks that are finished: leaves by their status, containers when all below them are."""
        unfinished: set[str] = set()
        for key in reversed(self.order):
            if self.is_container(key):
                is_open = any(child in unfinished for child in self.children[key])
            else:
                is_open = self.tasks[key].status not in FINISHED
            if is_open:
                unfinished.add(key)
        return self.tasks.keys() - unfinished

    def leaves(self, tasks: Mapping[str, Task]) -> dict[str, list[int]]:
        """Return the containers' counts of leaves per status; the statuses are those of `tasks`."""
        found: dict[str, list[int]] = {}
        for key in reversed(self.order):
            above = self.parent[key]
            holder = None if above is None else found.setdefault(above, [*_NONE])
            if self.is_container(key):
                own = found[key]
                if holder is not None:
                    holder[:] = [have + more for have, more in zip(holder, own, strict=True)]
            else:
                # What a TASK should not hold is not counted for it.
                found.pop(key, None)
                if holder is not None:
                    holder[_INDEX[tasks[key].status]] += 1
        return found

    def waiting(self, finished: set[str]) -> set[str]:
        """Return the tasks with an unfinished dependency, their own or one of a container above."""
        held: set[str] = set()
        for key in self.order:
            own = self.tasks[key].dependencies
            if self.parent[key] in held or any(d in self.tasks and d not in finished for d in own):
                held.add(key)
        return held


def settled(tasks: Mapping[str, Task]) -> dict[str, Task]:
    """Return the tasks with the status, block and `hidden` that follow, by plain recomputation from the rules."""
    tree = Tree(tasks)
    held = tree.waiting(tree.finished())
    made = dict(tasks)
    for key in tree.order:
        if not tree.is_container(key):
            made[key] = _blocked(tasks[key], is_held=key in held)
    for key, counts in tree.leaves(made).items():
        made[key] = _with(tasks[key], lifecycle.roll_up(counts), None)
    for key in tree.order:
        above = tree.parent[key]
        is_hidden = tasks[key].archived or (above is not None and made[above].hidden)
        if made[key].hidden is not is_hidden:
            made[key] = msgspec.structs.replace(made[key], hidden=is_hidden)
    return made


def _blocked(task: Task, *, is_held: bool) -> Task:
    """Return a leaf with the status and block it must have (RULES, statuses); one in progress keeps running."""
    if task.status is Status.BLOCKED:
        cause = None if task.block is None else task.block.cause
        if cause is Cause.MANUAL:
            return task
        if is_held:
            return task if cause else _with(task, Status.BLOCKED, Block(cause=Cause.DEPENDENCY))
        # A block without a cause cannot have come from a dependency that is not there.
        return _with(task, Status.PENDING, None) if cause else _with(task, Status.BLOCKED, Block(cause=Cause.MANUAL))
    if task.status is Status.PENDING and is_held:
        return _with(task, Status.BLOCKED, Block(cause=Cause.DEPENDENCY))
    return _with(task, task.status, None)


def _with(task: Task, status: Status, block: Block | None) -> Task:
    if task.status is status and task.block == block:
        return task
    return msgspec.structs.replace(task, status=status, block=block)


def counted(tasks: Mapping[str, Task]) -> Derived:
    """Return what the tasks add up to, their statuses taken as they are."""
    children: dict[str, int] = {}
    last: dict[str, float] = {}
    waiting: dict[str, int] = {}
    for task in tasks.values():
        above = ROOT if task.parent is None else task.parent
        children[above] = children.get(above, 0) + 1
        last[above] = max(last.get(above, 0.0), task.position)
        for key in () if task.status in FINISHED else dict.fromkeys(task.dependencies):
            if key in tasks:
                waiting[key] = waiting.get(key, 0) + 1
    leaves = Tree(tasks).leaves(tasks)
    tallies = {}
    for key in {*children, *waiting}:
        a, b, c, d, e, f = leaves.get(key, _NONE)
        tallies[key] = Tally(
            id=key,
            children=children.get(key, 0),
            leaves=(a, b, c, d, e, f),
            open_dependents=waiting.get(key, 0),
            last=last.get(key, 0.0),
        )
    entries = ((key, ready_entry(task, waiting.get(key, 0))) for key, task in tasks.items())
    ready = {key: entry for key, entry in entries if entry is not None}
    return Derived(tasks=dict(tasks), tallies=tallies, ready=ready)


def derived_state(tx: Transaction | Recording) -> Derived:
    """Return what the tasks of the store must add up to."""
    return counted(settled({task.id: slim(task) for task in every(tx, TASKS)}))


def stale_tallies(tx: Transaction | Recording, derived: Derived) -> dict[str, Tally | None]:
    """Return the tallies as they must be written, None for those to remove."""
    wrong: dict[str, Tally | None] = {}
    seen = set()
    for kept in every(tx, TALLIES):
        seen.add(kept.id)
        due = derived.tallies.get(kept.id) or Tally(id=kept.id)
        due = msgspec.structs.replace(due, last=max(due.last, kept.last))
        if kept.id != ROOT and kept.id not in derived.tasks:
            wrong[kept.id] = derived.tallies.get(kept.id)
        elif kept != due:
            wrong[kept.id] = due
    wrong.update((key, tally) for key, tally in derived.tallies.items() if key not in seen)
    return wrong


def stale_ready(tx: Transaction | Recording, derived: Derived) -> dict[str, Ready | None]:
    """Return the entries of the queue as they must be written, None for those to remove."""
    wrong: dict[str, Ready | None] = {}
    seen = set()
    for kept in every(tx, READY):
        seen.add(kept.id)
        due = derived.ready.get(kept.id)
        if kept != due:
            wrong[kept.id] = due
    wrong.update((key, entry) for key, entry in derived.ready.items() if key not in seen)
    return wrong


def rewrite(tx: Recording, collection: Collection[Any], records: Mapping[str, Any]) -> None:
    """Write the records of a derived collection as they must be; None removes."""
    for key, record in records.items():
        if record is None:
            tx.delete(collection, key)
        else:
            tx.put(collection, record)
