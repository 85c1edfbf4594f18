"""Over MCP, as agents use it: what Atlas adds to a bare server on the same SDK."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from .clock import alternate, sync_seconds
from .peer import Peer, environment, resident_bytes, served
from .rows import Bench, Measured, at_most, row
from .stores import DESCRIPTION, copied, large, small

CALLS = 200
LISTED = 500
STARTS = 5
SDK = "import mcp.server.lowlevel, mcp.server.stdio"


def _echo(*words: str) -> Peer:
    return Peer(str(Path(__file__).parent / "echo.py"), *words)


@row(
    "mcp-create", "create_task over MCP, one sync taken off", against="an echo tool on the same SDK", goal=at_most(1.6)
)
async def mcp_create(bench: Bench) -> Measured:
    path = bench.place("served.db")
    await small(path, 1_000)
    numbers = itertools.count()
    with served(path) as atlas, _echo() as echo:

        async def ours() -> float:
            return sum(
                atlas.call("create_task", {"path": f"p/m{next(numbers)}", "description": DESCRIPTION})
                for _ in range(CALLS)
            )

        async def bare() -> float:
            return sum(echo.call("echo", {"path": "p/m0", "text": DESCRIPTION}) for _ in range(CALLS))

        async def synced() -> float:
            return sync_seconds(bench.folder, times=CALLS)

        await ours()
        await bare()
        mine, best, sync = await alternate(ours, bare, synced)
    figure = (mine / CALLS - sync) / (best / CALLS)
    return Measured(mine / CALLS * 1e3, best / CALLS * 1e3, "ms", figure, note=f"sync {sync * 1e3:.2f} ms")


async def _listing(bench: Bench) -> tuple[Path, dict[str, Any]]:
    """Return a store, and the result of listing 500 of its tasks in brief."""
    path = copied(await large(bench.folder, 1_000), bench.place("listed.db"))
    with served(path) as atlas:
        return path, atlas.result("get_tasks_by_path", {"limit": LISTED})


@row("mcp-list", "listing 500 tasks over MCP", against="the echo tool with the same bytes", goal=at_most(2))
async def mcp_list(bench: Bench) -> Measured:
    path, result = await _listing(bench)
    same = bench.place("result.json")
    same.write_bytes(msgspec.json.encode(result))
    with served(path) as atlas, _echo(str(same)) as echo:

        async def ours() -> float:
            return atlas.call("get_tasks_by_path", {"limit": LISTED})

        async def bare() -> float:
            return echo.call("same", {})

        await ours()
        await bare()
        mine, best = await alternate(ours, bare, rounds=20)
    return Measured(mine * 1e3, best * 1e3, "ms", mine / best)


@row("brief-data", "bytes of data of a task in a list, beyond path and name", against="90 bytes", goal=at_most(90, "B"))
async def brief_data(bench: Bench) -> Measured:
    tasks = (await _listing(bench))[1]["structuredContent"]["tasks"]
    beyond = [len(msgspec.json.encode(task)) - len(task["path"]) - len(task.get("name", "")) for task in tasks]
    mean = sum(beyond) / len(beyond)
    return Measured(mean, max(beyond), "B", mean, note="limit column: the largest")


@row("brief-text", "bytes of text of a task in a list, beyond its path", against="20 bytes", goal=at_most(20, "B"))
async def brief_text(bench: Bench) -> Measured:
    _, result = await _listing(bench)
    tasks, text = result["structuredContent"]["tasks"], result["content"][0]["text"]
    mean = (len(text.encode()) - sum(len(task["path"]) for task in tasks)) / len(tasks)
    return Measured(mean, None, "B", mean)


@row("start", "server start to first answer, beyond the import", against=f"`{SDK}`", goal=at_most(150, "ms"))
async def start(bench: Bench) -> Measured:
    path = bench.place("started.db")
    await small(path, 1_000)

    async def ours() -> float:
        with served(path) as atlas:
            return atlas.seconds

    async def bare() -> float:
        return _bare()[0]

    mine, best = await alternate(ours, bare, rounds=STARTS)
    return Measured(mine * 1e3, best * 1e3, "ms", (mine - best) * 1e3)


@row("idle-memory", "memory of the idle server", against="a process that imported the SDK", goal=at_most(90, "MB"))
async def idle_memory(bench: Bench) -> Measured:
    path = bench.place("idle.db")
    await small(path, 1_000)
    with served(path) as atlas:
        atlas.call("next_task", {})
        mine = atlas.resident_bytes()
    best = _bare()[1]
    return Measured(mine / 2**20, best / 2**20, "MB", mine / 2**20)


def _bare() -> tuple[float, int]:
    """Return the seconds until a process has imported the SDK, and the memory it then holds."""
    program = f"{SDK}\nprint(flush=True)\ninput()"
    start = time.perf_counter()
    bare = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert bare.stdout is not None
        bare.stdout.readline()
        return time.perf_counter() - start, resident_bytes(bare.pid)
    finally:
        bare.communicate(b"\n")
