"""A writing process that is killed at any moment takes nothing acknowledged with it and leaves nothing half done."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tests.acceptance.processes import ended, start
from tests.acceptance.truth import check_kept, check_sound, told

import atlas

OPENS_WITHIN_SECONDS = 1.0
WRITES_FOR_SECONDS = 0.25
STARTS_WITHIN_SECONDS = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _killed_at_random(folder: Path, *, times: int) -> None:
    """Kill one writer after the other on the same file, and look after each what it left."""
    url = f"sqlite:///{folder / 'atlas.db'}"
    dice = random.Random(4)
    acknowledged = 0
    for number in range(times):
        project = f"round{number}"
        # Every fifth is killed while it starts: opening and creating must survive it as well.
        _write_and_kill(url, project, folder / project, dice, is_early=number % 5 == 4)
        begun = time.perf_counter()
        async with atlas.open(url) as a:
            await a.lists.by_path("**", limit=1)
            assert time.perf_counter() - begun < OPENS_WITHIN_SECONDS
            lines = told((folder / project).read_text())
            await check_kept(a, project, lines)
        acknowledged += len(lines)
    assert acknowledged > times, "the writers were killed before they could write"
    async with atlas.open(url) as a:
        await check_sound(a)


def _write_and_kill(url: str, project: str, ledger: Path, dice: random.Random, *, is_early: bool) -> None:
    with ledger.open("w") as out, ended(process := start("write_until_killed.py", url, project, output=out)):
        if not is_early:
            end = time.monotonic() + STARTS_WITHIN_SECONDS
            while not ledger.stat().st_size:
                assert process.poll() is None, "the writer ended by itself"
                assert time.monotonic() < end, "the writer never wrote"
                time.sleep(0.002)
        time.sleep(dice.uniform(0, WRITES_FOR_SECONDS))
        process.kill()


@pytest.mark.anyio
async def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Agents' processes are killed by the dozen: by closed windows, by timeouts, by the kernel short of memory."""
    await _killed_at_random(tmp_path, times=20)


@pytest.mark.nightly
@pytest.mark.anyio
async def test_two_hundred_killed_writers_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """The same at many more moments."""
    await _killed_at_random(tmp_path, times=200)
