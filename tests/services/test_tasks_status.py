"""Statuses: the table, freedom, blocks and their causes: RULES, statuses."""

from __future__ import annotations

import pytest
from tests.services.desk import Desk

from atlas.model.lifecycle import TRANSITIONS, Change
from atlas.model.task import Status

pytestmark = pytest.mark.anyio

WAYS = {
    "PENDING": [],
    "IN_PROGRESS": ["IN_PROGRESS"],
    "COMPLETED": ["COMPLETED"],
    "FAILED": ["FAILED"],
    "BLOCKED": ["BLOCKED"],
    "CANCELLED": ["CANCELLED"],
}


async def waiting(desk: Desk) -> None:
    """`b` waits for `a`."""
    await desk.add("p/a")
    await desk.add("p/b", dependencies=["p/a"])


@pytest.mark.parametrize(("start", "end"), list(TRANSITIONS))
async def test_statuses_follow_each_other_as_the_table_says(desk: Desk, start: Status, end: Status) -> None:
    """Every pair, on a free task."""
    await desk.add("t")
    for status in WAYS[start]:
        await desk.set("t", status=status)
    if TRANSITIONS[start, end] is Change.REFUSED:
        error = await desk.refused("TASK_STATUS", desk.set("t", status=end))
        assert (error.field, error.given) == ("status", end)
    else:
        assert (await desk.set("t", status=end)).task["status"] == end


async def test_a_task_that_waits_starts_blocked_and_comes_free_by_itself(desk: Desk) -> None:
    """PENDING means ready; nobody has to look."""
    await waiting(desk)
    task = await desk.show("p/b")
    assert (task["status"], task["block"]) == (
        "BLOCKED",
        {"cause": "dependency", "by": ["p/a"], "failed": [], "reason": None},
    )
    written = await desk.set("p/a", status="COMPLETED")
    assert sorted(written.affected) == ["p", "p/a", "p/b"]
    assert await desk.status("p/b") == "PENDING"


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELLED"])
async def test_completed_and_cancelled_both_finish(desk: Desk, end: str) -> None:
    """What will not be done is not waited for."""
    await waiting(desk)
    await desk.set("p/a", status=end)
    assert await desk.status("p/b") == "PENDING"


async def test_a_failed_dependency_holds_and_is_marked(desk: Desk) -> None:
    """FAILED is not finished: somebody has to decide."""
    await waiting(desk)
    await desk.set("p/a", status="FAILED")
    block = (await desk.show("p/b"))["block"]
    assert (block["by"], block["failed"]) == (["p/a"], ["p/a"])


@pytest.mark.parametrize("end", ["IN_PROGRESS", "COMPLETED"])
async def test_starting_and_completing_need_every_dependency(desk: Desk, end: str) -> None:
    """The refusal names what is not finished."""
    await waiting(desk)
    error = await desk.refused("TASK_DEPENDENCY", desk.set("p/b", status=end))
    assert (error.field, error.given) == ("status", end)
    assert error.details["waiting_on"] == [{"path": "p/a", "status": "PENDING"}]
    assert "p/a" in error.hint


async def test_dependencies_of_the_containers_above_hold_too(desk: Desk) -> None:
    """Inherited, and shown as such."""
    await desk.add("first")
    await desk.add("then", type="GROUP", dependencies=["first"])
    await desk.add("then/a/b")
    task = await desk.show("then/a/b")
    assert (task["status"], task["dependencies"], task["inherited_dependencies"]) == ("BLOCKED", [], ["first"])
    await desk.refused("TASK_DEPENDENCY", desk.set("then/a/b", status="IN_PROGRESS"))
    await desk.set("first", status="COMPLETED")
    assert await desk.status("then/a/b") == "PENDING"


async def test_depending_on_a_container_is_depending_on_all_below_it(desk: Desk) -> None:
    """A container is finished when everything in it is."""
    await desk.add("p/a")
    await desk.add("p/b")
    await desk.add("q", dependencies=["p"])
    await desk.set("p/a", status="COMPLETED")
    assert await desk.status("q") == "BLOCKED"
    await desk.set("p/b", status="CANCELLED")
    assert await desk.status("q") == "PENDING"


async def test_asking_pending_of_a_task_that_waits_stores_blocked(desk: Desk) -> None:
    """Accepted, since it says what is wanted; PENDING would say ready."""
    await waiting(desk)
    await desk.set("p/b", status="FAILED")
    task = (await desk.set("p/b", status="PENDING")).task
    assert (task["status"], task["block"]["cause"]) == ("BLOCKED", "dependency")


