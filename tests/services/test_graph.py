"""The graph: what was connected is reached, the nearest first, once, and circles end."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.kinds import BACKENDS, Spots

from atlas.errors import ConflictError, InputError
from atlas.storage import graph as subject
from atlas.storage.graph import EDGES, GRAPH, NODES, Direction, Edge, Graph, Node, Step, Walk, edge_id, walked
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, both, eq, ge, isin, lt, negate

pytestmark = pytest.mark.anyio

EDGE = tuple[str, str, str]
"""Source, kind, target."""
ENDS = st.integers(0, 8).map(str)
EDGES_OF = st.lists(st.tuples(ENDS, st.sampled_from(["a", "b"]), ENDS), max_size=25, unique=True)
SIDES: dict[Direction, tuple[bool, ...]] = {"out": (False,), "in": (True,), "both": (False, True)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def store(anyio_backend: str, request: pytest.FixtureRequest, spots: Spots) -> AsyncIterator[Store]:
    made = spots.maker(request.param)(GRAPH)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def graph(store: Store) -> Graph:
    return Graph(store)


def node(name: str) -> Node:
    """Return a node whose kind and data follow from its name."""
    number = sum(map(ord, name))
    return Node(id=name, kind="odd" if number % 3 == 0 else "", data={"size": number % 5})


def edge(source: str, kind: str, target: str) -> Edge:
    """Return an edge whose data follow from its ends."""
    return Edge(
        id=edge_id(source, kind, target), source=source, target=target, kind=kind, data={"cost": len(source + target)}
    )


def naive(edges: list[EDGE], start: str, walk: Walk) -> list[tuple[str, int, str | None]]:
    """Return each node with its depth and the edge to it, in order, found by looking at every edge for every level."""
    level, seen = {start}, {start}
    found: list[tuple[str, int, str | None]] = [(start, 0, None)]
    for depth in range(1, len(edges) + 2 if walk.depth is None else walk.depth + 1):
        beyond = set()
        for is_turned in SIDES[walk.direction]:
            ways = [(t, k, s, edge_id(s, k, t)) if is_turned else (s, k, t, edge_id(s, k, t)) for s, k, t in edges]
            for near, kind, far, way in sorted(ways):
                if near in level and far not in seen and _goes(walk, kind, node(far)):
                    seen.add(far)
                    beyond.add(far)
                    found.append((far, depth, way))
        level = beyond
    return found[: walk.limit]


def _goes(walk: Walk, kind: str, to: Node) -> bool:
    is_wanted = walk.nodes is None or to.kind in walk.nodes
    return is_wanted and (walk.edges is None or kind in walk.edges) and (walk.where is None or to.data["size"] < 4)


def told(steps: list[Step]) -> list[tuple[str, int, str | None]]:
    return [(step.node.id, step.depth, step.edge) for step in steps]


WALKS = st.builds(
    Walk,
    edges=st.none() | st.just(("a",)),
    direction=st.sampled_from(["out", "in", "both"]),
    depth=st.none() | st.integers(0, 4),
    nodes=st.none() | st.just(("",)),
    limit=st.none() | st.integers(1, 6),
    where=st.none() | st.just(lt("data.size", 4)),
)


@settings(max_examples=80, deadline=None)
@given(EDGES_OF, WALKS, st.integers(1, 4))
def test_what_can_be_reached_is_reached_in_order(edges: list[EDGE], walk: Walk, page: int) -> None:
    """Held to a search that looks at every edge, with pages so small that they end everywhere."""
    import asyncio

    async def run() -> None:
        store = MemoryStore(GRAPH)
        await store.open()
        graph = Graph(store)
        await graph.load([node(str(number)) for number in range(9)], [edge(*each) for each in edges])
        steps = [step async for step in graph.traverse("0", walk)]
        assert told(steps) == naive(edges, "0", walk)
        for step in steps[1:]:
            path = await graph.shortest_path("0", step.node.id, walk)
            assert path is not None
            assert len(path) == step.depth + 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_AT_ONCE", page)
        patch.setattr(subject, "_LEAST", 2)
        asyncio.run(run())


def drawn(seed: int) -> tuple[list[str], list[EDGE]]:
    """Return the nodes and edges of a graph: a thin one, a dense one, or a tree with circles."""
    draw = random.Random(seed)
    names = [f"{seed}.{number:02}" for number in range(40)]
    if seed % 3 == 0:
        pairs = [(names[number], names[number + 1]) for number in range(39)]
    elif seed % 3 == 1:
        pairs = [(draw.choice(names), draw.choice(names)) for _ in range(120)]
    else:
        pairs = [(names[(number - 1) // 3], names[number]) for number in range(1, 40)]
        pairs += [(draw.choice(names), draw.choice(names)) for _ in range(5)]
    return names, sorted({(source, draw.choice("ab"), target) for source, target in pairs})


@pytest.mark.parametrize("page", [3, 250])
async def test_every_kind_of_store_walks_as_a_plain_search_does(
    store: Store, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the transaction that made the graph, which is not committed yet, and afterwards."""
    monkeypatch.setattr(subject, "_AT_ONCE", page)
    draw = random.Random(page)
    for seed in range(6):
        names, edges = drawn(seed)
        walks = [
            Walk(direction=direction, edges=draw.choice([None, ("a",)]), depth=draw.choice([None, 1, 3]))
            for direction in SIDES
        ]
        walks += [Walk(direction="both", where=lt("data.size", 4)), Walk(nodes=("",), limit=9), Walk()]
        expected = [naive(edges, names[0], walk) for walk in walks]

        def work(
            tx: Transaction, names: list[str] = names, edges: list[EDGE] = edges, walks: list[Walk] = walks
        ) -> list[list[Step]]:
            tx.put_many(NODES, map(node, names))
            tx.put_many(EDGES, [edge(*each) for each in edges])
            return [list(walked(tx, names[0], walk)) for walk in walks]

        made = (await store.transact(work)).value
        assert [told(steps) for steps in made] == expected
        again = [[step async for step in Graph(store).traverse(names[0], walk)] for walk in walks]
        assert again == made


