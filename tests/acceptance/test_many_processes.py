"""Many processes on one file: nothing is lost, nothing is made up, and one order holds for all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.acceptance.processes import ended, finished, start
from tests.acceptance.truth import check_sound, everything, versions

import atlas
from atlas import Type
from atlas.work.collections import TASKS

PROCESSES = 8
TASKS_EACH = int(os.environ.get("ATLAS_TEST_TASKS", "500"))
COUNTERS = 4
INCREMENTS = 50


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_journal_holds_exactly_what_was_acknowledged(tmp_path: Path) -> None:
    """Each agent starts its own server on the same file; none may lose another's work, nor see it half."""
    url = f"sqlite:///{tmp_path / 'atlas.db'}"
    names = [f"w{number}" for number in range(PROCESSES)]
    async with atlas.open(url) as a:
        await a.tasks.create("shared", type=Type.GROUP)
        await a.tasks.create("shared/gate")
        for board in range(3):
            await a.tasks.create(f"shared/board{board}")
        for name in names:
            await a.tasks.create(name, type=Type.GROUP)
        before = await a.store.read(lambda tx: tx.seq)
    _run_all(url, names, tmp_path)

    told = [line for name in names for line in _ledger(tmp_path, name)]
    async with atlas.open(url) as a:
        events = await check_sound(a)
        made = {place: event for place, event in versions(events).items() if event.seq > before}
        assert len(told) == PROCESSES * (TASKS_EACH * 2 + -(-TASKS_EACH // 10))
        assert sorted((path, version) for _, path, version in told) == sorted(made)
        by_seq = {event.seq: event for event in events}
        for seq, path, version in told:
            # A receipt names the last event of its own call, and no other's.
            assert by_seq[seq].correlation == made[path, version].correlation
        assert {event.correlation for event in events if event.seq > before} == {e.correlation for e in made.values()}
        shared: dict[str, int] = {}
        for task in await everything(a, TASKS):
            if task.path.startswith("shared/board"):
                shared.update(task.metadata)
        assert shared == {f"{name}-{number}": number for name in names for number in range(0, TASKS_EACH, 10)}


def _run_all(url: str, names: list[str], folder: Path) -> None:
    """Run one process for each name, all from the same moment on."""
    running = [start("create_and_update.py", url, name, TASKS_EACH, folder / name) for name in names]
    with ended(*running):
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in running:
            finished(process)


def _ledger(folder: Path, name: str) -> list[tuple[int, str, int]]:
    return [tuple(json.loads(line)) for line in (folder / name).read_text().splitlines()]


@pytest.mark.anyio
async def test_compare_and_set_lets_one_through_for_each_version(tmp_path: Path) -> None:
    """Agents that all read, add one and write back lose nothing when each write names the version it read."""
    url = f"sqlite:///{tmp_path / 'atlas.db'}"
    async with atlas.open(url) as a:
        await a.tasks.create("counter", metadata={"count": 0})
    running = [start("count_up.py", url, INCREMENTS) for _ in range(COUNTERS)]
    with ended(*running):
        histories = [json.loads(finished(process)) for process in running]

    async with atlas.open(url) as a:
        counter = (await a.tasks.get("counter")).task
        events = await check_sound(a)
    steps = sorted(step for history in histories for step in history)
    acknowledged = COUNTERS * INCREMENTS
    assert counter["metadata"] == {"count": acknowledged}
    # Each version was given once, to the one who had read the version and the count just before it.
    assert [version for version, _, _ in steps] == list(range(2, acknowledged + 2))
    assert [count for _, count, _ in steps] == list(range(1, acknowledged + 1))
    assert [seq for _, _, seq in steps] == [event.seq for event in events[1:]]
    for history in histories:
        assert history == sorted(history), "a process saw its own writes out of order"
