"""A file that cannot be used is named with a code and a way out, and not one byte of it is altered."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.processes import PROGRAMS, environment

import atlas
from atlas.errors import AtlasError

PAGE = 4_096
TASKS = 300


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _store(path: Path) -> None:
    async with atlas.open(f"sqlite:///{path}") as a:
        await a.tasks.bulk(
            tuple({"op": "create", "path": f"t{number}", "description": "x" * 500} for number in range(TASKS))
        )


def _patched(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"These are the notes of somebody who keeps notes in a file.\n" * 100)


def _too_short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def _newer(path: Path) -> None:
    _patched(path, 60, (99).to_bytes(4, "big"))


def _foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()


def _cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // PAGE * PAGE])


def _overwritten(path: Path) -> None:
    """Overwrite everything behind the first two pages with noise."""
    _patched(path, 2 * PAGE, b"\xa5" * (path.stat().st_size - 2 * PAGE))


def _altered_schema(path: Path) -> None:
    """Make it lack an index; by another library, which is never in a process of Atlas's on the same file."""
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DROP INDEX task__by_path'); c.close()"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def _used(path: Path) -> subprocess.CompletedProcess[str]:
    """Use a file as anybody would, in a process of its own: a fault of memory there ends only that."""
    words = [sys.executable, str(PROGRAMS / "use.py"), f"sqlite:///{path}"]
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)


def _names(folder: Path) -> set[str]:
    return {other.name for other in folder.iterdir()}


def _left_beside(path: Path) -> set[str]:
    """Return the names of files that came into being beside a file and hold something."""
    return {other.name for other in path.parent.iterdir() if other.stat().st_size} - {path.name}


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "not a database": (_not_a_database, "STORE_FORMAT"),
    "too short": (_too_short, "STORE_FORMAT"),
    "newer": (_newer, "STORE_NEWER"),
    "of another program": (_foreign, "STORE_FORMAT"),
    "cut in half": (_cut_in_half, "STORE_FORMAT"),
    "overwritten": (_overwritten, "STORE_FORMAT"),
    "altered": (_altered_schema, "STORE_FORMAT"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_file_is_refused_and_left_as_it_is(tmp_path: Path, wrong: str) -> None:
    """A mistyped --store, a file from a newer program or a failing disk must never cost anybody their data."""
    path = tmp_path / "atlas.db"
    await _store(path)
    spoil, code = WRONG[wrong]
    spoil(path)
    before = path.read_bytes()
    outcome = _used(path)
    assert outcome.returncode == 1, outcome.stderr
    (said,) = outcome.stdout.splitlines()
    given, _, rest = said.partition(" ")
    message, _, hint = rest.partition(" | ")
    assert given == code, said
    assert str(path) in message
    assert hint
    assert path.read_bytes() == before
    assert _left_beside(path) <= {f"{path.name}-shm"}


@pytest.mark.anyio
async def test_a_folder_is_refused_with_a_name_that_would_do(tmp_path: Path) -> None:
    """Naming the folder instead of the file in it is the likeliest slip of all."""
    with pytest.raises(AtlasError) as refused:
        async with atlas.open(f"sqlite:///{tmp_path}"):
            pass
    assert refused.value.code == "STORE_FORMAT"
    assert str(tmp_path / "atlas.db") in refused.value.hint
    assert _names(tmp_path) == set()


@pytest.mark.anyio
async def test_a_read_only_file_is_read_and_never_written(tmp_path: Path) -> None:
    """A file without write bits is a wish, also for root, whom the kernel would let write."""
    path = tmp_path / "atlas.db"
    await _store(path)
    path.chmod(0o444)
    before, names = path.read_bytes(), _names(tmp_path)
    async with atlas.open(f"sqlite:///{path}") as a:
        assert (await a.lists.by_path("**")).total == TASKS
        with pytest.raises(AtlasError) as refused:
            await a.tasks.create("more")
        assert refused.value.code == "STORE_READ_ONLY"
        assert refused.value.hint
        assert "\n" not in refused.value.message
        assert (await a.lists.by_path("**")).total == TASKS
    assert path.read_bytes() == before
    assert _names(tmp_path) == names
