"""Nodes and edges in two collections of any store, and walking along them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from ..errors import ConflictError, InputError
from .collection import Collection
from .protocol import Store, Transaction
from .query import Condition, Query, either, eq, isin

Direction = Literal["out", "in", "both"]

_AT_ONCE = 1_000


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
    indexes=(("source", "kind", "target"), ("target", "kind", "source")),
    references={"source": "node", "target": "node"},
    journaled=False,
    alike={"source": 10, "target": 10, "kind": 100_000},
)
GRAPH = (NODES, EDGES)


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """How to walk: along edges of some kinds (all), in a direction, so deep, to nodes of some kinds (all).

    A node of another kind is not given, and nothing beyond it is reached. `limit` ends the walk after so many nodes.
    """

    edges: tuple[str, ...] | None = None
    direction: Direction = "out"
    depth: int | None = None
    nodes: tuple[str, ...] | None = None
    limit: int | None = None


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

        Each level is read from a snapshot of its own, so a graph that changes meanwhile may be seen half changed.
        """
        walk = walk or Walk()
        _check(walk)
        node = await self.node(start)
        if node is None:
            return
        given, seen, frontier, depth = 1, {start}, [start], 0
        yield Step(node=node, depth=0)
        while frontier and depth != walk.depth and given != walk.limit:
            depth += 1
            level = frontier
            found = await self._store.read(lambda tx, level=level: _reached(tx, level, walk, seen))  # type: ignore[misc]
            frontier = []
            for reached, edge, came_from in found:
                seen.add(reached.id)
                frontier.append(reached.id)
                yield Step(node=reached, depth=depth, edge=edge, came_from=came_from)
                given += 1
                if given == walk.limit:
                    return

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


def _reached(tx: Transaction, frontier: Sequence[str], walk: Walk, seen: set[str]) -> list[tuple[Node, str, str]]:
    """Return the new nodes one edge beyond a frontier, with the edge and the node that it came from."""
    ways: dict[str, tuple[str, str]] = {}
    for near, far in (("source", "target"), ("target", "source")):
        if walk.direction != "both" and (walk.direction == "out") != (near == "source"):
            continue
        for start in range(0, len(frontier), _AT_ONCE):
            where: list[Condition] = [isin(near, frontier[start : start + _AT_ONCE])]
            if walk.edges is not None:
                where.append(isin("kind", walk.edges))
            query = Query(EDGES).where(*where).order_by(near, "kind", far).select("id", near, far)
            for edge, came_from, reached in tx.query(query):
                if reached not in seen:
                    ways.setdefault(reached, (edge, came_from))
    known = tx.get_many(NODES, ways)
    return [
        (known[key], edge, came_from)
        for key, (edge, came_from) in ways.items()
        if key in known and (walk.nodes is None or known[key].kind in walk.nodes)
    ]
