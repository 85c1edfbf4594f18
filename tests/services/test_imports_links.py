"""Laws of dependencies and places, shared by all readers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from atlas.model.dependency import find_chain
from atlas.model.path import ancestors_of, is_within, parent_of
from atlas.work.imports.links import Link, settle
from atlas.work.imports.tree import Node, free, place, with_parents_first

SEGMENTS = st.sampled_from("abc")
PATHS = st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), max_size=10).map(
    lambda paths: sorted({above for path in paths for above in (path, *ancestors_of(path))})
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[str, str], list[Link]]:
    paths = {f"id-{path}": path for path in draw(PATHS)}
    keys = st.sampled_from(sorted(paths)) if paths else st.nothing()
    pairs = draw(st.lists(st.tuples(keys, keys | st.none()), max_size=25)) if paths else []
    return paths, [Link(source, on, on) for source, on in pairs]


def waits_for(key: str, paths: dict[str, str], kept: dict[str, list[str]]) -> Iterable[str]:
    """Give what a task waits for by the words of the rules: its own, its containers' and its children."""
    sources = {path: source for source, path in paths.items()}
    for path in (paths[key], *ancestors_of(paths[key])):
        yield from kept.get(sources[path], [])
    yield from (source for source, path in paths.items() if parent_of(path) == paths[key])


@given(plans())
def test_exactly_those_links_stand_that_the_rules_allow_one_after_the_other(
    plan: tuple[dict[str, str], list[Link]],
) -> None:
    """The incremental order must agree with the plain search of `model.dependency`, link by link."""
    paths, links = plan
    kept, refused = settle(paths, links, most=3)
    expected: dict[str, list[str]] = {}
    for link in links:
        has = expected.setdefault(link.source, [])
        if link.on is None or link.on in has or len(has) >= 3:
            continue
        path, other = paths[link.source], paths[link.on]
        if is_within(path, other) or is_within(other, path):
            continue
        below = frozenset(source for source, at in paths.items() if is_within(at, path))
        chain = find_chain(link.source, [link.on], partial(waits_for, paths=paths, kept=expected), below.__contains__)
        if chain is None:
            has.append(link.on)
    assert kept == expected
    assert len(refused) + sum(map(len, kept.values())) == len(links)


def test_a_refused_circle_is_told_as_a_chain_of_paths() -> None:
    """The chain says which link to take away instead."""
    paths = {"a": "p/a", "b": "p/b", "c": "p/c"}
    _, refused = settle(paths, [Link("a", "b", 2), Link("b", "c", 3), Link("c", "a", 1)])
    assert [item.why for item in refused] == ["waiting would never end (p/c -> p/a -> p/b -> p/c)"]


def test_a_target_outside_the_file_is_taken_only_when_it_may_be_there() -> None:
    """An export of a subtree waits for tasks that only the store knows."""
    kept, refused = settle({"a": "p/a"}, [Link("a", "q/x", "q/x", is_outside=True), Link("a", "gone", "gone")])
    assert kept == {"a": ["q/x"]}
    assert [item.link.told for item in refused] == ["gone"]


def test_a_long_chain_against_the_order_of_the_file_takes_no_long() -> None:
    """Files may list everything backwards; ten thousand tasks must not take minutes."""
    paths = {"p": "p"} | {f"t{n}": f"p/t{n}" for n in range(10_000)}
    links = [Link(f"t{n}", f"t{n + 1}", n) for n in range(9_999)]
    kept, refused = settle(paths, [*links, Link("t9999", "t0", 0)])
    assert sum(map(len, kept.values())) == 9_999
    assert len(refused) == 1


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("xyz")), max_size=12))
def test_every_node_gets_its_own_valid_place(told: list[tuple[int, str]]) -> None:
    """Whatever parents a file names, also itself and circles, each record has one path below another's."""
    nodes = [Node(str(index), str(parent), segment) for index, (parent, segment) in enumerate(told)]
    placed = place("p", nodes)
    assert sorted(placed.paths) == sorted(node.key for node in nodes)
    assert len(set(placed.paths.values())) == len(nodes)
    seen = {"p"}
    for path in placed.paths.values():
        assert parent_of(path) in seen
        seen.add(path)


def test_siblings_keep_their_order_and_equal_ones_are_numbered() -> None:
    """The order of the file is the order of the plan."""
    nodes = [Node("1", None, "x"), Node("2", None, "x"), Node("3", "1", "x"), Node("4", None, "x-2")]
    assert place("p", nodes).paths == {"1": "p/x", "3": "p/x/x", "2": "p/x-2", "4": "p/x-2-2"}


@given(st.lists(st.sampled_from(["a", "a-2", "b" * 100]), max_size=8))
def test_free_names_never_repeat_and_keep_the_limit(wanted: list[str]) -> None:
    """A segment has at most 100 characters, its number included."""
    taken: dict[str, int] = {}
    made = [free(segment, taken) for segment in wanted]
    assert len(set(made)) == len(made)
    assert all(len(segment) <= 100 for segment in made)


@given(st.permutations(["a", "a/b", "a/b/c", "d"]))
def test_parents_are_put_first_and_a_right_order_stays(paths: list[str]) -> None:
    """A hand-made file may list a child before its parent."""
    order = with_parents_first(paths)
    sorted_paths = [paths[index] for index in order]
    for path in paths:
        above = parent_of(path)
        assert above is None or sorted_paths.index(above) < sorted_paths.index(path)
    assert with_parents_first(sorted_paths) == list(range(len(paths)))
    assert all(left != right for left, right in pairwise(order))
