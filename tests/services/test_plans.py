"""Imports and exports through the service: reports, importing again, limits, and what comes back: RULES, imports."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.services.desk import Desk, Make
from tests.services.naive import Naive, RefusedError
from tests.services.test_rules_machine import STATUSES, Inventor

from atlas.errors import AtlasError
from atlas.journal.proof import disagreements
from atlas.model import limits
from atlas.model.limits import Limits
from atlas.model.task import Note, Task
from atlas.storage.query import Query
from atlas.verb import PROGRESS
from atlas.work.collections import NOTES, TASKS
from atlas.work.plans import Imported

pytestmark = pytest.mark.anyio

PLAN = """\
# Shop

## Basket

- [x] Data model
- [ ] Fill the basket
  - Priority: high
  - Depends on: Data model
- [ ] Pay
  - Depends on: Fill the basket
"""


async def load(desk: Desk, content: str = PLAN, **more: Any) -> Imported:
    return await desk.atlas.plans.load(content, **more)


async def export(desk: Desk, pattern: str = "**", **more: Any) -> str:
    return (await desk.atlas.plans.export(pattern, **more)).content


async def records(desk: Desk) -> tuple[list[Task], list[Note]]:
    """Return all tasks and notes, but for what no export holds: versions, places as numbers."""
    tasks = await desk.store.read(lambda tx: tx.query(Query(TASKS).order_by("id")))
    notes = await desk.store.read(lambda tx: tx.query(Query(NOTES).order_by("id")))
    return [msgspec.structs.replace(task, version=1, position=0.0) for task in tasks], notes


def line(path: str, **fields: Any) -> str:
    """Return one line of Atlas's own format."""
    return msgspec.json.encode({"source": path, "path": path, "name": path, **fields}).decode() + "\n"


def messages(report: Imported) -> list[str]:
    return [note["message"] for note in report.notes]


# What a report says.


async def test_an_import_says_what_became_of_every_record(desk: Desk) -> None:
    """The numbers add up to the records of the file, and the receipt is that of the journal."""
    report = await load(desk)
    assert (report.format, report.projects, report.dry_run) == ("markdown", ["shop"], False)
    assert (report.created, report.updated, report.skipped, report.notes) == (5, 0, 0, [])
    assert (report.receipt.seq, report.receipt.durability) == (await desk.seq(), desk.store.capabilities.durability)
    assert await desk.status("shop/basket/fill-the-basket") == "PENDING"
    assert (await desk.show("shop/basket/pay"))["block"]["by"] == ["shop/basket/fill-the-basket"]


async def test_a_dry_run_says_what_would_happen_and_changes_nothing(desk: Desk) -> None:
    """It is the import itself, thrown away: nothing stays behind, not even what is remembered of the source."""
    await desk.add("shop/basket", type="GROUP", description="here before")
    before = await desk.contents()
    said = await load(desk, dry_run=True)
    assert await desk.contents() == before
    done = await load(desk)
    assert said.dry_run
    assert msgspec.structs.replace(said, dry_run=False, receipt=done.receipt) == done
    assert (done.created, done.skipped) == (3, 2)
    assert [note["path"] for note in done.notes] == ["shop", "shop/basket"]


async def test_a_dry_run_is_not_kept_under_a_key(desk: Desk) -> None:
    """The import that follows it is another call."""
    await load(desk, dry_run=True, idempotency_key="k")
    assert (await load(desk, idempotency_key="k")).created == 5


async def test_a_repeated_import_gets_the_first_answer(desk: Desk) -> None:
    """A retry after a lost answer reports what the first one did."""
    first = await load(desk, idempotency_key="k")
    assert await load(desk, idempotency_key="k") == first
    await desk.refused("IDEMPOTENCY_MISMATCH", load(desk, PLAN + "- more\n", idempotency_key="k"))


async def test_progress_is_told_record_by_record(desk: Desk) -> None:
    """Whoever watches a long import sees it move, and end."""
    told: list[tuple[int, int, str]] = []
    token = PROGRESS.set(lambda done, total, what: told.append((done, total, what)))
    try:
        await load(desk)
    finally:
        PROGRESS.reset(token)
    # A store may run work again, which then counts again.
    assert told[-5:] == [(done, 5, "records") for done in range(1, 6)]


