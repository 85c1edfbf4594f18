"""Creates, changes and bulk-creates tasks without end; writes every receipt down once it has it."""

import asyncio
import json
import sys
from typing import Any, TextIO

import atlas
from atlas import Atlas, Status, Type
from atlas.work.arguments import Updates

GROUP = 5
CALLERS = 3


async def one(a: Atlas, path: str, out: TextIO) -> None:
    """Create a task, complete it, and create five below another, all or none of them."""

    def note(kind: str, place: str, version: Any) -> None:
        print(json.dumps([kind, place, version]), file=out, flush=True)

    created = await a.tasks.create(path)
    note("task", path, created.receipt.version)
    updated = await a.tasks.update(path, Updates(status=Status.COMPLETED, metadata={"at": path}))
    note("task", path, updated.receipt.version)
    group = f"{path}-group"
    members = [{"op": "create", "path": f"{group}/{number}"} for number in range(GROUP)]
    await a.tasks.bulk(({"op": "create", "path": group, "type": "GROUP"}, *members))
    note("group", group, GROUP)


async def caller(a: Atlas, path: str, out: TextIO) -> None:
    """Go on and on."""
    number = 0
    while True:
        await one(a, f"{path}-{number}", out)
        number += 1


async def main(url: str, project: str) -> None:
    """Work until the end comes from outside."""
    async with atlas.open(url) as a:
        await a.tasks.create(project, type=Type.GROUP)
        await asyncio.gather(*(caller(a, f"{project}/c{number}", sys.stdout) for number in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
