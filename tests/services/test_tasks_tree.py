"""Containers, archiving, moving and deleting: RULES, containers; DESIGN 5, roll-up."""

from __future__ import annotations

import pytest
from tests.services.desk import Desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("leaves", "derived"),
    [
        (["COMPLETED", "CANCELLED"], "COMPLETED"),
        (["CANCELLED", "CANCELLED"], "CANCELLED"),
        (["FAILED", "IN_PROGRESS"], "FAILED"),
        (["COMPLETED", "FAILED"], "FAILED"),
        (["IN_PROGRESS", "PENDING"], "IN_PROGRESS"),
        (["COMPLETED", "PENDING"], "IN_PROGRESS"),
        (["CANCELLED", "BLOCKED"], "IN_PROGRESS"),
        (["BLOCKED", "BLOCKED"], "BLOCKED"),
        (["BLOCKED", "PENDING"], "PENDING"),
        (["PENDING", "PENDING"], "PENDING"),
    ],
)
async def test_a_containers_status_follows_from_its_children(desk: Desk, leaves: list[str], derived: str) -> None:
    """DESIGN 5, roll-up, case by case, through two levels."""
    for number, status in enumerate(leaves):
        await desk.add(f"p/g/t{number}")
        if status != "PENDING":
            await desk.set(f"p/g/t{number}", status=status)
    assert await desk.status("p/g") == derived
    assert await desk.status("p") == derived


async def test_a_derived_change_raises_no_version_and_names_its_cause(desk: Desk) -> None:
    """Versions count what people did; the journal says what followed from what."""
    await desk.add("p/a")
    written = await desk.set("p/a", status="IN_PROGRESS")
    assert (await desk.show("p"))["version"] == 1
    assert written.affected == ["p/a", "p"]
    read = await desk.atlas.timeline.read(path="p", limit=1)
    event = read.events[0]
    assert event["change"] == {
        "fields": {"status": ["PENDING", "IN_PROGRESS"], "started_at": [None, "2026-01-01T12:00:00Z"]}
    }
    assert event["causation"]


async def test_progress_counts_the_leaves(desk: Desk) -> None:
    """However deep they lie."""
    for path in ("p/a/x", "p/a/y", "p/b", "p/c"):
        await desk.add(path)
    await desk.set("p/a/x", status="COMPLETED")
    progress = (await desk.show("p"))["progress"]
    assert progress == {"total": 4, "finished": 1, "percent": 25, "by_status": {"PENDING": 3, "COMPLETED": 1}}


@pytest.mark.parametrize("status", ["IN_PROGRESS", "COMPLETED", "FAILED", "BLOCKED"])
async def test_a_containers_status_cannot_be_set(desk: Desk, status: str) -> None:
    """The refusal names the children whose status can."""
    await desk.add("p/a")
    error = await desk.refused("TASK_STATUS", desk.set("p", status=status))
    assert error.details["children"] == ["p/a"]
    assert error.bound == ["CANCELLED", "PENDING"]


async def test_cancelling_a_container_cancels_what_is_open_below_and_pending_brings_it_back(desk: Desk) -> None:
    """In one transaction each; what was finished stays as it was."""
    for path in ("p/a/x", "p/a/y", "p/b"):
        await desk.add(path)
    await desk.set("p/a/x", status="COMPLETED")
    await desk.set("p", status="CANCELLED")
    assert [await desk.status(path) for path in ("p/a/x", "p/a/y", "p/b", "p/a", "p")] == [
        "COMPLETED",
        "CANCELLED",
        "CANCELLED",
        "COMPLETED",
        "COMPLETED",
    ]
    await desk.set("p", status="PENDING")
    assert [await desk.status(path) for path in ("p/a/x", "p/a/y", "p/b", "p")] == [
        "COMPLETED",
        "PENDING",
        "PENDING",
        "IN_PROGRESS",
    ]


