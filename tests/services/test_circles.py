"""Circles of waiting: all are found, each with a dependency to drop, and nothing is dropped without need."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.model.path import parent_of
from atlas.model.task import Task, Type
from atlas.work.circles import circles
from atlas.work.rebuild import Tree

PATHS = ("a", "a/a", "a/a/x", "a/b", "b", "b/c", "c", "c/d", "c/e")
WISHES = st.dictionaries(st.sampled_from(PATHS), st.lists(st.sampled_from(PATHS), max_size=3, unique=True))


def tasks_of(wishes: dict[str, list[str]]) -> dict[str, Task]:
    """Return tasks whose ids are their paths; none waits within its own line, which is another kind of fault."""
    holders = {parent_of(path) for path in PATHS}
    made = {}
    for number, path in enumerate(PATHS):
        on = [
            o for o in wishes.get(path, []) if not f"{o}/".startswith(f"{path}/") and not f"{path}/".startswith(f"{o}/")
        ]
        at = datetime(2026, 1, 1, hour=number, tzinfo=UTC)
        made[path] = Task(
            id=path,
            path=path,
            name=path,
            type=Type.GROUP if path in holders else Type.TASK,
            parent=parent_of(path),
            dependencies=tuple(on),
            created_at=at,
            updated_at=at,
        )
    return made


def is_circular(tasks: dict[str, Task]) -> bool:
    """Take away what waits for nothing until nothing can be taken away (RULES, cycles)."""
    left = {}
    for path in tasks:
        line = [other for other in tasks if f"{path}/".startswith(f"{other}/")]
        inherited = {on for holder in line for on in tasks[holder].dependencies}
        left[path] = inherited | {other for other in tasks if parent_of(other) == path}
    while free := {path for path, waits in left.items() if not waits & left.keys()}:
        left = {path: waits for path, waits in left.items() if path not in free}
    return bool(left)


def without(tasks: dict[str, Task], edges: list[tuple[str, str]]) -> dict[str, Task]:
    return {
        key: msgspec.structs.replace(task, dependencies=tuple(d for d in task.dependencies if (key, d) not in edges))
        for key, task in tasks.items()
    }


@settings(max_examples=150, deadline=None)
@given(WISHES)
def test_dropping_what_is_named_leaves_no_circle_and_something_is_named_only_where_there_is_one(
    wishes: dict[str, list[str]],
) -> None:
    """The search takes two nodes for each task; the rules are told by plain reduction here."""
    tasks = tasks_of(wishes)
    found = circles(Tree(tasks), lambda _: True)
    assert bool(found) == is_circular(tasks)
    edges = [tuple(circle.dropped) for circle in found]
    assert not is_circular(without(tasks, edges))  # type: ignore[arg-type]
    assert len({*edges}) == len(edges)
    for circle in found:
        assert circle.chain[0] == circle.chain[-1]
        assert circle.dropped.dependency in tasks[circle.dropped.task].dependencies


@settings(max_examples=150, deadline=None)
@given(WISHES)
def test_only_our_own_dependencies_are_dropped_and_then_none_of_them_is_in_a_circle(
    wishes: dict[str, list[str]],
) -> None:
    """A repair within a pattern leaves alone what lies outside."""
    tasks = tasks_of(wishes)
    found = circles(Tree(tasks), lambda path: path.startswith("a"))
    assert all(circle.dropped.task.startswith("a") for circle in found)
    left = without(tasks, [tuple(circle.dropped) for circle in found])  # type: ignore[misc]
    assert circles(Tree(left), lambda path: path.startswith("a")) == []


def test_of_a_circle_the_newest_dependency_is_dropped() -> None:
    """The later task is the one that closed it."""
    tasks = tasks_of({"a/b": ["c/e"], "c/e": ["b/c"], "b/c": ["a/b"]})
    circle = circles(Tree(tasks), lambda _: True)[0]
    assert circle.chain == ["a/b", "c/e", "b/c", "a/b"]
    assert circle.dropped == ("c/e", "b/c")
