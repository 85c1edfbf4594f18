"""Programs of users pass `mypy --strict`: what they may pass, they may pass in the types that they have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.guards.sources import ROOT, blocks, pages

from atlas.errors import InputError
from atlas.testing.samples import PARTS

PROGRAMS = Path(__file__).parent / "programs"


def test_the_program_of_the_first_page_is_typed() -> None:
    """It is a file among the tests too, and `make lint` checks all of those strictly."""
    (shown,) = blocks(pages()["README.md"], "python")
    assert shown == (PROGRAMS / "readme.py").read_text("utf-8").partition('"""\n\n')[2]


def test_the_programs_that_mypy_checks_run(tmp_path: Path) -> None:
    """A type that the running program refuses would be worse than none."""
    done = subprocess.run(
        [sys.executable, PROGRAMS / "verbs.py", f"sqlite:///{tmp_path}/work.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "['shop/api', 'shop/page'] disk",
        "BLOCKED 1 shop/docs-1 3 5",
    ]


def test_the_queries_that_mypy_checks_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "queries.py", f"sqlite:///{tmp_path}/parts.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['nut']", "['nut']"]


def test_a_field_that_a_record_does_not_have_is_refused_by_mypy_and_when_it_runs() -> None:
    """Mypy refuses the line, or it would complain that the comment which lets it pass is not needed."""
    assert PARTS.field(lambda part: part.size) == "size"
    with pytest.raises(InputError, match="no such field"):
        PARTS.field(lambda part: part.colour)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no such field"):
        PARTS.field(lambda _: 7)


def test_mypy_checks_the_programs() -> None:
    """`files` of its settings covers them, and nothing takes them out again."""
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'files = ["src", "tests"' in settings
    assert "\nexclude = " not in settings.partition("[tool.mypy]")[2].partition("\n[")[0]
