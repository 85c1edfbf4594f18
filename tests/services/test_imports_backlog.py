"""Laws of reading a folder of Backlog.md."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from atlas.errors import ImportFormatError
from atlas.model.task import Criterion, Priority, Status
from atlas.work.imports import backlog
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.formats import read_plan
from atlas.work.imports.front_matter import parse
from atlas.work.imports.load import load

FOLDER = Path(__file__).parent.parent / "data" / "backlog"


@pytest.fixture(scope="module")
def folder() -> Reading:
    return read_plan(load(FOLDER))


def by_source(reading: Reading) -> dict[str, Draft]:
    return {draft.source: draft for draft in reading.drafts}


def said(reading: Reading, source: str) -> str:
    return " | ".join(remark.message for remark in reading.remarks if remark.source == source)


def test_the_project_is_named_by_the_configuration_or_the_caller(folder: Reading) -> None:
    """Without either it is called after the tool."""
    assert folder.format == "backlog"
    assert folder.drafts[0].path == "demo-tool"
    assert folder.drafts[0].metadata["backlog"]["config"]["statuses"] == ["To Do", "In Progress", "Done"]
    assert backlog.read(load(FOLDER), project="mine").drafts[0].path == "mine"
    page = b"---\nid: task-1\ntitle: T\n---\n"
    assert read_plan(Source(name="t.md", files={"t.md": page})).drafts[0].path == "backlog"


def test_pages_nest_by_parent_and_stand_by_ordinal(folder: Reading) -> None:
    """The page says its parent; the ordinal is the order that people gave."""
    assert [draft.path for draft in folder.drafts] == [
        "demo-tool",
        "demo-tool/task-3",
        "demo-tool/task-1",
        "demo-tool/task-1/task-1.02",
        "demo-tool/task-1-archive-tasks-task-1-old.md",
    ]


def test_sections_go_to_their_fields(folder: Reading) -> None:
    """Headings within a marked section belong to its text; sections without a field stay sections."""
    task = by_source(folder)["TASK-1"]
    assert task.name == "Parent: it's first"
    assert task.description == (
        "What it is.\n\n## A heading inside\n\nMore.\n\n"
        "## Acceptance Criteria\n\nStray line\n\n## Implementation Plan\n\n1. Do"
    )
    assert task.acceptance == (Criterion("First", done=True), Criterion("Third"), Criterion("Documented"))
    assert task.metadata["backlog"]["acceptance_numbers"] == ["1", "3", "definition of done 1"]
    assert [(note.text, note.by, note.at) for note in task.notes] == [
        ("Noted.", None, None),
        ("Fine with me.", "carol", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
    ]


def test_front_matter_goes_to_fields_and_is_kept(folder: Reading) -> None:
    """Dates without a zone are taken as UTC; what they said is in metadata."""
    task = by_source(folder)["TASK-1"]
    assert (task.priority, task.assignee, task.tags) == (Priority.HIGH, "@ann", ("core", "area: x"))
    assert task.created_at == datetime(2025, 8, 23, 19, 13, tzinfo=UTC)
    assert task.metadata["backlog"]["created_date"] == "2025-08-23 19:13"
    assert task.metadata["backlog"]["assignee"] == ["@ann", "bob"]
    child = by_source(folder)["TASK-1.02"]
    assert child.name == "A title that is long enough to be folded"
    assert child.description == "Just text, no sections."
    assert child.metadata["backlog"]["references"] == ["https://example.org/a#b", "docs/long"]
    assert "due_date" in said(folder, "TASK-1.02")


def test_dependencies_are_found_in_any_spelling(folder: Reading) -> None:
    """Prefixes changed their case over the versions, and numbers may be padded."""
    child = by_source(folder)["TASK-1.02"]
    assert child.dependencies == ("task-3",)
    dropped = child.metadata["backlog"]["dropped_dependencies"]
    assert [item["on"] for item in dropped] == ["TASK-9", "task-1"]


def test_a_status_of_their_own_is_pending_with_a_remark(folder: Reading) -> None:
    """Teams name their columns as they like."""
    child = by_source(folder)["TASK-1.02"]
    assert child.status is Status.PENDING
    assert child.metadata["backlog"]["status"] == "Someday"
    assert "Someday" in said(folder, "TASK-1.02")


def test_archived_pages_are_archived_and_repeated_ids_kept(folder: Reading) -> None:
    """An archived page may carry the id of a live one."""
    old = by_source(folder)["TASK-1#archive/tasks/task-1 - Old.md"]
    assert old.archived
    assert old.status is Status.COMPLETED
    assert "same id" in said(folder, old.source)


def test_what_is_beyond_the_subset_is_kept_as_text(folder: Reading) -> None:
    """Nested keys, and pages that are no tasks."""
    task = by_source(folder)["task-3"]
    assert task.description == "Two\nlines"
    assert task.metadata["backlog"]["unread"] == ["  key: value"]
    assert folder.drafts[0].metadata["backlog"]["unread"][0]["text"] == "A draft without front matter\n"


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    """The message names what should be there."""
    with pytest.raises(ImportFormatError, match="tasks"):
        load(tmp_path)
    (tmp_path / "backlog" / "tasks").mkdir(parents=True)
    with pytest.raises(ImportFormatError, match="no page"):
        load(tmp_path)
    (tmp_path / "backlog" / "tasks" / "x.md").write_text("no front matter")
    with pytest.raises(ImportFormatError, match="no task"):
        read_plan(load(tmp_path), "backlog")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: plain text # comment", "plain text"),
        ("a: 'it''s'", "it's"),
        ('a: "tab\\t\\u00e9"', "tab\té"),
        ('a: "open', '"open'),
        ("a: http://x#y", "http://x#y"),
        ("a:", None),
        ("a: []", []),
        ("a: [x, 'y, z', \"w\"] # c", ["x", "y, z", "w"]),
        ("a: [x,\n  y]", ["x", "y"]),
        ("a:\n- x\n- 'y'", ["x", "y"]),
        ("a:\n  - >-\n    long\n    item\n  - y", ["long item", "y"]),
        ("a: |\n  one\n   two\n\n  three\nb: x", "one\n two\n\nthree\n"),
        ("a: >\n  one\n  two\n\n  three\n", "one two\nthree\n"),
        ("a: one\n  two", "one two"),
        ("a: 1.0", "1.0"),
    ],
)
def test_the_subset_of_yaml_reads_what_the_tool_writes(text: str, value: object) -> None:
    """Every value is text, as written."""
    assert parse(text)[0]["a"] == value
