"""The command line in a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.interfaces.commands import Cli


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line where there is no project yet."""
    for name in list(os.environ):
        if name.startswith("ATLAS_") or name in {"XDG_DATA_HOME", "NO_COLOR"}:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "tester")
    monkeypatch.chdir(work)
    return Cli(work)


@pytest.fixture
def cli(bare: Cli) -> Cli:
    """The command line in a new project."""
    bare("init")
    return bare
