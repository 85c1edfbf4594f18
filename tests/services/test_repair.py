"""Repair: every disagreement of records with the rules is found, mended, told, and then gone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.services.desk import Desk
from tests.services.test_plans import work_on

import atlas
from atlas.atlas import COLLECTIONS
from atlas.errors import ConflictError
from atlas.model.path import is_within
from atlas.model.task import Block, Cause, Note, Ready, Status, Tally, Task, Type
from atlas.storage.memory import MemoryStore, Snapshot
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.work.collections import ROOT, TALLIES, TASKS
from atlas.work.rebuild import derived_state, stale_ready, stale_tallies
from atlas.work.upkeep import Repaired

pytestmark = pytest.mark.anyio

Records = dict[str, dict[Any, Any]]


async def damage(desk: Desk, work: Callable[[Records], object]) -> None:
    """Change records behind the rules' back, as any program with a store at hand can."""
    records = [collection for collection in COLLECTIONS if not collection.sequence]

    def write(tx: Transaction) -> None:
        before = {c.name: {getattr(made, c.key): made for made in tx.query(Query(c))} for c in records}
        after = {name: dict(table) for name, table in before.items()}
        work(after)
        for collection in records:
            old, new = before[collection.name], after[collection.name]
            tx.put_many(collection, [made for key, made in new.items() if old.get(key) != made])
            tx.delete_many(collection, old.keys() - new.keys())

    await desk.store.transact(write)


async def spoil(desk: Desk, where: str, **fields: Any) -> None:
    """Give the task at a path other fields, nothing that follows from them."""
    task = await record(desk, where)
    await damage(desk, _replacing(task, fields))


def _replacing(task: Task, fields: dict[str, Any]) -> Callable[[Records], object]:
    return lambda records: records["task"].update({task.id: msgspec.structs.replace(task, **fields)})


def break_store(desk: Desk, work: Callable[[Records], object]) -> None:
    """Change records also behind the store's own checks, which only a store in memory lets happen."""
    assert isinstance(desk.store, MemoryStore)
    was = desk.store.snapshot()
    records = {name: dict(table) for name, table in was.records.items()}
    work(records)
    desk.store.restore(Snapshot(records, was.seq, was.now))


async def record(desk: Desk, path: str) -> Task:
    tasks: list[Task] = await desk.store.read(lambda tx: tx.query(Query(TASKS)))
    return next(task for task in tasks if task.path == path)


async def repair(desk: Desk, pattern: str = "**", *, dry_run: bool = False) -> Repaired:
    return await desk.atlas.upkeep.repair(dry_run=dry_run, pattern=pattern)


async def found(desk: Desk, pattern: str = "**") -> list[tuple[str, str]]:
    """Return the kinds and paths of what is wrong, having seen that looking changes nothing."""
    before = await desk.contents()
    report = await repair(desk, pattern, dry_run=True)
    assert await desk.contents() == before
    assert (report.fixed, report.dry_run, report.issues_total) == (0, True, len(report.issues))
    assert all(issue.message for issue in report.issues)
    return [(issue.kind, issue.path) for issue in report.issues]


async def mended(desk: Desk, *issues: tuple[str, str]) -> Repaired:
    """Find exactly these issues, mend them, and find nothing more; everything derived is as the rules have it."""
    assert sorted(await found(desk)) == sorted(issues)
    report = await repair(desk)
    assert (report.fixed, report.issues_total, report.dry_run) == (len(issues), len(issues), False)
    assert await found(desk) == []
    await is_sound(desk)
    return report


async def is_sound(desk: Desk) -> None:
    def wrong(tx: Any) -> list[Any]:
        derived = derived_state(tx)
        state = [(t.id, t.status, t.block, t.hidden) for t in tx.query(Query(TASKS))]
        due = [(t.id, t.status, t.block, t.hidden) for t in derived.tasks.values()]
        return [stale_tallies(tx, derived), stale_ready(tx, derived), sorted(state) != sorted(due)]

    assert await desk.store.read(wrong) == [{}, {}, False]
    assert await desk.store.verify() == []