async def test_an_empty_container_behaves_like_a_task_but_is_never_offered(desk: Desk) -> None:
    """It can be started and finished; there is nothing in it to work on."""
    await desk.add("p", type="GROUP")
    assert (await desk.atlas.lists.next()).tasks == []
    await desk.set("p", status="IN_PROGRESS")
    await desk.set("p", status="COMPLETED")
    assert await desk.status("p") == "COMPLETED"


async def test_a_container_whose_last_child_leaves_is_pending(desk: Desk) -> None:
    """Whatever the children had made of it."""
    await desk.add("p/a")
    await desk.add("q", dependencies=["p"])
    await desk.set("p/a", status="COMPLETED")
    assert await desk.status("q") == "PENDING"
    await desk.delete("p/a")
    assert await desk.status("p") == "PENDING"
    assert await desk.status("q") == "BLOCKED"


async def test_a_container_whose_last_child_moves_away_is_pending(desk: Desk) -> None:
    """And the other container takes the child's status on."""
    await desk.add("p/a")
    await desk.add("q", type="GROUP")
    await desk.set("p/a", status="COMPLETED")
    await desk.move("p/a", "q/a")
    assert (await desk.status("p"), await desk.status("q")) == ("PENDING", "COMPLETED")
    assert (await desk.show("p"))["progress"] is None


async def test_a_task_that_becomes_a_container_says_nothing_of_itself(desk: Desk) -> None:
    """What was said of the empty group no longer counts; its first child decides."""
    await desk.add("p", type="GROUP")
    await desk.set("p", status="BLOCKED", reason="why")
    await desk.add("p/a")
    task = await desk.show("p")
    assert (task["status"], task["block"]) == ("PENDING", None)


async def test_cancelling_a_container_takes_what_failed_and_what_is_blocked_too(desk: Desk) -> None:
    """Every open task below, in one transaction with one correlation; reopening brings back what was cancelled."""
    for name, status in (("a", "FAILED"), ("b", "BLOCKED"), ("c", "IN_PROGRESS"), ("d", "CANCELLED")):
        await desk.add(f"p/{name}")
        await desk.set(f"p/{name}", status=status)
    written = await desk.set("p", status="CANCELLED")
    assert (written.task["status"], written.affected_total) == ("CANCELLED", 4)
    events = (await desk.atlas.timeline.read(limit=4)).events
    assert len({event["correlation"] for event in events}) == 1
    await desk.set("p", status="PENDING")
    assert [await desk.status(f"p/{name}") for name in "abcd"] == ["PENDING"] * 4


async def test_reopening_a_container_holds_what_waits(desk: Desk) -> None:
    """A leaf that is not free comes back blocked."""
    await desk.add("first")
    await desk.add("p/a", dependencies=["first"])
    await desk.set("p", status="CANCELLED")
    await desk.set("p", status="PENDING")
    assert (await desk.show("p/a"))["block"]["cause"] == "dependency"
    assert await desk.status("p") == "BLOCKED"


async def test_a_new_child_reopens_a_finished_container(desk: Desk) -> None:
    """And with it what depends on the container."""
    await desk.add("p/a")
    await desk.add("q", dependencies=["p"])
    await desk.set("p/a", status="COMPLETED")
    await desk.add("p/b")
    assert await desk.status("p") == "IN_PROGRESS"
    assert await desk.status("q") == "BLOCKED"


# Archived.


async def test_an_archived_subtree_is_out_of_sight_and_refuses_writes(desk: Desk) -> None:
    """The hint says how to bring it back."""
    await desk.add("p/a/b")
    await desk.set("p", archived=True)
    assert (await desk.atlas.lists.by_path("**")).tasks == []
    assert (await desk.atlas.lists.next()).tasks == []
    for call in (
        desk.set("p/a/b", name="x"),
        desk.set("p", name="x"),
        desk.add("p/a/c"),
        desk.move("p/a/b", "b"),
        desk.delete("p/a"),
        desk.set("p/a", archived=True),
    ):
        error = await desk.refused("TASK_ARCHIVED", call)
        assert error.details["archived"] == "p"
        assert "archived=false" in error.hint
    await desk.set("p", archived=False)
    await desk.set("p/a/b", name="x")


