"""Laws of the tools: small enough to be read, an answer as data and as text, a failure that says the way out."""

from __future__ import annotations

import logging
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp import Client
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, TextContent

import atlas
from atlas import Atlas
from atlas.interfaces.mcp.schema import COMMON, tools
from atlas.interfaces.mcp.server import make_server
from atlas.interfaces.verbs import VERBS
from atlas.verb import Effect
from atlas.work.tasks import Tasks

pytestmark = pytest.mark.anyio

ERAS = ("legacy", "2026-07-28")
BOUNDS = {"core": (12, 8_000), "standard": (30, 24_000), "all": (60, 60_000)}
LINE_BYTES = 20
ENTRY_BYTES = 90

FACTS = {"code", "message", "hint", "field", "given", "bound", "retryable", "severity", "details", "request_id"}

PLAN = "# Shop\n\n- [ ] Design\n- [ ] Build\n  Depends on: Design\n"

CALLS: dict[str, dict[str, Any]] = {
    "create_task": {"path": "shop/new", "priority": "high", "notes": ["first"]},
    "get_task": {"path": "shop/api"},
    "update_task": {"path": "shop/api", "updates": {"status": "IN_PROGRESS", "add_tags": ["x"]}},
    "move_task": {"path": "shop/api", "to": "shop/web"},
    "delete_task": {"path": "shop/api", "dependents": "detach"},
    "get_tasks_by_status": {"status": "PENDING"},
    "get_tasks_by_path": {"pattern": "shop/**", "limit": 1},
    "get_subtasks": {"path": "shop"},
    "next_task": {"limit": 3},
    "wait_for": {"path": "shop/api", "status": "PENDING"},
    "bulk_task_operations": {"operations": [{"op": "create", "path": "docs"}, {"op": "delete", "path": "shop/web/a"}]},
    "get_timeline": {"path": "shop/**"},
    "get_statistics": {},
    "import_plan": {"content": PLAN, "format": "markdown", "project": "plan"},
    "export_plan": {"format": "markdown"},
    "repair_relationships": {"dry_run": False},
    "vacuum_database": {},
    "clear_all_tasks": {"confirm": True},
}
SAID = {
    "create_task": ["shop/new PENDING v1 seq"],
    "get_task": ["shop/api TASK PENDING medium", "tags: t", "dependents (1):", "BLOCKED shop/db"],
    "update_task": ["shop/api IN_PROGRESS v2 seq", "also changed: shop"],
    "move_task": ["shop/web PENDING v2", "also changed: shop/api"],
    "delete_task": ["deleted 1: shop/api", "also changed: ", "shop/db"],
    "get_tasks_by_status": ["PENDING shop/api", "PENDING shop"],
    "get_tasks_by_path": ["PENDING shop 0%", "1 of 3 tasks", "next_cursor: "],
    "get_subtasks": ["BLOCKED shop/db", "2 of 2 tasks"],
    "next_task": ["PENDING shop/api; why: medium priority, 1 waiting for it"],
    "wait_for": ["PENDING shop/api", "1 changed"],
    "bulk_task_operations": ["TASK_NOT_FOUND", "shop/web/a"],
    "get_timeline": ["task.created shop/api by ann: name api", "events, seq"],
    "get_statistics": ["total: 3", "by_status: "],
    "import_plan": ["markdown: created", "projects: plan"],
    "export_plan": ["shop"],
    "repair_relationships": ["fixed: 0"],
    "vacuum_database": ["before: "],
    "clear_all_tasks": ["deleted: 3"],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def a() -> AsyncIterator[Atlas]:
    async with atlas.open("memory:", actor="ann") as opened:
        await opened.tasks.create("shop/api", parents=True, tags=("t",), notes=("a note",), acceptance=("it works",))
        await opened.tasks.create("shop/db", dependencies=("shop/api",))
        yield opened


@asynccontextmanager
async def connected(a: Atlas, era: str, profile: str = "all", **options: Any) -> AsyncIterator[Client]:
    async with Client(await make_server(a, profile=profile), mode=era, **options) as client:
        yield client


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


# Profiles.


@pytest.mark.parametrize("profile", BOUNDS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_profile_stays_within_its_bound(a: Atlas, profile: str, era: str) -> None:
    async with connected(a, era, profile) as client:
        listed = await client.list_tools()
    whole = listed.model_dump_json(by_alias=True, exclude_none=True)
    count, size = BOUNDS[profile]
    assert len(listed.tools) <= count
    assert len(whole.encode()) <= size


@pytest.mark.parametrize("profile", BOUNDS)
def test_every_tool_says_what_it_does(profile: str) -> None:
    for tool in tools(profile):
        effect = VERBS[tool["name"]].effect
        assert tool["title"]
        assert tool["description"]
        assert tool["annotations"].get("readOnlyHint", False) is (effect is Effect.READ)
        assert tool["annotations"].get("destructiveHint", False) is (effect is Effect.DESTRUCTIVE)
        assert tool["inputSchema"]["type"] == "object"
        assert "$ref" not in str(tool)
        assert ("outputSchema" in tool) is (profile == "all")


def test_schemas_keep_the_limits_of_the_signature() -> None:
    by_name = {tool["name"]: tool["inputSchema"] for tool in tools("standard")}
    made = by_name["create_task"]
    assert made["required"] == ["path"]
    assert made["additionalProperties"] is False
    assert made["properties"]["name"] == {"type": "string", "minLength": 1, "maxLength": 200}
    assert made["properties"]["priority"] == {"enum": ["critical", "high", "low", "medium"], "default": "medium"}
    assert by_name["get_tasks_by_path"]["properties"]["limit"]["maximum"] == 500
    updates = by_name["update_task"]["properties"]["updates"]["properties"]
    assert updates["assignee"]["type"] == ["string", "null"]
    assert updates["description"]["maxLength"] == 32_768


def test_core_leaves_common_arguments_to_the_instructions() -> None:
    for tool in tools("core"):
        shown = set(tool["inputSchema"]["properties"])
        assert not shown & (COMMON - {"since"})
        assert "additionalProperties" not in str(tool["inputSchema"])
    assert "since" in next(t for t in tools("core") if t["name"] == "get_timeline")["inputSchema"]["properties"]


@pytest.mark.parametrize("era", ERAS)
async def test_core_accepts_what_it_does_not_show(a: Atlas, era: str) -> None:
    async with connected(a, era, "core") as client:
        for name in COMMON:
            assert name in (client.instructions or (await _instructions(a)))
        given = {"path": "shop/once", "idempotency_key": "k", "fields": ["path", "version"], "actor": "bob"}
        first = await client.call_tool("create_task", given)
        again = await client.call_tool("create_task", given)
    assert first.structured_content == again.structured_content
    assert first.structured_content["task"] == {"path": "shop/once", "version": 1}


async def _instructions(a: Atlas) -> str:
    return str((await make_server(a)).instructions)


async def test_instructions_say_what_is_served(a: Atlas) -> None:
    said = await _instructions(a)
    assert "memory:" in said
    assert "Its projects: shop." in said


# Answers.


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("tool", VERBS)
async def test_every_tool_answers_as_data_and_as_text(a: Atlas, tool: str, era: str) -> None:
    async with connected(a, era) as client:
        await client.list_tools()
        result = await client.call_tool(tool, CALLS[tool])
    assert isinstance(result.structured_content, dict)
    for said in SAID[tool]:
        assert said in text(result), text(result)
    assert text(result) != msgspec.json.encode(result.structured_content).decode()
    assert result.is_error is (tool == "bulk_task_operations")


async def test_a_brief_list_costs_little_beyond_its_paths(a: Atlas) -> None:
    names = [f"task-{n:03}" for n in range(200)]
    operations = [
        {"op": "create", "path": f"shop/{name}", "priority": ("low", "medium", "high", "critical")[n % 4]}
        for n, name in enumerate(names)
    ]
    await a.tasks.bulk(tuple(operations))
    async with connected(a, "legacy") as client:
        result = await client.call_tool("get_tasks_by_path", {"pattern": "shop/task-*", "limit": 500})
    lines = text(result).splitlines()[:-1]
    paths = [task["path"] for task in result.structured_content["tasks"]]
    assert len(lines) == len(paths) == 200
    assert sum(len(line) + 1 - len(path) for line, path in zip(lines, paths, strict=True)) <= LINE_BYTES * len(paths)
    data = len(msgspec.json.encode(result.structured_content["tasks"]))
    known = sum(len(task["path"]) + len(task["name"]) for task in result.structured_content["tasks"])
    assert data - known <= ENTRY_BYTES * len(paths)


async def test_text_of_full_tasks_holds_what_the_data_holds(a: Atlas) -> None:
    async with connected(a, "legacy") as client:
        one = text(await client.call_tool("get_task", {"path": "shop/api"}))
        many = text(await client.call_tool("get_tasks_by_path", {"pattern": "shop/api", "fields": "full"}))
        some = text(await client.call_tool("get_tasks_by_path", {"pattern": "shop/api", "fields": ["path", "tags"]}))
        wrote = text(await client.call_tool("create_task", {"path": "shop/x", "tags": ["y"], "fields": "full"}))
    assert "[ ] it works" in one
    assert "a note" in one
    assert "tags: t" in many
    assert some.splitlines()[0] == "shop/api; tags: t"
    assert "tags: y" in wrote


async def test_text_names_why_a_task_is_blocked(a: Atlas) -> None:
    async with connected(a, "legacy") as client:
        made = text(await client.call_tool("create_task", {"path": "shop/x", "dependencies": ["shop/db"]}))
        updates = {"status": "BLOCKED", "reason": "no key"}
        manual = text(await client.call_tool("update_task", {"path": "shop/x", "updates": updates}))
        nothing = text(await client.call_tool("wait_for", {"path": "shop/x", "timeout": 0}))
        moved = text(await client.call_tool("get_timeline", {"path": "shop/x", "since": 0}))
        bulk = [{"op": "update", "path": "shop/x", "updates": {"priority": "low"}}, {"op": "delete", "path": "shop/x"}]
        done = text(await client.call_tool("bulk_task_operations", {"operations": bulk}))
    assert "blocked (dependency: by shop/db)" in made
    assert "blocked (manual: by shop/db; no key)" in manual
    assert "nothing changed in time" in nothing
    assert "status" in moved or "block" in moved
    assert "update BLOCKED- shop/x v3\ndelete shop/x" in done


# Failures.


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "given", "code", "field"),
    [
        ("create_task", {"path": "shop/api"}, "TASK_DUPLICATE", "path"),
        ("create_task", {"path": "/shop//x/"}, "TASK_INVALID_PATH", "path"),
        ("create_task", {}, "INVALID_INPUT", "path"),
        ("create_task", {"path": "shop/x", "colour": "red"}, "INVALID_INPUT", "colour"),
        ("create_task", {"path": 7}, "INVALID_INPUT", "path"),
        ("create_task", {"path": "shop/x", "name": "n" * 300}, "INVALID_INPUT", "name"),
        ("get_task", {"path": "nowhere"}, "TASK_NOT_FOUND", "path"),
        ("update_task", {"path": "shop/db", "updates": {"status": "COMPLETED"}}, "TASK_DEPENDENCY", None),
        ("update_task", {"path": "shop/api", "updates": {}, "expected_version": 9}, "CONCURRENT_MODIFICATION", None),
        ("delete_task", {"path": "shop/api"}, "TASK_DEPENDENCY", None),
        ("move_task", {"path": "shop", "to": "shop", "before": "shop"}, "INVALID_INPUT", "before"),
        ("get_tasks_by_path", {"limit": 501}, "INVALID_INPUT", "limit"),
        ("no_such_tool", {}, "NOT_FOUND", "name"),
    ],
)
async def test_a_failure_is_a_result_that_says_the_way_out(
    a: Atlas, era: str, tool: str, given: dict[str, Any], code: str, field: str | None
) -> None:
    before = await a.store.read(lambda tx: tx.seq)
    async with connected(a, era) as client:
        result = await client.call_tool(tool, given)
    assert result.is_error
    facts = result.structured_content
    assert facts.keys() == FACTS
    assert facts["code"] == code
    assert field is None or facts["field"] == field
    assert facts["hint"]
    assert text(result).startswith(f"{code}: {facts['message'].rstrip('.')}. {facts['hint']}")
    assert await a.store.read(lambda tx: tx.seq) == before