async def test_an_import_is_one_call_in_the_journal(desk: Desk) -> None:
    """Who brought the plan in, and by which verb, is told of every task."""
    await load(desk, actor="ada")
    events = (await desk.atlas.timeline.read(limit=100)).events
    assert {(event["action"], event["actor"]) for event in events} == {("import_plan", "ada")}
    assert len({event["correlation"] for event in events}) == 1


# Importing again.


async def test_importing_again_updates_and_never_duplicates(desk: Desk) -> None:
    """The same file twice is the same as once; a changed one brings what changed."""
    await load(desk)
    seq = await desk.seq()
    again = await load(desk)
    assert (again.created, again.updated, again.skipped, await desk.seq()) == (0, 0, 5, seq)
    changed = await load(desk, PLAN.replace("Priority: high", "Priority: low") + "- [ ] Send\n")
    assert (changed.created, changed.updated, changed.skipped) == (1, 1, 4)
    task = await desk.show("shop/basket/fill-the-basket")
    assert (task["priority"], task["version"]) == ("low", 2)


async def test_what_was_changed_here_stays(desk: Desk) -> None:
    """The report names what was changed on both sides; what only one side changed is taken from there."""
    await load(desk)
    await desk.set("shop/basket/fill-the-basket", priority="critical", description="ours")
    report = await load(desk, PLAN.replace("Priority: high", "Priority: low\n  - Estimate: 2h"))
    task = await desk.show("shop/basket/fill-the-basket")
    assert (task["priority"], task["description"], task["estimated_hours"]) == ("critical", "ours", 2.0)
    assert messages(report) == ["priority was changed both in the source and here; what is here is kept"]


@pytest.mark.parametrize(
    ("here", "there", "status"),
    [
        (None, "x", "COMPLETED"),
        (None, "!", "BLOCKED"),
        ("IN_PROGRESS", " ", "IN_PROGRESS"),
        ("IN_PROGRESS", "x", "IN_PROGRESS"),
        ("BLOCKED", "x", "BLOCKED"),
    ],
)
async def test_a_status_comes_from_the_side_that_changed_it(
    desk: Desk, here: str | None, there: str, status: str
) -> None:
    """Work begun here is not undone by a file that knows nothing of it."""
    await load(desk)
    if here is not None:
        await desk.set("shop/basket/fill-the-basket", status=here)
    report = await load(desk, PLAN.replace("[ ] Fill", f"[{there}] Fill"))
    assert await desk.status("shop/basket/fill-the-basket") == status
    assert bool(report.notes) is (here is not None and there != " ")


async def test_a_block_by_dependency_does_not_keep_a_status_out(desk: Desk) -> None:
    """It followed from the file, so it is no change of ours; and what is asked to be pending waits where it must."""
    await load(desk)
    await load(desk, PLAN.replace("[ ] Pay", "[x] Pay"))
    assert await desk.status("shop/basket/pay") == "COMPLETED"
    await load(desk)
    task = await desk.show("shop/basket/pay")
    assert (task["status"], task["block"]["cause"], task["completed_at"]) == ("BLOCKED", "dependency", None)


async def test_the_times_of_the_source_come_with_its_status(desk: Desk) -> None:
    """When it was done there, not when we heard of it."""
    await load(desk, line("a"), format="atlas")
    await load(desk, line("a", status="COMPLETED", completed_at="2025-05-01T00:00:00Z"), format="atlas")
    assert (await desk.show("a"))["completed_at"] == "2025-05-01T00:00:00Z"


async def test_a_new_reason_of_a_block_is_taken(desk: Desk) -> None:
    """Unless the reason was changed here."""
    await load(desk, line("a", status="BLOCKED", reason="one"), format="atlas")
    await load(desk, line("a", status="BLOCKED", reason="two"), format="atlas")
    assert (await desk.show("a"))["block"]["reason"] == "two"
    await desk.set("a", reason="ours")
    report = await load(desk, line("a", status="BLOCKED", reason="three"), format="atlas")
    assert (await desk.show("a"))["block"]["reason"] == "ours"
    assert len(report.notes) == 1


