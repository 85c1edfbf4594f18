"""When the power goes, what was acknowledged is on the disk; what was under way is there whole or not at all."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.acceptance.disks import CutDisk
from tests.acceptance.truth import GROUP, check_kept, check_sound, everything

import atlas
from atlas import Atlas, Limits, Status, Type
from atlas.atlas import COLLECTIONS
from atlas.storage.sqlite import SqliteSettings, SqliteStore
from atlas.work.arguments import Updates
from atlas.work.collections import TASKS

TRIALS = 40
CALLERS = 3
ROUNDS = 8
NEVER = 1 << 60

Told = list[tuple[str, str, int]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# The log is moved into the database within every trial, since a cut in the middle of that is the worst moment.
SETTINGS = SqliteSettings(checkpoint=40)


async def _work(a: Atlas, disk: CutDisk, told: Told) -> None:
    """Create, change and bulk-create tasks; what is answered before the cut is told."""

    def tell(kind: str, path: str, version: int | None) -> None:
        if not disk.is_cut:
            told.append((kind, path, version or 0))

    async def caller(name: str) -> None:
        for number in range(ROUNDS):
            path = f"{name}/t{number}"
            tell("task", path, (await a.tasks.create(path)).receipt.version)
            tell("task", path, (await a.tasks.update(path, Updates(status=Status.COMPLETED))).receipt.version)
            group = f"{path}-group"
            members = [{"op": "create", "path": f"{group}/{member}"} for member in range(GROUP)]
            await a.tasks.bulk(({"op": "create", "path": group, "type": "GROUP"}, *members))
            tell("group", group, GROUP)
            if disk.is_cut:
                return

    for number in range(CALLERS):
        tell("task", f"p{number}", (await a.tasks.create(f"p{number}", type=Type.GROUP)).receipt.version)
    await asyncio.gather(*(caller(f"p{number}") for number in range(CALLERS)))


async def _trial(folder: Path, *, at: int, synchronous: str) -> tuple[CutDisk, Told]:
    """Work on a disk whose power is cut at an operation; returns the disk and what was acknowledged before."""
    path = folder / "atlas.db"
    disk = CutDisk(f"cut-{folder.name}", at=at)
    told: Told = []
    store = SqliteStore(path, COLLECTIONS, settings=SETTINGS, vfs=disk.name, synchronous=synchronous)
    try:
        async with Atlas(store, limits=Limits(), actor="test", source="test") as a:
            await _work(a, disk, told)
            disk.is_cut = True
    finally:
        disk.unregister()
    return disk, told


async def _operations(folder: Path) -> int:
    """Return how many operations an undisturbed trial takes, so that cuts spread over all of them."""
    disk, _ = await _trial(folder, at=NEVER, synchronous="FULL")
    return disk.operations


@pytest.mark.anyio
async def test_power_cuts_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """A receipt that says `disk` is a promise about the disk, not about the kernel's memory."""
    dice = random.Random(7)
    total = await _operations(tmp_path / "whole")
    acknowledged = 0
    for number in range(TRIALS):
        folder = tmp_path / f"trial{number}"
        disk, told = await _trial(folder, at=dice.randrange(total), synchronous="FULL")
        # Half of the disks lose all that was not synced, the others keep any part of it.
        left = disk.survivors(folder / "left", dice if number % 2 else None)
        acknowledged += len(told)
        async with atlas.open(f"sqlite:///{left / 'atlas.db'}") as a:
            await check_sound(a)
            for project in range(CALLERS):
                await check_kept(a, f"p{project}", [line for line in told if line[1].startswith(f"p{project}")])
    assert acknowledged > TRIALS * CALLERS, "the cuts came before anything was acknowledged"


@pytest.mark.anyio
async def test_without_syncs_power_cuts_lose_what_was_acknowledged(tmp_path: Path) -> None:
    """The proof above is worth something only if it fails for a store that answers before the disk has the change."""
    dice = random.Random(7)
    total = await _operations(tmp_path / "whole")
    lost = 0
    for number in range(TRIALS):
        folder = tmp_path / f"trial{number}"
        disk, told = await _trial(folder, at=dice.randrange(total), synchronous="NORMAL")
        left = disk.survivors(folder / "left", None)
        async with atlas.open(f"sqlite:///{left / 'atlas.db'}") as a:
            await check_sound(a)
            present = {task.path: task.version for task in await everything(a, TASKS)}
        lost += sum(present.get(path, 0) < (version if kind == "task" else 1) for kind, path, version in told)
    assert lost > 0
