"""What must hold of any store, whatever happened to it: its journal replays to it, and what is derived is right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from atlas import Atlas, Event, Status, Task, Type
from atlas.journal import EVENTS
from atlas.journal.ledger import replay
from atlas.journal.recorder import journaled_data
from atlas.storage.collection import Collection
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.work.collections import NOTES, READY, TALLIES, TASKS

GROUP = 5
"""How many tasks the writers create below each group, all in one transaction."""

Acknowledged = tuple[str, int]
"""A path, and the version that a receipt gave it."""


async def everything(a: Atlas, collection: Collection[Any]) -> list[Any]:
    """Return all records of a collection."""
    found: list[Any] = await a.store.read(lambda tx: tx.query(Query(collection)))
    return found


async def check_sound(a: Atlas) -> list[Event]:
    """Check the file, the numbers of the journal, its replay, and what is derived; returns the events."""
    assert await a.store.verify() == []
    events: list[Event] = await everything(a, EVENTS)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert await a.store.read(lambda tx: tx.seq) == len(events)
    assert all(earlier.time <= later.time for earlier, later in pairwise(events))
    state = replay(events)
    for collection in (TASKS, NOTES):
        _check_replayed(collection, await everything(a, collection), state.get(collection.name, {}))
    await a.store.read(_check_derived)
    report = await a.upkeep.repair(dry_run=True)
    assert report.issues == []
    return events


def _check_replayed(collection: Collection[Any], present: Iterable[Any], replayed: Mapping[str, Any]) -> None:
    records = {collection.key_of(record): journaled_data(collection, record) for record in present}
    told = {key: journaled_data(collection, msgspec.convert(data, collection.record)) for key, data in replayed.items()}
    assert told == records


def _check_derived(tx: Transaction) -> None:
    """Count children and open dependents, and list ready work, by nothing but the tasks themselves."""
    tasks: dict[str, Task] = {task.id: task for task in tx.query(Query(TASKS))}
    tallies = {tally.id: tally for tally in tx.query(Query(TALLIES))}
    children = Counter(task.parent or "" for task in tasks.values())
    assert {key: tally.children for key, tally in tallies.items() if tally.children} == dict(children)
    finished = (Status.COMPLETED, Status.CANCELLED)
    waiting = Counter(key for task in tasks.values() if task.status not in finished for key in task.dependencies)
    assert {key: tally.open_dependents for key, tally in tallies.items() if tally.open_dependents} == dict(waiting)
    ready = {
        task.id: task.path
        for task in tasks.values()
        if task.type is Type.TASK and task.status is Status.PENDING and not task.hidden
    }
    assert {entry.id: entry.path for entry in tx.query(Query(READY))} == ready


def versions(events: Iterable[Event]) -> dict[Acknowledged, Event]:
    """Return the direct changes of tasks: each version a path ever had, with the event that gave it."""
    made: dict[Acknowledged, Event] = {}
    for event in events:
        change = event.change or {}
        if event.collection != "task" or event.path is None:
            continue
        if "created" in change:
            version = change["created"].get("version", 1)
        elif "version" in change.get("fields", {}):
            delta = change["fields"]["version"]
            version = delta["added"] if isinstance(delta, dict) else delta[1]
        else:
            continue
        assert (event.path, version) not in made, "two changes made one version"
        made[event.path, version] = event
    return made


def told(text: str) -> list[tuple[str, str, int]]:
    """Return the receipts that a writer wrote down; a last line that was cut short was never told."""
    whole = text[: text.rfind("\n") + 1]
    return [tuple(json.loads(line)) for line in whole.splitlines()]


async def check_kept(a: Atlas, project: str, lines: Iterable[tuple[str, str, int]]) -> None:
    """Check that every receipt's change is there with its event, and that groups are there whole or not at all."""
    assert await a.store.verify() == []
    tasks = {task.path: task for task in await everything(a, TASKS)}
    made = versions(await everything(a, EVENTS))
    for kind, path, number in lines:
        assert path in tasks, f"{path} was acknowledged and is gone"
        if kind == "task":
            assert tasks[path].version >= number
            assert (path, number) in made
    groups = {path for path in tasks if path.startswith(f"{project}/") and path.endswith("-group")}
    for group in groups:
        members = [f"{group}/{number}" for number in range(GROUP)]
        assert all(path in tasks and (path, 1) in made for path in members), f"{group} is there in part"
    strays = {path for path in tasks if "-group/" in path and path.partition("-group/")[0] + "-group" not in groups}
    assert not {path for path in strays if path.startswith(f"{project}/")}
    for path, task in tasks.items():
        assert (path, task.version) in made, f"{path} changed without an event"
