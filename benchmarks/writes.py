"""Durable writes: one at a time, many at once, in bulk; and what an event costs on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from atlas import Atlas, Event, Task
from atlas.journal import EVENTS
from atlas.storage.ids import new_id
from atlas.work.collections import TASKS

from .clock import alternate
from .raw import RawWriter, Statement, captured_from
from .rows import Bench, Measured, at_least, at_most, row
from .stores import CALL, NOW, changed, copied, opened, plain_task, small

ONE_BY_ONE = 300
CALLERS = 32
EACH = 40
BULK = 100_000
BULK_AT_ONCE = 10_000
RAW = "the raw driver writing the same record, event and indexes, one commit each"

Write = Callable[[Atlas, Task], Awaitable[object]]


async def journaled(a: Atlas, task: Task) -> None:
    """Write one record and its event."""
    await a.journal.write(lambda recording: recording.put(TASKS, task), call=CALL, answer=type(None))


async def unjournaled(a: Atlas, task: Task) -> None:
    """Write one record alone."""
    await a.store.transact(lambda tx: tx.put(TASKS, task))


async def in_turn(path: Path, write: Write, tasks: Sequence[Task]) -> float:
    """Write one task after the other; returns the seconds."""
    async with opened(path) as a:
        await write(a, plain_task("warm"))
        start = time.perf_counter()
        for task in tasks:
            await write(a, task)
        return time.perf_counter() - start


async def at_once(path: Path, write: Write, tasks: Sequence[Task]) -> float:
    """Write the tasks by 32 callers, each with its share; returns the seconds."""

    async def caller(mine: Sequence[Task]) -> None:
        for task in mine:
            await write(a, task)

    async with opened(path) as a:
        await write(a, plain_task("warm"))
        start = time.perf_counter()
        await asyncio.gather(*(caller(tasks[number::CALLERS]) for number in range(CALLERS)))
        return time.perf_counter() - start


def raw_turn(path: Path, commits: Sequence[Sequence[Statement]]) -> float:
    """Write the captured commits by the raw driver; returns the seconds."""
    writer = RawWriter(path)
    try:
        writer.replay(commits[:1])
        return writer.replay(commits[1:])
    finally:
        writer.close()


async def against_raw(
    bench: Bench,
    base: Path,
    tasks: Sequence[Task],
    *,
    run: Callable[[Path, Write, Sequence[Task]], Awaitable[float]] = in_turn,
    write: Write = journaled,
    limit: Write = journaled,
    rounds: int = 5,
) -> Measured:
    """Compare writes a second of `run` with the raw driver's, one commit for each task, on copies of `base`."""
    commits = await captured_from(lambda: in_turn(copied(base, bench.place("seen.db")), limit, tasks))

    async def ours() -> float:
        return await run(copied(base, bench.place("ours.db")), write, tasks)

    async def raw() -> float:
        return raw_turn(copied(base, bench.place("raw.db")), commits)

    mine, best = await alternate(ours, raw, rounds=rounds)
    return Measured(len(tasks) / mine, len(tasks) / best, "/s", best / mine)


async def _changes(bench: Bench, count: int) -> tuple[Path, list[Task]]:
    base = bench.place("base.db")
    tasks = await small(base, max(count, 1_000))
    return base, [changed(task) for task in tasks[:count]]


@row("write", "one journaled durable write at a time (a changed record)", against=RAW, goal=at_least(0.7))
async def write(bench: Bench) -> Measured:
    base, tasks = await _changes(bench, ONE_BY_ONE)
    return await against_raw(bench, base, tasks)


@row("write-new", "one journaled durable write at a time (a new record)", against=RAW, goal=at_least(0.7))
async def write_new(bench: Bench) -> Measured:
    base, _ = await _changes(bench, 0)
    return await against_raw(bench, base, [plain_task(f"q{number:06d}") for number in range(ONE_BY_ONE)])


@row("write-32", "32 concurrent journaled writers", against=RAW, goal=at_least(4))
async def write_32(bench: Bench) -> Measured:
    base, tasks = await _changes(bench, CALLERS * EACH)
    return await against_raw(bench, base, tasks, run=at_once)


@row("write-32-plain", "32 concurrent writers, unjournaled", against=RAW, goal=at_least(6.5))
async def write_32_plain(bench: Bench) -> Measured:
    base, tasks = await _changes(bench, CALLERS * EACH)
    return await against_raw(bench, base, tasks, run=at_once, write=unjournaled)


async def _created(a: Atlas, task: Task) -> None:
    await a.tasks.create(task.path, description=task.description, tags=task.tags, metadata=task.metadata)


async def _started(a: Atlas, task: Task) -> None:
    if task.path == "warm":
        await a.tasks.create(task.path)
    else:
        await a.tasks.update(task.path, {"status": "IN_PROGRESS"})


