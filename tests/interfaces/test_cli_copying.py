"""Laws of the command that moves work from one store to another."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.contract.kinds import Spots
from tests.interfaces.commands import Cli

import atlas
from atlas.interfaces.cli.copying import _Bar

PLAN = "# Shop\n\n- [ ] One\n- [ ] Two\n  - Depends on: One\n"


@pytest.fixture
def ends(bare: Cli) -> tuple[str, str]:
    """A store with a plan in it, and the URL of one that is not there."""
    first, second = (f"sqlite:///{bare.folder / name}" for name in ("a.db", "b.db"))
    bare("--store", first, "import", "-", "--format", "markdown", "--project", "shop", stdin=PLAN)
    return first, second


def test_a_person_is_told_what_was_copied_and_how_to_go_on(bare: Cli, ends: tuple[str, str]) -> None:
    """What, how many, that it is the same, where work goes on, and what to set."""
    lines = bare("store", "copy", *ends).stdout.splitlines()
    assert lines[0].startswith("copied  3 tasks, ")
    assert lines[1:3] == [f"from  {ends[0]}", f"to    {ends[1]}"]
    assert lines[3].startswith("compared record by record: the same, digest ")
    assert "work goes on there at number 4" in lines[4]
    assert f"export ATLAS_STORE_URL='{ends[1]}'" in lines[5]


@pytest.mark.parametrize("kind", ["redis", "postgres", "file"])
def test_a_program_is_told_the_same(bare: Cli, ends: tuple[str, str], spots: Spots, kind: str) -> None:
    """Whatever the target is; the next number is the next number."""
    target = spots.new(kind).url
    answer = bare.json("store", "copy", ends[0], target)
    assert answer["copied"]["records"]["task"] == 3
    assert bare.json("--store", target, "add", "more")["receipt"]["seq"] == answer["next_seq"]


def test_a_dry_run_changes_nothing(bare: Cli, ends: tuple[str, str]) -> None:
    """Not even a file is made; a target that would be refused is refused."""
    told = bare("store", "copy", *ends, "--dry-run").stdout
    assert told.startswith("would copy  3 tasks, ")
    assert "next number 4" in told
    assert f"to    {ends[1]}" in told
    assert not (bare.folder / "b.db").exists()
    bare("--store", ends[1], "add", "mine")
    assert bare.json("store", "copy", *ends, "--dry-run", code=1)["code"] == "CONFLICT"
    bare("store", "copy", *ends, "--dry-run", "--discard", code=2)


def test_a_source_that_is_not_there_is_refused(bare: Cli, ends: tuple[str, str]) -> None:
    """A mistyped name would make a new store, and a copy of nothing."""
    assert bare.json("store", "copy", ends[1], ends[0], code=1)["code"] == "CONFIG_INVALID"
    assert not (bare.folder / "b.db").exists()


def test_a_source_that_holds_nothing_is_refused(bare: Cli, ends: tuple[str, str], spots: Spots) -> None:
    """A server makes what is not there: a mistyped schema would be copied, compared and called the same."""
    for source in (spots.new("postgres").url, "memory:"):
        refused = bare.json("store", "copy", source, ends[1], code=1)
        assert (refused["code"], refused["field"]) == ("CONFIG_INVALID", "from")
        assert bare.json("store", "copy", source, ends[1], "--dry-run", code=1)["code"] == "CONFIG_INVALID"
    assert not (bare.folder / "b.db").exists()


def test_taking_back_makes_no_file(bare: Cli, ends: tuple[str, str]) -> None:
    """There was nothing, and there is nothing."""
    assert bare("store", "copy", *ends, "--discard").stdout.startswith("discarded  nothing")
    assert not (bare.folder / "b.db").exists()


def test_what_to_set_says_that_a_password_is_left_out(bare: Cli, ends: tuple[str, str], spots: Spots) -> None:
    """Whoever pastes the line as it is would be let in nowhere."""
    lines = bare("store", "copy", ends[0], spots.new("postgres").url).stdout.splitlines()
    assert ":***@" in lines[5]
    assert lines[5].endswith("(with the password in the place of ***)")
    assert "***" not in bare("store", "copy", *ends).stdout


async def _fill(url: str) -> None:
    async with atlas.open(url, actor="test") as a:
        text = "# Big\n\n" + "\n".join(f"- [ ] Task {number}" for number in range(3_000))
        await a.plans.load(text, format="markdown")


def test_an_interrupted_copy_says_what_to_do_and_can_be_taken_back(bare: Cli) -> None:
    """Ctrl-C leaves a part that the same command goes on with, or that is taken out again."""
    first, second = (f"sqlite:///{bare.folder / name}" for name in ("a.db", "b.db"))
    asyncio.run(_fill(first))
    command = [str(Path(sys.executable).parent / "atlas"), "store", "copy", first, second]
    log = bare.folder / "b.db-wal"
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 20
        while not (log.exists() and log.stat().st_size > 1_000_000) and running.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Run the same command again to go on" in told
    assert "With --discard, TO is empty again." in told
    lines = bare("store", "copy", first, second, "--discard").stdout.splitlines()
    assert lines[0].startswith("discarded  ")
    assert lines[1] == f"{second} is empty as before"
    assert bare.json("--store", second, "add", "mine")["receipt"]["seq"] == 1


def test_a_watched_copy_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A million events take minutes."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = _Bar()
    bar.tell(500, 1_000, "event")
    bar.tell(1_000, 1_000, "compared event")
    first, second = capsys.readouterr().err.split("\r")[1:]
    assert first.endswith(f"[{'#' * 15}{'-' * 15}] 500 of 1,000")
    assert second.startswith("compared events ")
    assert second.endswith("1,000 of 1,000\n")