async def test_dependencies_follow_the_source_and_stay_removed_where_they_were_removed(desk: Desk) -> None:
    """Added here stays, removed here stays removed, removed there goes."""
    await load(desk)
    await desk.add("other")
    await desk.set("shop/basket/pay", dependencies=["other"])
    await load(desk, PLAN + "  - Priority: low\n")
    assert (await desk.show("shop/basket/pay"))["dependencies"] == ["other"]
    await load(desk, PLAN.replace("  - Depends on: Data model\n", ""))
    assert (await desk.show("shop/basket/fill-the-basket"))["dependencies"] == []


async def test_a_note_comes_once_and_a_changed_one_is_another(desk: Desk) -> None:
    """However long it is: a change at its end is a change."""
    long = "x" * 600
    await load(desk, line("a", notes=[{"text": long}]), format="atlas")
    report = await load(desk, line("a", notes=[{"text": long}, {"text": long + "!"}]), format="atlas")
    assert report.updated == 1
    assert [len(note["text"]) for note in (await desk.show("a"))["notes"]] == [600, 601]


async def test_a_record_that_moved_in_the_source_moves_here(desk: Desk) -> None:
    """Unless somebody moved it here, or the place is taken: then the report says so."""
    for source, path in (("1", "p/a"), ("2", "p/b")):
        await load(desk, line("p", type="GROUP") + line(path, source=source), format="atlas")
    assert (await load(desk, line("p/c", source="1"), format="atlas")).updated == 1
    assert await desk.children("p") == ["p/c", "p/b"]
    report = await load(desk, line("p/b", source="1"), format="atlas")
    assert messages(report) == ["kept at 'p/c': 'p/b' already exists"]
    await desk.move("p/b", "p/ours")
    await load(desk, line("p/theirs", source="2"), format="atlas")
    assert await desk.children("p") == ["p/c", "p/ours"]


async def test_a_type_that_cannot_change_is_kept_and_named(desk: Desk) -> None:
    """A task with children cannot become one without."""
    await load(desk, line("p", type="GROUP") + line("p/a"), format="atlas")
    report = await load(desk, line("p", name="new"), format="atlas")
    assert messages(report)[0].startswith("type kept: ")
    assert ((await desk.show("p"))["type"], (await desk.show("p"))["name"]) == ("GROUP", "new")


async def test_a_task_that_was_here_first_is_kept_as_it_is(desk: Desk) -> None:
    """Its dependencies too; from then on it belongs to the record."""
    await desk.add("shop/basket/pay", name="Pay", estimated_hours=1)
    await desk.add("shop/basket/fill-the-basket", name="Fill the basket", priority="high")
    report = await load(desk)
    task = await desk.show("shop/basket/pay")
    assert (task["estimated_hours"], task["dependencies"], task["version"]) == (1.0, [], 1)
    said = {(note["path"], note["message"]) for note in report.notes}
    assert ("shop/basket/pay", "'shop/basket/pay' was there already and is kept as it is") in said
    assert ("shop/basket/fill-the-basket",) in {
        (path,) for path, message in said if "keeps its dependencies" in message
    }
    await load(desk, PLAN.replace("- [ ] Pay", "- [ ] Pay\n  - Priority: low"))
    assert (await desk.show("shop/basket/pay"))["priority"] == "low"


# Archived.


async def test_an_archived_task_is_not_written_to(desk: Desk) -> None:
    """An archived subtree refuses writes; the report says what was not taken, and a later import brings it."""
    await load(desk)
    await desk.set("shop", archived=True)
    changed = PLAN.replace("Priority: high", "Priority: low") + "- [ ] Send\n"
    report = await load(desk, changed)
    assert (report.created, report.updated) == (0, 0)
    assert messages(report) == [
        "'shop/basket/fill-the-basket' is archived here and is kept as it is",
        "not taken: 'shop/basket' is archived (at 'shop')",
    ]
    await desk.set("shop", archived=False)
    report = await load(desk, changed)
    assert (report.created, report.updated, report.notes) == (1, 1, [])


