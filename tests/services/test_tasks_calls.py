"""What holds of every call: versions, retries, receipts, order of errors, bulk: RULES, versions, retries, receipts."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from tests.services.desk import Desk

from atlas.errors import AtlasError
from atlas.work.arguments import Outcomes, Updates

pytestmark = pytest.mark.anyio


async def bulk(desk: Desk, *operations: dict[str, Any], **more: Any) -> Outcomes:
    return await desk.atlas.tasks.bulk(operations, **more)


# Versions.


async def test_an_outdated_change_is_refused_with_what_changed_since(desk: Desk) -> None:
    """The caller can merge without asking again."""
    await desk.add("t", name="one")
    desk.clock.go_on(minutes=5)
    given = msgspec.convert({"name": "two", "priority": "high"}, Updates)
    await desk.atlas.tasks.update("t", given, actor="bob")
    error = await desk.refused("CONCURRENT_MODIFICATION", desk.set("t", name="three", expected_version=1))
    assert (error.field, error.given, error.bound, error.retryable) == ("expected_version", 1, 2, False)
    assert error.details["current"]["name"] == "two"
    assert error.details["changed_by"] == "bob"
    assert error.details["changed_at"] == "2026-01-01T12:05:00+00:00"
    assert set(error.details["fields"]) == {"name", "priority"}


async def test_the_expected_version_guards_update_move_and_delete(desk: Desk) -> None:
    """The right one passes, any other does not."""
    await desk.add("t")
    for call in (
        lambda version: desk.set("t", name="x", expected_version=version),
        lambda version: desk.move("t", "u", expected_version=version),
        lambda version: desk.delete("u", expected_version=version),
    ):
        version = (await desk.show("t" if await exists(desk, "t") else "u"))["version"]
        await desk.refused("CONCURRENT_MODIFICATION", call(version + 1))
        await call(version)


async def exists(desk: Desk, path: str) -> bool:
    try:
        await desk.show(path)
    except AtlasError:
        return False
    return True


async def test_bulk_operations_take_an_expected_version_too(desk: Desk) -> None:
    """The same arguments as the verbs, deletion included."""
    await desk.add("t")
    for operation in (
        {"op": "update", "path": "t", "updates": {"name": "x"}},
        {"op": "move", "path": "t", "to": "u"},
        {"op": "delete", "path": "t"},
    ):
        await desk.refused("CONCURRENT_MODIFICATION", bulk(desk, {**operation, "expected_version": 7}))


async def test_an_update_that_changes_nothing_writes_nothing(desk: Desk) -> None:
    """No event, the same version, the current seq."""
    await desk.add("t", tags=["a"], metadata={"k": {"v": 1}})
    seq = await desk.seq()
    written = await desk.set("t", name="t", tags=["a"], status="PENDING", metadata={"k": {"v": 1}}, add_tags=["a"])
    assert (written.receipt.seq, written.receipt.version, written.affected) == (seq, 1, [])
    assert await desk.seq() == seq


async def test_true_is_not_one(desk: Desk) -> None:
    """In JSON they differ, so changing one into the other is a change."""
    await desk.add("t", metadata={"k": 1})
    assert (await desk.set("t", metadata={"k": True})).receipt.version == 2
    assert (await desk.show("t"))["metadata"]["k"] is True


async def test_a_receipt_says_where_the_journal_stands_and_how_durable_it_is(desk: Desk) -> None:
    """Acknowledged means answered after the commit."""
    written = await desk.atlas.tasks.create("p/t", parents=True)
    receipt = written.receipt
    durability = desk.store.capabilities.durability
    assert (receipt.seq, receipt.version, receipt.durability) == (await desk.seq(), 1, durability)


async def test_version_and_time_of_a_task_only_grow(desk: Desk) -> None:
    """Also when the clock goes back, and when the task came from where the clock is ahead."""
    line = {"source": "t", "path": "t", "name": "t", "updated_at": "2030-01-01T00:00:00Z"}
    await desk.atlas.plans.load(msgspec.json.encode(line).decode(), format="atlas")
    seen = [await desk.show("t")]
    for name, hours in (("one", 1), ("two", -5), ("three", 2)):
        desk.clock.go_on(hours=hours)
        await desk.set("t", name=name)
        seen.append(await desk.show("t"))
    assert [task["version"] for task in seen] == [1, 2, 3, 4]
    times = [task["updated_at"] for task in seen]
    assert times == sorted(times)
    events = (await desk.atlas.timeline.read(since=0)).events
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


# Idempotency keys.


async def test_a_repeated_call_gets_the_first_answer(desk: Desk) -> None:
    """A retry after a lost answer does nothing again, whatever happened in between."""
    first = await desk.atlas.tasks.create("t", name="one", idempotency_key="k")
    await desk.set("t", name="two")
    seq = await desk.seq()
    assert await desk.atlas.tasks.create("t", name="one", idempotency_key="k") == first
    assert await desk.seq() == seq


async def test_every_write_takes_a_key(desk: Desk) -> None:
    """Each repeats its own answer."""
    tasks = desk.atlas.tasks
    await desk.add("t")
    updates = msgspec.convert({"name": "x"}, Updates)
    for call in (
        lambda: tasks.update("t", updates, idempotency_key="update"),
        lambda: tasks.move("t", "u", idempotency_key="move"),
        lambda: tasks.bulk(({"op": "create", "path": "v"},), idempotency_key="bulk"),
        lambda: tasks.delete("u", idempotency_key="delete"),
    ):
        first: Any = await call()
        assert await call() == first


async def test_a_key_stands_for_one_call(desk: Desk) -> None:
    """Other arguments, or another verb, are a mistake that is told."""
    await desk.atlas.tasks.create("t", idempotency_key="k")
    for call in (
        desk.atlas.tasks.create("u", idempotency_key="k"),
        desk.atlas.tasks.delete("t", idempotency_key="k"),
    ):
        error = await desk.refused("IDEMPOTENCY_MISMATCH", call)
        assert (error.field, error.given) == ("idempotency_key", "k")


async def test_refusals_are_not_kept(desk: Desk) -> None:
    """A call that was refused may succeed later under the same key."""
    await desk.refused("TASK_PARENT_NOT_FOUND", desk.atlas.tasks.create("p/t", idempotency_key="k"))
    await desk.add("p", type="GROUP")
    await desk.atlas.tasks.create("p/t", idempotency_key="k")


async def test_a_key_is_kept_for_a_day(desk: Desk) -> None:
    """Until then it repeats; after that it is new."""
    first = await desk.atlas.tasks.create("t", idempotency_key="k")
    desk.clock.go_on(hours=23, minutes=59)
    assert await desk.atlas.tasks.create("t", idempotency_key="k") == first
    desk.clock.go_on(minutes=1)
    await desk.refused("TASK_DUPLICATE", desk.atlas.tasks.create("t", idempotency_key="k"))
    await desk.atlas.tasks.create("u", idempotency_key="k")


# The order of errors.


async def test_errors_are_found_in_their_order(desk: Desk) -> None:
    """Shape, path, existence, version, rules: a call with all of these faults shows them one after the other."""
    await desk.add("p/t")
    await desk.set("p", archived=True)
    faults: list[tuple[dict[str, Any], str]] = [
        ({"path": "p//t", "version": 9, "name": "", "add_dependencies": ["x"]}, "INVALID_INPUT"),
        ({"path": "p//t", "version": 9, "add_dependencies": ["x"]}, "TASK_INVALID_PATH"),
        ({"path": "p/t", "version": 9, "add_dependencies": ["x"]}, "TASK_NOT_FOUND"),
        ({"path": "p/t", "version": 9}, "CONCURRENT_MODIFICATION"),
        ({"path": "p/t", "version": 1}, "TASK_ARCHIVED"),
    ]
    for given, code in faults:
        path, version = given.pop("path"), given.pop("version")
        updates: Any = {"status": "COMPLETED", **given}
        await desk.refused(code, desk.atlas.tasks.update(path, updates, expected_version=version))


async def test_a_move_finds_its_errors_in_their_order(desk: Desk) -> None:
    """The same order where two paths and a neighbour are named."""
    await desk.add("p/t")
    await desk.add("q")
    await desk.set("p", archived=True)
    await desk.refused("TASK_INVALID_PATH", desk.move("p/t", "q//t", expected_version=9))
    await desk.refused("TASK_PARENT_NOT_FOUND", desk.move("p/t", "r/t", expected_version=9))
    await desk.refused("TASK_NOT_FOUND", desk.move("p/t", "q/t", before="q/u", expected_version=9))
    await desk.refused("CONCURRENT_MODIFICATION", desk.move("p/t", "q/t", expected_version=9))
    await desk.refused("TASK_ARCHIVED", desk.move("p/t", "q/t", expected_version=1))


# Bulk.


async def test_bulk_runs_in_order_and_each_sees_the_ones_before(desk: Desk) -> None:
    """A plan can be made and begun in one call."""
    answer = await bulk(
        desk,
        {"op": "create", "path": "p", "type": "GROUP"},
        {"op": "create", "path": "p/a"},
        {"op": "create", "path": "p/b", "dependencies": ["p/a"]},
        {"op": "update", "path": "p/a", "updates": {"status": "COMPLETED"}},
        {"op": "update", "path": "p/b", "status": "IN_PROGRESS"},
        {"op": "move", "path": "p/b", "to": "b"},
        {"op": "delete", "path": "p", "dependents": "detach"},
    )
    assert [outcome["op"] for outcome in answer.outcomes] == [
        "create",
        "create",
        "create",
        "update",
        "update",
        "move",
        "delete",
    ]
    assert answer.outcomes[4]["task"]["status"] == "IN_PROGRESS"
    assert answer.outcomes[6]["deleted"] == ["p", "p/a"]
    assert await desk.status("b") == "IN_PROGRESS"


async def test_bulk_is_all_or_nothing_and_names_the_operation(desk: Desk) -> None:
    """Nothing of the whole list is kept, whichever fails."""
    await desk.add("t")
    error = await desk.refused(
        "TASK_DUPLICATE",
        bulk(
            desk,
            {"op": "create", "path": "a"},
            {"op": "update", "path": "t", "updates": {"status": "COMPLETED"}},
            {"op": "create", "path": "a"},
        ),
    )
    assert (error.details["index"], error.field) == (2, "operations[2].path")


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ({"path": "a"}, "operations[1].op"),
        ({"op": "rename", "path": "a"}, "operations[1].op"),
        ({"op": "create"}, "operations[1].path"),
        ({"op": "create", "path": "b", "colour": "red"}, "operations[1].colour"),
        ({"op": "update", "path": "a", "updates": {"status": "DONE"}}, "operations[1].updates.status"),
        ({"op": "move", "path": "a"}, "operations[1].to"),
        ({"op": "create", "path": "b", "name": "\0"}, "operations[1].name"),
    ],
)
async def test_a_wrong_operation_is_refused_before_anything_runs(
    desk: Desk, operation: dict[str, Any], field: str
) -> None:
    """Shape first, in a list as in a single call; the index says where."""
    error = await desk.refused("INVALID_INPUT", bulk(desk, {"op": "create", "path": "a"}, operation))
    assert (error.field, error.details.get("index", 1)) == (field, 1)


@pytest.mark.parametrize("count", [0, 1_001])
async def test_bulk_takes_between_one_and_a_thousand(desk: Desk, count: int) -> None:
    """More than that is an import."""
    error = await desk.refused("INVALID_INPUT", bulk(desk, *({"op": "create", "path": f"t{n}"} for n in range(count))))
    assert error.field == "operations"


async def test_affected_lists_the_first_two_hundred_and_counts_all(desk: Desk) -> None:
    """An answer stays readable however much follows from a change."""
    await desk.add("a")
    for number in range(250):
        await desk.add(f"p/t{number:03}", dependencies=["a"])
    written = await desk.set("a", status="COMPLETED")
    assert len(written.affected) == 200
    # The task itself, its dependents, and the container that rolls up.
    assert written.affected_total == 252
    assert written.affected[0] == "a"


async def test_a_write_answers_brief_unless_asked_for_more(desk: Desk) -> None:
    """An answer is read by somebody who pays for every word."""
    made = await desk.atlas.tasks.create("t", description="long")
    assert set(made.task) == {"path", "name", "type", "status", "priority"}
    made = await desk.atlas.tasks.create("u", description="long", fields=("path", "description"))
    assert made.task == {"path": "u", "description": "long"}
    error = await desk.refused("INVALID_INPUT", desk.atlas.tasks.create("v", fields=("colour",)))
    assert (error.field, error.given) == ("fields", "colour")


async def test_one_call_is_one_correlation(desk: Desk) -> None:
    """What a call changed, and all that followed, can be told from the journal and taken back together."""
    await desk.add("p/a")
    await desk.add("p/b", dependencies=["p/a"])
    await desk.set("p/a", status="COMPLETED")
    events = (await desk.atlas.timeline.read(limit=3)).events
    assert {event["path"] for event in events} == {"p/a", "p", "p/b"}
    assert len({event["correlation"] for event in events}) == 1
    assert {(event["actor"], event["action"], event["source"]) for event in events} == {
        ("tester", "update_task", "test")
    }


async def test_a_task_that_came_and_went_in_one_call_affected_nothing(desk: Desk) -> None:
    """`affected` lists what has to be read again; a path that was never there cannot be."""
    await desk.add("p", type="GROUP")
    operations: list[dict[str, object]] = [
        {"op": "create", "path": "p/a"},
        {"op": "update", "path": "p/a", "updates": {"priority": "high", "notes": ["x"]}},
        {"op": "delete", "path": "p/a"},
    ]
    answer = await desk.atlas.tasks.bulk(operations)
    assert (answer.affected, answer.affected_total) == ([], 0)


async def test_a_new_note_affects_its_task(desk: Desk) -> None:
    """The record of the task may be the same, but who shows it shows its notes."""
    await desk.add("p")
    assert (await desk.set("p", notes=["seen"])).affected == ["p"]


@pytest.mark.parametrize("line", [{"text": ""}, {"text": "x" * 1_001}, {"text": "x", "colour": "red"}, {"done": True}])
async def test_a_criterion_is_a_line_of_bounded_text(desk: Desk, line: dict[str, object]) -> None:
    """What is a list of lines must not become a store of anything."""
    await desk.add("p")
    error = await desk.refused("INVALID_INPUT", desk.atlas.tasks.update("p", {"acceptance": [line]}))
    assert (error.field or "").startswith("updates.acceptance")


async def test_a_cursor_with_a_number_beyond_every_store_is_refused(desk: Desk) -> None:
    """A forged cursor is bad input, not a failure of the store."""
    for number in range(3):
        await desk.add(f"p/t{number}")
    page = await desk.atlas.timeline.read(limit=1)
    assert page.next_cursor is not None
    place = json.loads(base64.urlsafe_b64decode(page.next_cursor + "=="))
    forged = base64.urlsafe_b64encode(json.dumps([place[0], [2**63]]).encode()).decode().rstrip("=")
    error = await desk.refused("INVALID_INPUT", desk.atlas.timeline.read(limit=1, cursor=forged))
    assert error.field == "cursor"
