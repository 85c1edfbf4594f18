"""Laws of the start: an everyday command loads what it needs and nothing else (no test of time: see benchmarks)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("asyncio", "mcp", "logging", "rich", "typing_extensions", "hashlib", "ssl", "sqlite3", "pydantic", "json.tool")
EVERYDAY = [
    ["list"],
    ["tree"],
    ["ready"],
    ["show", "shop/api"],
    ["add", "shop/new"],
    ["update", "shop/api", "--add-tag", "x"],
    ["start", "shop/api"],
    ["done", "shop/api"],
    ["move", "shop/new", "shop/newer"],
    ["delete", "shop/newer", "--yes"],
    ["log"],
    ["stats"],
    ["export"],
    ["settings"],
]
PROBE = """
import sys
from atlas.interfaces.cli.main import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    call(tmp_path, "init")
    call(tmp_path, "add", "shop/api", "--parents")
    return tmp_path


def call(folder: Path, *arguments: str) -> list[str]:
    """Run a command and return the modules it has loaded by its end."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ATLAS_", "COVERAGE_"))}
    made = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**env, "HOME": str(folder)},
    )
    return made.stderr.splitlines()[-1].split()


def test_everyday_commands_load_nothing_heavy_and_no_other_interface(folder: Path) -> None:
    for arguments in EVERYDAY:
        modules = call(folder, *arguments)
        assert not set(HEAVY) & set(modules), arguments
        interfaces = {name.split(".")[2] for name in modules if name.startswith("atlas.interfaces.")}
        assert interfaces == {"cli"}, arguments


def test_a_command_loads_the_services_it_calls(folder: Path) -> None:
    def services(*arguments: str) -> set[str]:
        known = {"tasks", "lists", "timeline", "plans", "upkeep"}
        return {name.rpartition(".")[2] for name in call(folder, *arguments) if name.startswith("atlas.work.")} & known

    assert services("list") == {"lists"}
    assert services("show", "shop") == {"tasks"}
    assert services("log") == {"timeline"}
    assert services("export") >= {"plans"}
    assert services("stats") == {"upkeep"}


def test_help_and_version_open_no_store(tmp_path: Path) -> None:
    for arguments in (["--help"], ["--version"], ["list", "--help"]):
        modules = call(tmp_path, *arguments)
        assert "apsw" not in modules
        assert "atlas.atlas" not in modules
    assert list(tmp_path.iterdir()) == []


def test_importing_atlas_loads_no_backend_and_no_event_loop() -> None:
    code = "import sys, atlas; print(*sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"apsw", "asyncio", "msgspec", "atlas.work"} & set(made.stdout.split())
    code = "import sys, atlas; atlas.open('memory:'); print(*sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "apsw" not in made.stdout.split()
