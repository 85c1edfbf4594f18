"""Timing: ours and the limit's turns alternate, and each side's best counts, so that a busy machine hurts neither."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

Turn = Callable[[], Awaitable[float]]
"""One round of one side; returns the seconds that its work took, preparation left out."""


async def alternate(*turns: Turn, rounds: int = 5) -> list[float]:
    """Return the best seconds of each side."""
    best = [float("inf")] * len(turns)
    for number in range(rounds):
        order = range(len(turns)) if number % 2 == 0 else reversed(range(len(turns)))
        for side in order:
            best[side] = min(best[side], await turns[side]())
    return best


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


def sync_seconds(folder: Path, *, times: int = 200) -> float:
    """Return the median time of writing 4 KB and having it on disk."""
    path = folder / "sync"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            os.pwrite(handle, b"x" * 4096, 0)
            os.fdatasync(handle)
            taken.append(time.perf_counter() - start)
        return median(taken)
    finally:
        os.close(handle)
        path.unlink()
