"""An agent over MCP and a person on the command line work on one file at the same time, and see the same."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult
from tests.acceptance.processes import ended, environment, finished, start

import atlas
from atlas.journal.feed import follow

AREAS = 9
PARTS = 110
FEED_SECONDS = 0.25
FEED_TASKS = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def plan() -> str:
    """Return a plan of 1,000 tasks: a project, areas in it, and in each a line of parts that wait one for the other."""
    lines = ["# Shop"]
    for area in range(AREAS):
        lines.append(f"## Area {'abcdefghi'[area]}")
        for part in range(PARTS):
            lines.append(f"- [ ] Wire up part {part:03d}{'abcdefghi'[area]}")
            if part:
                lines.append(f"  - Depends on: Wire up part {part - 1:03d}{'abcdefghi'[area]}")
    return "\n".join(lines)


def part_path(area: str, part: int) -> str:
    return f"shop/area-{area}/wire-up-part-{part:03d}{area}"


class Agent:
    """The SDK's own client, talking to a server process of its own."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self._session.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        assert not result.is_error, result.content
        content: dict[str, Any] | None = result.structured_content
        assert content is not None
        return content

    async def status(self, path: str) -> str:
        found: str = (await self.call("get_task", path=path))["task"]["status"]
        return found


@asynccontextmanager
async def agent_on(url: str) -> AsyncIterator[Agent]:
    words = ["-m", "atlas", "--store", url, "mcp"]
    server = StdioServerParameters(command=sys.executable, args=words, env=environment())
    async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        yield Agent(session)


async def person(url: str, *words: str) -> Any:
    """Run a command in a process of its own, and return what it said as data."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "atlas", "--store", url, "--json", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)


@pytest.mark.anyio
async def test_an_agent_and_a_person_see_the_same_work(tmp_path: Path) -> None:
    """The plan of a thousand tasks goes in, work is done on both sides, and neither knows more than the other."""
    url = f"sqlite:///{tmp_path / 'atlas.db'}"
    first, second = part_path("a", 0), part_path("a", 1)
    async with agent_on(url) as agent:
        imported = await agent.call("import_plan", content=plan())
        assert imported["created"] == 1_000
        assert (await person(url, "list"))["total"] == 1_000

        ready = await agent.call("next_task", limit=AREAS + 1)
        assert [task["path"] for task in ready["tasks"]] == [part_path(area, 0) for area in "abcdefghi"]
        assert (await person(url, "ready"))["tasks"] == ready["tasks"]

        await agent.call("update_task", path=first, updates={"status": "IN_PROGRESS"})
        assert (await person(url, "show", first))["task"]["status"] == "IN_PROGRESS"
        done = await agent.call("update_task", path=first, updates={"status": "COMPLETED"})
        assert {first, second, "shop/area-a", "shop"} >= set(done["affected"]) >= {first, second}
        for path in (first, second, "shop/area-a", "shop"):
            assert (await person(url, "show", path))["task"] == (await agent.call("get_task", path=path))["task"]
        assert [await agent.status(path) for path in (second, "shop/area-a", "shop")] == [
            "PENDING",
            "IN_PROGRESS",
            "IN_PROGRESS",
        ]

        # The person takes the task that came free; the agent sees it at once.
        await person(url, "start", second)
        await person(url, "done", second)
        assert await agent.status(second) == "COMPLETED"
        assert await agent.status(part_path("a", 2)) == "PENDING"

        rest = [part_path("a", part) for part in range(2, PARTS)]
        await agent.call(
            "bulk_task_operations",
            operations=[{"op": "update", "path": path, "updates": {"status": "COMPLETED"}} for path in rest],
        )
        area = (await person(url, "show", "shop/area-a"))["task"]
        assert area["status"] == "COMPLETED"
        assert area["progress"]["percent"] == 100
        await _check_told_alike(agent, url, second)


async def _check_told_alike(agent: Agent, url: str, path: str) -> None:
    """Check that both are told the same story of a task: who, by which interface, what, in order."""
    told = (await agent.call("get_timeline", path=path))["events"]
    assert (await person(url, "log", path))["events"] == told
    story = [(event["source"], event["type"]) for event in reversed(told)]
    assert story == [
        ("mcp", "task.created"),
        ("mcp", "task.updated"),
        ("cli", "task.updated"),
        ("cli", "task.updated"),
    ]
    freed = told[2]  # newest first: the person finished it, began it, and before that the agent freed it
    assert freed["change"]["fields"]["status"] == ["BLOCKED", "PENDING"]
    assert freed["causation"] is not None


@pytest.mark.anyio
async def test_another_process_hears_of_a_change_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    """A board that shows what agents do is of no use a second late; the clock is the machine's, one for all."""
    url = f"sqlite:///{tmp_path / 'atlas.db'}"
    async with atlas.open(url) as a:
        await a.tasks.create("p")
        heard: dict[str, float] = {}
        writer = start("write_slowly.py", url, FEED_TASKS)
        with ended(writer):

            async def listen() -> None:
                async for event in follow(a.store, after=0):
                    heard[event.path or ""] = time.monotonic()
                    if len(heard) == FEED_TASKS + 1:
                        return

            await asyncio.wait_for(listen(), 30)
            said = json.loads(await asyncio.to_thread(finished, writer))
    late = sorted(heard[path] - at for path, at in said.items())
    assert len(late) == FEED_TASKS
    # One may fall into a pause of the machine itself.
    assert late[-2] < FEED_SECONDS, late
