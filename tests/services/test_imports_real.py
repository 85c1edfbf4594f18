"""What holds of real files of other tools; skipped where those are not at hand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atlas.model.limits import check_metadata
from atlas.model.path import parent_of, parse_path
from atlas.work.exports.lines import write_lines
from atlas.work.exports.markdown import write_markdown
from atlas.work.imports import atlas_lines, markdown
from atlas.work.imports.draft import Draft, Reading, Source
from atlas.work.imports.formats import read_plan
from atlas.work.imports.load import load

DATA = Path(os.environ.get("ATLAS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILES = {"taskmaster": "taskmaster-tasks.json", "beads": "beads-issues.jsonl"}


@pytest.fixture(params=sorted(FILES), scope="module")
def plan(request: pytest.FixtureRequest) -> tuple[str, Path, Reading]:
    path = DATA / FILES[request.param]
    if not path.is_file():
        pytest.skip(f"no {path.name} in ATLAS_TEST_DATA")
    return request.param, path, read_plan(load(path))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield value


def records(name: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every record of the file under the source of its draft."""
    if name == "beads":
        for line in path.read_text().splitlines():
            record = json.loads(line)
            yield record["id"], record
        return
    for tag, content in json.loads(path.read_text()).items():
        yield f"{tag}:", {key: value for key, value in content.items() if key != "tasks"}
        for task in content["tasks"]:
            subtasks = task.pop("subtasks", [])
            yield f"{tag}:{task['id']}", task
            for subtask in subtasks:
                yield f"{tag}:{task['id']}.{subtask['id']}", subtask


def texts(draft: Draft) -> list[Any]:
    fields = [draft.name, draft.description, *draft.tags, *(item.text for item in draft.acceptance)]
    return [*fields, *(note.text for note in draft.notes), *leaves(draft.metadata)]


def test_the_format_is_recognised(plan: tuple[str, Path, Reading]) -> None:
    """Nobody should need to name it."""
    name, _, reading = plan
    assert reading.format == name


def test_nothing_is_lost(plan: tuple[str, Path, Reading]) -> None:
    """Every scalar of every record is found in the fields, notes or metadata of its draft, exactly as written."""
    name, path, reading = plan
    drafts = {draft.source: draft for draft in reading.drafts}
    for source, record in records(name, path):
        draft = drafts[source]
        told = texts(draft)
        for leaf in leaves(record):
            is_there = any(leaf == item and type(leaf) is type(item) for item in told)
            assert is_there or leaf == "" or (isinstance(leaf, str) and leaf in draft.description), (source, leaf)


def test_every_draft_can_be_stored(plan: tuple[str, Path, Reading]) -> None:
    """Paths are valid and unique, parents come first, and metadata keeps its bounds."""
    seen: set[str | None] = {None}
    for draft in plan[2].drafts:
        parse_path(draft.path)
        check_metadata(draft.metadata)
        assert draft.path not in seen
        assert parent_of(draft.path) in seen
        seen.add(draft.path)


def test_reading_takes_less_than_half_a_second(plan: tuple[str, Path, Reading]) -> None:
    """A person waits for it; processor time, the best of three, so that other work on the machine does not count."""
    times = []
    for _ in range(3):
        start = time.process_time()
        read_plan(load(plan[1]))
        times.append(time.process_time() - start)
    assert min(times) < 0.5


def test_exports_come_back_identical(plan: tuple[str, Path, Reading]) -> None:
    """Import after export is the identity, also for what people really write."""
    drafts = plan[2].drafts
    lines = "".join(write_lines(drafts)).encode()
    page = write_markdown(drafts).encode()
    assert atlas_lines.read(Source(name="a", files={"a": lines}), project=None).drafts == drafts
    assert markdown.read(Source(name="a", files={"a": page}), project=None).drafts == drafts
    assert msgspec.json.encode(drafts)
