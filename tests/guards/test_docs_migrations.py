"""The page of migrations can be followed: its program prints what it says, and has nothing to do the second time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.guards.sources import ROOT, blocks, names_in, pages

PAGE = pages()["docs/migrations.md"]


def _printed(program: Path) -> str:
    done = subprocess.run([sys.executable, program], cwd=program.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_program_of_the_page_prints_what_it_says(tmp_path: Path) -> None:
    """And leaves one copy, from before the one step."""
    (text,) = blocks(PAGE, "python")
    program = tmp_path / "program.py"
    program.write_text(text, "utf-8")
    (told,) = (line for line in PAGE.splitlines() if line.startswith("prints "))
    assert [_printed(program), _printed(program)] == list(names_in(told))
    assert len(list(tmp_path.glob("people.db.before-migration-1-*.db"))) == 1


def test_the_page_speaks_of_every_part_of_a_step() -> None:
    """What a step may have is its signature's to say; what it is for stands here."""
    source = (ROOT / "src/atlas/storage/data_migration.py").read_text("utf-8")
    fields = source.partition("class DataMigration")[2].partition("@property")[0]
    for part in ("up", "down", "validate", "revision"):
        assert f"    {part}: " in fields
        assert f"| `{part}` |" in PAGE
