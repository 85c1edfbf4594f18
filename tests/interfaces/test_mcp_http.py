"""Laws of streamable HTTP: only those who call the server by its name, from its own pages or none, are served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

import atlas
from atlas import Atlas
from atlas.errors import ConfigError
from atlas.interfaces.mcp import serve_http

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parents[2] / "src"
SECONDS = 15.0
PROGRAM = """
import asyncio, logging, sys
import atlas
from atlas.interfaces.mcp import serve_http

logging.basicConfig(level=logging.INFO, stream=sys.stderr)

async def main(url):
    async with atlas.open(url) as a:
        await serve_http(a, port=0, on_listening=lambda where: print(where, flush=True))
    print("closed", flush=True)

asyncio.run(main(sys.argv[1]))
"""
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("http")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"sqlite:///{folder}/work.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    assert out == "closed\n"
    assert "Traceback" not in errors
    assert not (folder / "work.db-wal").exists() or not (folder / "work.db-wal").stat().st_size


@pytest.mark.parametrize("era", ["legacy", "2026-07-28", "auto"])
async def test_both_eras_are_served(served: str, era: str) -> None:
    async with Client(served, mode=era) as client:
        path = f"shop-{era[:4]}/api".replace("2026", "new")
        made = await client.call_tool("create_task", {"path": path, "parents": True})
        assert made.structured_content["receipt"]["durability"] == "disk"
        listed = await client.call_tool("get_tasks_by_path", {"pattern": path})
        assert [task["path"] for task in listed.structured_content["tasks"]] == [path]
        again = await client.call_tool("create_task", {"path": path})
        assert again.structured_content["code"] == "TASK_DUPLICATE"


async def test_it_says_what_it_serves(served: str) -> None:
    async with httpx.AsyncClient() as client:
        for path in ("/", "/health"):
            said = (await client.get(served.removesuffix("/mcp") + path)).json()
            assert said["name"] == "atlas"
            assert said["store"].startswith("sqlite:///")
            assert said["tasks"] >= 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:3000"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_host_and_origin_are_checked(served: str, headers: dict[str, str], status: int) -> None:
    async with httpx.AsyncClient() as client:
        asked = await client.post(served, json=INITIALIZE, headers={**HEADERS, **headers})
        health = await client.get(served.removesuffix("/mcp"), headers=headers)
        modern = {**HEADERS, **headers, "mcp-protocol-version": "2026-07-28"}
        newest = await client.post(served, json={**INITIALIZE, "method": "tools/list", "params": {}}, headers=modern)
    assert asked.status_code == status
    assert health.status_code == status
    assert newest.status_code == (status if status != 200 else 400)


async def test_files_of_this_machine_are_not_read_for_others(served: str, tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("# Secret\n\n- [ ] x\n")
    async with Client(served, mode="legacy") as client:
        result = await client.call_tool("import_plan", {"file": str(tmp_path / "plan.md")})
    assert result.structured_content["code"] == "INVALID_INPUT"
    assert "content" in result.structured_content["hint"]


@pytest.fixture
async def a() -> AsyncIterator[Atlas]:
    async with atlas.open("memory:") as opened:
        yield opened


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
async def test_a_public_address_needs_a_word(a: Atlas, host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        await serve_http(a, host=host, port=0)
    assert refused.value.field == "host"


async def test_a_port_that_is_taken_is_said_in_one_line(a: Atlas, served: str) -> None:
    port = int(served.rpartition(":")[2].partition("/")[0])
    with pytest.raises(ConfigError, match="cannot listen") as refused:
        await serve_http(a, port=port)
    facts: dict[str, Any] = refused.value.as_dict()
    assert facts["given"] == port