async def test_a_walk_takes_only_edges_of_its_condition(graph: Graph) -> None:
    """Whether or not the backend can say the condition in its own words."""
    names = ["a", "bb", "ccc", "dd"]
    await graph.load(
        [Node(id=name) for name in names], [edge("a", "k", "bb"), edge("bb", "k", "ccc"), edge("a", "k", "dd")]
    )
    assert [step.node.id async for step in graph.traverse("a", Walk(along=lt("data.cost", 4)))] == ["a", "bb", "dd"]
    taken = both(ge("data.cost", 3), negate(eq("target", "bb")))
    assert [step.node.id async for step in graph.traverse("a", Walk(along=taken))] == ["a", "dd"]


async def test_what_is_reached_is_the_same_on_every_store(store: Store) -> None:
    """Values are found once however many ways lead there, in both directions, and with a limit no more than that."""
    names, edges = drawn(4)
    await Graph(store).load([*map(node, names), Node(id="x")], [edge(*each) for each in edges])
    out, back = ("source", "target"), ("target", "source")
    kinds = Query(EDGES).where(isin("kind", ["a"]))
    plain = [each for each in edges if each[1] == "a"]

    asked = {
        "out": kinds.reach(names[:2], along=[out]),
        "both": kinds.reach(names[:1], along=[out, back]),
        "few": Query(EDGES).reach(names[:1], along=[out, back]).limit(5),
        "data": Query(EDGES).where(eq("data.cost", 8)).reach(names[:1], along=[out]),
        "apart": Query(EDGES).reach(["x", "nowhere"], along=[out]),
        "none": Query(EDGES).reach([], along=[out]),
    }
    found = await store.read(lambda tx: {name: tx.query(query) for name, query in asked.items()})
    for name, starts, walk in (("out", names[:2], Walk()), ("both", names[:1], Walk(direction="both"))):
        reached = {each[0] for start in starts for each in naive(plain, start, walk)}
        assert found[name] == [(value,) for value in sorted(reached)]
    assert len(found["few"]) == 5
    assert set(found["few"]) <= {(each[0],) for each in naive(edges, names[0], Walk(direction="both"))}
    assert found["data"] == [(each[0],) for each in sorted(naive(edges, names[0], Walk()))]
    assert found["apart"] == [("nowhere",), ("x",)]
    assert found["none"] == []


