"""The timeline: the journal told in paths, for whom it concerns, in order, page by page."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.services.desk import Desk

from atlas.work.arguments import Updates

pytestmark = pytest.mark.anyio


async def told(desk: Desk, path: str | None = None, **more: Any) -> list[dict[str, Any]]:
    return (await desk.atlas.timeline.read(path, **more)).events


async def live(desk: Desk) -> None:
    """A life: made, changed, moved, deleted, and another one at its first path."""
    await desk.add("p/a", notes=["first"])
    desk.clock.go_on(hours=1)
    await desk.atlas.tasks.update("p/a", msgspec.convert({"name": "x"}, Updates), actor="bob")
    desk.clock.go_on(hours=1)
    await desk.move("p/a", "p/b")


async def test_what_happened_last_comes_first_and_what_came_after_comes_in_order(desk: Desk) -> None:
    """Looking back one reads backwards; catching up, forwards."""
    await live(desk)
    seqs = [event["seq"] for event in await told(desk)]
    assert seqs == list(range(await desk.seq(), 0, -1))
    assert [event["seq"] for event in await told(desk, since=2)] == list(range(3, len(seqs) + 1))
    assert [event["seq"] for event in await told(desk, since=1, until=3)] == [2, 3]
    assert [event["type"] for event in await told(desk, until="2026-01-01T12:30:00Z")] == [
        "note.created",
        "task.created",
        "task.created",
    ]
    assert len(await told(desk, since="2026-01-01T13:30:00Z")) == 1


async def test_a_task_keeps_its_history_when_it_moves_and_when_it_is_gone(desk: Desk) -> None:
    """By its new path, its id, the path it had, and the path it had last; notes belong to it."""
    await live(desk)
    key = (await desk.show("p/b"))["id"]
    life = [event["type"] for event in await told(desk, "p/b")]
    assert life == ["task.moved", "task.updated", "note.created", "task.created"]
    for name in (key, "p/a"):
        assert [event["type"] for event in await told(desk, name)] == life
    await desk.delete("p/b")
    assert [event["type"] for event in await told(desk, "p/b")] == ["task.deleted", "note.deleted", *life]


async def test_a_path_used_again_has_a_history_of_its_own(desk: Desk) -> None:
    """It is another task."""
    await live(desk)
    await desk.add("p/a")
    assert [event["type"] for event in await told(desk, "p/a")] == ["task.created"]


async def test_a_pattern_gathers_many(desk: Desk) -> None:
    """All that are there now and match."""
    await live(desk)
    await desk.add("q")
    assert {event["path"] for event in await told(desk, "p/*")} == {"p/b"}
    assert {event["path"] for event in await told(desk, "p/**")} == {"p", "p/b"}
    assert {event["path"] for event in await told(desk, "?")} == {"p", "q"}


async def test_events_are_chosen_by_who_what_and_which(desk: Desk) -> None:
    """Actor, type, collection and key."""
    await live(desk)
    key = (await desk.show("p/b"))["id"]
    assert [event["type"] for event in await told(desk, actor="bob")] == ["task.updated"]
    assert [event["path"] for event in await told(desk, type="task.moved")] == ["p/b"]
    assert [event["target"]["collection"] for event in await told(desk, collection="note")] == ["note"]
    assert len(await told(desk, collection="task", key=key)) == 3
    assert await told(desk, session="none") == []


async def test_a_change_is_told_in_paths(desk: Desk) -> None:
    """An id says nothing to anybody; from what to what is always shown."""
    await desk.add("a")
    await desk.add("p/b")
    await desk.set("p/b", add_dependencies=["a"])
    created = (await told(desk, "p/b"))[-1]
    assert created["change"]["created"]["parent"] == "p"
    assert "a" in repr((await told(desk, "p/b"))[0]["change"]["fields"]["dependencies"])
    await desk.set("a", name="new")
    assert (await told(desk, "a", limit=1))[0]["change"]["fields"]["name"] == ["a", "new"]


@pytest.mark.parametrize("since", [None, 0])
async def test_pages_together_are_the_whole(desk: Desk, since: int | None) -> None:
    """Each event once, both ways; cut to tokens too."""
    for number in range(11):
        await desk.add(f"t{number}")
    both: list[dict[str, Any]] = [{"limit": 3}, {"limit": 50, "max_tokens": 300}]
    for limits in both:
        found: list[int] = []
        cursor = None
        while True:
            page = await desk.atlas.timeline.read(since=since, cursor=cursor, **limits)
            found += [event["seq"] for event in page.events]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert ("max_tokens" in limits) == (page.left_out is not None)
        assert found == sorted(range(1, 12), reverse=since is None)


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"path": "nowhere"}, "TASK_NOT_FOUND", "path"),
        ({"path": "a//b"}, "TASK_INVALID_PATH", "path"),
        ({"path": "a//*"}, "TASK_INVALID_PATH", "path"),
        ({"since": "2026-01-01T00:00:00"}, "INVALID_INPUT", "since"),
        ({"until": "yesterday"}, "INVALID_INPUT", "until"),
        ({"limit": 501}, "INVALID_INPUT", "limit"),
        ({"cursor": "nonsense"}, "INVALID_INPUT", "cursor"),
    ],
)
async def test_what_cannot_be_told_is_refused(desk: Desk, given: dict[str, Any], code: str, field: str) -> None:
    """With the field."""
    await desk.add("a")
    assert (await desk.refused(code, desk.atlas.timeline.read(**given))).field == field
