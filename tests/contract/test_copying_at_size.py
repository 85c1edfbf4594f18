"""A store of the size of years is moved from each kind of server to each other, as a person would do it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.contract import postgres_servers, redis_servers

import atlas
from atlas.journal import EVENTS
from atlas.model.event import Event
from atlas.model.task import Priority, Tally, Task, Type
from atlas.storage.bulk import bulk_load
from atlas.storage.ids import new_id
from atlas.work.board import ready_entry
from atlas.work.collections import READY, ROOT, TALLIES, TASKS

BELOW = 99
"""So many tasks lie below each project."""

ROUTE = ("sqlite", "postgres", "redis", "sqlite", "redis", "postgres", "sqlite")
"""Goes from each to each other once."""

MEGABYTES = 150
"""More memory than this no copy takes."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANGES = [
    {"fields": {"priority": {"old": old, "new": new}}} for old, new in pairwise([*Priority, *Priority, "high", "low"])
]


def project(number: int) -> list[Task]:
    """Return a project and what lies below it."""
    alike: dict[str, Any] = {
        "created_at": NOW,
        "updated_at": NOW,
        "description": "What has to be done, said at some length. " * 10,
    }
    root = Task(id=new_id(), path=f"p{number}", name="p", type=Type.GROUP, position=float(number + 1), **alike)
    return [
        root,
        *(
            Task(id=new_id(), path=f"p{number}/t{n}", name="t", parent=root.id, position=float(n), tags=("x",), **alike)
            for n in range(1, BELOW + 1)
        ),
    ]


def history(tasks: list[Task]) -> Iterator[Event]:
    """Yield how they were made, and nine changes of each."""
    for change in (None, *CHANGES):
        for task in tasks:
            yield Event(
                id=new_id(),
                time=NOW,
                type="task.updated" if change else "task.created",
                action="update_task" if change else "create_task",
                collection="task",
                key=task.id,
                subject=task.id,
                path=task.path,
                actor="ann",
                correlation=new_id(),
                change=change or {"created": msgspec.to_builtins(task)},
            )


async def streamed(items: Any) -> AsyncIterator[Any]:
    """Yield them as a source."""
    for item in items:
        yield item


async def fill(url: str, count: int) -> None:
    """Make a store of so many tasks with ten events each, a project at a time."""
    projects = count // (BELOW + 1)
    async with atlas.open(url) as a:
        for number in range(projects):
            tasks = project(number)
            tally = Tally(id=tasks[0].id, children=BELOW, leaves=(BELOW, 0, 0, 0, 0, 0), last=float(BELOW))
            entries = [entry for task in tasks if (entry := ready_entry(task, 0)) is not None]
            await bulk_load(a.store, TASKS, streamed(tasks))
            await bulk_load(a.store, TALLIES, streamed([tally]))
            await bulk_load(a.store, READY, streamed(entries))
            await bulk_load(a.store, EVENTS, streamed(history(tasks)))
        last = Tally(id=ROOT, children=projects, last=float(projects))
        await a.store.transact(lambda tx: tx.put(TALLIES, last))
        assert (await a.upkeep.repair()).issues_total == 0


class Ran(NamedTuple):
    """What a command answered, how long it took, and the most memory of its own that it was seen with."""

    answer: Any
    seconds: float
    megabytes: float


def run(*arguments: str) -> Ran:
    """Run the program, and look at it all the while."""
    command = [str(Path(sys.executable).parent / "atlas"), *arguments, "--json"]
    begun, most = time.monotonic(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        while running.poll() is None:
            most = max(most, memory_of(running.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(0.05)
        assert running.stdout is not None
        told = running.stdout.read()
    assert running.returncode == 0, told
    return Ran(json.loads(told), time.monotonic() - begun, most)


def memory_of(process: int) -> float:
    """Return the megabytes that a process holds, but for files that it sees in memory: those SQLite gives back."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Stations:
    """Gives places on the way; what is behind is removed, or there would be no room for a million events so often."""

    def __init__(self, folder: Path, until: ExitStack) -> None:
        self._folder = folder
        self._postgres = until.enter_context(postgres_servers.own_server())
        self._redis = until.enter_context(redis_servers.running())

    def url(self, number: int, kind: str) -> str:
        """Return where the store of a kind lies."""
        if kind == "sqlite":
            return f"sqlite:///{self._folder}/{number}.db"
        return self._postgres.at(f"s{number}") if kind == "postgres" else self._redis.url(f"s{number}")

    def leave(self, number: int, kind: str) -> None:
        """Remove a store."""
        if kind == "postgres":
            self._postgres.run(f'DROP SCHEMA "s{number}" CASCADE')
        elif kind == "redis":
            with self._redis.client() as client:
                client.flushall(asynchronous=True)
        else:
            for path in self._folder.glob(f"{number}.db*"):
                path.unlink()


async def seen(url: str, count: int) -> list[bytes]:
    """Return what people see of a store: timelines and lists, whole and of single tasks and projects."""
    step = max(1, count // 100 // 20)
    async with atlas.open(url) as a:
        found: list[Any] = [await a.timeline.read(limit=500), await a.timeline.read(since=0, limit=500)]
        for number in range(0, count // (BELOW + 1), step):
            found.append(await a.timeline.read(f"p{number}/t7"))
            found.append(await a.lists.tree(f"p{number}"))
        return [msgspec.json.encode(answer) for answer in found]


@pytest.mark.anyio
@pytest.mark.nightly
@pytest.mark.parametrize("count", [1_000, 100_000])
async def test_tasks_with_ten_events_each_move_from_each_to_each(tmp_path: Path, count: int) -> None:
    """Nothing is lost on the way, work goes on at each station, and memory does not grow with the journal."""
    with ExitStack() as until:
        stations = Stations(tmp_path, until)
        here = stations.url(0, ROUTE[0])
        await fill(here, count)
        for number, (kind, following) in enumerate(pairwise(ROUTE)):
            there = stations.url(number + 1, following)
            ran = run("store", "copy", here, there)
            copied = ran.answer["copied"]
            print(f"{kind} to {following}: {ran.seconds:.1f} s, {ran.megabytes:.0f} MB, {copied['digest']}")
            assert copied["records"]["task"] == count + number
            assert copied["records"]["event"] == copied["seq"] == count * 10 + number
            assert ran.megabytes < MEGABYTES
            assert await seen(there, count) == await seen(here, count)
            async with atlas.open(there) as a:
                made = await a.tasks.create(f"more{number}", idempotency_key=f"k{number}")
                assert made.receipt.seq == copied["seq"] + 1
                if number:
                    again = await a.tasks.create(f"more{number - 1}", idempotency_key=f"k{number - 1}")
                    assert again.receipt.seq == copied["seq"]
            stations.leave(number, kind)
            here = there
        async with atlas.open(here) as a:
            assert await a.store.verify() == []