async def test_what_was_archived_apart_stays_so(desk: Desk) -> None:
    """Bringing back the whole does not bring back the part."""
    await desk.add("p/a/b")
    await desk.set("p/a", archived=True)
    await desk.set("p", archived=True)
    await desk.refused("TASK_ARCHIVED", desk.set("p/a", archived=False))
    await desk.refused("TASK_ARCHIVED", desk.delete("p/a"))
    await desk.set("p", archived=False)
    assert [task["path"] for task in (await desk.atlas.lists.by_path("**")).tasks] == ["p"]
    await desk.delete("p/a")


async def test_nothing_moves_into_an_archived_container(desk: Desk) -> None:
    """It would vanish."""
    await desk.add("p", type="GROUP")
    await desk.add("t")
    await desk.set("p", archived=True)
    await desk.refused("TASK_ARCHIVED", desk.move("t", "p/t"))


# Moving.


async def test_a_move_rewrites_the_paths_of_the_subtree_and_nothing_else(desk: Desk) -> None:
    """Ids, dependencies, notes and versions of what lies below stay."""
    before = await desk.add("p/a/b", notes=["kept"])
    await desk.add("t", dependencies=["p/a/b"])
    await desk.add("q", type="GROUP")
    written = await desk.move("p/a", "q/z")
    after = await desk.show("q/z/b")
    assert {**after, "path": "", "parent": "", "project": ""} == {**before, "path": "", "parent": "", "project": ""}
    assert (await desk.show("t"))["dependencies"] == ["q/z/b"]
    assert written.task["version"] == 2
    assert set(written.affected) >= {"p/a", "p/a/b", "q/z", "q/z/b"}
    await desk.refused("TASK_NOT_FOUND", desk.atlas.tasks.get("p/a"))


async def test_a_move_to_its_own_path_puts_it_in_order(desk: Desk) -> None:
    """That is how siblings are reordered; without a neighbour it is no change."""
    for name in "abc":
        await desk.add(f"p/{name}")
    await desk.move("p/c", "p/c", before="p/a")
    assert await desk.children("p") == ["p/c", "p/a", "p/b"]
    seq = await desk.seq()
    written = await desk.move("p/c", "p/c")
    assert (written.receipt.seq, written.receipt.version, written.affected) == (seq, 2, [])
    error = await desk.refused("INVALID_INPUT", desk.move("p/c", "p/c", after="p/c"))
    assert error.field == "after"


async def test_a_rename_keeps_the_place_among_siblings(desk: Desk) -> None:
    """Only a new parent puts it last."""
    for name in "abc":
        await desk.add(f"p/{name}")
    await desk.move("p/a", "p/z")
    assert await desk.children("p") == ["p/z", "p/b", "p/c"]


async def test_two_tasks_swap_their_paths_in_one_bulk_call(desk: Desk) -> None:
    """Through a third path, all or nothing."""
    a, b = await desk.add("a"), await desk.add("b")
    moves = [("a", "tmp"), ("b", "a"), ("tmp", "b")]
    await desk.atlas.tasks.bulk(tuple({"op": "move", "path": path, "to": to} for path, to in moves))
    assert ((await desk.show("a"))["id"], (await desk.show("b"))["id"]) == (b["id"], a["id"])


