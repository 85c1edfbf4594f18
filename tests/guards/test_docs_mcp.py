"""Every verb is a tool, and the page about them shows what a client really gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextContent
from tests.guards.sources import names_in, pages, section, tables

import atlas
from atlas.interfaces.cli.clients import CLIENTS
from atlas.interfaces.mcp.prompts import PROMPTS
from atlas.interfaces.mcp.resources import TEMPLATES
from atlas.interfaces.mcp.schema import COMMON, output_schema, tools
from atlas.interfaces.mcp.server import make_server
from atlas.interfaces.mcp.watch import PROJECTS
from atlas.interfaces.verbs import PROFILES, VERBS

PAGE = pages()["docs/mcp.md"]
_CALL = re.compile(
    r"^```json\n(\{\"name\".*?)^```\n\n```json\n(.*?)^```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL
)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+Z)?")


def _tools() -> list[list[str]]:
    return tables(section(PAGE, "Tools"))[0][1:]


def test_every_verb_is_a_tool_of_the_largest_profile() -> None:
    """What Python can do, an agent can."""
    assert {tool["name"] for tool in tools("all")} == set(VERBS)


def test_every_tool_is_on_the_page() -> None:
    """In the table of tools, and in the profile that first shows it."""
    assert {names_in(row[0])[0] for row in _tools()} == set(VERBS)
    rows = tables(section(PAGE, "Profiles"))[0][1:]
    told = {names_in(profile)[0]: set(names_in(added)) for profile, added in rows}
    assert told == {p: {v.name for v in VERBS.values() if v.profile == p} for p in PROFILES}


@pytest.mark.parametrize("row", _tools(), ids=lambda row: row[0].strip("`"))
def test_a_tool_takes_and_answers_what_the_page_says(row: list[str]) -> None:
    """The required arguments, and every field that the answer always has."""
    tool = next(tool for tool in tools("all") if tool["name"] == names_in(row[0])[0])
    assert names_in(row[1]) == tool["inputSchema"].get("required", [])
    assert names_in(row[3]) == output_schema(VERBS[tool["name"]])["required"]


def test_the_common_arguments_are_on_the_page() -> None:
    told = {names_in(row[0])[0] for row in tables(section(PAGE, "Common arguments"))[0][1:]}
    assert told == COMMON | {"path", "limit"}


def test_clients_resources_and_prompts_are_on_the_page() -> None:
    """Each with its file, its address or its arguments."""
    clients = tables(section(PAGE, "Connect"))[0][1:]
    assert {names_in(row[0])[0]: names_in(row[1])[0] for row in clients} == {n: c.file for n, c in CLIENTS.items()}
    resources = [names_in(row[0])[0] for row in tables(section(PAGE, "Resources"))[0][1:]]
    assert resources == [PROJECTS, *(str(each["uriTemplate"]).replace("{+", "{") for each in TEMPLATES)]
    prompts: Any = PROMPTS
    told = {names_in(row[0])[0]: names_in(row[1]) for row in tables(section(PAGE, "Prompts and completions"))[0][1:]}
    assert told == {prompt["name"]: [a["name"] for a in prompt["arguments"]] for prompt in prompts}


@pytest.mark.anyio
async def test_the_calls_of_the_page_answer_as_it_says(tmp_path: Path) -> None:
    """In their order, on a new store; only ids and times may differ."""
    calls = _CALL.findall(PAGE)
    assert len(calls) == PAGE.count('```json\n{"name"')
    url = f"sqlite:///{tmp_path}/atlas.db"
    async with atlas.open(url, actor="mira", source="mcp") as a, Client(await make_server(a)) as client:
        for call, answer, text in calls:
            result = await client.call_tool(**json.loads(call))
            said = result.content[0]
            assert isinstance(said, TextContent)
            assert _plain(json.dumps(result.structured_content)) == _plain(json.dumps(json.loads(answer)))
            assert _plain(said.text) == _plain(text.rstrip("\n"))
            assert bool(result.is_error) is ("code" in json.loads(answer))


def _plain(text: str) -> str:
    return _TIME.sub("TIME", _ID.sub("ID", text))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