async def test_archiving_follows_the_source(desk: Desk) -> None:
    """Archived there is archived here, with all below, and comes back with its other changes."""
    shown = line("p", type="GROUP") + line("p/a") + line("p/a2", dependencies=["p/a"])
    hidden = shown.replace('"type":"GROUP"', '"type":"GROUP","archived":true')
    for content, count in ((shown, 3), (hidden, 0), (hidden, 0), (shown.replace('"name":"p/a"', '"name":"x"'), 3)):
        await load(desk, content, format="atlas")
        assert (await desk.atlas.lists.by_path("p/**")).total == count
    assert (await desk.show("p/a"))["name"] == "x"
    await desk.set("p", archived=True)
    await load(desk, shown, format="atlas")
    assert (await desk.show("p"))["archived"], "archived here stays archived"


async def test_a_plan_arrives_archived_where_its_source_is(desk: Desk) -> None:
    """With all that lies below, and its dependencies."""
    content = line("p", type="GROUP", archived=True) + line("p/a") + line("p/b", dependencies=["p/a"])
    report = await load(desk, content, format="atlas")
    assert (report.created, report.notes) == (3, [])
    assert (await desk.show("p/b"))["dependencies"] == ["p/a"]
    assert (await desk.atlas.lists.by_path("**")).total == 0


# Where drafts go.


async def test_a_finished_container_is_reopened_by_what_is_imported_into_it(desk: Desk) -> None:
    """A new child is open work, as when it is created."""
    await desk.add("p/a")
    await desk.add("q", dependencies=["p"])
    await desk.set("p/a", status="COMPLETED")
    await load(desk, line("p/b"), format="atlas")
    assert (await desk.status("p"), await desk.status("q")) == ("IN_PROGRESS", "BLOCKED")


async def test_what_is_imported_below_a_waiting_container_waits(desk: Desk) -> None:
    """Dependencies are inherited, whichever way a task came."""
    await desk.add("first")
    await desk.add("p", type="GROUP", dependencies=["first"])
    await load(desk, line("p/a"), format="atlas")
    assert (await desk.show("p/a"))["block"]["by"] == ["first"]


async def test_a_missing_parent_is_made_and_named(desk: Desk) -> None:
    """As `parents` makes it; what cannot stand there leaves no parent behind."""
    report = await load(desk, line("p/q/a"), format="atlas")
    assert messages(report) == ["its parent 'p/q' was not there: made as a GROUP"]
    assert (await desk.show("p/q"))["type"] == "GROUP"
    report = await load(desk, line("r/m", type="MILESTONE"), format="atlas")
    assert (report.created, report.skipped) == (0, 1)
    await desk.refused("TASK_NOT_FOUND", desk.atlas.tasks.get("r"))


async def test_a_record_that_cannot_be_taken_does_not_stop_the_others(desk: Desk) -> None:
    """It is named with the reason."""
    await desk.add("t")
    report = await load(desk, line("t/a") + line("u"), format="atlas")
    assert (report.created, report.skipped) == (1, 1)
    assert messages(report)[0].startswith("not taken: 't' is a TASK and cannot hold 't/a'")


async def test_project_says_where_a_plan_goes(desk: Desk) -> None:
    """The same plan twice, under two names, is two plans; each is brought up to date by itself."""
    for project in ("one", "two"):
        report = await load(desk, project=project)
        assert (report.created, report.projects) == (5, [project])
    assert (await load(desk, PLAN.replace("high", "low"), project="two")).updated == 1
    assert (await desk.show("one/basket/fill-the-basket"))["priority"] == "high"


@pytest.mark.parametrize("project", ["a/b", "1st", "", "x" * 101, "my project"])
async def test_a_project_is_one_segment(desk: Desk, project: str) -> None:
    """A path is refused in the same words as anything else that is no project."""
    error = await desk.refused("INVALID_INPUT", load(desk, project=project))
    assert (error.field, error.given) == ("project", project)


