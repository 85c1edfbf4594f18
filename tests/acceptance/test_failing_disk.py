"""A disk of which one operation fails costs the changes of that commit, each of which is told so, and nothing else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.disks import FailingDisk
from tests.acceptance.truth import check_sound, everything

import atlas
from atlas import Atlas, Limits
from atlas.atlas import COLLECTIONS
from atlas.errors import StorageError
from atlas.storage.sqlite import SqliteStore
from atlas.work.collections import TASKS

CALLERS = 4
MEMBERS = 60
TEXT = "x" * 30_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    made = FailingDisk(f"failing-{uuid.uuid4()}")
    yield made
    made.unregister()


def opened(path: Path, disk: FailingDisk) -> Atlas:
    return Atlas(SqliteStore(path, COLLECTIONS, vfs=disk.name), limits=Limits(), actor="test", source="test")


async def roots(a: Atlas) -> set[str]:
    return {task.path for task in await everything(a, TASKS) if "/" not in task.path}


@pytest.mark.anyio
async def test_a_failing_operation_costs_what_was_refused_and_nothing_else(tmp_path: Path, disk: FailingDisk) -> None:
    """Cables and controllers fail for a moment; callers that share the commit must each hear what became of theirs."""
    path = tmp_path / "atlas.db"
    acknowledged: set[str] = set()
    refused = 0

    async def caller(a: Atlas, name: str) -> None:
        nonlocal refused
        try:
            await a.tasks.create(name, description="x" * 6_000)
        except StorageError:
            refused += 1
        else:
            acknowledged.add(name)

    async with opened(path, disk) as a:
        for at in range(1, 240, 9):
            disk.at = at
            await asyncio.gather(*(caller(a, f"c{at}-{number}") for number in range(CALLERS)))
            disk.at = 0
            assert await roots(a) == acknowledged
        await check_sound(a)
    assert refused > CALLERS
    assert acknowledged
    async with atlas.open(f"sqlite:///{path}") as a:
        assert await roots(a) == acknowledged
        await check_sound(a)


@pytest.mark.anyio
async def test_a_group_that_sqlite_gives_up_is_answered_for_none(tmp_path: Path, disk: FailingDisk) -> None:
    """Large changes reach the disk before their commit; a failure there takes those with it that had run well."""
    path = tmp_path / "atlas.db"

    async def large(a: Atlas, name: str) -> str | None:
        members = [{"op": "create", "path": f"{name}/{n}", "description": TEXT} for n in range(MEMBERS)]
        try:
            await a.tasks.bulk(({"op": "create", "path": name, "type": "GROUP"}, *members))
        except StorageError:
            return None
        return name

    async with opened(path, disk) as a:
        await a.tasks.create("before")
        disk.at = 2
        done = await asyncio.gather(*(large(a, f"c{number}") for number in range(CALLERS)))
        assert done == [None] * CALLERS
        assert await roots(a) == {"before"}
        await check_sound(a)
