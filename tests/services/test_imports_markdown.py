"""Laws of reading a plan in Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.model.limits import check_clean
from atlas.model.path import parent_of, parse_path
from atlas.model.task import Criterion, Priority, Status, Type
from atlas.work.imports import markdown
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.load import load
from atlas.work.imports.names import label_of
from atlas.work.imports.words import hours_of, instant_of

PLAN = Path(__file__).parent.parent / "data" / "plan.md"


def read(text: str, project: str | None = None, name: str = "notes.md") -> Reading:
    return markdown.read(Source(name=name, files={name: text.encode("utf-8", "surrogatepass")}), project=project)


@pytest.fixture(scope="module")
def plan() -> Reading:
    return markdown.read(load(PLAN), project=None)


def by_path(reading: Reading) -> dict[str, Draft]:
    return {draft.path: draft for draft in reading.drafts}


def test_headings_and_items_make_the_tree(plan: Reading) -> None:
    """Segments come from titles without their numbers; equal ones are numbered."""
    assert [(draft.path, str(draft.type)) for draft in plan.drafts] == [
        ("search-service", "GROUP"),
        ("search-service/foundations", "GROUP"),
        ("search-service/foundations/set-up-repository", "TASK"),
        ("search-service/foundations/configure-ci", "TASK"),
        ("search-service/foundations/write-docs", "TASK"),
        ("search-service/build", "GROUP"),
        ("search-service/build/api", "GROUP"),
        ("search-service/build/api/auth", "TASK"),
        ("search-service/build/api/users", "TASK"),
        ("search-service/build/old-thing", "TASK"),
        ("search-service/build/ship-it", "TASK"),
        ("search-service/build/ship-it-2", "TASK"),
        ("search-service/build/table-one", "TASK"),
        ("search-service/build/table-two", "TASK"),
        ("search-service/later", "GROUP"),
        ("search-service/later/someday", "TASK"),
    ]


def test_paragraphs_and_fences_are_descriptions(plan: Reading) -> None:
    """A list in a code block is code."""
    drafts = by_path(plan)
    assert drafts["search-service"].description == "Written for the team.\n\nWhat this is about."
    assert drafts["search-service/foundations"].description == "Some words\non two lines."
    docs = drafts["search-service/foundations/write-docs"]
    assert docs.name == "Write docs"
    assert docs.description == "in plain words\n```\n- not an item\n# nor a heading\n```"


def test_checkboxes_are_statuses(plan: Reading) -> None:
    """An item without a box says nothing; the box of a container stays in metadata, as its parts decide."""
    drafts = by_path(plan)
    assert drafts["search-service/foundations/configure-ci"].status is None
    assert drafts["search-service/build/api/auth"].status is Status.COMPLETED
    assert drafts["search-service/build/api/users"].status is Status.PENDING
    assert drafts["search-service/build/old-thing"].status is Status.CANCELLED
    api = drafts["search-service/build/api"]
    assert (api.status, api.metadata["markdown"]["status"]) == (None, "COMPLETED")
    assert any("its children make it IN_PROGRESS" in remark.message for remark in plan.remarks)


def test_fields_stand_in_items_lines_and_columns(plan: Reading) -> None:
    """A day has eight hours."""
    drafts = by_path(plan)
    assert drafts["search-service/foundations/set-up-repository"].priority is Priority.HIGH
    assert drafts["search-service/foundations/set-up-repository"].estimated_hours == 12
    assert drafts["search-service/foundations/configure-ci"].due_at == datetime(2026, 1, 5, tzinfo=UTC)
    assert drafts["search-service/build"].assignee == "dana"
    assert drafts["search-service/build/api/users"].tags == ("backend", "urgent")
    assert drafts["search-service/build/ship-it"].acceptance == (Criterion("it runs", True), Criterion("it is fast"))
    one = drafts["search-service/build/table-one"]
    assert (one.name, one.status, one.priority, one.estimated_hours) == (
        "Table | one",
        Status.COMPLETED,
        Priority.CRITICAL,
        24,
    )
    assert one.metadata["markdown"]["columns"] == {"Risk": "high"}


def test_dependencies_are_found_by_number_title_slug_and_code(plan: Reading) -> None:
    """Siblings come first; a number with a dot counts sections."""
    drafts = by_path(plan)
    assert drafts["search-service/foundations/configure-ci"].dependencies == ("foundations/set-up-repository",)
    assert drafts["search-service/build/api/users"].dependencies == ("build/api/auth", "foundations/configure-ci")
    assert drafts["search-service/build/ship-it"].dependencies == ("build/api", "foundations/configure-ci")
    assert drafts["search-service/build/table-two"].dependencies == ("build/table-one", "build/api/users")


def test_what_is_not_understood_is_kept_and_named(plan: Reading) -> None:
    """A plan is prose; a guess would be worse than a remark."""
    drafts = by_path(plan)
    ship = drafts["search-service/build/ship-it"].metadata["markdown"]
    assert ship["dropped_dependencies"] == [{"on": "Nope", "why": "no such record in the file"}]
    assert drafts["search-service/build/table-two"].metadata["markdown"]["priority"] == "weird"
    said = " | ".join(remark.message for remark in plan.remarks)
    assert "'Nope'" in said
    assert "'weird'" in said


def test_line_ends_and_a_byte_order_mark_change_nothing(plan: Reading) -> None:
    """Editors on Windows write both."""
    data = b"\xef\xbb\xbf" + PLAN.read_bytes().replace(b"\n", b"\r\n")
    assert markdown.read(Source(name="plan.md", files={"plan.md": data}), project=None) == plan


def test_sources_do_not_depend_on_the_name_of_the_project(plan: Reading) -> None:
    """The same plan imported elsewhere is the same plan."""
    other = markdown.read(load(PLAN), project="other")
    assert [draft.source for draft in other.drafts] == [draft.source for draft in plan.drafts]
    assert other.drafts[1].path == "other/foundations"
    assert other.drafts[0].name == "Search service"


@pytest.mark.parametrize(
    ("text", "project", "path", "name"),
    [
        ("- a", None, "notes", "notes"),
        ("- a", "given", "given", "given"),
        ("# 2024 Plan", None, "p-2024-plan", "2024 Plan"),
        ("# Überblick", None, "uberblick", "Überblick"),
        ("# 計画", None, "project", "計画"),
        ("Title\n=====\n- a", None, "title", "Title"),
        ("---\nauthor: ann\n---\n# T", None, "t", "T"),
    ],
)
def test_the_project_has_a_valid_path(text: str, project: str | None, path: str, name: str) -> None:
    """The first heading of level 1, else the name given, else the name of the file."""
    root = read(text, project).drafts[0]
    assert (root.path, root.name) == (path, name)


def test_front_matter_is_kept_as_metadata() -> None:
    """Many editors put some above a page."""
    assert read("---\nauthor: ann\n---\n# T").drafts[0].metadata == {"markdown": {"front_matter": {"author": "ann"}}}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# P\n- a\n  - b\n    - c\n- d", ["P", "a", "b", "c", "d"]),
        ("# P\n1. a\n   1. b\n2) c", ["P", "a", "b", "c"]),
        ("# P\n* a\n\n  text\n\n* b", ["P", "a", "b"]),
        ("# P\n- a\n\ntext of the section\n\n- b", ["P", "a", "b"]),
        ("# P\n> - quoted\n\n- a", ["P", "a"]),
        ("# P\n<!--\n- hidden\n-->\n- a", ["P", "a"]),
        ("# P\n- - -\n***\n- a", ["P", "a"]),
        ("# P\n```\n- code\n", ["P"]),
        ("# P\n| A | B |\n|---|---|\n| 1 | 2 |\n\n- a", ["P", "a"]),
        ("# P\nTask | Due\n---|---\nx | 2026-01-01", ["P", "x"]),
        ("# P\n- a title that was\n  wrapped by hand\n- b", ["P", "a title that was wrapped by hand", "b"]),
        ("# P\n## Done ##\n#hash", ["P", "Done"]),
        ("# P\n# Q\n- a", ["P", "Q", "a"]),
        ("# P\n- [x]\n- [ ]  b", ["P", "item", "b"]),
    ],
)
def test_odd_pages_read_as_people_mean_them(text: str, names: list[str]) -> None:
    """What looks like a list to a reader is one, and what does not is text."""
    assert [draft.name for draft in read(text).drafts] == names


def test_no_field_is_taken_from_a_task_with_a_box() -> None:
    """`- [ ] Status: write it` is work."""
    assert [draft.name for draft in read("- [ ] Status: write it\n- Priority: low").drafts] == [
        "notes",
        "Status: write it",
    ]


def test_a_task_named_by_several_is_not_guessed() -> None:
    """Two tasks of one title elsewhere: the reader cannot know which one was meant."""
    reading = read("# P\n## A\n- same\n## B\n- same\n## C\n- x\n  - Depends on: same")
    assert reading.drafts[-1].dependencies == ()
    assert any("'same'" in remark.message for remark in reading.remarks)


def test_a_path_outside_the_plan_may_be_known_to_the_store() -> None:
    """Plans build on each other."""
    assert read("# P\n- x\n  - Depends on: other/area/task").drafts[-1].dependencies == ("other/area/task",)


def test_a_title_over_the_limit_is_cut_and_kept() -> None:
    """A name has 200 characters."""
    task = read(f"- {'x' * 300}").drafts[-1]
    assert len(task.name) == 200
    assert task.metadata["markdown"]["whole"]["name"] == "x" * 300


@pytest.mark.parametrize(
    ("text", "hours"),
    [("2h", 2), ("90m", 1.5), ("3d", 24), ("1w", 40), ("1d 4h", 12), ("~2 hours", 2), ("1 day and 2 hrs", 10)],
)
def test_durations_are_hours(text: str, hours: float) -> None:
    """The words of plans."""
    assert hours_of(text) == hours


@pytest.mark.parametrize("text", ["soon", "2 moons", "h", "", "2h later", "1-2d"])
def test_what_is_no_duration_is_none(text: str) -> None:
    """Half of a duration understood would be a wrong one."""
    assert hours_of(text) is None


def test_times_are_in_utc_and_the_year_one_is_no_time() -> None:
    """Go writes the year 1 for a time that was never set."""
    assert instant_of("2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert instant_of("2026-01-02") == datetime(2026, 1, 2, tzinfo=UTC)
    assert [instant_of(odd) for odd in ("0001-01-01T00:00:00Z", "tomorrow at noon", 5, None)] == [None] * 4


@pytest.mark.parametrize(
    ("title", "label"),
    [
        ("1.2 Set up", ("1.2", "Set up")),
        ("1. Set up", ("1", "Set up")),
        ("Phase 3: Ship", ("3", "Ship")),
        ("3 retries on failure", ("", "3 retries on failure")),
        ("T001 [P] Build", ("T001", "T001 [P] Build")),
        ("Plain", ("", "Plain")),
    ],
)
def test_numbers_in_front_of_titles_are_told_from_titles(title: str, label: tuple[str, str]) -> None:
    """Renumbering a plan must not change its paths; a number that means something must stay."""
    assert label_of(title) == label


MARKS = "# a|## b|###### c|- d|  - [x] e|\t* f|1. g|   2) h|text|  text||---|===|```|~~~|> q|<!--|-->|- [ ]|    - i"
FIELDS = [
    "Priority: high",
    "- Depends on: d",
    "- Acceptance:",
    "a | b",
    "| Task |",
    "|---|",
    "| r |",
    "     code",
    "\0",
]
COMMENTS = ["<!-- atlas: {} -->", '<!-- atlas: {"root": true, "path": 5} -->', '<!-- atlas: {"path": "q/r"} -->']
LINE = st.sampled_from([*MARKS.split("|"), *FIELDS, *COMMENTS]) | st.text(max_size=8)


@given(st.lists(LINE, max_size=15).map("\n".join).filter(str.strip))
def test_any_page_gives_a_plan_that_can_be_stored(text: str) -> None:
    """People write anything; nothing of it may break the reader, or the store afterwards."""
    reading = read(text)
    seen: set[str | None] = {None}
    for draft in reading.drafts:
        parse_path(draft.path)
        check_clean([draft.name, draft.description, draft.metadata], "draft")
        assert draft.name.strip()
        assert parent_of(draft.path) in seen
        assert draft.path not in seen
        seen.add(draft.path)
    assert len({draft.source for draft in reading.drafts}) == len(reading.drafts)
    held = {parent_of(draft.path) for draft in reading.drafts}
    assert all(draft.type is Type.GROUP for draft in reading.drafts if draft.path in held)