async def begin(desk: Desk) -> None:
    """Two projects: `p` with `a` in progress and `b` waiting for it, and `q/c`."""
    await desk.add("p/a")
    await desk.add("p/b", dependencies=["p/a"])
    await desk.add("q/c")
    await desk.set("p/a", status="IN_PROGRESS")


async def test_a_sound_store_has_no_issues_and_is_not_written_to(desk: Desk) -> None:
    """Also a real run writes no event where nothing is wrong."""
    await begin(desk)
    seq = await desk.seq()
    report = await mended(desk)
    assert (report.receipt.seq, await desk.seq()) == (seq, seq)


async def test_looking_is_the_default(desk: Desk) -> None:
    """Repair is a dry run unless it is told otherwise."""
    await begin(desk)
    await spoil(desk, "p/b", status=Status.PENDING, block=None)
    assert (await desk.atlas.upkeep.repair()).dry_run
    assert len(await found(desk)) > 0


# Places.


def lose(records: Records) -> None:
    """Take away what lies between `p` and `p/q/r/a`."""
    for task in list(records["task"].values()):
        if task.path in {"p/q", "p/q/r"}:
            del records["task"][task.id]
            records["tally"].pop(task.id)


def lost_note(desk: Desk) -> Note:
    return Note(id="00000000-0000-7000-8000-000000000001", task="gone", text="lost", at=desk.clock.now)


async def test_what_refers_to_nothing_is_refused_by_the_store_itself(desk: Desk) -> None:
    """Whoever writes to it; the laws below that need such damage break a store in memory."""
    await desk.add("p/q/r/a")
    before, note = await desk.contents(), lost_note(desk)
    with pytest.raises(ConflictError):
        await damage(desk, lose)
    with pytest.raises(ConflictError):
        await damage(desk, lambda records: records["note"].update({note.id: note}))
    assert await desk.contents() == before


async def test_an_orphan_gets_its_parent_back(memory_desk: Desk) -> None:
    """Its path decides where it belongs; what is missing above it is created as GROUP."""
    desk = memory_desk
    await desk.add("p/q/r/a")
    break_store(desk, lose)
    await mended(desk, ("orphan", "p/q/r/a"), ("orphan", "p/q/r/a"), ("counts", "p"), ("counts", ""))
    assert (await desk.show("p/q/r"))["type"] == "GROUP"
    assert await desk.children("p/q") == ["p/q/r"]
    await desk.set("p/q/r/a", status="COMPLETED")
    assert await desk.status("p") == "COMPLETED"


async def test_a_task_stands_where_its_path_says(desk: Desk) -> None:
    """Of parent and path that disagree the path is what people know."""
    await begin(desk)
    q = await record(desk, "q")
    await spoil(desk, "p/a", parent=q.id)
    await spoil(desk, "p", parent=q.id)
    report = await repair(desk, dry_run=True)
    assert {("parent", "p"), ("parent", "p/a")} <= {(issue.kind, issue.path) for issue in report.issues}
    await repair(desk)
    assert await found(desk) == []
    await is_sound(desk)
    assert (await desk.children("p"), await desk.children("q")) == (["p/a", "p/b"], ["q/c"])


async def test_parents_that_go_round_in_a_circle_are_put_right(desk: Desk) -> None:
    """Such a store could not be walked upwards."""
    await desk.add("p/a/b")
    a, b = await record(desk, "p/a"), await record(desk, "p/a/b")
    await spoil(desk, "p/a", parent=b.id)
    await repair(desk)
    assert await found(desk) == []
    await is_sound(desk)
    assert (await record(desk, "p/a/b")).parent == a.id


async def test_children_left_behind_at_an_old_path_keep_it(desk: Desk) -> None:
    """A path is what others know a task by: the container is made again where they say they are."""
    await desk.add("p/a")
    await spoil(desk, "p", path="moved")
    await repair(desk)
    assert await found(desk) == []
    await is_sound(desk)
    assert await desk.children("p") == ["p/a"]
    assert await desk.status("moved") == "PENDING"


# Types.


async def test_what_holds_children_is_a_group(desk: Desk) -> None:
    """A TASK holds nothing; its children stay."""
    await desk.add("p/a/b")
    await spoil(desk, "p/a", type=Type.TASK)
    report = await repair(desk)
    assert ("type", "p/a") in {(issue.kind, issue.path) for issue in report.issues}
    assert await found(desk) == []
    await is_sound(desk)
    task = await desk.show("p/a")
    assert (task["type"], task["version"]) == ("GROUP", 2)