@pytest.mark.parametrize(
    ("tool", "given", "field", "bound", "hint"),
    [
        (
            "update_task",
            {"path": "a", "status": "FAILED"},
            "status",
            None,
            'Pass it within updates: {"updates": {"stat',
        ),
        ("create_task", {"path": "x", "due_at": "soon"}, "due_at", "ISO 8601, date and", "Write it like 2026-12-31T17"),
        ("create_task", {"path": "x", "tags": "a"}, "tags", "a list", "Pass a list."),
        ("create_task", {"path": "x", "estimated_hours": "3"}, "estimated_hours", "a number", "Pass a number."),
        ("create_task", {"path": "x", "name": "n" * 201}, "name", 200, "Pass at most 200 characters."),
        ("create_task", {"path": "x", "tags": ["t"] * 101}, "tags", 100, "Pass at most 100 of them."),
        ("create_task", {"path": "x", "estimated_hours": -1}, "estimated_hours", 0, "Pass at least 0."),
        ("get_tasks_by_path", {"fields": ["colour"]}, "fields", None, "Use one of id, path, name, "),
        ("get_tasks_by_path", {"fields": "path"}, "fields", None, "Use one of brief, full, a list."),
        ("create_task", {"path": "x", "priority": None}, "priority", None, "Use one of critical, high, "),
        ("wait_for", {}, "path", None, "Needed: exactly one of path and pattern."),
        (
            "bulk_task_operations",
            {"operations": [{"op": "end"}]},
            "operations[0].op",
            None,
            "Use one of create, update",
        ),
    ],
)
async def test_a_hint_says_what_would_have_worked(
    a: Atlas, tool: str, given: dict[str, Any], field: str, bound: Any, hint: str
) -> None:
    """In words of the protocol, not of Python, for the field that was wrong."""
    async with connected(a, "legacy") as client:
        facts = (await client.call_tool(tool, given)).structured_content
    assert facts is not None
    assert facts["field"] == field
    assert facts["hint"].startswith(hint)
    if bound is not None:
        assert str(facts["bound"]).startswith(str(bound))


