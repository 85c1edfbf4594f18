"""Laws of the gate: a client that works elsewhere is told so, and nobody else is bothered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ListRootsResult, Root, RootsListChangedNotification

import atlas
from atlas import Atlas
from atlas.interfaces.mcp.server import make_server

pytestmark = pytest.mark.anyio

ERAS = ("legacy", "2026-07-28")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def a() -> AsyncIterator[Atlas]:
    async with atlas.open("memory:") as opened:
        await opened.tasks.create("shop")
        yield opened


class Roots:
    """Answers with folders, and counts how often it was asked."""

    def __init__(self, *uris: str) -> None:
        self.uris = uris
        self.asked = 0

    async def __call__(self, context: Any) -> ListRootsResult:
        assert context
        self.asked += 1
        return ListRootsResult(roots=[Root.model_validate({"uri": uri}) for uri in self.uris])


async def called(a: Atlas, era: str, folder: Path | None, roots: Roots | None) -> list[str | None]:
    """Return the error codes of two calls, None for each that was served."""
    async with Client(await make_server(a, project_folder=folder), mode=era, list_roots_callback=roots) as client:
        results = [await client.call_tool("get_task", {"path": "shop"}) for _ in range(2)]
    return [result.structured_content.get("code") for result in results]


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_elsewhere_is_refused(a: Atlas, tmp_path: Path, era: str) -> None:
    roots = Roots((tmp_path / "other").as_uri())
    assert await called(a, era, tmp_path / "mine", roots) == ["WRONG_PROJECT"] * 2


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("root", ["mine", "mine/inner folder", ".", "mine/.."])
async def test_a_client_in_around_or_at_the_project_is_served(a: Atlas, tmp_path: Path, era: str, root: str) -> None:
    roots = Roots((tmp_path / "other").as_uri(), (tmp_path / root).as_uri())
    assert await called(a, era, tmp_path / "mine", roots) == [None, None]
    assert roots.asked == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_names_no_folder_is_served(a: Atlas, tmp_path: Path, era: str) -> None:
    assert await called(a, era, tmp_path, Roots()) == [None, None]
    assert await called(a, era, tmp_path, None) == [None, None]


@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_where_a_person_named_the_store(a: Atlas, tmp_path: Path, era: str) -> None:
    roots = Roots((tmp_path / "other").as_uri())
    assert await called(a, era, None, roots) == [None, None]
    assert roots.asked == 0


async def test_a_client_that_moves_is_asked_again(a: Atlas, tmp_path: Path) -> None:
    roots = Roots((tmp_path / "other").as_uri())
    async with Client(await make_server(a, project_folder=tmp_path / "mine"), mode="legacy") as client:
        assert not (await client.call_tool("get_task", {"path": "shop"})).is_error
    server = await make_server(a, project_folder=tmp_path / "mine")
    async with Client(server, mode="legacy", list_roots_callback=roots) as client:
        assert (await client.call_tool("get_task", {"path": "shop"})).is_error
        roots.uris = ((tmp_path / "mine").as_uri(),)
        await client.session.send_notification(RootsListChangedNotification())
        await client.list_tools()
        assert not (await client.call_tool("get_task", {"path": "shop"})).is_error


async def test_prompts_are_guarded_too(a: Atlas, tmp_path: Path) -> None:
    """They tell what is in the store."""
    roots = Roots((tmp_path / "other").as_uri())
    for era in ERAS:
        server = await make_server(a, project_folder=tmp_path / "mine")
        async with Client(server, mode=era, list_roots_callback=roots) as client:
            with pytest.raises(Exception, match="WRONG_PROJECT"):
                await client.get_prompt("resume_work")


async def test_resources_are_guarded_too(a: Atlas, tmp_path: Path) -> None:
    roots = Roots((tmp_path / "other").as_uri())
    for era in ERAS:
        server = await make_server(a, project_folder=tmp_path / "mine")
        async with Client(server, mode=era, list_roots_callback=roots) as client:
            with pytest.raises(Exception, match="WRONG_PROJECT"):
                await client.read_resource("atlas://projects")


async def test_the_instructions_name_the_folder(a: Atlas, tmp_path: Path) -> None:
    assert str(tmp_path) in str((await make_server(a, project_folder=tmp_path)).instructions)
