"""Nodes and edges in two collections of any store, and walking along them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import ConflictError, InputError
from .collection import Collection
from .protocol import Store, Transaction
from .query import Condition, Query, either, eq, isin

T = TypeVar("T")
Direction = Literal["out", "in", "both"]

_LEAST, _AT_ONCE = 16, 250
"""Of how many nodes the edges are asked for at once, and about how many nodes are found in one read."""


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node: what it is, and data of any kind."""

    id: str
    kind: str = ""
    data: dict[str, Any] = {}


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An edge; there is one of each kind from one node to another."""

    id: str
    source: str
    target: str
    kind: str
    data: dict[str, Any] = {}


NODES: Collection[Node] = Collection("node", Node, columns=("kind",), indexes=(("kind",),), journaled=False)
EDGES: Collection[Edge] = Collection(
    "edge",
    Edge,
    columns=("source", "target", "kind"),
    indexes=(("source", "kind", "target", "id"), ("target", "kind", "source", "id")),
    references={"source": "node", "target": "node"},
    journaled=False,
    alike={"source": 10, "target": 10, "kind": 100_000},
)
GRAPH = (NODES, EDGES)


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """How to walk: along edges of some kinds (all), in a direction, so deep, to nodes of some kinds (all).

    `along` is a condition on the edges that are taken, `where` one on the nodes (`data.lines`). A node that is not of
    `nodes` or `where` is not given, and nothing beyond it is reached; the start is not asked. `limit` ends the walk
    after so many nodes.
    """

    edges: tuple[str, ...] | None = None
    direction: Direction = "out"
    depth: int | None = None
    nodes: tuple[str, ...] | None = None
    limit: int | None = None
    along: Condition | None = None
    where: Condition | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was reached: how many edges away, by which edge, and from which node (nothing for the start)."""

    node: Node
    depth: int
    edge: str | None = None
    came_from: str | None = None


