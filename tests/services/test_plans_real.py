"""What holds when real files of other tools are imported whole; skipped where those are not at hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.services.desk import Desk, Make
from tests.services.test_imports_real import plan  # noqa: F401 - the fixture
from tests.services.test_plans import export, records

import atlas
from atlas.model.path import parent_of
from atlas.model.task import Note, Status, Task, Type
from atlas.work.imports.draft import Draft, Reading

pytestmark = pytest.mark.anyio

Plan = tuple[str, Path, Reading]
FINISHED = {Status.COMPLETED, Status.CANCELLED}
SAME: tuple[str, ...] = (
    "name",
    "type",
    "description",
    "acceptance",
    "requires",
    "priority",
    "assignee",
    "estimated_hours",
    "due_at",
)
SAME += ("tags", "reasoning", "metadata", "archived")


async def taken(desk: Desk, path: Path) -> tuple[dict[str, Task], list[Note]]:
    """Have the file imported, and return its tasks by path, and their notes."""
    report = await desk.atlas.plans.load(file=str(path))
    tasks, notes = await records(desk)
    assert (report.created, report.updated, report.skipped) == (len(tasks), 0, 0)
    return {task.path: task for task in tasks}, notes


async def test_every_record_is_stored_field_by_field(desk: Desk, plan: Plan) -> None:  # noqa: F811 - the fixture
    """Between reading and storing nothing is lost: fields, dependencies, notes, times and statuses."""
    tasks, notes = await taken(desk, plan[1])
    drafts = {draft.source: draft for draft in plan[2].drafts}
    assert tasks.keys() == {draft.path for draft in drafts.values()}
    paths = {task.id: task.path for task in tasks.values()}
    for draft in drafts.values():
        task = tasks[draft.path]
        assert {name: getattr(task, name) for name in SAME} == {name: getattr(draft, name) for name in SAME}
        assert {paths[key] for key in task.dependencies} == {drafts[source].path for source in draft.dependencies}
        said = [note.text for note in notes if note.task == task.id]
        assert sorted(said) == sorted(note.text for note in draft.notes)
        if draft.status not in {None, Status.PENDING}:
            assert (task.status, task.completed_at) == (draft.status, draft.completed_at)
        for name in ("created_at", "updated_at"):
            assert getattr(draft, name) in {None, getattr(task, name)} or getattr(draft, name) > desk.clock.now


def is_finished(draft: Draft, below: dict[str, list[Draft]]) -> bool:
    """Say whether a draft is finished: a container when all in it is."""
    parts = below.get(draft.path)
    return draft.status in FINISHED if not parts else all(is_finished(part, below) for part in parts)


def ready(drafts: dict[str, Draft]) -> set[str]:
    """Return the paths of ready work by nothing but the drafts: open leaves of type TASK that wait for nothing."""
    below: dict[str, list[Draft]] = {}
    by_path = {draft.path: draft for draft in drafts.values()}
    for draft in drafts.values():
        below.setdefault(parent_of(draft.path) or "", []).append(draft)
    found = set()
    for draft in drafts.values():
        if draft.path in below or draft.type is not Type.TASK or draft.status not in {None, Status.PENDING}:
            continue
        line: str | None = draft.path
        waits: list[Draft] = []
        while line is not None:
            waits += [drafts[source] for source in by_path[line].dependencies]
            line = parent_of(line)
        if all(is_finished(other, below) for other in waits):
            found.add(draft.path)
    return found


async def test_ready_work_is_that_of_an_independent_computation(desk: Desk, plan: Plan) -> None:  # noqa: F811
    """What an agent is offered of a real plan is what can really be begun."""
    await taken(desk, plan[1])
    drafts = {draft.source: draft for draft in plan[2].drafts}
    page = await desk.atlas.lists.next(limit=500)
    assert page.total == len(page.tasks)
    assert {task["path"] for task in page.tasks} == ready(drafts)


async def test_importing_it_again_changes_nothing(desk: Desk, plan: Plan) -> None:  # noqa: F811
    """Not one event, not one duplicate."""
    tasks, _ = await taken(desk, plan[1])
    seq = await desk.seq()
    report = await desk.atlas.plans.load(file=str(plan[1]))
    assert (report.created, report.updated, report.skipped) == (0, 0, len(tasks))
    assert await desk.seq() == seq
    assert (await desk.atlas.upkeep.repair()).issues == []


@pytest.mark.parametrize("format", ["lines", "markdown"])
async def test_its_export_comes_back_identical(desk: Desk, make_store: Make, plan: Plan, format: str) -> None:  # noqa: A002, F811
    """What people really write survives both ways out and in."""
    await taken(desk, plan[1])
    other = Desk(make=make_store)
    other.clock.now = desk.clock.now
    async with other.atlas:
        content = await export(desk, format=format)
        report = await other.atlas.plans.load(content)
        assert [note for note in report.notes if "notes, over the limit" not in note["message"]] == []
        assert await records(other) == await records(desk)


async def test_it_takes_less_than_two_seconds(tmp_path: Path, plan: Plan) -> None:  # noqa: F811
    """A person waits for it; processor time, so that other work on the machine does not count."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        start = time.process_time()
        report: Any = msgspec.to_builtins(await a.plans.load(file=str(plan[1])))
        assert report["created"] > 400
        assert time.process_time() - start < 2
