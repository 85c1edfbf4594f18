"""Lists, trees, ready work and waiting: RULES, paths and order; ready work; what every read says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.services.desk import Desk
from tests.services.test_plans import work_on

from atlas.model.path import parse_pattern
from atlas.model.task import RANK, Status, Task
from atlas.storage.query import Query
from atlas.work.arguments import Page
from atlas.work.collections import TASKS

pytestmark = pytest.mark.anyio

BRIEF = {"path", "name", "type", "status", "priority"}


def paths(page: Any) -> list[str]:
    return [task["path"] for task in page.tasks]


async def all_tasks(desk: Desk) -> list[Task]:
    found: list[Task] = await desk.store.read(lambda tx: tx.query(Query(TASKS)))
    return found


async def grow(desk: Desk) -> None:
    """A tree whose order of siblings is not that of their names."""
    for path in ("p/b", "p/a/z", "p/a/y", "p/c", "q"):
        await desk.add(path)
    await desk.move("p/c", "p/c", before="p/b")


# Order.


async def test_lists_sort_by_path_and_trees_by_the_order_of_siblings(desk: Desk) -> None:
    """A list is looked up, a tree is read."""
    await grow(desk)
    assert paths(await desk.atlas.lists.by_path()) == ["p", "p/a", "p/a/y", "p/a/z", "p/b", "p/c", "q"]
    tree = await desk.atlas.lists.tree()
    assert paths(tree) == ["p", "p/c", "p/b", "p/a", "p/a/z", "p/a/y", "q"]
    assert [task["depth"] for task in tree.tasks] == [0, 1, 1, 1, 2, 2, 0]
    assert paths(await desk.atlas.lists.children("p")) == ["p/c", "p/b", "p/a"]
    exported = (await desk.atlas.plans.export(format="markdown")).content
    assert [exported.index(f'"path":"{path}"') for path in paths(tree)] == sorted(
        exported.index(f'"path":"{path}"') for path in paths(tree)
    )


async def test_upper_and_lower_case_are_two_paths(desk: Desk) -> None:
    """Case matters, in paths and in patterns."""
    await desk.add("Shop")
    await desk.add("shop")
    assert paths(await desk.atlas.lists.by_path("Sh*")) == ["Shop"]


@pytest.mark.parametrize("order", ["path", "created_at", "updated_at", "due_at", "name"])
async def test_an_order_is_kept_both_ways(desk: Desk, order: Any) -> None:
    """What has no value comes first upwards, last downwards."""
    for number, path in enumerate("cab"):
        desk.clock.go_on(hours=1)
        await desk.add(path, name=path * 2)
        if path != "c":
            await desk.set(path, due_at=f"2026-02-0{3 - number}T00:00:00Z")
    up = paths(await desk.atlas.lists.by_path(order_by=order))
    assert up == list({"path": "abc", "name": "abc", "due_at": "cba"}.get(order, "cab"))
    if order != "name":
        assert paths(await desk.atlas.lists.by_path(order_by=f"-{order}")) == up[::-1]  # type: ignore[arg-type]


# What a list holds.


@pytest.mark.parametrize("seed", range(6))
async def test_a_list_holds_exactly_what_was_asked_for(desk: Desk, seed: int) -> None:
    """Against plain filtering, whatever is combined with what."""
    chance = random.Random(seed)
    await work_on(desk, seed * 1_000 + 11, 40)
    tasks = await all_tasks(desk)
    for _ in range(20):
        asked: dict[str, Any] = {"pattern": chance.choice(["**", "a/**", "*/*", "**/a"])}
        if chance.random() < 0.5:
            asked["status"] = chance.choice(list(Status))
        if chance.random() < 0.3:
            asked["type"] = chance.choice(["TASK", "GROUP"])
        if chance.random() < 0.3:
            asked["tag"] = "x"
        if chance.random() < 0.3:
            asked["assignee"] = "ada"
        asked["archived"] = chance.random() < 0.5
        page = await desk.atlas.lists.by_path(**asked)
        due = sorted(task.path for task in tasks if is_asked_for(task, asked))
        assert (paths(page), page.total, page.next_cursor) == (due, len(due), None), asked
    for status in Status:
        due = sorted(t.path for t in tasks if t.status is status and not t.hidden)
        assert paths(await desk.atlas.lists.by_status(status)) == due


def is_asked_for(task: Task, asked: dict[str, Any]) -> bool:
    return (
        parse_pattern(asked["pattern"]).matches(task.path)
        and (asked["archived"] or not task.hidden)
        and asked.get("status", task.status) == task.status
        and asked.get("type", task.type) == task.type
        and ("tag" not in asked or asked["tag"] in task.tags)
        and asked.get("assignee", task.assignee) == task.assignee
    )


async def test_words_are_found_in_names_descriptions_and_notes(desk: Desk) -> None:
    """Every word, as the beginning of a word, in whatever case."""
    await desk.add("a", name="Payment provider")
    await desk.add("b", description="choose a provider for payments")
    await desk.add("c", notes=["the Payment was late"])
    assert paths(await desk.atlas.lists.by_path(text="pay")) == ["a", "b", "c"]
    assert paths(await desk.atlas.lists.by_path(text="PROV pay")) == ["a", "b"]
    assert paths(await desk.atlas.lists.by_path(text="ment")) == []


async def test_archived_tasks_are_listed_where_they_are_asked_for(desk: Desk) -> None:
    """With all below; the children of an archived task are shown, since it was named."""
    await grow(desk)
    await desk.set("p/a", archived=True)
    assert "p/a" not in paths(await desk.atlas.lists.by_path())
    assert "p/a/y" in paths(await desk.atlas.lists.by_path(archived=True))
    assert "p/a/y" not in paths(await desk.atlas.lists.tree())
    assert "p/a/y" in paths(await desk.atlas.lists.tree(archived=True))
    assert paths(await desk.atlas.lists.children("p")) == ["p/c", "p/b"]
    assert paths(await desk.atlas.lists.children("p/a")) == ["p/a/z", "p/a/y"]


# Pages.


async def test_pages_together_are_the_list(desk: Desk) -> None:
    """Each task once, in order; the total is that of the whole; the last page has no cursor."""
    for number in range(23):
        await desk.add(f"t{number:02}", priority="high" if number % 2 else "low")
    lists = desk.atlas.lists
    reads: list[Callable[[str | None], Awaitable[Page]]] = [
        lambda cursor: lists.by_path(limit=5, cursor=cursor, order_by="-path"),
        lambda cursor: lists.by_status(Status.PENDING, limit=5, cursor=cursor),
        lambda cursor: lists.next(limit=5, cursor=cursor),
        lambda cursor: lists.next(limit=5, cursor=cursor, requires=()),
    ]
    for read in reads:
        found: list[str] = []
        cursor = None
        while True:
            page = await read(cursor)
            found += paths(page)
            cursor = page.next_cursor
            assert page.total == 23
            if cursor is None:
                break
        assert len(found) == len(set(found)) == 23


async def test_a_page_stays_in_place_while_the_list_changes(desk: Desk) -> None:
    """A cursor names a place in the order, not a count."""
    for name in "bdfh":
        await desk.add(name)
    page = await desk.atlas.lists.by_path(limit=2)
    await desk.add("a")
    await desk.delete("b")
    assert paths(await desk.atlas.lists.by_path(limit=9, cursor=page.next_cursor)) == ["f", "h"]


async def test_a_list_has_fifty_unless_asked_and_five_hundred_at_most(desk: Desk) -> None:
    """The bound is named."""
    operations = tuple({"op": "create", "path": f"t{number:03}"} for number in range(60))
    await desk.atlas.tasks.bulk(operations)
    page = await desk.atlas.lists.by_path()
    assert (len(page.tasks), page.total) == (50, 60)
    for limit in (0, 501):
        error = await desk.refused("INVALID_INPUT", desk.atlas.lists.by_path(limit=limit))
        assert error.field == "limit"


@pytest.mark.parametrize("cursor", ["nonsense", "", "e30", "WyJhIl0"])
async def test_a_cursor_that_is_none_is_refused(desk: Desk, cursor: str) -> None:
    """Nobody is sent back to the first page in silence."""
    await desk.add("a")
    for call in (desk.atlas.lists.by_path(cursor=cursor), desk.atlas.lists.next(cursor=cursor)):
        error = await desk.refused("INVALID_INPUT", call)
        assert error.field == "cursor"


# What is shown.


async def test_lists_are_brief_and_one_task_is_full(desk: Desk) -> None:
    """Path, name, type, status, priority; a block or progress where there is one."""
    await grow(desk)
    await desk.set("p/b", add_dependencies=["q"], description="long")
    page = await desk.atlas.lists.by_path("p/**")
    shown = {task["path"]: set(task) for task in page.tasks}
    assert shown["p/c"] == BRIEF
    assert shown["p/b"] == BRIEF | {"block"}
    assert shown["p"] == BRIEF | {"progress"}
    assert (await desk.show("p/b"))["description"] == "long"


async def test_fields_may_be_named(desk: Desk) -> None:
    """And those that no task has are refused, with those that it has."""
    await grow(desk)
    page = await desk.atlas.lists.by_path("p/*", fields=("path", "parent", "dependencies"))
    assert page.tasks[0] == {"path": "p/a", "parent": "p", "dependencies": []}
    full = (await desk.atlas.lists.by_path("q", fields="full")).tasks[0]
    assert full == await desk.show("q")
    for call in (
        desk.atlas.lists.by_path(fields=("colour",)),
        desk.atlas.lists.next(fields=("colour",)),
        desk.atlas.lists.tree(fields=("colour",)),
        desk.atlas.lists.wait_for("q", fields=("colour",)),
    ):
        assert (await desk.refused("INVALID_INPUT", call)).field == "fields"


async def test_an_answer_keeps_to_the_tokens_given_and_says_how_to_get_the_rest(desk: Desk) -> None:
    """What was left out comes with the cursor."""
    for number in range(30):
        await desk.add(f"task-number-{number:02}")
    page = await desk.atlas.lists.by_path(max_tokens=200)
    assert 0 < len(page.tasks) < 30
    assert (
        page.left_out == f"{30 - len(page.tasks)} of this page, to keep to 200 tokens; pass cursor=next_cursor for them"
    )
    rest = await desk.atlas.lists.by_path(cursor=page.next_cursor)
    assert len(page.tasks) + len(rest.tasks) == 30
    assert len((await desk.atlas.lists.next(limit=30, max_tokens=200)).tasks) < 30


async def test_a_tree_ends_at_its_depth_and_its_limit(desk: Desk) -> None:
    """And says how many are missing."""
    await grow(desk)
    assert paths(await desk.atlas.lists.tree("p/**", depth=2)) == ["p", "p/c", "p/b", "p/a"]
    tree = await desk.atlas.lists.tree(limit=3)
    assert (len(tree.tasks), tree.total) == (3, 7)
    assert tree.left_out == "4 more; narrow the pattern or raise limit"


# Since.


@pytest.mark.parametrize("seed", range(12))
async def test_what_changed_since_makes_the_old_list_the_new_one(desk: Desk, seed: int) -> None:
    """An agent that keeps a list needs to read only what is new, and what is gone."""
    chance = random.Random(seed)
    fields = ("id", "path", "name", "type", "status", "priority", "archived")
    await work_on(desk, seed * 1_000 + 13, 30)
    for pattern in ("**", "a/**"):
        old = await desk.atlas.lists.by_path(pattern, fields=fields, limit=500)
        gone = chance.choice(paths(old)) if old.tasks else "nothing"
        if old.tasks:
            await desk.delete(gone, dependents="detach")
        await desk.add(f"new-{len(pattern)}/task")
        await desk.move(f"new-{len(pattern)}/task", f"new-{len(pattern)}/moved")
        stays = [path for path in paths(old) if path != gone and not path.startswith(f"{gone}/")]
        if stays:
            leaving = chance.choice([path for path in stays if "/" in path] or stays)
            await desk.move(leaving, f"{leaving}-moved")
        delta = await desk.atlas.lists.by_path(pattern, fields=fields, limit=500, since=old.seq)
        new = await desk.atlas.lists.by_path(pattern, fields=fields, limit=500)
        assert delta.removed is not None
        assert delta.seq == new.seq == await desk.seq()
        known = {task["path"]: task for task in old.tasks if task["path"] not in delta.removed}
        known.update({task["path"]: task for task in delta.tasks})
        assert sorted(known) == paths(new)
        assert known == {task["path"]: task for task in new.tasks}


async def test_without_since_nothing_is_said_of_what_is_gone(desk: Desk) -> None:
    """And with it nothing is listed that did not change."""
    await grow(desk)
    page = await desk.atlas.lists.by_path()
    assert page.removed is None
    nothing = await desk.atlas.lists.by_path(since=page.seq)
    assert (nothing.tasks, nothing.removed, nothing.seq) == ([], [], page.seq)


async def test_every_read_says_the_place_of_the_journal_that_it_saw(desk: Desk) -> None:
    """So that the next one can ask for what came after."""
    await grow(desk)
    seq = await desk.seq()
    lists = desk.atlas.lists
    reads: list[Any] = [
        await desk.atlas.tasks.get("p"),
        await lists.by_path(),
        await lists.by_status(Status.PENDING),
        await lists.children("p"),
        await lists.next(),
        await lists.tree(),
        await desk.atlas.timeline.read(),
        await desk.atlas.upkeep.statistics(),
        await desk.atlas.plans.export(),
    ]
    assert {read.seq for read in reads} == {seq}


# Ready work.


@pytest.mark.parametrize("seed", range(6))
async def test_ready_work_comes_in_its_order(desk: Desk, seed: int) -> None:
    """Priority, how many open tasks wait for it, due date, position and age; kept incrementally, computed here."""
    chance = random.Random(seed)
    await work_on(desk, seed * 1_000 + 17, 30)
    tasks = await all_tasks(desk)
    for task in tasks:
        if not task.hidden and task.type == "TASK":
            due = chance.choice([None, f"2026-0{chance.randrange(2, 5)}-01T00:00:00Z"])
            await desk.set(task.path, due_at=due, priority=chance.choice(list(RANK)))
    tasks = await all_tasks(desk)
    ready = [t for t in tasks if t.type == "TASK" and t.status is Status.PENDING and not t.hidden]

    def place(task: Task) -> tuple[Any, ...]:
        open_ = [t for t in tasks if task.id in t.dependencies and t.status not in {"COMPLETED", "CANCELLED"}]
        due = "~" if task.due_at is None else task.due_at.isoformat()
        return RANK[task.priority], -len(open_), due, task.position, task.id

    page = await desk.atlas.lists.next(limit=500)
    assert paths(page) == [task.path for task in sorted(ready, key=place)]
    assert all(task["why"] for task in page.tasks)
    within = await desk.atlas.lists.next(pattern="a/**", limit=500)
    assert paths(within) == [path for path in paths(page) if f"{path}/".startswith("a/")]


async def test_ready_work_says_why(desk: Desk) -> None:
    """In the words of its order."""
    await desk.add("a", priority="critical", due_at="2026-03-01T00:00:00Z")
    await desk.add("b", dependencies=["a"])
    assert (await desk.atlas.lists.next()).tasks[0]["why"] == "critical priority, 1 waiting for it, due 2026-03-01"


async def test_capabilities_leave_out_what_needs_others(desk: Desk) -> None:
    """Who names none is offered everything; who has none is offered what needs none."""
    await desk.add("a", requires=["python", "sql"])
    await desk.add("b", requires=["python"])
    await desk.add("c")
    for requires, due in ((None, "abc"), ((), "c"), (("python",), "bc"), (("sql", "python"), "abc"), (("go",), "c")):
        page = await desk.atlas.lists.next(requires=requires, limit=9)
        assert (paths(page), page.total) == (list(due), len(due))


# Waiting.


async def test_a_status_reached_already_answers_at_once(desk: Desk) -> None:
    """Nobody waits for what has happened."""
    await desk.add("p/a")
    await desk.set("p/a", status="COMPLETED")
    found = await desk.atlas.lists.wait_for("p/a", status=Status.COMPLETED, timeout=30)
    assert (paths(found), found.timed_out) == (["p/a"], False)


async def test_a_change_ends_the_waiting(desk: Desk) -> None:
    """By path, by pattern, and until a status is reached; what was deleted is told as removed."""
    await desk.add("p/a")
    await desk.add("p/b")
    lists, seq = desk.atlas.lists, await desk.seq()
    waits: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(lists.wait_for("p/a", timeout=30, since=seq)),
        asyncio.ensure_future(lists.wait_for(pattern="p/*", timeout=30, since=seq)),
        asyncio.ensure_future(lists.wait_for("p/a", status=Status.COMPLETED, timeout=30, since=seq)),
        asyncio.ensure_future(lists.wait_for("p/b", timeout=30, since=seq)),
    ]
    await desk.set("p/a", status="IN_PROGRESS")
    assert paths(await waits[0]) == paths(await waits[1]) == ["p/a"]
    assert not waits[2].done()
    await desk.set("p/a", status="COMPLETED")
    assert (await waits[2]).tasks[0]["status"] == "COMPLETED"
    await desk.delete("p/b")
    assert (await waits[3]).removed == ["p/b"]


async def test_waiting_ends_in_its_time(desk: Desk) -> None:
    """And says so; with `since` nothing that came after it is missed."""
    await desk.add("p/a")
    seq = await desk.seq()
    found = await desk.atlas.lists.wait_for("p/a", timeout=0)
    assert (found.tasks, found.timed_out) == ([], True)
    await desk.set("p/a", name="x")
    assert paths(await desk.atlas.lists.wait_for("p/a", timeout=0, since=seq)) == ["p/a"]


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({}, "INVALID_INPUT", "path"),
        ({"path": "p", "pattern": "p/*"}, "INVALID_INPUT", "path"),
        ({"path": "p", "timeout": 51}, "INVALID_INPUT", "timeout"),
        ({"path": "nowhere"}, "TASK_NOT_FOUND", "path"),
        ({"pattern": "p//a"}, "TASK_INVALID_PATH", "pattern"),
    ],
)
async def test_what_cannot_be_waited_for_is_refused(desk: Desk, given: dict[str, Any], code: str, field: str) -> None:
    """At once."""
    await desk.add("p")
    assert (await desk.refused(code, desk.atlas.lists.wait_for(**given))).field == field
