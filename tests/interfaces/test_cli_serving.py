"""Laws of the commands that serve, and of what they tell clients and shells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from tests.interfaces.commands import Cli

from atlas.interfaces.cli.clients import CLIENTS, program

PLAN = "# Shop\n\n- [ ] One\n- [ ] Two\n"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
WAIT_SECONDS = 30


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_the_config_of_every_client_starts_this_atlas(cli: Cli, client: str) -> None:
    told = cli("mcp", "--print-config", client)
    assert CLIENTS[client].file in told.stderr
    if CLIENTS[client].file.endswith(".toml"):
        entry = tomllib.loads(told.stdout)[CLIENTS[client].key]["atlas"]
    else:
        entry = json.loads(told.stdout)[CLIENTS[client].key]["atlas"]
    assert entry["args"][-1] == "mcp"
    assert entry["env"] == {"ATLAS_AGENT": client}
    assert ("--store" in entry["args"]) is not CLIENTS[client].is_in_project
    assert subprocess.run([*program(), "--version"], check=True, capture_output=True).stdout.startswith(b"atlas ")


def test_a_relative_store_is_named_as_it_means_the_same_anywhere(cli: Cli) -> None:
    entry = json.loads(cli("mcp", "--print-config", "claude-code", "--store", "sqlite:///x.db").stdout)
    assert f"sqlite:///{cli.folder}/x.db" in entry["mcpServers"]["atlas"]["args"]


def test_no_config_is_printed_for_a_store_that_cannot_be_served(cli: Cli) -> None:
    """Nor are the secrets in its address."""
    told = cli("mcp", "--print-config", "cursor", "--store", "mysql://me:hidden@host/db", code=1)
    assert told.stdout == ""
    assert "hidden" not in told.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli: Cli, shell: str) -> None:
    assert "_ATLAS_COMPLETE" in cli("completion", shell).stdout


def test_paths_are_completed_from_the_store(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("add", "shop/api", "--parents")
    cli("add", "shop/ui")

    def completed(line: str) -> str:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        command = [sys.executable, "-m", "atlas"]
        env = {**os.environ, "_ATLAS_COMPLETE": "bash_complete"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout

    assert completed("atlas show shop/").split() == ["plain,shop/api", "plain,shop/ui"]
    assert completed("atlas show sh").split() == ["plain,shop"]
    assert completed("atlas --store nonsense show sh").split() == []
    assert "plain,tree" in completed("atlas tr")


def test_mcp_speaks_the_protocol_and_ends_with_stdin(cli: Cli) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "atlas", "mcp", "--tools", "core"],
        input=json.dumps(HELLO) + "\n",
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    answer = json.loads(made.stdout)
    assert answer["id"] == 1
    assert str(cli.folder) in answer["result"]["instructions"]


def test_serve_example_makes_a_store_once_and_tells_where_it_listens(bare: Cli) -> None:
    (bare.folder / "plan.md").write_text(PLAN)
    for tasks in (3, 4):
        command = [sys.executable, "-m", "atlas", "serve", "--port", "0", "--example", "plan.md", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            with urllib.request.urlopen(told["url"].removesuffix("mcp") + "health", timeout=WAIT_SECONDS) as answer:
                assert json.loads(answer.read())["tasks"] == tasks
            server.send_signal(signal.SIGINT)
            assert server.wait(WAIT_SECONDS) == 0
        assert told["tasks"] == tasks
        assert str(bare.folder / ".atlas" / "atlas.db") in told["store"]
        if tasks == 3:
            bare("add", "shop/mine")


def test_serve_refuses_what_it_cannot_do(cli: Cli, bare: Cli) -> None:
    assert cli.json("serve", "--port", "70000", code=1)["field"] == "port"
    assert cli.json("serve", "--host", "0.0.0.0", code=1)["code"] == "CONFIG_INVALID"
    few = cli.json("serve", "--tools", "few", code=1)
    assert (few["bound"], few["hint"]) == (["core", "standard", "all"], "Use core or standard or all.")
    assert cli.json("serve", "--port", "70000", code=1)["hint"] == "Use 0 to 65535."
    nowhere = cli.json("serve", "--host", "nowhere.invalid", "--public", code=1)
    assert (nowhere["field"], "--host" in nowhere["hint"]) == ("host", True)
    assert cli.json("serve", "--example", "nope.md", "--store", "memory:", code=1)["field"] == "example"
    assert cli.json("mcp", "--tools", "few", code=1)["code"] == "CONFIG_INVALID"


def test_serve_tells_people_what_to_paste(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listening(atlas: object, *, on_listening: object, **_: object) -> None:
        assert callable(on_listening)
        on_listening("http://127.0.0.1:1/mcp")

    cli("add", "a")
    monkeypatch.setattr("atlas.interfaces.mcp.serve_http", listening)
    told = cli("serve").stdout
    assert "Atlas listens at http://127.0.0.1:1/mcp" in told
    assert "1 tasks" in told
    assert '"mcpServers"' in told


def test_mcp_is_told_which_project_it_serves(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path | None] = []

    async def served(atlas: object, *, profile: str, project_folder: Path | None) -> None:
        seen.append(project_folder)
        assert profile == "all"

    monkeypatch.setattr("atlas.interfaces.mcp.serve_stdio", served)
    cli("mcp", "--tools", "all")
    cli("mcp", "--tools", "all", "--store", "memory:")
    assert seen == [cli.folder, None]


def test_logs_go_to_the_file_that_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    async def served(atlas: object, **_: object) -> None:
        logging.getLogger("atlas").error("so it is")

    monkeypatch.setattr("atlas.interfaces.mcp.serve_stdio", served)
    monkeypatch.setenv("ATLAS_LOG_FILE", "logs/atlas.log")
    monkeypatch.setenv("ATLAS_LOG_FORMAT", "json")
    told = cli("mcp")
    assert told.stdout == ""
    assert json.loads((cli.folder / "logs" / "atlas.log").read_text())["message"] == "so it is"