# Limits.


async def test_an_import_keeps_the_configured_limits_and_names_what_did_not_fit(make_store: Make) -> None:
    """Dependencies and children as the operator set them, whatever the file says; nothing is cut in silence."""
    desk = Desk(limits=Limits(dependencies=2, children=4), make=make_store)
    async with desk.atlas:
        names = "".join(f"- {name}\n" for name in "abc")
        report = await load(desk, f"# P\n\n{names}- d\n  - Depends on: a, b, c\n- e\n")
        assert (report.created, report.skipped) == (5, 1)
        assert messages(report) == [
            "the dependency on 'c' was not taken: more than 2 dependencies",
            "not taken: 'p' holds 4 children already",
        ]
        task = await desk.show("p/d")
        assert task["dependencies"] == ["p/a", "p/b"]
        assert task["metadata"]["markdown"]["dropped_dependencies"][0]["on"] == "c"
        report = await load(desk, f"# P\n\n{names}- d\n  - Depends on: c, b, a\n")
        assert (await desk.show("p/d"))["dependencies"] == ["p/b", "p/c"]


async def test_a_limit_above_the_default_holds_for_imports_too(make_store: Make) -> None:
    """Sixty dependencies are taken where sixty are allowed."""
    desk = Desk(limits=Limits(dependencies=60), make=make_store)
    async with desk.atlas:
        names = [f"t{number}" for number in range(60)]
        plan = "# P\n\n" + "".join(f"- {name}\n" for name in names) + f"- last\n  - Depends on: {', '.join(names)}\n"
        assert (await load(desk, plan)).notes == []
        assert len((await desk.show("p/last"))["dependencies"]) == 60


async def test_what_is_too_long_is_cut_with_a_remark_and_kept_whole(desk: Desk) -> None:
    """Every limit of a field; what was cut can be found again."""
    fields: dict[str, Any] = {
        "name": "n" * 201,
        "description": "d" * 32_769,
        "reasoning": "r" * 8_193,
        "assignee": "a" * 201,
        "tags": ["t" * 101, "ok"],
        "estimated_hours": 1e9,
    }
    report = await load(desk, line("a", **fields), format="atlas")
    task = await desk.show("a")
    whole = task["metadata"]["atlas"]["whole"]
    assert whole == fields
    assert len(report.notes) == len(fields)
    assert (len(task["name"]), len(task["description"]), task["tags"]) == (200, 32_768, ["ok"])


async def test_metadata_beyond_its_limits_is_kept_as_text_or_notes(desk: Desk) -> None:
    """Too deep becomes JSON text, too long becomes notes; both are named."""
    deep: Any = "bottom"
    for _ in range(9):
        deep = {"k": deep}
    report = await load(desk, line("a", metadata={"deep": deep, "long": "x" * 70_000}), format="atlas")
    task = await desk.show("a")
    assert msgspec.json.decode(task["metadata"]["deep"]) == deep
    assert "long" not in task["metadata"]
    assert sum(note["text"].count("x") for note in task["notes"]) == 70_000
    assert len(report.notes) == 2


async def test_what_would_lie_too_deep_is_put_beside_its_parent(desk: Desk) -> None:
    """Eight segments are the limit, of every format; the report names what moved."""
    plan = "# P\n\n" + "".join(f"{'  ' * n}- t{n}\n" for n in range(10))
    report = await load(desk, plan)
    assert report.created == 11
    assert [note["path"].count("/") for note in report.notes if "deeper" in note["message"]] == [7, 7, 7]


async def test_more_notes_than_a_task_may_have_are_kept_and_named(desk: Desk) -> None:
    """Losing what somebody wrote is worse than a long list; `get_task` shows the newest hundred and the total."""
    report = await load(desk, line("a", notes=[{"text": str(n)} for n in range(103)]), format="atlas")
    task = await desk.show("a")
    assert (task["notes_total"], len(task["notes"]), task["notes"][-1]["text"]) == (103, 100, "102")
    assert "has 103 notes" in messages(report)[0]


