"""Laws of reading the JSON lines of beads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ImportFormatError
from atlas.model.task import Criterion, Priority, Status, Type
from atlas.work.imports import beads
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.load import load

ODD = Path(__file__).parent.parent / "data" / "beads-odd.jsonl"


def read(*records: dict[str, Any], project: str | None = None) -> Reading:
    text = "\n".join(json.dumps(record) for record in records)
    return beads.read(Source(name="issues.jsonl", files={"issues.jsonl": text.encode()}), project=project)


def by_source(reading: Reading) -> dict[str, Draft]:
    return {draft.source: draft for draft in reading.drafts}


def said(reading: Reading, source: str) -> str:
    return " | ".join(remark.message for remark in reading.remarks if remark.source == source)


@pytest.fixture(scope="module")
def odd() -> Reading:
    return beads.read(load(ODD), project=None)


def test_the_prefix_is_the_project_and_a_longer_one_belongs_to_a_shorter(odd: Reading) -> None:
    """`bd-mol-4kx` is a kind of bd issue, not a project of its own."""
    assert [draft.path for draft in odd.drafts if "/" not in draft.path] == ["bd", "gt"]
    assert by_source(odd)["bd-mol-4kx"].path == "bd/bd-mol-4kx"
    assert read({"id": "my-app-4kx", "title": "t"}).drafts[1].path == "my-app/my-app-4kx"


def test_the_parent_is_linked_named_or_first(odd: Reading) -> None:
    """Of two linked parents the one that the id names; one linked alone wins over the id; without a link the id."""
    drafts = by_source(odd)
    assert drafts["bd-a1.1"].path == "bd/bd-a1/bd-a1.1"
    assert drafts["bd-a1.2"].path == "bd/bd-a1/bd-a1.2"
    assert drafts["bd-a1.3"].path == "bd/bd-b2/bd-a1.3"
    assert "two parents" in said(odd, "bd-a1.2")
    assert len(drafts["bd-a1.2"].metadata["beads"]["dependencies"]) == 2


def test_without_the_named_one_the_first_parent_is_taken() -> None:
    """The order of the file decides, so that every import gives the same tree."""
    links = [{"issue_id": "x-3", "depends_on_id": on, "type": "parent-child"} for on in ("x-2", "x-1")]
    reading = read(
        {"id": "x-1", "title": "a"}, {"id": "x-2", "title": "b"}, {"id": "x-3", "title": "c", "dependencies": links}
    )
    assert by_source(reading)["x-3"].path == "x/x-2/x-3"


def test_what_has_parts_is_a_group_and_keeps_its_own_type_and_status(odd: Reading) -> None:
    """A task holds nothing in Atlas; an epic is a group even when it is empty."""
    drafts = by_source(odd)
    assert drafts["bd-b2"].type is Type.GROUP
    assert drafts["bd-b2"].status is None
    assert drafts["bd-b2"].metadata["beads"]["issue_type"] == "feature"
    assert drafts["bd-b2"].metadata["beads"]["status"] == "in_progress"
    assert read({"id": "x-1", "title": "e", "issue_type": "epic"}).drafts[1].type is Type.GROUP


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("open", Status.PENDING),
        ("in_progress", Status.IN_PROGRESS),
        ("hooked", Status.IN_PROGRESS),
        ("closed", Status.COMPLETED),
        ("tombstone", Status.CANCELLED),
        ("deferred", Status.BLOCKED),
        ("blocked", Status.BLOCKED),
        ("pinned", Status.PENDING),
    ],
)
def test_every_status_has_its_equal_and_is_kept_as_written(told: str, status: Status) -> None:
    """A word without an equal is pending work, with a remark."""
    reading = read({"id": "x-1", "title": "t", "status": told})
    task = reading.drafts[1]
    assert task.status is status
    assert (task.reason is not None) == (status is Status.BLOCKED)
    assert task.metadata["beads"]["status"] == told
    assert bool(reading.remarks) == (told == "pinned")


@pytest.mark.parametrize(("told", "priority"), list(enumerate(("critical", "high", "medium", "low", "low"))))
def test_priorities_are_words_and_the_number_is_kept(told: int, priority: str) -> None:
    """3 and 4 are both low; the number tells them apart."""
    task = read({"id": "x-1", "title": "t", "priority": told}).drafts[1]
    assert task.priority is Priority(priority)
    assert task.metadata["beads"]["priority"] == told


def test_blockers_are_dependencies_and_other_links_are_kept_whole(odd: Reading) -> None:
    """Only `blocks` makes work wait; every field of every link is kept."""
    task = by_source(odd)["bd-b2"]
    assert [link["type"] for link in task.metadata["beads"]["links"]] == ["discovered-from"]
    assert task.metadata["beads"]["dependencies"][0]["created_by"] == "ann"
    links = [{"issue_id": "x-2", "depends_on_id": "x-1", "type": kind} for kind in ("blocks", "relates-to")]
    reading = read({"id": "x-1", "title": "a"}, {"id": "x-2", "title": "b", "dependencies": links})
    assert by_source(reading)["x-2"].dependencies == ("x-1",)


def test_a_circle_through_a_container_is_broken_at_its_last_link(odd: Reading) -> None:
    """A part inherits what its container waits for, so waiting for that part goes round."""
    task = by_source(odd)["bd-b2"]
    reasons = {item["on"]["depends_on_id"]: item["why"] for item in task.metadata["beads"]["dropped_dependencies"]}
    assert reasons == {"gone-9": "no such record in the file"}
    assert task.dependencies == ("bd-c3",)
    assert by_source(odd)["bd-c3"].dependencies == ()
    assert "bd/bd-c3 -> bd/bd-b2/bd-a1.3 -> bd/bd-b2 -> bd/bd-c3" in said(odd, "bd-c3")


def test_texts_and_times_go_to_their_fields_and_times_are_kept_as_written(odd: Reading) -> None:
    """Offsets and fractions of the source must be found again exactly."""
    drafts = by_source(odd)
    task = drafts["bd-a1.1"]
    assert task.tags == ("x", "y")
    assert [(note.text, note.by) for note in task.notes] == [("remember", None), ("Looks good", "ann")]
    assert task.notes[1].at == datetime(2025, 12, 26, 0, 2, 3, tzinfo=UTC)
    assert task.metadata["beads"]["comments"][0]["created_at"] == "2025-12-26T01:02:03+01:00"
    epic = drafts["bd-a1"]
    assert epic.created_at == datetime(2025, 12, 25, 8, 59, 3, 667211, tzinfo=UTC)
    assert epic.metadata["beads"]["created_at"] == "2025-12-25T00:59:03.667211-08:00"
    assert epic.completed_at == datetime(2025, 12, 26, tzinfo=UTC)
    assert epic.metadata["beads"]["close_reason"] == "done enough"


def test_minutes_acceptance_and_design_have_their_places(odd: Reading) -> None:
    """Fields that newer versions write are not lost in metadata where Atlas has a word for them."""
    task = by_source(odd)["bd-mol-4kx"]
    assert task.estimated_hours == 1.5
    assert task.acceptance == (Criterion("one", done=True), Criterion("two"))
    assert task.description == "## Design\n\nLike so"
    assert task.metadata["beads"]["acceptance_criteria"] == "- [x] one\n- two"
    spaced = read({"id": "x-1", "title": "t", "acceptance_criteria": "  1. one  \r\n\n*two*"}).drafts[1]
    assert spaced.acceptance == (Criterion("one"), Criterion("*two*"))


def test_of_an_id_given_twice_the_last_counts_and_the_first_is_kept(odd: Reading) -> None:
    """The file is appended to; the last line is the newest, and what it replaced is not lost."""
    task = by_source(odd)["bd-c3"]
    assert task.name == "Circle, again"
    assert task.metadata["beads"]["earlier"][0]["title"] == "Circle"
    assert "given again on line" in said(odd, "bd-c3")


def test_lines_that_are_no_issue_are_named_and_kept(odd: Reading) -> None:
    """One torn line must not cost the others."""
    assert odd.drafts[0].metadata["beads"]["unread"] == [{"line": 14, "text": '{"id": broken'}]
    assert "line 14" in said(odd, "line 14")
    assert by_source(odd)["line 11"].path == "bd/line-11"


def test_parents_that_go_round_are_broken_at_the_first(odd: Reading) -> None:
    """Every task needs a place; the circle is named."""
    assert by_source(odd)["bd-y"].path == "bd/bd-x/bd-y"
    assert "circle" in said(odd, "bd-x")


def test_a_file_without_any_issue_is_refused_with_the_line() -> None:
    """An import of nothing would look like success."""
    with pytest.raises(ImportFormatError, match="line 1"):
        beads.read(Source(name="i", files={"i": b'{"id": \n\n{"id"'}), project=None)


def test_a_link_that_names_another_issue_is_only_kept() -> None:
    """It would tie tasks together that said nothing of it."""
    link = {"issue_id": "x-2", "depends_on_id": "x-1", "type": "blocks"}
    reading = read({"id": "x-1", "title": "a"}, {"id": "x-2", "title": "b"}, {"id": "x-3", "dependencies": [link]})
    assert by_source(reading)["x-3"].metadata["beads"]["links"] == [link]
    assert not by_source(reading)["x-2"].dependencies
    assert "x-2" in said(reading, "x-3")