async def test_a_milestone_stands_at_the_root(desk: Desk) -> None:
    """Below something it becomes a GROUP."""
    await desk.add("p/m", type="GROUP")
    await spoil(desk, "p/m", type=Type.MILESTONE)
    await mended(desk, ("type", "p/m"))


# Dependencies.


async def test_a_dependency_on_nothing_is_dropped(desk: Desk) -> None:
    """It could never be finished, nor seen."""
    await begin(desk)
    await spoil(desk, "q/c", dependencies=("00000000-0000-7000-8000-000000000000",))
    await mended(desk, ("dangling", "q/c"))
    task = await desk.show("q/c")
    assert (task["dependencies"], task["version"], task["status"]) == ([], 2, "PENDING")


@pytest.mark.parametrize(("path", "on"), [("p/a", "p/a"), ("p/a", "p"), ("p", "p/a")])
async def test_a_dependency_in_its_own_line_is_dropped(desk: Desk, path: str, on: str) -> None:
    """Itself, what lies above, what lies below."""
    await desk.add("p/a")
    other = await record(desk, on)
    await spoil(desk, path, dependencies=(other.id,))
    report = await repair(desk)
    assert ("line", path) in {(issue.kind, issue.path) for issue in report.issues}
    assert await found(desk) == []
    await is_sound(desk)
    assert (await desk.show(path))["dependencies"] == []


async def test_a_list_names_a_thing_once(desk: Desk) -> None:
    """Dependencies, tags and capabilities alike."""
    await begin(desk)
    a = await record(desk, "p/a")
    await spoil(desk, "p/b", dependencies=(a.id, a.id), tags=("x", "y", "x"), requires=("r", "r"))
    await mended(desk, ("duplicate", "p/b"), ("duplicate", "p/b"), ("duplicate", "p/b"))
    task = await desk.show("p/b")
    assert (task["dependencies"], task["tags"], task["requires"]) == (["p/a"], ["x", "y"], ["r"])


async def test_a_circle_opens_at_its_newest_dependency(desk: Desk) -> None:
    """What was there first was meant; the message shows the chain."""
    await desk.add("a")
    await desk.add("b", dependencies=["a"])
    desk.clock.go_on(hours=1)
    await desk.add("c", dependencies=["b"])
    c = await record(desk, "c")
    desk.clock.go_on(hours=1)
    await spoil(desk, "a", dependencies=(c.id,), updated_at=desk.clock.now)
    report = await repair(desk)
    cycle = next(issue for issue in report.issues if issue.kind == "cycle")
    assert (cycle.path, "a -> c -> b -> a" in cycle.message) == ("a", True)
    assert await found(desk) == []
    await is_sound(desk)
    assert [(await desk.show(path))["dependencies"] for path in "abc"] == [[], ["a"], ["b"]]


async def test_circles_through_containers_are_found(desk: Desk) -> None:
    """A container waits for its children, and they for what it waits for."""
    await desk.add("p/a")
    await desk.add("q/b")
    q, p = await record(desk, "q"), await record(desk, "p")
    await spoil(desk, "p/a", dependencies=(q.id,))
    await spoil(desk, "q", dependencies=(p.id,))
    report = await repair(desk)
    assert [issue.kind for issue in report.issues].count("cycle") == 1
    assert await found(desk) == []
    await is_sound(desk)


# What is derived.


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("p/b", {"status": Status.PENDING, "block": None}),
        ("p/b", {"status": Status.BLOCKED, "block": None}),
        ("q/c", {"status": Status.BLOCKED, "block": Block(cause=Cause.DEPENDENCY)}),
        ("q/c", {"block": Block(cause=Cause.MANUAL)}),
        ("p/a", {"block": Block(cause=Cause.DEPENDENCY)}),
    ],
)
async def test_a_wrong_block_is_derived_anew(desk: Desk, path: str, fields: dict[str, Any]) -> None:
    """Without raising the version: nobody changed the task."""
    await begin(desk)
    before = await record(desk, path)
    await spoil(desk, path, **fields)
    report = await repair(desk)
    assert ("block", path) in {(issue.kind, issue.path) for issue in report.issues}
    assert await record(desk, path) == before
    assert await found(desk) == []
    await is_sound(desk)