@row(
    "create",
    "tasks.create, everything derived included",
    against="the raw driver writing the same rows",
    goal=at_least(0.5),
    is_bar=False,
)
async def create(bench: Bench) -> Measured:
    base, _ = await _changes(bench, 0)
    tasks = [plain_task(f"p/n{number:06d}") for number in range(ONE_BY_ONE)]
    return await against_raw(bench, base, tasks, write=_created, limit=_created)


@row(
    "update",
    "tasks.update of a status, everything derived included",
    against="the raw driver writing the same rows",
    goal=at_least(0.5),
    is_bar=False,
)
async def update(bench: Bench) -> Measured:
    base, tasks = await _changes(bench, ONE_BY_ONE)
    return await against_raw(bench, base, tasks, write=_started, limit=_started)


def _event(number: int) -> Event:
    return Event(
        id=new_id(),
        time=NOW,
        type="task.updated",
        action="update_task",
        collection="task",
        key=f"key-{number % 1_000}",
        subject=f"key-{number % 1_000}",
        path=f"p/t{number % 1_000:06d}",
        actor="bench",
        source="bench",
        correlation=new_id(),
        change={"fields": {"status": ["PENDING", "IN_PROGRESS"], "version": [number, number + 1]}},
    )


@row("bulk-events", "100,000 events in bulk", against="raw executemany of the same rows", goal=at_least(0.5))
async def bulk_events(bench: Bench) -> Measured:
    base = bench.place("base.db")
    await small(base, 1)
    events = [_event(number) for number in range(BULK)]
    taken = await captured_from(lambda: _appended(copied(base, bench.place("seen.db")), events[:BULK_AT_ONCE]))
    text = next(text for text, _ in taken[0] if text.startswith("INSERT"))
    row_of = _row_of(taken[0][-1][1], events[BULK_AT_ONCE - 1])

    async def ours() -> float:
        return await _appended(copied(base, bench.place("ours.db")), events)

    async def raw() -> float:
        writer = RawWriter(copied(base, bench.place("raw.db")))
        rows = [row_of(number + 10, event) for number, event in enumerate(events)]
        try:
            return writer.insert(text, rows, at_once=BULK_AT_ONCE)
        finally:
            writer.close()

    mine, best = await alternate(ours, raw, rounds=3)
    return Measured(BULK / mine, BULK / best, "/s", best / mine)


def _row_of(seen: Sequence[Any], event: Event) -> Callable[[int, Event], tuple[Any, ...]]:
    """Return the function from an event to its row, learnt from a row that was seen: key, text, then columns."""
    names = []
    for value in seen[2:]:
        same = [name for name in event.__struct_fields__ if getattr(event, name) == value and name not in names]
        names.append(same[0] if same else None)
    encode = msgspec.json.Encoder().encode

    def made(seq: int, given: Event) -> tuple[Any, ...]:
        text = encode(msgspec.structs.replace(given, seq=seq)).decode()
        values = (known if name is None else getattr(given, name) for name, known in zip(names, seen[2:], strict=True))
        return (seq, text, *values)

    return made


async def _appended(path: Path, events: Sequence[Event]) -> float:
    async with opened(path) as a:
        start = time.perf_counter()
        for first in range(0, len(events), BULK_AT_ONCE):
            part = events[first : first + BULK_AT_ONCE]
            await a.store.transact(lambda tx, part=part: [tx.append(EVENTS, event) for event in part])  # type: ignore[misc]
        return time.perf_counter() - start


UPDATES: tuple[dict[str, Any], ...] = (
    {"status": "IN_PROGRESS"},
    {"assignee": "someone-else"},
    {"priority": "high"},
    {"add_tags": ["urgent"]},
    {"metadata": {"build": {"id": 8}}},
    {"status": "COMPLETED"},
)


@row("event-bytes", "bytes on disk of one event of an ordinary update", against="1 KB", goal=at_most(1_024, "B"))
async def event_bytes(bench: Bench) -> Measured:
    path = bench.place("events.db")
    tasks = await small(path, 1_000)
    before = _event_pages(path)
    async with opened(path) as a:
        for updates in UPDATES:
            await a.tasks.bulk([{"op": "update", "path": task.path, "updates": updates} for task in tasks])
    after = _event_pages(path)
    size = (after[0] - before[0]) / (after[1] - before[1])
    text = (after[2] - before[2]) / (after[1] - before[1])
    return Measured(size, text, "B", size, note="limit column: the JSON text alone")


def _event_pages(path: Path) -> tuple[int, int, int]:
    """Return the bytes in pages of the events and their indexes, their number, and the bytes of their JSON."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        pages = connection.execute(
            "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = 'event' OR name GLOB 'event__*'"
        ).get
        count, text = connection.execute('SELECT count(*), coalesce(sum(length("value")), 0) FROM event').get
        return pages, count, text
    finally:
        connection.close()
