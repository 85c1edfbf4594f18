"""Creates and updates tasks, several at a time, beside others that do the same; writes down every receipt."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from msgspec import UNSET

import atlas
from atlas import Atlas, Status
from atlas.work.arguments import Updates

AT_ONCE = 4


async def one(a: Atlas, name: str, number: int, out: TextIO) -> None:
    """Create a task, change it, and now and then change one that all processes change."""

    def note(written: Any) -> None:
        print(json.dumps([written.receipt.seq, written.task["path"], written.receipt.version]), file=out, flush=True)

    waits = number % 10 == 0
    path = f"{name}/t{number}"
    note(await a.tasks.create(path, dependencies=("shared/gate",) if waits else (), tags=(name,)))
    status = UNSET if waits else Status.COMPLETED if number % 2 else Status.IN_PROGRESS
    note(await a.tasks.update(path, Updates(status=status, metadata={"number": number})))
    if waits:
        note(await a.tasks.update(f"shared/board{number % 3}", Updates(metadata={f"{name}-{number}": number})))


async def main(url: str, name: str, count: int, out: TextIO) -> None:
    """Say that everything is open, wait for the word, and work."""
    async with atlas.open(url, actor=name) as a:
        print("ready", flush=True)
        sys.stdin.readline()
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(one(a, name, n, out) for n in range(first, min(first + AT_ONCE, count))))


if __name__ == "__main__":
    with Path(sys.argv[4]).open("w") as ledger:
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), ledger))