async def test_a_block_that_nothing_explains_is_taken_as_one_by_hand(desk: Desk) -> None:
    """Lifting it would be a guess; somebody can."""
    await begin(desk)
    await spoil(desk, "q/c", status=Status.BLOCKED, block=None)
    await repair(desk)
    assert (await desk.show("q/c"))["block"]["cause"] == "manual"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.PENDING, Status.FAILED])
async def test_a_wrong_roll_up_is_derived_anew(desk: Desk, status: Status) -> None:
    """The children decide."""
    await begin(desk)
    await spoil(desk, "p", status=status)
    await mended(desk, ("roll_up", "p"))
    task = await desk.show("p")
    assert (task["status"], task["version"]) == ("IN_PROGRESS", 1)


async def test_a_wrong_mark_of_lying_in_an_archived_subtree_is_set_right(desk: Desk) -> None:
    """Either way; otherwise work is hidden that nobody archived, or offered that is closed."""
    await begin(desk)
    await spoil(desk, "q/c", hidden=True)
    await mended(desk, ("hidden", "q/c"), ("ready", "q/c"))
    await desk.set("p", archived=True)
    await spoil(desk, "p/a", hidden=False)
    await mended(desk, ("hidden", "p/a"))


async def test_wrong_counts_are_counted_again(desk: Desk) -> None:
    """Missing, false, or of nobody."""
    await begin(desk)
    p, q, a = [(await record(desk, path)).id for path in ("p", "q", "p/a")]

    def falsify(records: Records) -> None:
        del records["tally"][p]
        records["tally"][q] = Tally(id=q, children=7)
        records["tally"][a] = msgspec.structs.replace(records["tally"][a], open_dependents=3)
        records["tally"][ROOT] = msgspec.structs.replace(records["tally"][ROOT], children=0)
        records["tally"]["nobody"] = Tally(id="nobody", children=1)

    await damage(desk, falsify)
    await mended(desk, *[("counts", path) for path in ("", "", "p", "p/a", "q")])


async def test_a_wrong_queue_is_put_in_order(desk: Desk) -> None:
    """What is ready is offered, what is not is not, and in the right place."""
    await begin(desk)
    await desk.add("q/d")
    b, c, d = [await record(desk, path) for path in ("p/b", "q/c", "q/d")]

    def falsify(records: Records) -> None:
        records["ready"][b.id] = Ready(id=b.id, path="p/b", rank=0)
        records["ready"][c.id] = msgspec.structs.replace(records["ready"][c.id], rank=9)
        del records["ready"][d.id]

    await damage(desk, falsify)
    await mended(desk, ("ready", "p/b"), ("ready", "q/c"), ("ready", "q/d"))
    assert [task["path"] for task in (await desk.atlas.lists.next(limit=9)).tasks] == ["q/c", "q/d"]


async def test_a_note_of_nobody_is_removed(memory_desk: Desk) -> None:
    """It can be seen nowhere; the journal keeps what it said."""
    desk = memory_desk
    await begin(desk)
    note = lost_note(desk)
    break_store(desk, lambda records: records["note"].update({note.id: note}))
    assert await found(desk, "p/**") == []
    await mended(desk, ("note", ""))
    event = (await desk.atlas.timeline.read(limit=1)).events[0]
    assert (event["type"], event["change"]["deleted"]["text"]) == ("note.deleted", "lost")


# The run as a whole.


async def test_a_mending_is_told_by_the_journal(desk: Desk) -> None:
    """One call, its actor, and what each record was and became."""
    await begin(desk)
    await spoil(desk, "q/c", dependencies=("gone",))
    await spoil(desk, "p", status=Status.COMPLETED)
    report = await desk.atlas.upkeep.repair(dry_run=False, actor="ada")
    events = (await desk.atlas.timeline.read(limit=2)).events
    assert {(e["action"], e["actor"]) for e in events} == {("repair_relationships", "ada")}
    assert len({e["correlation"] for e in events}) == 1
    changes = {e["path"]: e["change"]["fields"] for e in events}
    assert changes["p"]["status"] == ["COMPLETED", "IN_PROGRESS"]
    assert set(changes["q/c"]) == {"dependencies", "version"}
    assert report.receipt.seq == await desk.seq()


