"""Calling the command line in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from atlas.interfaces.cli.main import program


class Cli:
    """Calls commands; each call must end with the exit code that is expected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = CliRunner()

    def __call__(self, *arguments: str, code: int = 0, stdin: str | bytes | None = None) -> Result:
        result = self._runner.invoke(program, arguments, input=stdin, prog_name="atlas")
        told = f"{arguments}: {result.exit_code}\n{result.stdout}\n{result.stderr}\n{result.exception!r}"
        assert result.exit_code == code, told
        assert "Traceback" not in result.stderr, told
        return result

    def json(self, *arguments: str, code: int = 0, stdin: str | None = None) -> Any:
        """Return what the command answers with --json."""
        return json.loads(self(*arguments, "--json", code=code, stdin=stdin).stdout)

    def tasks(self) -> dict[str, str]:
        """Return the status of every task."""
        page = self.json("list", "--archived", "--limit", "500", "--fields", "path,status")
        return {task["path"]: task["status"] for task in page["tasks"]}