@pytest.mark.parametrize(
    "query",
    [
        Query(EDGES).reach(["a"], along=[]),
        Query(EDGES).reach([None], along=[("source", "target")]),
        Query(EDGES).reach(["a"], along=[("source", "colour")]),
        Query(EDGES).reach(["a"], along=[("source", "target")]).order_by("kind"),
        Query(EDGES).reach(["a"], along=[("source", "target")]).offset(1),
        Query(EDGES).reach(["a"], along=[("source", "target")]).select("id", "kind"),
        Query(EDGES).reach(["a"], along=[("source", "target")]).join(NODES, on=("source", "id")),
    ],
)
async def test_reaching_what_cannot_be_reached_is_refused(query: Query[Edge]) -> None:
    """What a backend would have to guess at, or leave out."""
    store = MemoryStore(GRAPH)
    await store.open()
    with pytest.raises(InputError):
        await store.read(lambda tx: tx.query(query))


async def test_a_hub_is_read_in_pages(graph: Graph) -> None:
    """One node with more edges than a page holds, and a walk that ends among them."""
    spokes = [f"{number:04}" for number in range(700)]
    await graph.load([Node(id=name) for name in ["hub", *spokes]], [edge("hub", "k", name) for name in spokes])
    assert [step.node.id async for step in graph.traverse("hub")] == ["hub", *spokes]
    assert [step.node.id async for step in graph.traverse("hub", Walk(limit=301))] == ["hub", *spokes[:300]]
    assert [step.node.id async for step in graph.traverse("0600", Walk(direction="in"))] == ["0600", "hub"]


async def fill(graph: Graph, edges: list[EDGE]) -> None:
    await graph.load([Node(id=str(number)) for number in range(9)], [edge(*each) for each in edges])


async def test_a_small_graph_is_walked_as_expected(graph: Graph) -> None:
    edges = [("0", "a", "1"), ("1", "a", "2"), ("2", "a", "0"), ("0", "b", "3"), ("3", "a", "4"), ("4", "a", "4")]
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
    await fill(graph, [("0", "a", "1"), ("2", "b", "0")])
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
    names = ['a"', 'a","b', "é", "a b"]
    for name in names:
        await graph.create_node(name)
    await graph.create_edge('a"', 'a","b', 'k"')
    await graph.create_edge('a"', "é", 'k","a')
    assert {step.node.id for step in await graph.neighbours('a"')} == {'a","b', "é"}


async def test_a_long_chain_is_walked_to_its_end(graph: Graph) -> None:
    """Depth is no recursion: nothing is exhausted."""
    nodes = [Node(id=f"{n:05}") for n in range(1_100)]
    edges = [Edge(id=f"{n}", source=f"{n:05}", target=f"{n + 1:05}", kind="next") for n in range(1_099)]
    await graph.load(nodes, edges)
    assert [s.depth async for s in graph.traverse("00000")] == list(range(1_100))


async def test_a_read_that_runs_again_changes_no_answer(spots: Spots, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is struck by its deadline is asked for again on a thread: what was met the first time is not lost."""
    monkeypatch.setattr("atlas.storage.sqlite.store.SHORT_SECONDS", 0.0)
    store = spots.maker("sqlite")(GRAPH)
    await store.open()
    names = [f"{number:04}" for number in range(900)]
    pairs = [(names[(number - 1) // 3], names[number]) for number in range(1, 900)]
    edges = [(source, "k", target) for source, target in pairs]
    await Graph(store).load([Node(id=name) for name in names], [edge(*each) for each in edges])
    steps = [step async for step in Graph(store).traverse(names[0])]
    await store.close()
    assert sorted(step.node.id for step in steps) == names
    assert [step.depth for step in steps] == sorted(step.depth for step in steps)


def test_the_example_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    """It runs as it stands, and prints what the graph holds."""
    page = (Path(__file__).parents[2] / "docs" / "graph.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [
        *("0 app.py", "1 shop.py", "2 db.py"),
        "['app.py', 'shop.py']",
        "['app.py', 'shop.py', 'db.py']",
    ]