class Graph:
    """A graph in a store that knows the collections of GRAPH."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create_node(self, node_id: str, *, kind: str = "", data: dict[str, Any] | None = None) -> Node:
        """Add a node; raises ConflictError when there is one with that id."""
        _check_text(node_id, "id")
        node = Node(id=node_id, kind=kind, data=data or {})

        def work(tx: Transaction) -> None:
            if tx.get(NODES, node_id) is not None:
                raise ConflictError(f"there is a node {node_id!r} already", field="id", given=node_id)
            tx.put(NODES, node)

        await self._store.transact(work)
        return node

    async def create_edge(self, source: str, target: str, kind: str, *, data: dict[str, Any] | None = None) -> Edge:
        """Add an edge between nodes that are there; raises ConflictError for a missing node, or a second such edge."""
        _check_text(kind, "kind")
        edge = Edge(id=edge_id(source, kind, target), source=source, target=target, kind=kind, data=data or {})

        def work(tx: Transaction) -> None:
            if tx.get(EDGES, edge.id) is not None:
                raise ConflictError(f"{source!r} leads to {target!r} by {kind!r} already", field="kind", given=kind)
            known = tx.get_many(NODES, {source, target})
            for field, node_id in (("source", source), ("target", target)):
                if node_id not in known:
                    raise ConflictError(f"there is no node {node_id!r}", field=field, given=node_id)
            tx.put(EDGES, edge)

        await self._store.transact(work)
        return edge

    async def load(self, nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
        """Put many nodes and edges, all or nothing; those that are there are replaced."""

        def work(tx: Transaction) -> None:
            tx.put_many(NODES, nodes)
            tx.put_many(EDGES, edges)

        await self._store.transact(work)

    async def delete_edge(self, source: str, target: str, kind: str) -> bool:
        """Remove an edge; says whether there was one."""
        return (await self._store.transact(lambda tx: tx.delete(EDGES, edge_id(source, kind, target)))).value

    async def delete_node(self, node_id: str, *, is_detached: bool = False) -> bool:
        """Remove a node; raises ConflictError while edges hold it, unless they go too (`is_detached`)."""

        def work(tx: Transaction) -> bool:
            held = Query(EDGES).where(either(eq("source", node_id), eq("target", node_id)))
            keys = [row[0] for row in tx.query(held.select("id"))]
            if keys and not is_detached:
                raise ConflictError(
                    f"{len(keys)} edges hold the node {node_id!r}",
                    field="id",
                    given=node_id,
                    hint="Delete them first, or pass is_detached=True.",
                )
            tx.delete_many(EDGES, keys)
            return tx.delete(NODES, node_id)

        return (await self._store.transact(work)).value

    async def node(self, node_id: str) -> Node | None:
        """Return a node."""
        return await self._store.read(lambda tx: tx.get(NODES, node_id))

    async def neighbours(
        self, node_id: str, *, direction: Direction = "out", edges: Sequence[str] | None = None
    ) -> list[Step]:
        """Return the nodes one edge away."""
        walk = Walk(direction=direction, edges=None if edges is None else tuple(edges), depth=1)
        return [step async for step in self.traverse(node_id, walk) if step.depth]

    async def traverse(self, start: str, walk: Walk | None = None) -> AsyncIterator[Step]:
        """Yield the nodes that can be reached, the nearest first, each once, the start before all; circles end.

        Nodes equally far come in the order of the edges that lead to them: first those along edges, then those against
        them, each by the node they come from, kind, and their own id. A page is read at a time, from a snapshot of its
        own, so a graph that changes meanwhile may be seen half changed.
        """
        asking = _Asking(start, walk or Walk()).questions()
        question = next(asking, None)
        while question is not None:
            page = await self._store.read(question)
            for step in page.steps:
                yield step
            question = _next(asking, page)

    async def shortest_path(self, start: str, goal: str, walk: Walk | None = None) -> list[Node] | None:
        """Return the nodes of a way with the fewest edges, both ends included; None where there is no way."""
        came: dict[str, Step] = {}
        async for step in self.traverse(start, walk):
            came[step.node.id] = step
            if step.node.id == goal:
                path = [step]
                while path[-1].came_from is not None:
                    path.append(came[path[-1].came_from])
                return [each.node for each in reversed(path)]
        return None


def walked(tx: Transaction, start: str, walk: Walk | None = None) -> Iterator[Step]:
    """Yield what `Graph.traverse` yields, inside a transaction: what it wrote before is seen."""
    asking = _Asking(start, walk or Walk()).questions()
    question = next(asking, None)
    while question is not None:
        page = question(tx)
        yield from page.steps
        question = _next(asking, page)


def edge_id(source: str, kind: str, target: str) -> str:
    """Return the id of an edge, the same for the same ends and kind, whatever characters stand in them."""
    return msgspec.json.encode([source, kind, target]).decode()


def _check_text(value: str, field: str) -> None:
    if not value:
        raise InputError(f"{field} must not be empty", field=field, given=value, bound="text")


def _check(walk: Walk) -> None:
    if walk.direction not in {"out", "in", "both"}:
        raise InputError(
            f"no direction {walk.direction!r}", field="direction", given=walk.direction, bound=["out", "in", "both"]
        )
    for field, value, least in (("depth", walk.depth, 0), ("limit", walk.limit, 1)):
        if value is not None and value < least:
            raise InputError(f"{field} must be {least} or more", field=field, given=value, bound=least)


_SIDES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "out": (("source", "target"),),
    "in": (("target", "source"),),
    "both": (("source", "target"), ("target", "source")),
}
_Side = tuple[str, str]
_Way = tuple[str | None, str, str | None]
"""An edge as the node it is seen from, the one beyond, and its id; to the start of a walk leads none."""


class _Page(msgspec.Struct, frozen=True):
    """What one read found: steps to give, or all the ways from some nodes, side by side.

    `is_worth` says whether looking ahead led to what was not seen before.
    """

    steps: Sequence[Step] = ()
    nodes: Sequence[str] = ()
    ways: Sequence[Sequence[_Way]] = ()
    is_worth: bool = True


_Question = Callable[[Transaction], _Page]
_Talk = Generator[_Question, _Page, T]


class _Asking:
    """A walk under way: what is asked changes nothing, so it may be asked again, and what was found is taken up."""

    def __init__(self, start: str, walk: Walk) -> None:
        _check(walk)
        self._start = start
        self._walk = walk
        self._sides = _SIDES[walk.direction]
        self._is_picky = walk.nodes is not None or walk.where is not None
        self._left = -1 if walk.limit is None else walk.limit - (not self._is_picky)
        self._size = _LEAST
        self._looks_ahead = True
        self._seen = {start}
        self._known: dict[_Side, dict[str | None, list[_Way]]] = {side: {} for side in self._sides}
        self._waiting: list[tuple[int, _Way]] = [(0, (None, start, None))]

    def questions(self) -> _Talk[None]:
        """Yield what has to be read next, and be sent what was found."""
        depth, level = 0, [self._start]
        while level and depth != self._walk.depth:
            depth += 1
            frontier, level = sorted(level), []
            for side in self._sides:
                place = 0
                while place < len(frontier) and self._left:
                    batch = frontier[place : place + self._size]
                    place += len(batch)
                    is_thin = depth != self._walk.depth and 2 * len(frontier) <= self._size
                    ways = yield from self._ways(batch, side, is_ahead=is_thin and self._looks_ahead)
                    for start in range(0, len(ways), _AT_ONCE):
                        level += yield from self._go(ways[start : start + _AT_ONCE], depth)
        yield from self._give()

    def _ways(self, batch: Sequence[str], side: _Side, *, is_ahead: bool) -> _Talk[Sequence[_Way]]:
        """Return the ways from some nodes in order; of those that were learned, nothing is kept."""
        known = self._known[side]
        missing = [near for near in batch if near not in known] if known else batch
        ways: Sequence[_Way] | None = None
        if missing:
            sides = self._sides if is_ahead else (side,)
            page = yield partial(self._ask, missing, sides, is_ahead)
            self._given(page)
            self._looks_ahead &= page.is_worth
            if is_ahead or len(missing) < len(batch):
                for each, found in zip(sides, page.ways, strict=True):
                    self._learn(self._known[each], page.nodes, found)
            else:
                ways = page.ways[0]
        if ways is None:
            ways = [way for near in batch for way in known.pop(near)]
        # So many nodes next time that about _AT_ONCE ways come.
        self._size = max(_LEAST, min(len(batch) * _AT_ONCE // max(1, len(ways)), 4 * self._size, _AT_ONCE))
        return ways

    def _ask(self, keys: Sequence[str], sides: Sequence[_Side], is_ahead: bool, tx: Transaction) -> _Page:
        """Look up the ways from the nodes; where these are few, also those from beyond, so that asking pays."""
        is_worth = True
        if is_ahead:
            reached = {row[0] for row in tx.query(self._taken().reach(keys, along=sides).limit(self._size))}
            new = reached - self._seen
            is_worth = 4 * len(new) >= len(reached - set(keys))
            keys = sorted(new.union(keys))
        ways = []
        for near, far in sides:
            query = self._taken().where(isin(near, keys)).order_by(near, "kind", far)
            ways.append(tx.query(query.select(near, far, "id")))
        return _Page(self._steps(tx), keys, ways, is_worth)

    @staticmethod
    def _learn(known: dict[str | None, list[_Way]], nodes: Iterable[str], ways: Iterable[_Way]) -> None:
        known.update((near, []) for near in nodes)
        for way in ways:
            known[way[0]].append(way)

    def _go(self, ways: Iterable[_Way], depth: int) -> _Talk[list[str]]:
        """Go to the nodes that are new; returns those from which the walk goes on."""
        seen, new = self._seen, []
        for way in ways:
            if way[1] not in seen and self._left:
                seen.add(way[1])
                new.append(way)
                self._waiting.append((depth, way))
                if not self._is_picky:
                    self._left -= 1
        if self._is_picky:
            return (yield from self._give())
        if len(self._waiting) >= _AT_ONCE:
            yield from self._give()
        return [way[1] for way in new]

    def _give(self) -> _Talk[list[str]]:
        """Give the nodes that wait for it, but those that the walk does not go to; returns the others."""
        return self._given((yield lambda tx: _Page(self._steps(tx)))) if self._waiting else []

    def _given(self, page: _Page) -> list[str]:
        self._waiting = []
        if self._is_picky:
            self._left -= len(page.steps)
        return [step.node.id for step in page.steps]

    def _steps(self, tx: Transaction) -> list[Step]:
        nodes = self._nodes(tx, [way[1] for _, way in self._waiting])
        steps = [
            Step(node=nodes[far], depth=depth, edge=edge, came_from=near)
            for depth, (near, far, edge) in self._waiting
            if far in nodes
        ]
        return steps[: self._left] if self._is_picky and self._left >= 0 else steps

    def _taken(self) -> Query[Edge]:
        walk = self._walk
        kinds = [] if walk.edges is None else [isin("kind", walk.edges)]
        return Query(EDGES).where(*kinds, *([] if walk.along is None else [walk.along]))

    def _nodes(self, tx: Transaction, keys: Sequence[str]) -> dict[str, Node]:
        walk = self._walk
        if not self._is_picky or list(keys) == [self._start]:
            return tx.get_many(NODES, keys)
        wanted = [] if walk.nodes is None else [isin("kind", walk.nodes)]
        query = Query(NODES).where(isin("id", keys), *wanted, *([] if walk.where is None else [walk.where]))
        return {node.id: node for node in tx.query(query)}


def _next(asking: _Talk[None], page: _Page) -> _Question | None:
    try:
        return asking.send(page)
    except StopIteration:
        return None
