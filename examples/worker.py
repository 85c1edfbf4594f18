"""A worker that takes ready tasks one after the other until nothing is left: `python worker.py STORE_URL NAME`.

Any number of workers can run on one store. Who starts a task names the version that it saw, so that only one of two
workers that chose the same task gets it.
"""

# ruff: noqa: INP001, T201 - a program of its own, which says what it does
from __future__ import annotations

import asyncio
import sys

import atlas
from atlas import AtlasError

TAKEN_MEANWHILE = {"CONCURRENT_MODIFICATION", "TASK_STATUS", "TASK_DEPENDENCY"}


async def work(url: str, name: str) -> int:
    """Do everything that is ready, and what comes free by that; returns how many tasks this worker finished."""
    done = 0
    async with atlas.open(url, actor=name) as a:
        while True:
            ready = await a.lists.next(fields=["path", "version"])
            if not ready.tasks:
                return done
            path, version = ready.tasks[0]["path"], ready.tasks[0]["version"]
            try:
                await a.tasks.update(path, {"status": "IN_PROGRESS", "assignee": name}, expected_version=version)
            except AtlasError as error:
                if error.code not in TAKEN_MEANWHILE:
                    raise
                continue
            # Here the work itself is done.
            finished = await a.tasks.update(path, {"status": "COMPLETED", "notes": [f"done by {name}"]})
            freed = [other for other in finished.affected if other != path]
            print(f"{name}: {path}" + (f" (also changed: {', '.join(freed)})" if freed else ""))
            done += 1


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
