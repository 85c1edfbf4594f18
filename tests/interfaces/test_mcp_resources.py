"""Laws of resources, prompts and completions: what is there can be read, watched from anywhere, and found by typing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp_types import (
    EmptyResult,
    PromptReference,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
    SubscribeRequest,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

import atlas
from atlas import Atlas
from atlas.interfaces.mcp.server import make_server
from atlas.interfaces.mcp.watch import touched_by
from atlas.model.event import Event
from atlas.model.task import Status
from atlas.work.arguments import Updates

pytestmark = pytest.mark.anyio

ERAS = ("legacy", "2026-07-28")
SOURCE = Path(__file__).parents[2] / "src"
WRITER = """
import asyncio, sys, atlas

async def main(url, *paths):
    async with atlas.open(url) as a:
        for path in paths:
            await a.tasks.create(path, parents=True)

asyncio.run(main(*sys.argv[1:]))
"""
SECONDS = 15


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def a(tmp_path: Path) -> AsyncIterator[Atlas]:
    async with atlas.open(f"sqlite:///{tmp_path}/work.db") as opened:
        await opened.tasks.create("shop/api/login", name="Log in", parents=True)
        await opened.tasks.create("shop/app")
        yield opened


async def write_elsewhere(a: Atlas, *paths: str) -> None:
    """Create tasks from another process."""
    command = [sys.executable, "-c", WRITER, a.store.url, *paths]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    await anyio.to_thread.run_sync(lambda: subprocess.run(command, env=env, check=True, timeout=SECONDS))


async def read(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text


async def subscribe(client: Client, uri: str) -> None:
    await client.session.send_request(SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult)


async def unsubscribe(client: Client, uri: str) -> None:
    await client.session.send_request(UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri)), EmptyResult)


@pytest.mark.parametrize("era", ERAS)
async def test_every_listed_resource_can_be_read(a: Atlas, era: str) -> None:
    async with Client(await make_server(a), mode=era) as client:
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        templates = [t.uri_template for t in (await client.list_resource_templates()).resource_templates]
        assert listed == ["atlas://projects", "atlas://tree/shop"]
        assert templates == ["atlas://tasks/{+path}", "atlas://tree/{+path}"]
        projects = json.loads(await read(client, "atlas://projects"))
        task = json.loads(await read(client, "atlas://tasks/shop/api"))
        tree = await read(client, "atlas://tree/shop")
        by_id = json.loads(await read(client, f"atlas://tasks/{task['task']['id']}"))
    assert [project["path"] for project in projects["tasks"]] == ["shop"]
    assert [child["path"] for child in task["children"]] == ["shop/api/login"]
    assert by_id["task"] == task["task"]
    assert tree.splitlines() == [
        "PENDING shop 0%",
        "  PENDING shop/api 0%",
        "    PENDING shop/api/login; called: Log in",
        "  PENDING shop/app",
    ]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "uri", ["atlas://tasks/nowhere", "atlas://tree/no//path", "atlas://elsewhere", "file:///etc/x"]
)
async def test_what_cannot_be_read_is_refused_with_its_code(a: Atlas, era: str, uri: str) -> None:
    async with Client(await make_server(a), mode=era) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert refused.value.error.data["code"] in {"TASK_NOT_FOUND", "TASK_INVALID_PATH", "NOT_FOUND"}
    assert refused.value.error.data["hint"]


async def test_older_subscriptions_hear_of_another_process(a: Atlas) -> None:
    heard: list[str] = []
    news, late = anyio.Event(), anyio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            heard.append(str(message.params.uri))
            (late if heard[-1] == "atlas://tasks/other" else news).set()

    async with Client(await make_server(a), mode="legacy", message_handler=hear) as client:
        await subscribe(client, "atlas://tree/shop")
        await subscribe(client, "atlas://tasks/other")
        await write_elsewhere(a, "shop/new/deep", "docs")
        with anyio.fail_after(SECONDS):
            await news.wait()
        await unsubscribe(client, "atlas://tree/shop")
        await write_elsewhere(a, "shop/newer", "other")
        with anyio.fail_after(SECONDS):
            await late.wait()
    assert heard == ["atlas://tree/shop", "atlas://tasks/other"]


async def test_newer_subscriptions_hear_of_another_process(a: Atlas) -> None:
    async with (
        Client(await make_server(a), mode="2026-07-28") as client,
        client.listen(resources_list_changed=True, resource_subscriptions=["atlas://tasks/shop/app"]) as told,
    ):
        await write_elsewhere(a, "docs/guide", "shop/other")
        await a.tasks.update("shop/app", Updates(status=Status.IN_PROGRESS))
        heard = set()
        with anyio.fail_after(SECONDS):
            async for event in told:
                heard.add(event)
                if len(heard) == 2:
                    break
    assert heard == {ResourcesListChanged(), ResourceUpdated(uri="atlas://tasks/shop/app")}


async def test_a_thousand_changes_are_few_notices(a: Atlas) -> None:
    heard, news = 0, anyio.Event()

    async def hear(message: Any) -> None:
        nonlocal heard
        heard += isinstance(message, ResourceUpdatedNotification)
        news.set()

    async with Client(await make_server(a), mode="legacy", message_handler=hear) as client:
        await subscribe(client, "atlas://projects")
        await a.tasks.bulk(tuple({"op": "create", "path": f"shop/t{n}"} for n in range(1_000)))
        with anyio.fail_after(SECONDS):
            await news.wait()
        await asyncio.sleep(0.2)
    assert 0 < heard < 20


async def test_a_client_that_left_is_forgotten(a: Atlas) -> None:
    server = await make_server(a)
    for _ in range(3):
        async with Client(server, mode="legacy") as client:
            await subscribe(client, "atlas://projects")
    await a.tasks.create("shop/late")
    assert not a.store._listeners  # type: ignore[attr-defined]


def test_a_move_touches_both_places() -> None:
    change = {"fields": {"path": ["shop/a/x", "shop/b/x"]}}
    event = Event(
        id="1",
        time=datetime.now(UTC),
        type="task.moved",
        action="move_task",
        collection="task",
        key="k",
        subject="k",
        path="shop/b/x",
        change=change,
    )
    touched = {event.uri for event in touched_by(event) if isinstance(event, ResourceUpdated)}
    for path in ("shop/a/x", "shop/a", "shop/b/x", "shop/b", "shop"):
        assert f"atlas://tasks/{path}" in touched
        assert f"atlas://tree/{path}" in touched
    assert "atlas://projects" in touched


# Prompts.


async def prompt(client: Client, name: str, **given: str) -> str:
    (message,) = (await client.get_prompt(name, given)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text


@pytest.mark.parametrize("era", ERAS)
async def test_prompts_say_what_the_store_says(a: Atlas, era: str) -> None:
    await a.tasks.update("shop/api/login", Updates(status=Status.IN_PROGRESS))
    async with Client(await make_server(a), mode=era) as client:
        known = (await client.list_prompts()).prompts
        assert [p.name for p in known] == ["plan_project", "resume_work"]
        plan = await prompt(client, "plan_project", goal="sell shoes", project="shop")
        fresh = await prompt(client, "plan_project", goal="sell shoes", project="boots")
        resume = await prompt(client, "resume_work")
        narrow = await prompt(client, "resume_work", pattern="shop/app")
    assert "sell shoes" in plan
    assert "shop/api/login" in plan
    assert "holds nothing yet" in fresh
    assert "IN_PROGRESS shop/api/login" in resume
    assert "PENDING shop/app; why:" in resume
    assert "IN_PROGRESS shop/api/login" not in narrow


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("name", "given"),
    [("plan_project", {"goal": "x"}), ("nothing", {}), ("resume_work", {"pattern": "a//b"}), ("plan_project", {})],
)
async def test_a_prompt_that_cannot_be_made_is_refused(a: Atlas, era: str, name: str, given: dict[str, str]) -> None:
    async with Client(await make_server(a), mode=era) as client:
        with pytest.raises(MCPError) as refused:
            await client.get_prompt(name, given)
    assert refused.value.error.data["hint"]


# Completions.


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("begun", "found"),
    [
        ("", ["shop"]),
        ("s", ["shop"]),
        ("shop", ["shop"]),
        ("shop/", ["shop/api", "shop/app"]),
        ("shop/ap", ["shop/api", "shop/app"]),
        ("shop/api/lo", ["shop/api/login"]),
        ("x", []),
        ("shop//", []),
        ("é", []),
    ],
)
async def test_paths_complete_one_segment_at_a_time(a: Atlas, era: str, begun: str, found: list[str]) -> None:
    async with Client(await make_server(a), mode=era) as client:
        template = ResourceTemplateReference(uri="atlas://tasks/{+path}")
        made = await client.complete(template, {"name": "path", "value": begun})
        assert made.completion.values == found
        other = await client.complete(PromptReference(name="plan_project"), {"name": "project", "value": begun})
        assert other.completion.values == found
        nothing = await client.complete(PromptReference(name="plan_project"), {"name": "goal", "value": begun})
        assert nothing.completion.values == []
