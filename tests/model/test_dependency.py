"""Dependencies: the shortest chain of waiting, and what may never wait for what."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import CycleError
from atlas.model.dependency import check_direct, find_chain

NODES = "abcdef"
graphs = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=3, unique=True))


def shortest(graph: dict[str, list[str]], start: str, target: str) -> int | None:
    """The length of the shortest chain, by trying every order of nodes."""
    others = [node for node in NODES if node not in {start, target}]
    for length in range(len(others) + 1):
        for middle in itertools.permutations(others, length):
            chain = [start, *middle, target]
            if all(b in graph.get(a, ()) for a, b in itertools.pairwise(chain)):
                return len(chain)
    return None


@given(graphs, st.sampled_from(NODES), st.sampled_from(NODES))
@settings(max_examples=300)
def test_a_chain_is_found_exactly_when_there_is_one_and_is_the_shortest(
    graph: dict[str, list[str]], start: str, target: str
) -> None:
    """A circle is refused only with its proof, and the proof is as short as it can be."""
    if start == target:
        return
    chain = find_chain(start, graph.get(start, []), lambda key: graph.get(key, []), lambda key: key == target)
    due = shortest(graph, start, target)
    assert (chain is None) == (due is None)
    if chain is not None:
        assert len(chain) == due
        assert chain[0] == start
        assert chain[-1] == target
        assert all(b in graph.get(a, ()) for a, b in itertools.pairwise(chain))


def test_a_very_long_chain_is_found_without_exhausting_the_stack() -> None:
    """Plans come from outside; depth is no reason to fall over."""
    last = 50_000
    chain = find_chain("0", ["1"], lambda key: [str(int(key) + 1)] if int(key) < last else [], lambda k: k == str(last))
    assert chain is not None
    assert len(chain) == last + 1


@pytest.mark.parametrize(
    ("path", "other", "chain"),
    [("a/b", "a/b", ["a/b", "a/b"]), ("a/b", "a", ["a/b", "a", "a/b"]), ("a", "a/b/c", ["a", "a/b/c", "a"])],
)
def test_nothing_depends_on_itself_or_on_its_own_line(path: str, other: str, chain: list[str]) -> None:
    """A container is finished when its children are, so such waiting would never end."""
    with pytest.raises(CycleError) as caught:
        check_direct(path, ["z", other])
    assert caught.value.chain == chain
    assert caught.value.given == other


def test_a_neighbour_whose_name_begins_alike_is_no_ancestor() -> None:
    """`ab` lies beside `a`, not below it."""
    check_direct("a/b", ["ab", "a/bc", "a/b-c"])