async def test_a_manual_block_has_its_reason_and_is_lifted_by_hand_alone(desk: Desk) -> None:
    """Finishing dependencies does not answer the question that somebody is waiting for."""
    await waiting(desk)
    task = (await desk.set("p/b", status="BLOCKED", reason="which API?")).task
    assert task["block"] == {"cause": "manual", "by": ["p/a"], "failed": [], "reason": "which API?"}
    await desk.set("p/a", status="COMPLETED")
    assert (await desk.show("p/b"))["block"]["cause"] == "manual"
    await desk.set("p/b", status="PENDING")
    assert await desk.status("p/b") == "PENDING"


async def test_lifting_a_manual_block_falls_back_to_the_dependency(desk: Desk) -> None:
    """Both at once: the manual one goes, the other stays."""
    await waiting(desk)
    await desk.set("p/b", status="BLOCKED", reason="which API?")
    task = (await desk.set("p/b", status="PENDING")).task
    assert (task["status"], task["block"]["cause"], task["block"]["reason"]) == ("BLOCKED", "dependency", None)


async def test_a_block_takes_a_new_reason_without_changing_status(desk: Desk) -> None:
    """The table: BLOCKED to BLOCKED is no change but for the reason."""
    await desk.add("t")
    await desk.set("t", status="BLOCKED", reason="one")
    written = await desk.set("t", status="BLOCKED", reason="two")
    assert written.task["block"]["reason"] == "two"
    assert written.receipt.version == 3


async def test_a_reason_belongs_to_a_block(desk: Desk) -> None:
    """Elsewhere it would be lost without a word."""
    await desk.add("t")
    error = await desk.refused("INVALID_INPUT", desk.set("t", reason="because"))
    assert (error.field, error.given) == ("reason", "because")
    await desk.refused("INVALID_INPUT", desk.set("t", status="FAILED", reason="because"))


async def test_reopening_a_dependency_blocks_what_is_pending(desk: Desk) -> None:
    """Both directions: what came free is held again."""
    await waiting(desk)
    await desk.set("p/a", status="COMPLETED")
    await desk.set("p/a", status="PENDING")
    assert (await desk.show("p/b"))["block"]["cause"] == "dependency"


async def test_reopening_a_dependency_leaves_alone_what_is_not_pending(desk: Desk) -> None:
    """Finished and failed work stays as it is; what runs keeps running; a block by hand keeps its reason."""
    await desk.add("p/a")
    await desk.set("p/a", status="COMPLETED")
    states = {"done": "COMPLETED", "dropped": "CANCELLED", "broken": "FAILED", "running": "IN_PROGRESS"}
    for name, status in states.items():
        await desk.add(f"p/{name}", dependencies=["p/a"])
        await desk.set(f"p/{name}", status=status)
    await desk.add("p/held", dependencies=["p/a"])
    await desk.set("p/held", status="BLOCKED", reason="why")
    await desk.set("p/a", status="PENDING")
    assert {name: await desk.status(f"p/{name}") for name in states} == states
    assert (await desk.show("p/running"))["warnings"] == ["in progress, but cannot complete before p/a"]
    block = (await desk.show("p/held"))["block"]
    assert (block["cause"], block["by"], block["reason"]) == ("manual", ["p/a"], "why")


async def test_a_task_comes_free_only_when_the_last_of_its_dependencies_is_finished(desk: Desk) -> None:
    """Its own and those of every container above it, whichever is last."""
    for name in ("a", "b", "c"):
        await desk.add(name)
    await desk.add("p", type="GROUP", dependencies=["a"])
    await desk.add("p/q", type="GROUP", dependencies=["b"])
    await desk.add("p/q/t", dependencies=["c"])
    for done, left in (("a", ["c", "b"]), ("c", ["b"])):
        await desk.set(done, status="COMPLETED")
        assert (await desk.show("p/q/t"))["block"]["by"] == left
    await desk.set("b", status="CANCELLED")
    assert await desk.status("p/q/t") == "PENDING"


async def test_work_in_progress_keeps_running_but_cannot_complete(desk: Desk) -> None:
    """Nobody's work is stopped under their hands; a warning says why it cannot be finished yet."""
    await waiting(desk)
    await desk.set("p/a", status="COMPLETED")
    await desk.set("p/b", status="IN_PROGRESS")
    await desk.set("p/a", status="PENDING")
    task = await desk.show("p/b")
    assert task["status"] == "IN_PROGRESS"
    assert "p/a" in task["warnings"][0]
    await desk.refused("TASK_DEPENDENCY", desk.set("p/b", status="COMPLETED"))
    await desk.set("p/a", status="COMPLETED")
    assert (await desk.show("p/b"))["warnings"] == []
    await desk.set("p/b", status="COMPLETED")


