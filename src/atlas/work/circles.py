"""Circles of waiting among tasks as they are kept, and the dependency to drop so that each one opens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from ..model.task import Task
from .rebuild import Tree


class Edge(NamedTuple):
    """A dependency: `task` waits for `dependency` (ids)."""

    task: str
    dependency: str


class Circle(NamedTuple):
    """One circle as ids, the first repeated at the end, and the dependency to drop."""

    chain: list[str]
    dropped: Edge


_Node = tuple[str, bool]
"""A task's begin (False) waits for the begin above it and the end of what it depends on; its end (True) waits for
its begin and the ends of its children. That says the same as RULES (cycles) with far fewer edges."""


def circles(tree: Tree, is_ours: Callable[[str], bool]) -> list[Circle]:
    """Return circles until dropping their edges leaves none with a dependency of ours.

    `is_ours` says of a path whether dependencies of its task may be dropped; the newest of these opens the circle.
    """
    dropped: set[Edge] = set()
    found: list[Circle] = []

    def after(node: _Node) -> Iterator[_Node]:
        key, is_end = node
        if is_end:
            yield (key, False)
            if tree.is_container(key):
                yield from ((child, True) for child in tree.children[key])
            return
        above = tree.parent[key]
        if above is not None:
            yield (above, False)
        for other in tree.tasks[key].dependencies:
            if other in tree.tasks and Edge(key, other) not in dropped:
                yield (other, True)

    waiting = [[(key, True) for key in tree.order if tree.tasks[key].dependencies]]
    while waiting:
        for knot in _knots(waiting.pop(), after):
            ours = {key for key, is_end in knot if not is_end and is_ours(tree.tasks[key].path)}
            circle = _circle(tree, knot, ours, after)
            if circle is None:
                continue
            found.append(circle)
            dropped.add(circle.dropped)
            waiting.append(sorted(knot))
    return found


def _circle(tree: Tree, knot: set[_Node], ours: set[str], after: Callable[[_Node], Iterable[_Node]]) -> Circle | None:
    """Return the shortest circle through the first dependency of ours inside the knot, None where it has none."""
    inside = (
        ((key, False), other) for key in sorted(ours) for other in after((key, False)) if other[1] and other in knot
    )
    start, first = next(inside, (None, None))
    if start is None or first is None:
        return None
    came: dict[_Node, _Node] = {first: start}
    current = [first]
    while start not in came:
        following = []
        for node in current:
            for other in after(node):
                if other in knot and other not in came:
                    came[other] = node
                    following.append(other)
        current = following
    nodes = [start]
    while nodes[-1] != first:
        nodes.append(came[nodes[-1]])
    nodes.append(start)
    nodes.reverse()
    edges = [Edge(a[0], b[0]) for a, b in pairwise(nodes) if not a[1] and b[1] and a[0] in ours]
    chain = [key for i, (key, _) in enumerate(nodes) if i == 0 or nodes[i - 1][0] != key]
    return Circle(chain=chain, dropped=max(edges, key=lambda edge: _age(tree.tasks[edge.task], edge.dependency)))


def _age(task: Task, dependency: str) -> tuple[float, str, int]:
    """Order dependencies by age, as far as it is known: when their task last changed, then their place in it."""
    return task.updated_at.timestamp(), task.id, task.dependencies.index(dependency)


def _knots(starts: Iterable[_Node], after: Callable[[_Node], Iterable[_Node]]) -> list[set[_Node]]:
    """Return the strongly connected parts with more than one node (Tarjan, without recursion)."""
    number: dict[_Node, int] = {}
    low: dict[_Node, int] = {}
    stack: list[_Node] = []
    held: set[_Node] = set()
    found: list[set[_Node]] = []
    for start in starts:
        if start in number:
            continue
        path: list[tuple[_Node, Iterator[_Node]]] = []
        _enter(start, number, low, stack, held, path, after)
        while path:
            node, rest = path[-1]
            for other in rest:
                if other not in number:
                    _enter(other, number, low, stack, held, path, after)
                    break
                if other in held:
                    low[node] = min(low[node], number[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == number[node]:
                    part = _leave(node, stack, held)
                    if len(part) > 1:
                        found.append(part)
    return found


def _enter(
    node: _Node,
    number: dict[_Node, int],
    low: dict[_Node, int],
    stack: list[_Node],
    held: set[_Node],
    path: list[tuple[_Node, Iterator[_Node]]],
    after: Callable[[_Node], Iterable[_Node]],
) -> None:
    number[node] = low[node] = len(number)
    stack.append(node)
    held.add(node)
    path.append((node, iter(after(node))))


def _leave(node: _Node, stack: list[_Node], held: set[_Node]) -> set[_Node]:
    part: set[_Node] = set()
    while node not in part:
        part.add(stack.pop())
    held -= part
    return part
