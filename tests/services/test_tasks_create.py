"""Creating tasks, and the fields they have: RULES, paths and order; fields."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.desk import Desk, Make

from atlas.model.limits import Limits

pytestmark = pytest.mark.anyio


async def test_a_new_task_is_pending_medium_and_named_by_its_last_segment(desk: Desk) -> None:
    """The least a caller says is a path; all else has a default."""
    task = await desk.add("shop")
    assert (task["name"], task["type"], task["status"], task["priority"]) == ("shop", "TASK", "PENDING", "medium")
    assert (task["version"], task["block"], task["progress"], task["project"]) == (1, None, None, "shop")
    assert task["created_at"] == task["updated_at"] == "2026-01-01T12:00:00Z"


async def test_every_field_comes_back_as_it_was_given(desk: Desk) -> None:
    """What is kept is what was said."""
    given: dict[str, Any] = {
        "name": "The API — v2",
        "description": "Größe\nand so on",
        "type": "TASK",
        "requires": ["python"],
        "priority": "high",
        "assignee": "ada",
        "estimated_hours": 2.5,
        "due_at": "2026-02-01T10:00:00Z",
        "tags": ["b", "a"],
        "reasoning": "because",
        "metadata": {"build": {"id": 1, "ok": True, "none": None, "list": [1.5]}},
    }
    task = await desk.add("shop/api", **given, acceptance=["works", {"text": "fast", "done": True}], notes=["hello"])
    assert {name: task[name] for name in given} == given
    assert task["acceptance"] == [{"text": "works", "done": False}, {"text": "fast", "done": True}]
    assert [(note["text"], note["by"]) for note in task["notes"]] == [("hello", "tester")]
    assert await desk.show("shop/api") == task


async def test_a_task_answers_to_its_id_as_to_its_path(desk: Desk) -> None:
    """Wherever a path is taken an id is too."""
    task = await desk.add("shop/api")
    assert await desk.show(task["id"]) == task


async def test_the_parent_must_exist(desk: Desk) -> None:
    """A slip in a path does not make a tree of its own."""
    error = await desk.refused("TASK_PARENT_NOT_FOUND", desk.add("shop/api/login", parents=False))
    assert (error.field, error.given, error.details["parent"]) == ("path", "shop/api/login", "shop/api")


async def test_missing_parents_are_created_as_groups_on_request(desk: Desk) -> None:
    """One call instead of three, and all of them are told as affected."""
    made = await desk.atlas.tasks.create("shop/api/login", parents=True)
    assert made.affected == ["shop", "shop/api", "shop/api/login"]
    assert [(await desk.show(path))["type"] for path in made.affected] == ["GROUP", "GROUP", "TASK"]


async def test_a_path_is_taken_once(desk: Desk) -> None:
    """The same path is another task only after the first one is gone, and then with another id."""
    first = await desk.add("shop")
    error = await desk.refused("TASK_DUPLICATE", desk.add("shop"))
    assert error.details["id"] == first["id"]
    await desk.delete("shop")
    assert (await desk.add("shop"))["id"] != first["id"]


@pytest.mark.parametrize(("path", "right"), [("/shop", "shop"), ("shop//api", "shop/api"), ("shop/", "shop")])
async def test_stray_slashes_are_refused_with_the_path_that_was_meant(desk: Desk, path: str, right: str) -> None:
    """Mending in silence would make two spellings of one thing."""
    error = await desk.refused("TASK_INVALID_PATH", desk.add(path))
    assert repr(right) in error.hint
    assert error.given == path


@pytest.mark.parametrize(
    ("parent", "child", "is_held"),
    [
        ("MILESTONE", "GROUP", True),
        ("MILESTONE", "TASK", True),
        ("MILESTONE", "MILESTONE", False),
        ("GROUP", "GROUP", True),
        ("GROUP", "TASK", True),
        ("GROUP", "MILESTONE", False),
        ("TASK", "GROUP", False),
        ("TASK", "TASK", False),
        ("TASK", "MILESTONE", False),
    ],
)
async def test_types_hold_each_other_as_the_rules_say(desk: Desk, parent: str, child: str, is_held: bool) -> None:
    """DESIGN 5, types: on creation and on a change of either type."""
    await desk.add("a", type=parent)
    if is_held:
        await desk.add("a/b", type=child)
        if child != "TASK":
            error = await desk.refused("TASK_PARENT_TYPE", desk.set("a", type="TASK"))
            assert error.field == "type"
    else:
        error = await desk.refused("TASK_PARENT_TYPE", desk.add("a/b", type=child))
        assert (error.field, error.given, error.details["parent"]) == ("type", child, "a")


async def test_a_root_may_be_of_any_type(desk: Desk) -> None:
    """A project needs no ceremony."""
    for kind in ("TASK", "GROUP", "MILESTONE"):
        assert (await desk.add(kind.lower(), type=kind))["type"] == kind


async def test_siblings_stand_in_the_order_they_came_or_where_they_were_put(desk: Desk) -> None:
    """Trees, plans and exports follow this order."""
    for name in ("one", "two", "three"):
        await desk.add(f"p/{name}")
    await desk.add("p/half", before="p/one")
    await desk.add("p/after", after="p/two")
    assert await desk.children("p") == ["p/half", "p/one", "p/two", "p/after", "p/three"]


async def test_there_is_always_room_between_two_siblings(desk: Desk) -> None:
    """Halving a gap runs out of numbers; then the siblings are numbered anew, without raising their versions."""
    await desk.add("p/first")
    await desk.add("p/last")
    for number in range(80):
        await desk.add(f"p/t{number}", after="p/first")
    assert await desk.children("p") == ["p/first", *(f"p/t{n}" for n in reversed(range(80))), "p/last"]
    assert (await desk.show("p/first"))["version"] == 1


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_neighbour_must_be_a_sibling(desk: Desk, place: str) -> None:
    """`before` and `after` name a child of the same parent."""
    await desk.add("p/one")
    await desk.add("q")
    error = await desk.refused("INVALID_INPUT", desk.add("p/two", **{place: "q"}))
    assert (error.field, error.given) == (place, "q")
    error = await desk.refused("TASK_NOT_FOUND", desk.add("p/two", **{place: "p/nine"}))
    assert error.field == place
    error = await desk.refused("INVALID_INPUT", desk.add("p/two", before="p/one", after="p/one"))
    assert error.field == "before"


async def test_a_container_holds_no_more_children_than_the_limit(make_store: Make) -> None:
    """The limit names itself; the root level has none."""
    desk = Desk(limits=Limits(children=2), make=make_store)
    async with desk.atlas:
        for path in ("p/a", "p/b", "q", "r", "s"):
            await desk.add(path)
        error = await desk.refused("INVALID_INPUT", desk.add("p/c"))
        assert (error.field, error.given, error.bound) == ("path", 3, 2)
        error = await desk.refused("INVALID_INPUT", desk.move("q", "p/q"))
        assert error.bound == 2


@pytest.mark.parametrize(
    ("fields", "field", "bound"),
    [
        ({"name": ""}, "name", 1),
        ({"name": "x" * 201}, "name", 200),
        ({"description": "x" * 32_769}, "description", 32_768),
        ({"reasoning": "x" * 8_193}, "reasoning", 8_192),
        ({"tags": ["x" * 101]}, "tags[0]", 100),
        ({"tags": [str(n) for n in range(101)]}, "tags", 100),
        ({"notes": ["x" * 32_769]}, "notes[0]", 32_768),
        ({"estimated_hours": -1}, "estimated_hours", 0),
        ({"metadata": {"a": "x" * 65_536}}, "metadata", 65_536),
        ({"dependencies": [f"d{n}" for n in range(1_001)]}, "dependencies", 1_000),
    ],
)
async def test_a_field_beyond_its_limit_names_field_and_bound(
    desk: Desk, fields: dict[str, Any], field: str, bound: int
) -> None:
    """Every limit is enforced, and named with what was given."""
    error = await desk.refused("INVALID_INPUT", desk.add("shop", **fields))
    assert error.field == field
    assert str(bound) in str(error.bound)
    assert error.given is not None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"priority": "urgent"}, "priority"),
        ({"type": "EPIC"}, "type"),
        ({"due_at": "tomorrow"}, "due_at"),
        ({"due_at": "2026-01-01T00:00:00"}, "due_at"),
        ({"name": "a\0b"}, "name"),
        ({"metadata": {"k": ["\ud800"]}}, "metadata.k[0]"),
        ({"estimated_hours": float("nan")}, "estimated_hours"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"dependencies": ["a", "a"]}, "dependencies"),
    ],
)
async def test_a_wrong_value_names_its_field(desk: Desk, fields: dict[str, Any], field: str) -> None:
    """Shape is judged first, so nothing of the store matters yet."""
    error = await desk.refused("INVALID_INPUT", desk.add("shop", **fields))
    assert error.field == field


async def test_a_missing_dependency_is_named_with_the_number_of_others(desk: Desk) -> None:
    """A missing target is TASK_NOT_FOUND with `field`, so that nobody takes the task itself for missing."""
    error = await desk.refused("TASK_NOT_FOUND", desk.add("shop", dependencies=["x", "y"]))
    assert (error.field, error.given, error.details["others"]) == ("dependencies", "x", 1)


async def test_a_dependency_on_a_parent_that_the_call_would_make_is_missing(desk: Desk) -> None:
    """Existence is judged before anything is made: it is not there yet, and were it there it would be a circle."""
    error = await desk.refused("TASK_NOT_FOUND", desk.add("p/a", dependencies=["p"]))
    assert (error.field, error.given) == ("dependencies", "p")
    await desk.add("p", type="GROUP")
    await desk.refused("TASK_CYCLE", desk.add("p/a", dependencies=["p"]))


async def test_of_several_wrong_values_the_first_is_told_with_the_number_of_others(desk: Desk) -> None:
    """So that a caller knows that mending one is not enough."""
    error = await desk.refused("INVALID_INPUT", desk.add("shop", name="", priority="urgent", colour="red"))
    assert error.details["others"] == 2


async def test_texts_are_measured_in_characters(desk: Desk) -> None:
    """Whatever bytes they take; metadata in bytes, as it is carried."""
    task = await desk.add("shop", description="é" * 32_768, name="ü" * 200)
    assert (len(task["description"]), len(task["name"])) == (32_768, 200)
    error = await desk.refused("INVALID_INPUT", desk.set("shop", metadata={"a": "é" * 40_000}))
    assert (error.field, error.bound) == ("metadata", 65_536)


async def test_a_value_that_no_field_takes_leaves_no_parent_behind(desk: Desk) -> None:
    """`parents` makes what is missing in the same transaction, or nothing."""
    await desk.refused("TASK_PARENT_TYPE", desk.add("p/q/m", type="MILESTONE"))
    await desk.refused("TASK_NOT_FOUND", desk.atlas.tasks.get("p"))


async def test_metadata_merges_key_by_key(desk: Desk) -> None:
    """RFC 7396, recursively: null removes, objects merge, all else replaces."""
    await desk.add("shop", metadata={"a": {"b": 1, "c": [1, 2]}, "d": "text"})
    await desk.set("shop", metadata={"a": {"b": None, "c": [3], "e": {"f": None, "g": 1}}, "d": {"h": 1}})
    assert (await desk.show("shop"))["metadata"] == {"a": {"c": [3], "e": {"g": 1}}, "d": {"h": 1}}


async def test_merged_metadata_keeps_to_the_limit_too(desk: Desk) -> None:
    """The limit holds for what is kept, not for the patch alone."""
    await desk.add("shop", metadata={"a": "x" * 40_000})
    error = await desk.refused("INVALID_INPUT", desk.set("shop", metadata={"b": "x" * 40_000}))
    assert (error.field, error.bound) == ("metadata", 65_536)


async def test_lists_are_replaced_or_edited(desk: Desk) -> None:
    """RULES, lists: `x` replaces, `add_x` and `remove_x` edit."""
    await desk.add("shop", tags=["a", "b"], requires=["r"], acceptance=["one", "two"])
    await desk.set("shop", add_tags=["c", "a"], remove_tags=["b"], add_requires=["s"])
    await desk.set("shop", add_acceptance=[{"text": "one", "done": True}, "three"], remove_acceptance=["two"])
    task = await desk.show("shop")
    assert (task["tags"], task["requires"]) == (["a", "c"], ["r", "s"])
    assert task["acceptance"] == [{"text": "one", "done": True}, {"text": "three", "done": False}]
    await desk.set("shop", tags=["z"], requires=[], acceptance=[])
    task = await desk.show("shop")
    assert (task["tags"], task["requires"], task["acceptance"]) == (["z"], [], [])


@pytest.mark.parametrize("name", ["tags", "requires", "acceptance"])
async def test_an_edited_list_keeps_to_its_limit_too(desk: Desk, name: str) -> None:
    """The limit holds for what is kept, not for what is added alone."""
    await desk.add("shop", **{name: [str(n) for n in range(99)]})
    more: dict[str, Any] = {f"add_{name}": ["a", "b"]}
    error = await desk.refused("INVALID_INPUT", desk.set("shop", **more))
    assert (error.field, error.given, error.bound) == (name, 101, 100)
    more[f"remove_{name}"] = ["1"]
    await desk.set("shop", **more)
    assert len((await desk.show("shop"))[name]) == 100


async def test_null_takes_a_value_away_where_there_may_be_none(desk: Desk) -> None:
    """Left out means unchanged; null means gone."""
    await desk.add("shop", assignee="ada", estimated_hours=1, due_at="2026-02-01T10:00:00Z")
    task = (await desk.set("shop", assignee=None, estimated_hours=None, due_at=None)).task
    assert (task["assignee"], task["estimated_hours"], task["due_at"]) == (None, None, None)


async def test_notes_append_and_leave_by_id(desk: Desk) -> None:
    """Notes are records of their own: added and removed, never edited."""
    await desk.add("shop", notes=["one"])
    await desk.set("shop", notes=["two", "three"])
    notes = (await desk.show("shop"))["notes"]
    assert [note["text"] for note in notes] == ["one", "two", "three"]
    await desk.set("shop", remove_notes=[notes[1]["id"]])
    task = await desk.show("shop")
    assert [note["text"] for note in task["notes"]] == ["one", "three"]
    assert task["notes_total"] == 2
    error = await desk.refused("INVALID_INPUT", desk.set("shop", remove_notes=[notes[1]["id"]]))
    assert (error.field, error.given) == ("remove_notes", notes[1]["id"])


async def test_a_task_has_no_more_notes_than_the_limit(desk: Desk) -> None:
    """A hundred; removing one makes room for one, in the same call too."""
    await desk.add("shop", notes=[str(n) for n in range(100)])
    error = await desk.refused("INVALID_INPUT", desk.set("shop", notes=["more"]))
    assert (error.field, error.given, error.bound) == ("notes", 101, 100)
    first = (await desk.show("shop"))["notes"][0]["id"]
    await desk.set("shop", notes=["more"], remove_notes=[first])
    assert (await desk.show("shop"))["notes_total"] == 100
