"""What the first page shows is what the program does: its commands and calls are run in order, the answers compared."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, TextContent
from tests.guards.sources import ROOT, blocks, pages

from atlas.interfaces.cli.main import program
from atlas.interfaces.mcp.schema import tools
from atlas.interfaces.verbs import PROFILES

PAGE = pages()["README.md"]
_STEP = re.compile(
    r"^```console\n(?P<console>\$ atlas .*?)^```$|^```json\n(?P<call>.*?)^```\n\n```text\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_TIME = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's folder with the example, and nothing of whoever runs the tests."""
    made = tmp_path / "atlas"
    shutil.copytree(ROOT / "examples", made / "examples")
    for name in [name for name in os.environ if name.startswith("ATLAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOGNAME", "you")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(made)
    return made


def test_the_steps_of_the_page_answer_as_it_says(folder: Path) -> None:
    """A person on the command line and an agent over stdio, on one file, at the same time."""
    told, shown = [], []
    for given, answered, expected in asyncio.run(_walked(folder)):
        told.append(f"{given}\n{_plain(answered, folder)}")
        shown.append(f"{given}\n{_TIME.sub('TIME', expected)}")
    assert told == shown


async def _walked(folder: Path) -> list[tuple[str, str, str]]:
    """Run every step of the page; returns what was given, what was answered, and what the page says."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "atlas", "mcp"],
        cwd=folder,
        env={**os.environ, "ATLAS_AGENT": "claude-code"},
    )
    first, *steps = _steps()
    done = _told(first)
    async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        for step in steps:
            if isinstance(step, list):
                done += _told(step)
            else:
                result = await session.call_tool(**json.loads(step[0]))
                assert isinstance(result, CallToolResult)
                assert isinstance(result.content[0], TextContent)
                done.append((step[0], f"{result.content[0].text}\n", step[1]))
    return done


def _told(commands: Iterable[Any]) -> list[tuple[str, str, str]]:
    return [(command, _typed(command), output) for command, output in commands]


def _steps() -> Iterator[list[tuple[str, str]] | tuple[str, str]]:
    for found in _STEP.finditer(PAGE):
        if found["console"] is None:
            yield found["call"], found["text"]
        elif "print-config" not in found["console"]:
            yield _COMMAND.findall(found["console"])


def _typed(command: str) -> str:
    """Return all that a command writes, as a terminal shows it."""
    return CliRunner().invoke(program, shlex.split(command)[1:], prog_name="atlas").output


def _plain(text: str, folder: Path) -> str:
    return _TIME.sub("TIME", text.replace(str(folder), "/home/you/atlas"))


def test_make_run_prints_what_the_page_shows(folder: Path) -> None:
    (shown,) = [text for text in blocks(PAGE, "console") if text.startswith("Atlas listens")]
    command = [sys.executable, "-m", "atlas", "serve", "--example", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        assert server.stdout is not None
        told = "".join(server.stdout.readline() for _ in shown.splitlines())
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    told = _plain(re.sub(r"(?<=127\.0\.0\.1:)\d+", "8765", told), folder)
    beside = Path(sys.executable).with_name("atlas")
    assert told.replace(str(beside), "/home/you/atlas/.venv/bin/atlas") == shown


def test_the_numbers_of_tools_are_those_of_the_profiles() -> None:
    said = dict(re.findall(r"(\d+) in `(\w+)`", PAGE))
    assert said == {str(len(tools(profile))): profile for profile in PROFILES}
