"""The graph: what was connected is reached, the nearest first, once, and circles end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ConflictError, InputError
from atlas.storage.graph import GRAPH, Edge, Graph, Node, Walk, edge_id
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

EDGE = tuple[int, int, str]
EDGES_OF = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.sampled_from(["a", "b"])), max_size=25, unique=True
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def graph(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Graph]:
    store: Store = MemoryStore(GRAPH) if request.param == "memory" else SqliteStore(tmp_path / "g.db", GRAPH)
    await store.open()
    yield Graph(store)
    await store.close()


async def fill(graph: Graph, edges: list[EDGE], kinds: dict[int, str] | None = None) -> None:
    nodes = [Node(id=str(number), kind=(kinds or {}).get(number, "")) for number in range(9)]
    made = [Edge(id=edge_id(str(s), k, str(t)), source=str(s), target=str(t), kind=k) for s, t, k in edges]
    await graph.load(nodes, made)


def naive(edges: list[EDGE], start: int, walk: Walk, kinds: dict[int, str]) -> dict[str, int]:
    """Return the depth of each node that can be reached, found edge by edge."""
    ways = [(s, t) for s, t, k in edges if walk.edges is None or k in walk.edges]
    turned = [(t, s) for s, t in ways]
    ways = {"out": ways, "in": turned, "both": ways + turned}[walk.direction]
    depths, level = {start: 0}, 0
    while any(depth == level for depth in depths.values()) and level != walk.depth:
        for near, far in ways:
            is_allowed = walk.nodes is None or kinds.get(far, "") in walk.nodes
            if depths.get(near) == level and far not in depths and is_allowed:
                depths[far] = level + 1
        level += 1
    return {str(number): depth for number, depth in depths.items()}


@settings(max_examples=60, deadline=None)
@given(
    EDGES_OF,
    st.builds(
        Walk,
        edges=st.none() | st.just(("a",)),
        direction=st.sampled_from(["out", "in", "both"]),
        depth=st.none() | st.integers(0, 4),
        nodes=st.none() | st.just(("",)),
    ),
    st.dictionaries(st.integers(1, 8), st.just("odd"), max_size=3),
)
def test_what_can_be_reached_is_reached_at_its_depth(edges: list[EDGE], walk: Walk, kinds: dict[int, str]) -> None:
    """Held to a search that goes edge by edge."""
    import asyncio

    async def run() -> None:
        store = MemoryStore(GRAPH)
        await store.open()
        graph = Graph(store)
        await fill(graph, edges, kinds)
        steps = [step async for step in graph.traverse("0", walk)]
        assert {step.node.id: step.depth for step in steps} == naive(edges, 0, walk, kinds)
        assert len(steps) == len({step.node.id for step in steps})
        assert [step.depth for step in steps] == sorted(step.depth for step in steps)
        for step in steps[1:]:
            path = await graph.shortest_path("0", step.node.id, walk)
            assert path is not None
            assert len(path) == step.depth + 1

    asyncio.run(run())


async def test_every_kind_of_store_walks_alike(graph: Graph) -> None:
    edges = [(0, 1, "a"), (1, 2, "a"), (2, 0, "a"), (0, 3, "b"), (3, 4, "a"), (4, 4, "a")]
    await fill(graph, edges)
    assert [(s.node.id, s.depth) async for s in graph.traverse("0")] == [
        ("0", 0),
        ("1", 1),
        ("3", 1),
        ("2", 2),
        ("4", 2),
    ]
    assert [s.node.id for s in await graph.neighbours("0", direction="both")] == ["1", "3", "2"]
    assert [s.node.id for s in await graph.neighbours("0", edges=["b"])] == ["3"]
    assert [node.id for node in await graph.shortest_path("0", "4") or []] == ["0", "3", "4"]
    assert await graph.shortest_path("4", "0") is None
    assert [s.node.id async for s in graph.traverse("0", Walk(limit=3))] == ["0", "1", "3"]
    assert [s async for s in graph.traverse("nowhere")] == []


async def test_an_edge_leads_from_one_node_that_is_there_to_another(graph: Graph) -> None:
    await graph.create_node("a", kind="file", data={"lines": 3})
    with pytest.raises(ConflictError) as refused:
        await graph.create_edge("a", "b", "imports")
    assert (refused.value.field, refused.value.given) == ("target", "b")
    await graph.create_node("b")
    await graph.create_edge("a", "b", "imports", data={"line": 1})
    with pytest.raises(ConflictError):
        await graph.create_edge("a", "b", "imports")
    with pytest.raises(ConflictError):
        await graph.create_node("a")
    assert await graph.node("a") == Node(id="a", kind="file", data={"lines": 3})


async def test_a_node_that_edges_hold_goes_only_with_them(graph: Graph) -> None:
    await fill(graph, [(0, 1, "a"), (2, 0, "b")])
    with pytest.raises(ConflictError):
        await graph.delete_node("0")
    assert await graph.delete_node("0", is_detached=True)
    assert not await graph.delete_node("0")
    assert [step.node.id async for step in graph.traverse("2")] == ["2"]
    await graph.create_edge("2", "1", "a")
    assert await graph.delete_edge("2", "1", "a")
    assert not await graph.delete_edge("2", "1", "a")


@pytest.mark.parametrize("walk", [Walk(depth=-1), Walk(limit=0), Walk(direction="up")])  # type: ignore[arg-type]
async def test_a_walk_that_means_nothing_is_refused(graph: Graph, walk: Walk) -> None:
    await fill(graph, [])
    with pytest.raises(InputError):
        [step async for step in graph.traverse("0", walk)]


async def test_names_of_any_characters_are_told_apart(graph: Graph) -> None:
    names: list[Any] = ['a"', 'a","b', "é", "a b"]
    for name in names:
        await graph.create_node(name)
    await graph.create_edge('a"', 'a","b', 'k"')
    await graph.create_edge('a"', "é", 'k","a')
    assert {step.node.id for step in await graph.neighbours('a"')} == {'a","b', "é"}


async def test_a_long_chain_is_walked_to_its_end(graph: Graph) -> None:
    """Depth is no recursion: nothing is exhausted."""
    nodes = [Node(id=f"{n:05}") for n in range(2_000)]
    edges = [Edge(id=f"{n}", source=f"{n:05}", target=f"{n + 1:05}", kind="next") for n in range(1_999)]
    await graph.load(nodes, edges)
    assert [s.depth async for s in graph.traverse("00000")] == list(range(2_000))