async def test_mending_keeps_what_is_not_wrong(desk: Desk) -> None:
    """Long fields are not even looked at."""
    given = {"description": "long", "reasoning": "why", "metadata": {"k": 1}, "acceptance": ["one"], "notes": ["n"]}
    before = await desk.add("p/a", **given)
    await spoil(desk, "p/a", tags=("x", "x"))
    await repair(desk)
    after = await desk.show("p/a")
    assert {**after, "tags": [], "version": 1} == before


async def test_a_repeated_repair_gets_the_first_answer(desk: Desk) -> None:
    """Every write takes a key."""
    await begin(desk)
    await spoil(desk, "p", status=Status.COMPLETED)
    first = await desk.atlas.upkeep.repair(dry_run=False, idempotency_key="k")
    assert (first.fixed, await desk.atlas.upkeep.repair(dry_run=False, idempotency_key="k")) == (1, first)


async def test_a_report_shows_the_first_two_hundred(desk: Desk) -> None:
    """And counts and mends all."""
    ids = [(await desk.add(f"p/t{number:03}"))["id"] for number in range(210)]

    def spoil_all(records: Records) -> None:
        for key in ids:
            records["task"][key] = msgspec.structs.replace(records["task"][key], tags=("x", "x"))

    await damage(desk, spoil_all)
    report = await repair(desk)
    assert (len(report.issues), report.issues_total, report.fixed) == (200, 210, 210)
    assert await found(desk) == []


# Patterns.


async def test_a_pattern_limits_what_is_looked_at_and_mended(desk: Desk) -> None:
    """What lies outside stays as it is."""
    await begin(desk)
    await desk.add("r/d")
    for path in ("p/a", "r/d"):
        await spoil(desk, path, tags=("x", "x"))
    assert await found(desk, "p/**") == [("duplicate", "p/a")]
    assert (await repair(desk, "p/**")).fixed == 1
    assert await found(desk) == [("duplicate", "r/d")]
    error = await desk.refused("TASK_INVALID_PATH", repair(desk, "p//a"))
    assert error.field == "pattern"


async def test_what_follows_from_a_mending_follows_beyond_the_pattern(desk: Desk) -> None:
    """Mending a leaf alone would make its containers, its dependents and their counts wrong, which were right."""
    await begin(desk)
    await desk.add("r/d", dependencies=["q"])
    a, q = await record(desk, "p/a"), await record(desk, "q")
    await spoil(desk, "q/c", status=Status.BLOCKED, block=Block(cause=Cause.DEPENDENCY))
    await damage(desk, lambda records: records["ready"].pop((q.id), None))
    await spoil(desk, "q", status=Status.BLOCKED)
    tally = (await desk.store.read(lambda tx: tx.get(TALLIES, q.id))) or Tally(id=q.id)
    blocked = msgspec.structs.replace(tally, leaves=(0, 0, 0, 0, 1, 0))
    await damage(desk, lambda records: records["tally"].update({q.id: blocked}))
    assert await found(desk, "q/c") != []
    await repair(desk, "q/c")
    assert await found(desk) == []
    await spoil(desk, "p/b", dependencies=(a.id, "gone"))
    await spoil(desk, "r/d", parent=a.id)
    await repair(desk, "r/d")
    await repair(desk, "p/b")
    assert await found(desk) == []
    await is_sound(desk)