async def test_a_move_keeps_the_rules_of_places(desk: Desk) -> None:
    """Types, depth, circles, and paths that are taken."""
    await desk.add("m", type="MILESTONE")
    await desk.add("g", type="GROUP")
    await desk.add("t")
    await desk.add("x/2/3/4/5/6/7")
    await desk.add("y/2/3")
    assert (await desk.refused("TASK_PARENT_TYPE", desk.move("m", "g/m"))).field == "type"
    await desk.refused("TASK_PARENT_TYPE", desk.move("g", "t/g"))
    assert (await desk.refused("TASK_DUPLICATE", desk.move("t", "g"))).field == "to"
    await desk.refused("TASK_PARENT_NOT_FOUND", desk.move("t", "nowhere/t"))
    assert (await desk.refused("INVALID_INPUT", desk.move("x", "x/y"))).field == "to"
    error = await desk.refused("INVALID_INPUT", desk.move("x", "y/2/x"))
    assert (error.given, error.bound) == (9, 8)


async def test_a_move_that_would_close_a_circle_is_refused(desk: Desk) -> None:
    """Inside the container it would wait for itself, either way round."""
    await desk.add("p/a")
    await desk.add("t", dependencies=["p"])
    await desk.refused("TASK_CYCLE", desk.move("t", "p/t"))
    await desk.add("u")
    await desk.set("p", dependencies=["u"])
    await desk.refused("TASK_CYCLE", desk.move("u", "p/u"))


async def test_a_circle_through_inherited_dependencies_on_what_moves_is_found(desk: Desk) -> None:
    """Who inherits a dependency on the moved task waits for it as well as who names it."""
    await desk.add("t")
    await desk.add("p/a/b")
    await desk.set("p/a", dependencies=["t"])
    await desk.add("p/q", type="GROUP", dependencies=["p/a/b"])
    error = await desk.refused("TASK_CYCLE", desk.move("t", "p/q/t"))
    assert error.details["chain"] == ["t", "p/a/b", "t"]


async def test_an_old_container_lets_go_of_what_moves(desk: Desk) -> None:
    """What it waited for only as its child it waits for no longer."""
    await desk.add("p/t")
    await desk.add("q", type="GROUP", dependencies=["p"])
    await desk.move("p/t", "q/t")
    assert await desk.children("q") == ["q/t"]


async def test_a_moved_task_takes_on_what_its_new_container_waits_for(desk: Desk) -> None:
    """And is freed of what the old one waited for."""
    await desk.add("first")
    await desk.add("p", type="GROUP", dependencies=["first"])
    await desk.add("q", type="GROUP")
    await desk.add("q/t")
    await desk.move("q/t", "p/t")
    assert await desk.status("p/t") == "BLOCKED"
    await desk.move("p/t", "q/t")
    assert await desk.status("q/t") == "PENDING"


# Deleting.


async def test_a_deletion_names_every_path_removed(desk: Desk) -> None:
    """The whole subtree goes, notes and all."""
    await desk.add("p/a/b", notes=["gone too"])
    await desk.add("p/c")
    answer = await desk.delete("p/a")
    assert answer.deleted == ["p/a", "p/a/b"]
    assert set(answer.affected) >= {"p/a", "p/a/b"}
    assert (await desk.store.statistics())["records"]["note"] == 0


async def test_a_deletion_is_refused_while_outsiders_depend_on_it(desk: Desk) -> None:
    """What others wait for does not vanish under them."""
    await desk.add("p/a")
    await desk.add("p/b", dependencies=["p/a"])
    await desk.add("t", dependencies=["p/a"])
    error = await desk.refused("TASK_DEPENDENCY", desk.delete("p"))
    assert error.details == {"dependents": ["t"], "dependents_total": 1}
    assert error.field == "dependents"


async def test_detaching_drops_the_dependency_and_frees_the_dependent(desk: Desk) -> None:
    """And says which dependents it touched; it is a change of theirs."""
    await desk.add("p/a")
    await desk.add("t", dependencies=["p/a"])
    answer = await desk.delete("p", dependents="detach")
    task = await desk.show("t")
    assert (task["dependencies"], task["status"], task["version"]) == ([], "PENDING", 2)
    assert "t" in answer.affected