async def test_a_circle_closed_through_the_store_is_dropped_and_named(desk: Desk) -> None:
    """The file alone has none; together with what is here it has."""
    await desk.add("p/a")
    await desk.add("q", dependencies=["p"])
    report = await load(desk, line("p/b", dependencies=["q"]), format="atlas")
    assert report.created == 1
    assert messages(report)[0].startswith("dependency on 'q' dropped: ")
    assert (await desk.show("p/b"))["dependencies"] == []


async def test_a_dependency_outside_the_file_is_found_by_id_and_by_path(desk: Desk) -> None:
    """What neither names is dropped with a remark."""
    known = await desk.add("known")
    await desk.add("other")
    report = await load(desk, line("a", dependencies=[known["id"], "other", "missing"]), format="atlas")
    assert (await desk.show("a"))["dependencies"] == ["known", "other"]
    assert messages(report) == ["dependency on 'missing' dropped: no such task"]


# Bad input.


async def test_content_and_file_exclude_each_other(desk: Desk, tmp_path: Path) -> None:
    """Exactly one says what to read."""
    both: list[dict[str, Any]] = [{}, {"content": PLAN, "file": str(tmp_path)}]
    for given in both:
        error = await desk.refused("INVALID_INPUT", desk.atlas.plans.load(**given))
        assert error.field == "content"


async def test_a_file_is_read_where_files_may_be_read(desk: Desk, tmp_path: Path) -> None:
    """A server for others than the machine's owner reads none."""
    plan = tmp_path / "plan.md"
    plan.write_text(PLAN, encoding="utf-8")
    assert (await desk.atlas.plans.load(file=str(plan))).created == 5
    desk.atlas.plans.can_read_files = False
    error = await desk.refused("INVALID_INPUT", desk.atlas.plans.load(file=str(plan)))
    assert (error.field, error.given) == ("file", str(plan))
    assert "content" in error.hint


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"content": ""}, "IMPORT_FORMAT", "file"),
        ({"content": "{}"}, "IMPORT_FORMAT", "file"),
        ({"content": "{broken"}, "IMPORT_FORMAT", "file"),
        ({"content": PLAN, "format": "atlas"}, "IMPORT_FORMAT", "file"),
        ({"content": PLAN, "format": "beads"}, "IMPORT_FORMAT", "file"),
        ({"content": PLAN, "format": "excel"}, "INVALID_INPUT", "format"),
        ({"content": line("a") + line("a"), "format": "atlas"}, "IMPORT_FORMAT", "path"),
        ({"content": "# a\ud800"}, "INVALID_INPUT", "content"),
        ({"content": "# a\0"}, "INVALID_INPUT", "content"),
        ({"file": "/nowhere/at/all.md"}, "IMPORT_FORMAT", "file"),
        ({"file": ""}, "INVALID_INPUT", "file"),
    ],
)
async def test_what_cannot_be_read_is_refused_whole(desk: Desk, given: dict[str, Any], code: str, field: str) -> None:
    """With the code, the field and a way out; nothing is changed."""
    error = await desk.refused(code, desk.atlas.plans.load(**given))
    assert error.field == field


async def test_an_id_that_is_none_is_replaced_and_named(desk: Desk) -> None:
    """Ids are found by their form; one of another form could never be asked for."""
    report = await load(desk, line("a", id="x/y"), format="atlas")
    task = await desk.show("a")
    assert await desk.show(task["id"]) == task
    assert messages(report) == ["'x/y' is no id of a task; it got one of its own"]


# What comes back.


