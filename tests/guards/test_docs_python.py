"""What the pages show in Python runs, and prints what they say it prints."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tests.guards.sources import blocks, names_in, pages, section, tables

import atlas
from atlas.interfaces.verbs import VERBS
from atlas.storage.protocol import Store

PAGE = pages()["docs/python.md"]
_EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
PROGRAMS = [
    (name, text) for name, page in pages().items() if name != "docs/python.md" for text in blocks(page, "python")
]


def test_the_examples_run_and_print_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, as somebody who follows it would type them."""
    monkeypatch.chdir(tmp_path)
    examples = _EXAMPLE.findall(PAGE)
    assert len(examples) == len(blocks(PAGE, "python"))

    async def run() -> None:
        known: dict[str, Any] = {}
        for code, output in examples:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                await _run(code, known)
            assert printed.getvalue() == output, code

    asyncio.run(run())


async def _run(code: str, known: dict[str, Any]) -> None:
    compiled = compile(code, "docs/python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    # A block with an await in it is the body of a coroutine, one without is a module's.
    made = types.FunctionType(compiled, known)()
    if inspect.isawaitable(made):
        await made


@pytest.mark.parametrize(("name", "text"), PROGRAMS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(PROGRAMS)])
def test_a_program_on_another_page_runs(name: str, text: str, tmp_path: Path) -> None:
    """As it stands, in an empty folder."""
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"


def test_every_service_is_on_the_page_with_its_methods() -> None:
    """A method that the page does not name is one that nobody finds."""
    told = {names_in(row[0])[0].removeprefix("a."): set(names_in(row[1])) for row in _services()}
    real: dict[str, set[str]] = {"lists": {"tree"}}
    for verb in VERBS.values():
        real.setdefault(verb.service, set()).add(verb.method)
    public = {name for name in vars(Store) if not name.startswith("_")} - {"open", "close", "url", "capabilities"}
    assert told == {**real, "store": public}


def _services() -> list[list[str]]:
    return tables(section(PAGE, "The services"))[0][1:]


def test_every_argument_of_open_is_on_the_page() -> None:
    rows = tables(section(PAGE, "Open a store"))[0][1:]
    assert [names_in(row[0])[0] for row in rows] == list(inspect.signature(atlas.open).parameters)