@pytest.mark.parametrize(("tool", "field"), [("get_tasks_by_path", "since"), ("get_timeline", "until")])
async def test_a_number_that_no_store_can_hold_is_refused(tmp_path: Path, tool: str, field: str) -> None:
    """By name, before SQLite fails at it."""
    async with atlas.open(f"sqlite:///{tmp_path}/atlas.db") as a, connected(a, "legacy") as client:
        facts = (await client.call_tool(tool, {field: 2**63})).structured_content
        assert not (await client.call_tool(tool, {field: 2**63 - 1})).is_error
    assert facts is not None
    assert (facts["code"], facts["field"], facts["bound"]) == ("INVALID_INPUT", field, 2**63 - 1)


async def test_the_text_of_a_bulk_refusal_says_which_operation(a: Atlas) -> None:
    """Some clients show a model only the text."""
    operations = [{"op": "create", "path": "x"}, {"op": "update", "path": "nowhere", "status": "FAILED"}]
    async with connected(a, "legacy") as client:
        result = await client.call_tool("bulk_task_operations", {"operations": operations})
    assert text(result).startswith("TASK_NOT_FOUND: operations[1].path: no task 'nowhere'. ")


def test_every_tool_takes_the_common_arguments_that_the_instructions_name() -> None:
    """A client that was told so and is refused would not try again."""
    for verb in VERBS.values():
        names = set(verb.spec.names)
        answer = typing.get_type_hints(verb.spec.function)["return"]
        answers = {field.name for field in msgspec.structs.fields(answer)}
        if verb.effect is not Effect.READ and verb.name != "vacuum_database":
            assert names >= {"idempotency_key", "actor"}, verb.name
        if answers & {"task", "tasks", "outcomes"} and "content" not in answers:
            assert "fields" in names, verb.name
        if "next_cursor" in answers:
            assert names >= {"limit", "cursor", "max_tokens"}, verb.name