def spoilt(chance: random.Random, tasks: list[Task], *names: str) -> dict[str, Any]:
    """Return a wrong field for a task, one of those named, else any."""
    made: dict[str, Any] = {
        "status": chance.choice(list(Status)),
        "type": chance.choice(list(Type)),
        "block": chance.choice([None, Block(cause=chance.choice(list(Cause)))]),
        "hidden": chance.choice([True, False]),
        "archived": chance.choice([True, False]),
        "dependencies": tuple(chance.choice(tasks).id for _ in range(3)),
        "parent": chance.choice([None, "gone", chance.choice(tasks).id]),
        "path": f"{chance.choice(tasks).path}/new{chance.randrange(10**6)}",
        "position": float(chance.randrange(9)),
    }
    name = chance.choice(names or tuple(made))
    return {name: made[name]}


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_was_damaged_one_repair_mends_it_all(memory_desk: Desk, seed: int) -> None:
    """Any number of faults, one upon the other: the second look finds nothing, and every rule holds again."""
    desk, chance = memory_desk, random.Random(seed)
    await desk.add("first")
    await work_on(desk, seed * 1_000, 40)
    tasks = await desk.store.read(lambda tx: tx.query(Query(TASKS)))
    for _ in range(chance.randrange(1, 8)):
        one = await present(desk, chance.choice(tasks).id)
        break_store(desk, _replacing(one, spoilt(chance, tasks)))
    if chance.random() < 0.3:
        lost = chance.choice(tasks).id
        break_store(desk, lambda records: records["task"].pop(lost))
    await repaired_at_once(desk)


@pytest.mark.parametrize("seed", range(100, 104))
async def test_whatever_a_program_could_damage_one_repair_mends_it_all(desk: Desk, seed: int) -> None:
    """On any store, as far as it lets it happen."""
    chance = random.Random(seed)
    await desk.add("first")
    await work_on(desk, seed * 1_000, 20)
    tasks = await desk.store.read(lambda tx: tx.query(Query(TASKS)))
    names = ("status", "type", "block", "hidden", "archived", "dependencies", "path", "position")
    for _ in range(chance.randrange(1, 8)):
        await spoil(desk, (await present(desk, chance.choice(tasks).id)).path, **spoilt(chance, tasks, *names))
    await repaired_at_once(desk)


async def repaired_at_once(desk: Desk) -> None:
    kept = {task.id for task in await desk.store.read(lambda tx: tx.query(Query(TASKS)))}
    report = await repair(desk)
    assert await found(desk) == [], report.issues
    await is_sound(desk)
    assert kept <= {task.id for task in await desk.store.read(lambda tx: tx.query(Query(TASKS)))}


async def present(desk: Desk, key: str) -> Task:
    task = await desk.store.read(lambda tx: tx.get(TASKS, key))
    assert task is not None
    return task


@pytest.mark.parametrize(
    "names", [("status", "type", "block", "hidden", "archived"), ("status", "dependencies")], ids=len
)
@pytest.mark.parametrize("seed", range(12))
async def test_a_repair_within_a_pattern_makes_nothing_worse(
    memory_desk: Desk, seed: int, names: tuple[str, ...]
) -> None:
    """What is found afterwards lies outside and was there before, unless circles tie both together."""
    desk, chance = memory_desk, random.Random(seed)
    await desk.add("first")
    await work_on(desk, seed * 1_000 + 3, 40)
    tasks = await desk.store.read(lambda tx: tx.query(Query(TASKS)))
    for _ in range(3):
        await spoil(desk, chance.choice(tasks).path, **spoilt(chance, tasks, *names))
    before = await found(desk)
    await repair(desk, "a/**")
    assert await found(desk, "a/**") == []
    if "dependencies" not in names:
        assert {*await found(desk)} <= {issue for issue in before if not is_within(issue[1], "a")}


async def test_a_file_is_mended_too(tmp_path: Path) -> None:
    """Damage by another program, which did not keep what the file declares."""
    place = tmp_path / "work.db"
    async with atlas.open(f"sqlite:///{place}") as a:
        await a.tasks.create("p/a", parents=True)
        await a.tasks.create("p/b")
        b = (await a.tasks.get("p/b")).task["id"]
    connection = apsw.Connection(str(place))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(
        "UPDATE task SET parent = 'gone', value = json_set(value, '$.parent', 'gone') WHERE key = ?", (b,)
    )
    connection.close()
    async with atlas.open(f"sqlite:///{place}") as a:
        assert [issue.kind for issue in (await a.upkeep.repair()).issues] != []
        await a.upkeep.repair(dry_run=False)
        assert (await a.upkeep.repair()).issues == []
        assert [child["path"] for child in (await a.tasks.get("p")).children] == ["p/a", "p/b"]
        assert await a.store.verify() == []
