"""Laws of exports: what is written comes back identical, and what people edit wins."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.model.path import ancestors_of, parent_of
from atlas.model.task import Criterion, Priority, Status, Type
from atlas.work.exports.lines import write_lines
from atlas.work.exports.markdown import write_markdown
from atlas.work.imports import atlas_lines, markdown
from atlas.work.imports.draft import Draft, DraftNote, Reading, Source

ODD_TEXTS = ["# head", "- item", "- [x] box", "Priority: high", "a\n\n  b\n", "```\n- x\n```", "> q", "| Task |\n|---|"]
ODD_TEXTS += [
    "-->",
    "<!-- atlas: {} -->",
    "<!--",
    "[x] y",
    "**bold**",
    " lead",
    "trail ",
    "\ttab",
    "a\r\nb",
    "x\ry",
    "--",
]
ODD_TEXTS += ["title\n===", "1. one", "\\", "`a, b`", "\u2028", "é", "#", "*", "a:b", "Depends on: z", "---", "> a\nb"]
CLEAN = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = (
    st.sampled_from(ODD_TEXTS)
    | st.text(CLEAN, max_size=12)
    | st.lists(st.sampled_from(ODD_TEXTS), max_size=4).map("\n".join)
)
WORD = TEXT.filter(lambda text: 0 < len(text.strip()) <= len(text) <= 100)
TIME = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)) | st.none()
JSON = TEXT | st.integers(-(2**53), 2**53) | st.sampled_from([None, True, 0.1, [], {}, [1, {"a": [None]}], {"": "--"}])
METADATA = st.dictionaries(st.sampled_from(["markdown", "atlas", "é", "--"]), JSON, max_size=2)
NOTE = st.builds(DraftNote, text=TEXT, by=WORD | st.none(), at=TIME, id=st.none() | st.just("n1"))
PATHS = st.lists(st.lists(st.sampled_from(["a", "b-2", "C"]), min_size=1, max_size=8), min_size=1, max_size=3)


def tree(told: list[list[str]]) -> list[str]:
    """Return paths with all that lies above them, each before what is below it, siblings in any order."""
    listed = {"/".join(path[:count]): None for path in told for count in range(1, len(path) + 1)}
    below: dict[str | None, list[str]] = {}
    for path in listed:
        below.setdefault(parent_of(path), []).append(path)
    made: list[str] = []
    waiting = below[None][::-1]
    while waiting:
        made.append(waiting.pop())
        waiting += below.get(made[-1], [])[::-1]
    return made


@st.composite
def plans(draw: st.DrawFn) -> list[Draft]:
    paths = tree(draw(PATHS))
    held = {parent_of(path) for path in paths}
    drafts: list[Draft] = []
    for number, path in enumerate(paths):
        free = [draft.source for draft in drafts if draft.path not in ancestors_of(path)]
        outside = st.sampled_from(["other/task", "0190c6f0-0000-7000-8000-000000000001"])
        kind = st.sampled_from([Type.GROUP] if path in held else [Type.GROUP, Type.TASK])
        at_root = st.sampled_from([Type.MILESTONE, Type.GROUP] if path in held else list(Type))
        status: st.SearchStrategy[Status | None] = st.sampled_from(Status) | st.none()
        drafts.append(
            Draft(
                source=draw(st.sampled_from([path, f"id-{number}"])),
                path=path,
                name=draw(WORD),
                type=draw(kind if parent_of(path) else at_root),
                status=draw(status),
                reason=draw(WORD | st.none()),
                description=draw(TEXT),
                dependencies=tuple(
                    draw(st.lists((st.sampled_from(free) if free else outside) | outside, max_size=3, unique=True))
                ),
                acceptance=tuple(draw(st.lists(st.builds(Criterion, TEXT.filter(bool), st.booleans()), max_size=2))),
                requires=tuple(draw(st.lists(WORD, max_size=2, unique=True))),
                priority=draw(st.sampled_from(Priority)),
                assignee=draw(WORD | st.none()),
                estimated_hours=draw(st.none() | st.floats(0, 100_000) | st.sampled_from([2.0, 0.5])),
                due_at=draw(TIME),
                tags=tuple(draw(st.lists(WORD, max_size=3, unique=True))),
                notes=tuple(draw(st.lists(NOTE, max_size=2))),
                reasoning=draw(TEXT),
                metadata=draw(METADATA),
                archived=draw(st.booleans()),
                created_at=draw(TIME),
                updated_at=draw(TIME),
                started_at=draw(TIME),
                completed_at=draw(TIME),
                id=draw(st.none() | st.just(f"id-{number}")),
            )
        )
    return drafts


def from_lines(text: str, project: str | None = None) -> Reading:
    return atlas_lines.read(Source(name="x.jsonl", files={"x.jsonl": text.encode()}), project=project)


def from_page(text: str, project: str | None = None) -> Reading:
    return markdown.read(Source(name="x.md", files={"x.md": text.encode()}), project=project)


@settings(max_examples=40, deadline=None)
@given(plans())
def test_lines_come_back_identical(drafts: list[Draft]) -> None:
    """An export that loses something is no backup."""
    reading = from_lines("".join(write_lines(drafts)))
    assert list(reading.drafts) == drafts
    assert reading.remarks == ()


@settings(max_examples=80, deadline=None)
@given(plans())
def test_a_page_comes_back_identical(drafts: list[Draft]) -> None:
    """Whatever texts hold, also what looks like Markdown or like the comments themselves."""
    assert list(from_page(write_markdown(drafts)).drafts) == drafts


@settings(max_examples=20, deadline=None)
@given(plans(), st.sampled_from(["\r\n", "\ufeff"]))
def test_a_page_survives_what_editors_do(drafts: list[Draft], change: str) -> None:
    """Saving with other line ends or a byte order mark is no edit."""
    page = write_markdown(drafts)
    changed = page.replace("\n", "\r\n") if change == "\r\n" else change + page
    if "\r" not in page:
        assert list(from_page(changed).drafts) == drafts


def test_lines_are_one_json_object_each_after_a_header() -> None:
    """Programs read them without Atlas."""
    lines = list(write_lines([Draft(source="s", path="p", name="a\nb")]))
    assert [json.loads(line) for line in lines] == [
        {"atlas": "tasks", "version": 1},
        {"source": "s", "path": "p", "name": "a\nb"},
    ]
    assert from_lines(lines[0]).drafts == ()


PLAN = [
    Draft(source="1", path="shop", name="Shop", type=Type.GROUP, id="1"),
    Draft(source="2", path="shop/db", name="Database", status=Status.COMPLETED, priority=Priority.HIGH, id="2"),
    Draft(
        source="3",
        path="shop/api",
        name="API",
        status=Status.FAILED,
        description="First\n- with a list",
        dependencies=("2",),
        acceptance=(Criterion("it runs", done=True),),
        metadata={"a": 1},
        id="3",
    ),
]


def test_a_page_shows_what_people_look_for() -> None:
    """Title, state, text, and the tasks waited for by path."""
    page = write_markdown(PLAN)
    visible = [line for line in page.split("\n") if not line.strip().startswith("<!--")]
    assert "\n".join(visible) == (
        "# Shop\n\n"
        "- [x] Database\n"
        "  - Priority: high\n"
        "- [ ] API\n\n"
        "  > First\n"
        "  > - with a list\n\n"
        "  - Status: failed\n"
        "  - Depends on: `shop/db`\n"
        "  - Acceptance:\n"
        "    - [x] it runs\n"
    )


def edited(*changes: tuple[str, str]) -> dict[str, Draft]:
    page = write_markdown(PLAN)
    for old, new in changes:
        assert old in page
        page = page.replace(old, new, 1)
    return {draft.path: draft for draft in from_page(page).drafts}


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("] API", "] Interface", "name", "Interface"),
        ("[ ] API", "[x] API", "status", Status.COMPLETED),
        ("> First", "> Second", "description", "Second\n- with a list"),
        ("  - Depends on: `shop/db`\n", "", "dependencies", ()),
        ("  - Depends on: `shop/db`", "  - Priority: low", "priority", Priority.LOW),
        ("[x] it runs", "[ ] it runs", "acceptance", (Criterion("it runs"),)),
    ],
)
def test_an_edit_of_the_page_wins_and_the_rest_stays(old: str, new: str, field: str, value: Any) -> None:
    """People edit what they see; what they do not see must survive it."""
    draft = edited((old, new))["shop/api"]
    assert getattr(draft, field) == value
    others = [name for name in Draft.__struct_fields__ if name not in {field, "dependencies"}]
    assert [getattr(draft, name) for name in others] == [getattr(PLAN[2], name) for name in others]


def test_an_item_moved_below_another_moves_its_task() -> None:
    """The tree that is seen is the tree that is meant; what holds a part becomes a group."""
    lines = write_markdown(PLAN).split("\n")
    at = next(index for index, line in enumerate(lines) if line.startswith("- [ ] API"))
    moved = [*lines[:at], *(f"  {line}" for line in lines[at:])]
    drafts = {draft.path: draft for draft in from_page("\n".join(moved)).drafts}
    assert drafts["shop/db/api"].id == "3"
    assert drafts["shop/db"].type is Type.GROUP


def test_a_new_item_is_a_new_task_and_a_copied_one_as_well() -> None:
    """Copying a line copies its comment; two tasks cannot have one id."""
    drafts = edited(("- [ ] API", "- [ ] New\n- [ ] API"))
    assert (drafts["shop/new"].id, drafts["shop/new"].source) == (None, "new")
    page = write_markdown(PLAN)
    item = page[page.index("- [x] Database") : page.index("- [ ] API")]
    twice = {draft.path: draft for draft in from_page(page.replace(item, item * 2, 1)).drafts}
    assert (twice["shop/db"].id, twice["shop/db-2"].id) == ("2", None)
    assert twice["shop/db-2"].name == "Database"


def test_a_broken_comment_is_text_or_named() -> None:
    """A comment edited by hand must not stop the import."""
    comment = write_markdown(PLAN).split("\n")[1]
    assert edited((comment, "<!-- atlas: {broken -->"))["shop"].id is None
    told = msgspec.json.decode(comment[len("<!-- atlas: ") : -len(" -->")])
    wrong = {**told, "kept": {"archived": "maybe"}}
    page = write_markdown(PLAN).replace(comment, f"<!-- atlas: {json.dumps(wrong)} -->")
    reading = from_page(page)
    assert any("was not used" in remark.message for remark in reading.remarks)


def test_a_page_read_under_another_project_is_a_copy() -> None:
    """As for lines: other paths, no ids."""
    reading = from_page(write_markdown(PLAN), project="new")
    assert [(draft.path, draft.id) for draft in reading.drafts] == [("new", None), ("new/db", None), ("new/api", None)]
    assert reading.drafts[2].dependencies == ("2",)


def test_drafts_in_any_order_make_the_page_of_their_tree() -> None:
    """A store lists by path or by depth; the page is the tree all the same."""
    below = Draft(source="4", path="shop/db/schema", name="Schema")
    drafts = [*PLAN, below]
    assert sorted(from_page(write_markdown(drafts)).drafts, key=drafts.index) == [
        PLAN[0],
        msgspec.structs.replace(PLAN[1]),
        PLAN[2],
        below,
    ]
    assert write_markdown([]) == ""


def test_a_text_put_above_the_first_heading_is_kept() -> None:
    """It belongs to no task; what the project said before stays."""
    first, *others = from_page("Note to all\n\n" + write_markdown(PLAN)).drafts
    assert others == PLAN[1:]
    assert first == msgspec.structs.replace(PLAN[0], metadata={"markdown": {"preface": "Note to all"}})


def test_a_heading_added_beside_an_export_is_a_project_of_its_own() -> None:
    """The page may grow before it is imported again."""
    drafts = from_page(write_markdown(PLAN) + "\n# Second\n\n- [ ] Begin\n").drafts
    assert list(drafts[:3]) == PLAN
    assert [draft.path for draft in drafts[3:]] == ["second", "second/begin"]
