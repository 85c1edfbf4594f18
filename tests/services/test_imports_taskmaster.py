"""Laws of reading Taskmaster's tasks.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ImportFormatError
from atlas.model.task import Criterion, Priority, Status, Type
from atlas.work.imports import taskmaster
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.load import load

ODD = Path(__file__).parent.parent / "data" / "taskmaster-odd.json"


def read(text: str, project: str | None = None) -> Reading:
    return taskmaster.read(Source(name="tasks.json", files={"tasks.json": text.encode()}), project=project)


@pytest.fixture(scope="module")
def odd() -> Reading:
    return taskmaster.read(load(ODD), project=None)


def by_source(reading: Reading) -> dict[str, Draft]:
    return {draft.source: draft for draft in reading.drafts}


def said(reading: Reading, source: str) -> str:
    return " | ".join(remark.message for remark in reading.remarks if remark.source == source)


def test_each_tag_is_a_project_and_tags_of_one_slug_stay_apart(odd: Reading) -> None:
    """A tag is a context of its own; two spellings of one slug must not fall together."""
    roots = [draft.path for draft in odd.drafts if "/" not in draft.path]
    assert roots == ["master", "feature-x", "feature-x-2"]
    assert by_source(odd)["feature-x:"].path == "feature-x-2"
    assert by_source(odd)["master:"].description == "Main work"


def test_segments_are_ids_and_parents_come_first(odd: Reading) -> None:
    """Ids stay when titles change, so paths built of them stay the same from import to import."""
    paths = [draft.path for draft in odd.drafts if draft.path.startswith("master/")]
    assert paths[:5] == ["master/1", "master/1/1", "master/1/2", "master/1/3", "master/1/3/1"]
    assert by_source(odd)["master:1.3.1"].type is Type.TASK
    assert by_source(odd)["master:1.3"].type is Type.GROUP


def test_details_are_a_section_and_the_test_strategy_is_acceptance(odd: Reading) -> None:
    """Texts keep every byte; sections only stand between them."""
    plan = by_source(odd)["master:1"]
    assert plan.description == "What first\n\n## Details\n\nline one\nline two"
    assert plan.acceptance == (Criterion("Read it"),)


def test_a_long_test_strategy_stays_whole_in_the_description() -> None:
    """A line of acceptance holds 1,000 characters; more must not be lost."""
    text = "x" * 2_500
    (_, task) = read(json.dumps({"tasks": [{"id": 1, "title": "t", "testStrategy": text}]})).drafts
    assert task.description == f"## Test strategy\n\n{text}"
    assert len(task.acceptance[0].text) == 1_000


def test_the_status_of_a_container_stays_in_metadata(odd: Reading) -> None:
    """Atlas derives it; what the file says is kept and named where it differs."""
    plan = by_source(odd)["master:1"]
    assert plan.status is None
    assert plan.metadata["taskmaster"]["status"] == "done"
    assert "children make it IN_PROGRESS" in said(odd, "master:1")


@pytest.mark.parametrize(
    ("told", "status", "has_reason"),
    [
        ("pending", Status.PENDING, False),
        ("in-progress", Status.IN_PROGRESS, False),
        ("review", Status.IN_PROGRESS, False),
        ("done", Status.COMPLETED, False),
        ("completed", Status.COMPLETED, False),
        ("deferred", Status.BLOCKED, True),
        ("blocked", Status.BLOCKED, True),
        ("cancelled", Status.CANCELLED, False),
        ("strange", Status.PENDING, False),
    ],
)
def test_every_status_has_its_equal_and_is_kept_as_written(told: str, status: Status, has_reason: bool) -> None:
    """Two words may mean one status; the word tells them apart later."""
    reading = read(json.dumps({"tasks": [{"id": 1, "title": "t", "status": told}]}))
    task = reading.drafts[1]
    assert (task.status, task.reason is not None) == (status, has_reason)
    assert task.metadata["taskmaster"]["status"] == told
    assert bool(reading.remarks) == (told == "strange")


def test_dependencies_of_subtasks_are_siblings_and_dots_name_subtasks(odd: Reading) -> None:
    """Taskmaster writes the number of a sibling in a subtask, and `task.subtask` elsewhere."""
    assert by_source(odd)["master:1.2"].dependencies == ("master:1.1",)
    assert by_source(odd)["master:2"].dependencies == ("master:1", "master:1.2")


def test_what_cannot_be_waited_for_is_named_and_kept(odd: Reading) -> None:
    """A dependency on itself, twice, unknown, or in a circle is reported, never dropped silently."""
    dropped = by_source(odd)["master:1.2"].metadata["taskmaster"]["dropped_dependencies"]
    assert [(item["on"], item["why"]) for item in dropped] == [
        ("1.1", "named twice"),
        (2, "a task cannot wait for itself"),
        (9, "no such record in the file"),
    ]
    assert by_source(odd)["master:3"].dependencies == ("master:4",)
    assert "waiting would never end" in said(odd, "master:4")


def test_odd_records_are_kept_and_named(odd: Reading) -> None:
    """A missing id, a repeated one, and an entry that is no task each say what became of them."""
    drafts = by_source(odd)
    assert drafts["master:no-id-5"].name == "No id"
    assert drafts["master:4#2"].path == "master/4-2"
    assert drafts["master:3"].name == "Task 3"
    assert drafts["master:"].metadata["taskmaster"]["unread"] == ["not a task"]
    assert drafts["master:"].metadata["taskmaster"]["file"] == {"version": 3}
    assert "given twice" in said(odd, "master:4#2")
    assert drafts["master:4#2"].metadata["taskmaster"]["dueDate"] == "soon"
    assert drafts["master:2"].metadata["taskmaster"]["extra"] == {"deep": [1, {"a": None}]}
    assert drafts["master:2"].priority is Priority.MEDIUM
    assert drafts["feature-x:"].metadata == {"taskmaster": {"tag": "feature-x"}}
    assert drafts["Feature X:1"].name == "Half � pair"


def test_a_null_is_named_rather_than_kept() -> None:
    """A null in metadata would mean removal to a later merge patch."""
    task = read('{"tasks": [{"id": 1, "title": "t", "testStrategy": null}]}').drafts[1]
    assert task.metadata["taskmaster"]["absent"] == ["testStrategy"]


def test_the_shape_without_tags_is_one_project_of_the_name_given() -> None:
    """Files from before tags have no name of their own; their sources are those of the tag they would become."""
    text = '{"tasks": [{"id": "1", "title": "t"}], "meta": {"projectName": "P"}}'
    assert [(d.source, d.path) for d in read(text).drafts] == [("master:", "taskmaster"), ("master:1", "taskmaster/1")]
    assert [d.path for d in read(text, "mine").drafts] == ["mine", "mine/1"]
    assert read(text).drafts[0].metadata["taskmaster"]["meta"] == {"projectName": "P"}


def test_a_tag_called_like_the_untagged_project_stays_apart() -> None:
    """A file in the middle of its migration has both shapes."""
    text = '{"tasks": [{"id": 1, "title": "old"}], "taskmaster": {"tasks": [{"id": 1, "title": "new"}]}}'
    assert [draft.path for draft in read(text).drafts] == [
        "taskmaster",
        "taskmaster/1",
        "taskmaster-2",
        "taskmaster-2/1",
    ]


def test_several_tags_under_a_given_project_lie_below_it() -> None:
    """The name given is the project; the tags stay apart."""
    text = '{"a": {"tasks": [{"id": 1, "title": "t"}]}, "b": {"tasks": []}}'
    assert [draft.path for draft in read(text, "mine").drafts] == ["mine", "mine/a", "mine/a/1", "mine/b"]


def test_nesting_over_the_limit_is_flattened_with_a_remark() -> None:
    """Paths have at most eight segments; what is deeper stands beside its parent."""
    nested: dict[str, Any] = {"id": 1, "title": "t"}
    for _ in range(9):
        nested = {"id": 1, "title": "t", "subtasks": [nested]}
    reading = read(json.dumps({"tasks": [nested]}))
    assert max(draft.path.count("/") for draft in reading.drafts) == 7
    assert len(reading.drafts) == 11
    assert sum("deeper than 8 levels" in remark.message for remark in reading.remarks) == 3


@pytest.mark.parametrize(
    ("text", "given"), [('{"tasks": [', "line 1"), ('{\n"tasks": [1,\n}', "line 3"), ('{"a": 1}', "a"), ("[]", "list")]
)
def test_what_is_no_list_of_tasks_is_refused_with_the_place(text: str, given: str) -> None:
    """Whoever repairs the file needs the line."""
    with pytest.raises(ImportFormatError) as caught:
        read(text)
    assert given in str(caught.value.given)
    assert caught.value.field == "file"
