"""Laws of reading the SQLite file of the earlier server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from atlas.errors import ImportFormatError
from atlas.model.task import Priority, Status, Type
from atlas.work.imports import atlas1
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.formats import read_plan
from atlas.work.imports.load import load

TABLE = """create table tasks (path text primary key, name text not null, description text, type text not null,
status text not null, parent_path text, notes text, reasoning text, dependencies text, subtasks text, metadata text,
created_at integer not null, updated_at integer not null, version integer not null default 1)"""
Row = dict[str, Any]
ROWS: Sequence[Row] = (
    {"path": "Shop", "type": "MILESTONE"},
    {"path": "Shop/api", "type": "GROUP", "status": "IN_PROGRESS", "parent_path": "Shop"},
    {"path": "Shop/api/auth", "status": "COMPLETED", "notes": '["one", "two"]', "reasoning": "because"},
    {
        "path": "Shop/api/users",
        "status": "BLOCKED",
        "dependencies": '["Shop/api/auth", "Shop/api", "gone"]',
        "metadata": '{"priority": "high", "tags": ["x"], "blockReason": "waits", "atlas1": 1, "assignee": "ann"}',
    },
    {"path": "lost/child//deep", "type": "task", "notes": "plain text", "dependencies": "{broken", "status": "ODD"},
    {"path": "under score/-x", "type": "MILESTONE", "subtasks": '["a"]', "metadata": "[1]"},
)


def fill(connection: apsw.Connection, rows: Sequence[Row]) -> None:
    connection.execute(TABLE)
    for index, row in enumerate(rows):
        full = {"name": row["path"].upper(), "type": "TASK", "status": "PENDING", "updated_at": 2_000, **row}
        full["created_at"] = 1_700_000_000_000 + index
        names = ", ".join(full)
        connection.execute(f"insert into tasks ({names}) values ({', '.join('?' * len(full))})", tuple(full.values()))


def file_of(tmp_path: Path, rows: Sequence[Row] = ROWS) -> Path:
    path = tmp_path / "atlas-tasks.db"
    with apsw.Connection(str(path)) as connection:
        fill(connection, rows)
    connection.close()
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Reading:
    return read_plan(load(file_of(tmp_path)))


def by_source(reading: Reading) -> dict[str, Draft]:
    return {draft.source: draft for draft in reading.drafts}


def test_paths_stay_as_they_are_where_they_are_valid(shop: Reading) -> None:
    """People and agents know their tasks by path; only what Atlas cannot take changes, and is kept."""
    drafts = by_source(shop)
    assert shop.format == "atlas1"
    assert drafts["Shop/api/auth"].path == "Shop/api/auth"
    assert drafts["lost/child//deep"].path == "lost/child/deep"
    assert drafts["lost/child//deep"].metadata["atlas1"]["path"] == "lost/child//deep"
    assert drafts["under score/-x"].path == "under-score/-x"


def test_missing_parents_are_made_as_groups_and_named(shop: Reading) -> None:
    """The earlier server did not ask for parents; Atlas does."""
    drafts = by_source(shop)
    assert drafts["lost"].type is Type.GROUP
    assert {remark.source for remark in shop.remarks if "made as a GROUP" in remark.message} == {
        "lost",
        "lost/child",
        "under score",
    }


def test_fields_keep_their_meaning(shop: Reading) -> None:
    """Priority, tags and assignee lived in metadata there; they stay in it as well."""
    drafts = by_source(shop)
    users = drafts["Shop/api/users"]
    assert (users.priority, users.tags, users.assignee) == (Priority.HIGH, ("x",), "ann")
    assert (users.status, users.reason) == (Status.BLOCKED, "waits")
    assert users.metadata["tags"] == ["x"]
    assert users.metadata["atlas1"]["metadata"] == 1
    assert users.created_at == datetime.fromtimestamp(1_700_000_000.003, UTC)
    auth = drafts["Shop/api/auth"]
    assert [note.text for note in auth.notes] == ["one", "two"]
    assert auth.reasoning == "because"
    assert auth.metadata["atlas1"]["version"] == 1
    assert [note.text for note in drafts["lost/child//deep"].notes] == ["plain text"]


def test_dependencies_that_cannot_stand_are_kept(shop: Reading) -> None:
    """It allowed waiting for what is above, and for what is not there."""
    users = by_source(shop)["Shop/api/users"]
    assert users.dependencies == ("Shop/api/auth",)
    assert [item["on"] for item in users.metadata["atlas1"]["dropped_dependencies"]] == ["Shop/api", "gone"]


def test_odd_values_are_kept_as_they_are(shop: Reading) -> None:
    """Broken JSON, unknown words and milestones below the root are named, not guessed away."""
    drafts = by_source(shop)
    odd = drafts["lost/child//deep"]
    assert odd.status is Status.PENDING
    assert odd.metadata["atlas1"]["status"] == "ODD"
    assert odd.metadata["atlas1"]["dependencies"] == "{broken"
    assert odd.type is Type.TASK
    below = drafts["under score/-x"]
    assert below.type is Type.GROUP
    assert below.metadata["atlas1"]["metadata"] == [1]
    assert below.metadata["atlas1"]["subtasks"] == ["a"]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A database in use, with all of its rows in the log."""
    connection = apsw.Connection(str(tmp_path / "tasks.db"))
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma wal_autocheckpoint = 0")
    fill(connection, ROWS)
    yield connection
    connection.close()


def test_what_stands_in_the_write_ahead_log_is_read(busy: apsw.Connection) -> None:
    """That server synced one write in ten: the newest tasks may be in the log alone, which may not be touched."""
    path = Path(busy.filename)
    before = path.read_bytes()
    assert len(by_source(read_plan(load(path)))) == 9
    busy.execute("update tasks set name = 'newest' where path = 'Shop'")
    busy.execute("delete from tasks where path like 'under%'")
    drafts = by_source(read_plan(load(path)))
    assert len(drafts) == 7
    assert drafts["Shop"].name == "newest"
    assert path.read_bytes() == before


def test_a_torn_log_counts_up_to_its_last_whole_commit(busy: apsw.Connection) -> None:
    """What SQLite itself would recover after a crash, no more and no less."""
    path = Path(busy.filename)
    log = path.with_name("tasks.db-wal").read_bytes()
    torn = Source(name="t", files={"t": path.read_bytes(), "t-wal": log[:-1]})
    assert "under score/-x" not in by_source(atlas1.read(torn, project=None))
    assert "lost/child//deep" in by_source(atlas1.read(torn, project=None))


def test_an_empty_table_reads_as_nothing(tmp_path: Path) -> None:
    """A store that was never used is no error."""
    assert read_plan(load(file_of(tmp_path, ()))).drafts == ()


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """Every SQLite file looks alike from outside."""
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("create table other (a)")
    connection.close()
    with pytest.raises(ImportFormatError, match="tasks"):
        read_plan(load(path))
    torn = Source(name="x", files={"x": b"SQLite format 3\0" + b"\xff" * 200})
    with pytest.raises(ImportFormatError):
        read_plan(torn)


def test_a_given_project_replaces_a_single_root(tmp_path: Path) -> None:
    """The same choice as for every other format."""
    source = load(file_of(tmp_path, ROWS[:3]))
    assert [draft.path for draft in atlas1.read(source, project="new").drafts] == ["new", "new/api", "new/api/auth"]