async def work_on(desk: Desk, seed: int, count: int) -> None:
    """Do what the inventor invents, and some things more, so that every field is used."""
    model = Naive()
    for path in ("a/a/a", "a/b", "b/a"):
        await desk.add(path, notes=[path], tags=["x"], metadata={"k": [1]}, due_at="2026-02-01T10:00:00Z")
        model.create(path, parents=True)
    for step in range(count):
        op = Inventor(seed + step, model).call()
        trial = model.copy()
        try:
            arguments = {name: value for name, value in op.items() if name not in {"op", "updates"}}
            getattr(trial, op["op"])(**arguments, **op.get("updates", {}))
        except RefusedError:
            continue
        model = trial
        desk.clock.go_on(minutes=1)
        await desk.atlas.tasks.bulk((op,))
    paths = sorted(task["path"] for task in model.tasks.values())
    for path in random.Random(seed).sample(paths, k=min(3, len(paths))):
        try:
            await desk.set(path, reason="why", notes=["late"], acceptance=["one"], requires=["py"], assignee="ada")
        except AtlasError:
            continue


@pytest.mark.parametrize("format", ["lines", "markdown"])
@pytest.mark.parametrize("seed", range(12))
async def test_an_export_of_a_store_comes_back_identical(make_store: Make, seed: int, format: str) -> None:  # noqa: A002 - the verb's word
    """Every task and note, with ids, times, blocks, archived parts and what is derived; and exported again the same."""
    desk, other = Desk(make=make_store), Desk(make=make_store)
    async with desk.atlas, other.atlas:
        await work_on(desk, seed * 1_000, 60)
        other.clock.go_on(days=3)
        content = await export(desk, format=format)
        report = await load(other, content)
        assert report.notes == []
        assert await records(other) == await records(desk)
        assert await export(other, format=format) == content


async def test_an_export_of_one_project_holds_ids_inside_and_paths_outside(desk: Desk, make_store: Make) -> None:
    """Ids are what another store got from the same file; of what it did not get, only a path can be known there."""
    a = await desk.add("p/a")
    await desk.add("q")
    await desk.add("p/b", dependencies=["p/a", "q"])
    content = await export(desk, "p/**")
    last = msgspec.json.decode(content.splitlines()[-1])
    assert last["dependencies"] == [a["id"], "q"]
    other = Desk(make=make_store)
    async with other.atlas:
        await other.add("q")
        assert (await load(other, content)).notes == []
        assert await export(other, "p/**") == content


async def test_a_copy_of_a_project_leaves_the_first_as_it_was(desk: Desk) -> None:
    """Notes too: a note belongs to one task."""
    await desk.add("p/a", notes=["kept"])
    await desk.add("p/b", dependencies=["p/a"])
    before = await desk.show("p/a")
    report = await load(desk, await export(desk, "p/**"), project="copy")
    assert (report.created, report.notes) == (3, [])
    assert await desk.show("p/a") == before
    assert [note["text"] for note in (await desk.show("copy/a"))["notes"]] == ["kept"]
    assert (await desk.show("copy/b"))["dependencies"] == ["copy/a"]


async def test_an_export_imported_where_it_came_from_changes_nothing(desk: Desk) -> None:
    """Reading a backup by mistake does no harm."""
    await work_on(desk, 7, 40)
    before = await records(desk)
    report = await load(desk, await export(desk))
    assert (report.created, report.updated, report.notes) == (0, 0, [])
    assert await records(desk) == before


async def test_an_export_says_how_many_tasks_it_holds_and_what_it_saw(desk: Desk) -> None:
    """Archived ones too; of nothing it is empty but for its header."""
    await desk.add("p/a")
    await desk.add("p/b")
    await desk.set("p/b", archived=True)
    made = await desk.atlas.plans.export("p/**")
    assert (made.tasks, made.format, made.seq) == (3, "lines", await desk.seq())
    nothing = await desk.atlas.plans.export("nowhere/**")
    assert (nothing.tasks, nothing.content) == (0, '{"atlas":"tasks","version":1}\n')
    assert await export(desk, "nowhere/**", format="markdown") == ""


def invented(chance: random.Random, count: int) -> str:
    """Return lines of a plan whose places are those of the tasks that the inventor makes, with every kind of change."""
    made = []
    for source in chance.sample(range(20), k=count):
        path = "/".join(chance.choice("abc") for _ in range(chance.randrange(1, 4)))
        fields: dict[str, Any] = {
            "type": chance.choice(["TASK", "GROUP", "GROUP", "MILESTONE"]),
            "priority": chance.choice(["low", "high"]),
            "archived": chance.random() < 0.2,
            "dependencies": [chance.choice([str(n) for n in range(20)] + ["a/b", "b"]) for _ in range(2)],
            "notes": [{"text": str(chance.randrange(3))}],
        }
        if chance.random() < 0.6:
            fields["status"] = chance.choice(STATUSES)
        made.append((path, line(path, source=str(source), **fields)))
    return "".join(dict(made).values())