async def test_a_profile_refuses_the_tools_it_does_not_show(a: Atlas) -> None:
    async with connected(a, "legacy", "core") as client:
        result = await client.call_tool("clear_all_tasks", {"confirm": True})
    assert result.structured_content["code"] == "NOT_FOUND"
    assert "ATLAS_TOOLS" in result.structured_content["hint"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_fault_of_ours_is_answered_and_logged_by_its_request(
    a: Atlas, era: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("secret detail")

    monkeypatch.setattr(Tasks, "get", broken)
    async with connected(a, era) as client:
        result = await client.call_tool("get_task", {"path": "shop"})
    facts = result.structured_content
    assert facts["code"] == "INTERNAL_ERROR"
    assert "secret detail" not in str(facts)
    assert facts["request_id"] in caplog.text
    assert "secret detail" in caplog.text


async def test_refusals_are_logged_with_their_request(a: Atlas, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "atlas")
    async with connected(a, "legacy") as client:
        result = await client.call_tool("get_task", {"path": "nowhere"})
    assert result.structured_content["request_id"] in caplog.text


# Long work.


@pytest.mark.parametrize("era", ERAS)
async def test_an_import_tells_how_far_it_is(a: Atlas, era: str) -> None:
    told: list[tuple[float, float | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        assert message
        told.append((progress, total))

    plan = "# Shop\n\n" + "".join(f"- [ ] Task {n}\n" for n in range(300))
    async with connected(a, era) as client:
        result = await client.call_tool("import_plan", {"content": plan, "project": "x"}, progress_callback=heard)
    assert result.structured_content["created"] >= 300
    assert told
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == told[-1][1]


async def test_a_server_is_the_sdks_own(a: Atlas) -> None:
    assert isinstance(await make_server(a), Server)