async def test_a_new_dependency_blocks_what_is_pending_and_leaves_what_is_finished(desk: Desk) -> None:
    """A dependency added late says something about work to come, not about work done."""
    for name in ("a", "pending", "done", "running"):
        await desk.add(f"p/{name}")
    await desk.set("p/done", status="COMPLETED")
    await desk.set("p/running", status="IN_PROGRESS")
    for name in ("pending", "done", "running"):
        await desk.set(f"p/{name}", add_dependencies=["p/a"])
    assert [await desk.status(f"p/{n}") for n in ("pending", "done", "running")] == [
        "BLOCKED",
        "COMPLETED",
        "IN_PROGRESS",
    ]
    await desk.set("p/pending", remove_dependencies=["p/a"])
    assert await desk.status("p/pending") == "PENDING"


async def test_one_update_is_judged_against_the_task_as_it_would_be(desk: Desk) -> None:
    """Removing the last dependency and starting is one step; adding one and starting is none."""
    await waiting(desk)
    await desk.set("p/b", status="IN_PROGRESS", dependencies=[])
    await desk.add("p/c")
    await desk.refused("TASK_DEPENDENCY", desk.set("p/c", status="IN_PROGRESS", add_dependencies=["p/a"]))


@pytest.mark.parametrize(("path", "dependency"), [("p/a", "p/a"), ("p/a", "p"), ("p", "p/a"), ("p/a/b", "p")], ids=str)
async def test_nothing_depends_on_its_own_line(desk: Desk, path: str, dependency: str) -> None:
    """Itself, what lies above it, what lies below it."""
    await desk.add("p/a", type="GROUP")
    await desk.add("p/a/b")
    error = await desk.refused("TASK_CYCLE", desk.set(path, add_dependencies=[dependency]))
    assert error.details["chain"][0] == path


async def test_a_circle_is_refused_with_its_chain(desk: Desk) -> None:
    """The chain is the way to mend it."""
    await desk.add("a")
    await desk.add("b", dependencies=["a"])
    await desk.add("c", dependencies=["b"])
    error = await desk.refused("TASK_CYCLE", desk.set("a", dependencies=["c"]))
    assert error.details["chain"] == ["a", "c", "b", "a"]
    assert "a -> c -> b -> a" in error.message


async def test_a_circle_through_containers_is_found(desk: Desk) -> None:
    """A container waits for its children, and they for what it waits for."""
    await desk.add("p/a")
    await desk.add("q/b")
    await desk.set("q", dependencies=["p"])
    await desk.refused("TASK_CYCLE", desk.set("p/a", dependencies=["q/b"]))
    await desk.refused("TASK_CYCLE", desk.set("p/a", dependencies=["q"]))
    await desk.refused("TASK_CYCLE", desk.set("p", dependencies=["q/b"]))
    await desk.refused("TASK_CYCLE", desk.add("p/c", dependencies=["q/b"]))


async def test_a_task_has_no_more_dependencies_than_the_limit(desk: Desk) -> None:
    """Fifty unless the operator says otherwise; the hint says what to do instead."""
    names = [f"d/t{n}" for n in range(51)]
    for name in names:
        await desk.add(name)
    error = await desk.refused("INVALID_INPUT", desk.add("t", dependencies=names))
    assert (error.field, error.given, error.bound) == ("dependencies", 51, 50)
    await desk.add("t", dependencies=names[:50])
    error = await desk.refused("INVALID_INPUT", desk.set("t", add_dependencies=[names[50]]))
    assert error.given == 51


async def test_times_follow_the_status(desk: Desk) -> None:
    """Started once, completed when finished, both gone when it is reopened."""
    await desk.add("t")
    desk.clock.go_on(hours=1)
    await desk.set("t", status="IN_PROGRESS")
    desk.clock.go_on(hours=1)
    task = (await desk.set("t", status="COMPLETED")).task
    assert (task["started_at"], task["completed_at"]) == ("2026-01-01T13:00:00Z", "2026-01-01T14:00:00Z")
    task = (await desk.set("t", status="PENDING")).task
    assert (task["started_at"], task["completed_at"]) == (None, None)