@pytest.mark.parametrize("seed", range(20))
async def test_imports_keep_every_rule_whatever_they_meet(desk: Desk, seed: int) -> None:
    """One after the other into a store that is worked on: what is derived is right, and the journal tells it all."""
    chance = random.Random(seed)
    await work_on(desk, seed * 1_000, 15)
    for _ in range(4):
        content = invented(chance, chance.randrange(1, 12))
        said = await load(desk, content, format="atlas", dry_run=True)
        done = await load(desk, content, format="atlas")
        assert (said.created, said.updated, said.notes) == (done.created, done.updated, done.notes)
        assert (await desk.atlas.upkeep.repair()).issues == []
        assert await desk.store.read(lambda tx: disagreements(tx, (TASKS, NOTES))) == []
        path = chance.choice((await records(desk))[0]).path
        try:
            await desk.set(path, archived=chance.random() < 0.3, status=chance.choice(STATUSES))
        except AtlasError:
            continue


# Large files.


async def test_a_large_file_goes_in_parts_and_is_the_same_in_the_end(
    desk: Desk, make_store: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archived parts, dependencies across the parts, counts, and the answer to a retry."""
    content = line("p", type="GROUP") + line("p/old", type="GROUP", archived=True) + line("p/old/t")
    content += "".join(line(f"p/t{n}", dependencies=[f"p/t{n + 1}"] if n < 19 else ["p/old/t"]) for n in range(20))
    whole = await load(desk, content, format="atlas")
    parts = Desk(make=make_store)
    monkeypatch.setattr(limits, "IMPORT_RECORDS", 6)
    async with parts.atlas:
        report = await load(parts, content, format="atlas", idempotency_key="k")
        assert (report.created, report.updated, report.skipped) == (whole.created, 0, 0)
        assert report.receipt.seq == await parts.seq()
        assert await export(parts) == await export_without_ids(desk, parts)
        assert await load(parts, content, format="atlas", idempotency_key="k") == report
        assert (await load(parts, content, format="atlas")).skipped == 23
        assert {task.version for task in (await records(parts))[0]} == {1}


async def export_without_ids(one: Desk, other: Desk) -> str:
    """Return the export of `one` with the ids that the same paths have in `other`."""
    ids = {}
    for desk in (one, other):
        ids[desk] = await desk.store.read(lambda tx: tx.query(Query(TASKS).select("path", "id").order_by("path")))
    content = await export(one)
    for (_, old), (_, new) in zip(ids[one], ids[other], strict=True):
        content = content.replace(old, new)
    return content


async def test_an_import_cut_short_goes_on_when_it_is_run_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first parts made is found again; dependencies and archiving come with the rest."""
    content = line("p", type="GROUP", archived=True)
    content += "".join(line(f"p/t{n}", dependencies=[f"p/t{n + 1}"] if n < 9 else []) for n in range(10))
    monkeypatch.setattr(limits, "IMPORT_RECORDS", 4)

    def cut(done: int, _total: int, _what: str) -> None:
        if done > 6:
            raise ConnectionError

    token = PROGRESS.set(cut)
    try:
        with pytest.raises(ConnectionError):
            await load(desk, content, format="atlas")
    finally:
        PROGRESS.reset(token)
    assert await desk.children("p") == [f"p/t{n}" for n in range(3)]
    report = await load(desk, content, format="atlas")
    assert (report.created, report.notes) == (7, [])
    assert [(await desk.show(f"p/t{n}"))["dependencies"] for n in range(9)] == [[f"p/t{n + 1}"] for n in range(9)]
    assert (await desk.atlas.lists.by_path("**")).total == 0
