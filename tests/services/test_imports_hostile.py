"""What holds of any file whatever: it is read into drafts that can be stored, or refused as a format error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ImportFormatError
from atlas.model import limits
from atlas.model.path import is_within, parent_of, parse_path
from atlas.model.task import Type
from atlas.work.imports.draft import Reading, Source
from atlas.work.imports.formats import FORMATS, read_plan
from atlas.work.imports.load import load

DATA = Path(__file__).parent.parent / "data"
SAMPLES = {name: load(DATA / name) for name in ("taskmaster-odd.json", "beads-odd.jsonl", "plan.md", "backlog")}
ODD: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 1.5, "", "x", "1", "1.2", "\0", "\ud800", "0001-01-01", "9999-12-31T23:59:59-12:00"]
    )
    | st.sampled_from([10**30, "n" * 300, "bd-1", "bd-1.1", "done", "closed", "blocks", "a/b", "..", "../..", " "]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "x", ""]), inner, max_size=2),
    max_leaves=4,
)


def check(reading: Reading) -> None:
    """Hold the drafts against every limit of the model that a store will hold them against."""
    seen: dict[str | None, Type] = {None: Type.MILESTONE}
    sources = {draft.source for draft in reading.drafts}
    paths = {draft.source: draft.path for draft in reading.drafts}
    assert len(sources) == len(reading.drafts)
    for draft in reading.drafts:
        parse_path(draft.path)
        assert seen[parent_of(draft.path)] is not Type.TASK
        assert draft.path not in seen
        seen[draft.path] = draft.type
        assert draft.name.strip()
        assert len(draft.name) <= limits.NAME
        assert len(draft.description) <= limits.DESCRIPTION
        assert all(0 < len(tag) <= limits.TAG for tag in draft.tags)
        assert draft.estimated_hours is None or 0 <= draft.estimated_hours <= limits.ESTIMATE_HOURS
        limits.check_metadata(draft.metadata)
        texts = [draft.name, draft.description, draft.assignee, draft.reason, draft.metadata, list(draft.tags)]
        limits.check_clean([*texts, *(note.text for note in draft.notes)], "draft")
        limits.check_unique(draft.dependencies, "dependencies")
        for on in sources & set(draft.dependencies):
            assert not is_within(draft.path, paths[on])
            assert not is_within(paths[on], draft.path)


def holds(source: Source, format_: str = "auto") -> bool:
    """Read `source`; True when it was refused as a format error, or gave drafts that can be stored."""
    reading: Reading | None = None
    with suppress(ImportFormatError):
        reading = read_plan(source, format_)
    if reading is not None:
        check(reading)
    return True


def one(text: str, name: str = "plan") -> Source:
    return Source(name=name, files={name: text.encode()})


def with_odd(keys: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Give records with fitting and odd values under the keys of a format."""
    return st.fixed_dictionaries({}, optional={key: ODD | st.sampled_from(values) for key, values in keys.items()})


TASKS = with_odd(
    {
        "id": [1, 2, "1", "1.1"],
        "title": ["t"],
        "status": ["done", "review"],
        "dependencies": [[1], ["1.1", 2], [1, 1]],
        "subtasks": [[{"id": 1}, {"id": 2, "dependencies": [1]}], [{"id": 1, "subtasks": [{}]}]],
        "priority": ["high"],
        "updatedAt": ["2025-01-01"],
        "testStrategy": ["run"],
        "details": ["d"],
        "tags": [["a"]],
    }
)
ISSUES = with_odd(
    {
        "id": ["bd-1", "bd-1.1", "bd-2", "gt-1"],
        "title": ["t"],
        "status": ["closed", "hooked"],
        "priority": [0, 4],
        "labels": [["a", "a"]],
        "comments": [[{"text": "c", "author": 5}]],
        "dependencies": [
            [{"issue_id": "bd-2", "depends_on_id": "bd-1", "type": kind}] for kind in ("blocks", "parent-child")
        ],
        "estimated_minutes": [5, 1e9],
        "created_at": ["2025-01-01T00:00:00Z"],
    }
)


@settings(max_examples=60)
@given(st.lists(TASKS | ODD, max_size=4), ODD)
def test_any_tasks_json_is_read_or_refused(tasks: list[Any], beside: Any) -> None:
    """Fields may hold anything; a value of another type is kept, never trusted."""
    assert holds(one(json.dumps({"t": {"tasks": tasks, "metadata": beside}, "x": beside})), "taskmaster")


@settings(max_examples=60)
@given(st.lists(ISSUES | ODD, max_size=5))
def test_any_json_lines_are_read_or_refused(issues: list[Any]) -> None:
    """The same for beads."""
    assert holds(one("\n".join(json.dumps(issue) for issue in issues)), "beads")


@settings(max_examples=60)
@given(st.lists(st.fixed_dictionaries({"path": ODD}, optional={"name": ODD, "type": ODD, "metadata": ODD, "z": ODD})))
def test_any_atlas_lines_are_read_or_refused(drafts: list[Any]) -> None:
    """The same for lines that were edited by hand."""
    for item in drafts:
        item.setdefault("name", "n")
    reading: Reading | None = None
    with suppress(ImportFormatError):
        reading = read_plan(one("\n".join(json.dumps(item) for item in drafts)), "atlas")
    assert reading is None or len(reading.drafts) == len(drafts)


@settings(max_examples=60)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 3_000), st.integers(0, 40), st.binary(max_size=6))
def test_a_damaged_file_is_read_or_refused(name: str, at: int, length: int, put: bytes) -> None:
    """A cut or overwritten place must not become an unexplained failure."""
    source = SAMPLES[name]
    files = {file: data[:at] + put + data[at + length :] for file, data in source.files.items()}
    assert holds(Source(name=source.name, files=files))


@pytest.mark.parametrize("format_", sorted(FORMATS))
@settings(max_examples=25)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_every_format(format_: str, data: bytes) -> None:
    """Naming the wrong format is a common mistake."""
    source = Source(name="x", files={"x": data})
    FORMATS[format_].recognises(source)
    assert holds(source, format_)
