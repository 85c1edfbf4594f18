"""What MCP clients want to be told to start Atlas by themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec


class Client(msgspec.Struct, frozen=True):
    """A client: the file its servers are listed in, under which key, and whether it starts them in the project."""

    file: str
    key: str = "mcpServers"
    is_in_project: bool = False
    is_typed: bool = False


CLIENTS: Mapping[str, Client] = {
    "claude-code": Client(".mcp.json", is_in_project=True, is_typed=True),
    "claude-desktop": Client("claude_desktop_config.json"),
    "codex": Client("~/.codex/config.toml", key="mcp_servers"),
    "cursor": Client(".cursor/mcp.json"),
    "gemini-cli": Client("~/.gemini/settings.json"),
    "vscode": Client(".vscode/mcp.json", key="servers", is_in_project=True, is_typed=True),
    "windsurf": Client("~/.codeium/windsurf/mcp_config.json"),
}


def config_for(name: str, *, store_url: str, is_project: bool) -> str:
    """Return what to put into the client's file.

    The store is named, unless it is a project's and the client starts its servers in the project.
    """
    client = CLIENTS[name]
    command, *arguments = program()
    if not (is_project and client.is_in_project):
        arguments += ["--store", store_url]
    entry: dict[str, Any] = {"type": "stdio"} if client.is_typed else {}
    entry |= {"command": command, "args": [*arguments, "mcp"], "env": {"ATLAS_AGENT": name}}
    if client.file.endswith(".toml"):
        return _toml(f"{client.key}.atlas", entry)
    return json.dumps({client.key: {"atlas": entry}}, indent=2)


def program() -> Sequence[str]:
    """Return how this very Atlas is started from anywhere."""
    beside = Path(sys.executable).with_name("atlas")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "atlas"]


def _toml(table: str, entry: Mapping[str, Any]) -> str:
    """Return a table of strings, lists of strings and one table below; JSON strings are TOML strings."""
    own = [f"{key} = {json.dumps(value)}" for key, value in entry.items() if not isinstance(value, Mapping)]
    below = [
        f"\n[{table}.{key}]\n" + "\n".join(f"{name} = {json.dumps(text)}" for name, text in value.items())
        for key, value in entry.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join([f"[{table}]", *own, *below])
