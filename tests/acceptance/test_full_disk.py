"""A disk without space refuses the change in one line and keeps everything else; with space again, work goes on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.disks import FullDisk
from tests.acceptance.truth import check_sound, everything

import atlas
from atlas import Atlas, Limits
from atlas.atlas import COLLECTIONS
from atlas.errors import StoreFullError
from atlas.storage.sqlite import SqliteStore
from atlas.work.collections import TASKS

BYTES_LEFT = 200_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    made = FullDisk(f"full-{uuid.uuid4()}")
    yield made
    made.unregister()


def opened(path: Path, disk: FullDisk) -> Atlas:
    store = SqliteStore(path, COLLECTIONS, vfs=disk.name)
    return Atlas(store, limits=Limits(), actor="test", source="test")


async def paths(a: Atlas) -> set[str]:
    return {task.path for task in await everything(a, TASKS)}


async def fill(a: Atlas, acknowledged: set[str]) -> None:
    """Create tasks for as long as it goes."""
    for number in range(10_000):
        await a.tasks.create(f"t{number}", description="x" * 2_000)
        acknowledged.add(f"t{number}")


def assert_one_line(error: StoreFullError) -> None:
    facts = error.as_dict()
    assert facts["code"] == "STORE_FULL"
    assert facts["retryable"]
    assert facts["hint"]
    assert "\n" not in facts["message"]
    assert "full" in facts["message"]


@pytest.mark.anyio
async def test_a_full_disk_refuses_the_change_and_keeps_the_rest(tmp_path: Path, disk: FullDisk) -> None:
    """Disks fill up at night; in the morning everything acknowledged is there and nothing more."""
    path = tmp_path / "atlas.db"
    acknowledged: set[str] = set()
    async with opened(path, disk) as a:
        disk.room = BYTES_LEFT
        with pytest.raises(StoreFullError) as refused:
            await fill(a, acknowledged)
        assert_one_line(refused.value)
        assert acknowledged
        assert await paths(a) == acknowledged
        await check_sound(a)

        disk.room = None
        again = await a.tasks.create(f"t{len(acknowledged)}")
        acknowledged.add(again.task["path"])
    async with atlas.open(f"sqlite:///{path}") as a:
        assert await paths(a) == acknowledged
        await check_sound(a)


@pytest.mark.anyio
async def test_each_caller_of_a_group_learns_its_own_outcome_when_the_disk_fills(
    tmp_path: Path, disk: FullDisk
) -> None:
    """Callers share a commit; one that was answered has its change, one that was refused has not."""
    path = tmp_path / "atlas.db"
    acknowledged: set[str] = set()
    refused: list[BaseException] = []

    async def caller(a: Atlas, name: str) -> None:
        for number in range(40):
            try:
                await a.tasks.create(f"{name}-{number}", description="x" * 2_000)
            except StoreFullError as error:
                refused.append(error)
            else:
                acknowledged.add(f"{name}-{number}")

    async with opened(path, disk) as a:
        disk.room = 5 * BYTES_LEFT  # room for some groups of 16, and not for all
        await asyncio.gather(*(caller(a, f"c{number}") for number in range(16)))
        assert refused
        assert acknowledged
        assert await paths(a) == acknowledged
        disk.room = None
        await check_sound(a)
    async with atlas.open(f"sqlite:///{path}") as a:
        assert await paths(a) == acknowledged


@pytest.mark.anyio
async def test_no_caller_of_a_group_is_answered_when_the_disk_fills_in_the_middle_of_it(
    tmp_path: Path, disk: FullDisk
) -> None:
    """Large changes outgrow the page cache; SQLite then gives up the whole group, also those that had run well."""
    path = tmp_path / "atlas.db"

    async def large(a: Atlas, name: str) -> str | None:
        members = [{"op": "create", "path": f"{name}/{n}", "description": "x" * 30_000} for n in range(300)]
        try:
            await a.tasks.bulk(({"op": "create", "path": name, "type": "GROUP"}, *members))
        except StoreFullError:
            return None
        return name

    async with opened(path, disk) as a:
        await a.tasks.create("before")
        disk.room = 4 * BYTES_LEFT
        done = await asyncio.gather(*(large(a, f"c{number}") for number in range(4)))
        groups = {name for name in await paths(a) if "/" not in name}
        assert groups == {"before"} | {name for name in done if name is not None}
        assert None in done
        disk.room = None
        await check_sound(a)


@pytest.mark.anyio
async def test_a_full_disk_leaves_no_half_of_a_large_change(tmp_path: Path, disk: FullDisk) -> None:
    """A thousand operations outgrow the page cache and reach the log before the commit, which must not count."""
    async with opened(tmp_path / "atlas.db", disk) as a:
        await a.tasks.create("before")
        disk.room = BYTES_LEFT
        operations = tuple(
            {"op": "create", "path": f"t{number}", "description": "x" * 20_000} for number in range(1_000)
        )
        with pytest.raises(StoreFullError) as refused:
            await a.tasks.bulk(operations)
        assert_one_line(refused.value)
        assert await paths(a) == {"before"}
        disk.room = None
        await a.tasks.bulk(operations)
        assert len(await paths(a)) == 1_001
        await check_sound(a)


@pytest.mark.anyio
async def test_a_store_that_cannot_be_made_for_want_of_space_says_so(tmp_path: Path, disk: FullDisk) -> None:
    """What is left behind must not be taken for a damaged store once there is space."""
    path = tmp_path / "atlas.db"
    disk.room = 1_000
    with pytest.raises(StoreFullError) as refused:
        async with opened(path, disk):
            pass
    assert_one_line(refused.value)
    assert not path.with_name("atlas.db-unfinished").exists()
    disk.room = None
    async with opened(path, disk) as a:
        await a.tasks.create("first")
    async with atlas.open(f"sqlite:///{path}") as a:
        await check_sound(a)
