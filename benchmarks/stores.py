"""Stores to measure on: small ones with plain tasks, and large ones planted with everything that tasks derive."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import atlas
from atlas import Atlas, Task
from atlas.journal import Call, Recording
from atlas.model import lifecycle
from atlas.model.task import Status, Tally, Type
from atlas.storage.ids import new_id
from atlas.work.board import ready_entry
from atlas.work.collections import READY, ROOT, TALLIES, TASKS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DESCRIPTION = "What has to be done, said at the length that people say it. " * 10
AT_ONCE = 5_000
CALL = Call(action="benchmark", actor="bench")


def plain_task(path: str, *, parent: str | None = None, position: float = 0.0, type: Type = Type.TASK) -> Task:  # noqa: A002 - the field's name
    """Return a task of about 1 KB."""
    return Task(
        id=new_id(),
        path=path,
        name=path.rpartition("/")[2],
        type=type,
        parent=parent,
        position=position,
        description=DESCRIPTION,
        tags=("bench", "plain"),
        assignee="someone",
        metadata={"origin": "benchmark", "build": {"id": 7, "green": True}},
        created_at=NOW,
        updated_at=NOW,
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Atlas]:
    """Open Atlas on a file as any program would."""
    async with atlas.open(f"sqlite:///{path}", actor="bench") as a:
        yield a


def copied(source: Path, target: Path) -> Path:
    """Return a copy of a closed store."""
    shutil.copyfile(source, target)
    return target


async def small(path: Path, count: int) -> list[Task]:
    """Make a store with one project of `count` plain tasks; returns them."""
    root = plain_task("p", type=Type.GROUP)
    tasks = [plain_task(f"p/t{number:06d}", parent=root.id, position=float(number)) for number in range(1, count + 1)]
    await plant(path, [root, *tasks])
    return tasks


async def plant(path: Path, tasks: Sequence[Task]) -> None:
    """Write tasks, parents first, with their counts, their places in the queue and their events."""
    tallies = _tallies(tasks)
    async with opened(path) as a:
        for first in range(0, len(tasks), AT_ONCE):
            await a.journal.write(_planting(tasks[first : first + AT_ONCE], tallies), call=CALL, answer=int)
        await a.store.transact(lambda tx: tx.put(TALLIES, tallies[ROOT]))


def _planting(tasks: Sequence[Task], tallies: dict[str, Tally]) -> Callable[[Recording], int]:
    def work(recording: Recording) -> int:
        for task in tasks:
            tally = tallies.get(task.id, Tally(id=task.id))
            recording.put(TASKS, task)
            if tally.children:
                recording.put(TALLIES, tally)
            entry = ready_entry(task, tally.open_dependents)
            if entry is not None:
                recording.put(READY, entry)
        return len(tasks)

    return work


def _tallies(tasks: Sequence[Task]) -> dict[str, Tally]:
    """Count children and pending leaves upwards; every task here is PENDING."""
    children: dict[str, int] = {}
    for task in tasks:
        key = task.parent or ROOT
        children[key] = children.get(key, 0) + 1
    leaves: dict[str, int] = {}
    for task in reversed(tasks):
        own = leaves.get(task.id, 0) if task.id in children else 1
        if task.parent is not None:
            leaves[task.parent] = leaves.get(task.parent, 0) + own
        leaves[task.id] = own
    pending = lifecycle.ORDER.index(Status.PENDING)
    made = {}
    for key, count in children.items():
        counts = [0] * len(lifecycle.ORDER)
        counts[pending] = 0 if key == ROOT else leaves[key]
        made[key] = Tally(id=key, children=count, leaves=tuple(counts), last=float(count))  # type: ignore[arg-type]
    return made


_LARGE: dict[int, Path] = {}


async def large(folder: Path, count: int) -> Path:
    """Return a closed store of `count` tasks, made once in a run: never written to, only copied."""
    if count not in _LARGE:
        path = folder / f"large-{count}.db"
        await plant(path, list(forest(count)))
        _LARGE[count] = path
    return _LARGE[count]


def forest(count: int) -> Iterator[Task]:
    """Yield `count` tasks, parents first: 8-deep lines of groups, each ending in leaves, and subtrees of 1,000."""
    made = 0
    project = 0
    while made < count:
        for task in _project(project):
            yield task
            made += 1
            if made == count:
                return
        project += 1


def _project(number: int) -> Iterator[Task]:
    """Yield a project: a line of groups down to depth 7 with 20 leaves at depth 8, then `wide` with 999 leaves."""
    root = plain_task(f"p{number:04d}", position=float(number + 1), type=Type.GROUP)
    yield root
    above = root
    for level in range(2, 8):
        above = plain_task(f"{above.path}/g{level}", parent=above.id, position=1.0, type=Type.GROUP)
        yield above
    for leaf in range(1, 21):
        yield plain_task(f"{above.path}/t{leaf:02d}", parent=above.id, position=float(leaf))
    wide = plain_task(f"{root.path}/wide", parent=root.id, position=2.0, type=Type.GROUP)
    yield wide
    for leaf in range(1, 1_000):
        yield plain_task(f"{wide.path}/t{leaf:04d}", parent=wide.id, position=float(leaf))


def changed(task: Task) -> Task:
    """Return a task as an ordinary update leaves it."""
    return msgspec.structs.replace(
        task, status=Status.IN_PROGRESS, started_at=NOW, updated_at=NOW, version=task.version + 1
    )
