"""Paths and patterns: the grammar, and one matcher that agrees with a plain reading of the rules."""

from __future__ import annotations

import re
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import PathError
from atlas.model import limits
from atlas.model.path import (
    ancestors_of,
    depth_of,
    is_below,
    is_id,
    is_within,
    name_of,
    parent_of,
    parse_path,
    parse_pattern,
    project_of,
    slug,
)
from atlas.storage.ids import new_id

LETTERS = "ab-."
segments = st.text(LETTERS, min_size=1, max_size=4).filter(lambda s: s not in {".", ".."})
paths = st.lists(segments, min_size=1, max_size=5).map("/".join)
pieces = st.one_of(
    st.just("**"),
    st.text(LETTERS + "*?", min_size=1, max_size=4).filter(lambda s: s not in {".", ".."} and "**" not in s),
)
patterns = st.lists(pieces, min_size=1, max_size=5).map("/".join)
GRAMMAR = re.compile(
    r"(?![0-9._-])(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,100})(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,100}){0,7}\Z"
)


def plainly_matches(pattern: list[str], path: list[str]) -> bool:
    """RULES, globs, read word for word: `**` is any number of segments, also none."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(plainly_matches(pattern[1:], path[taken:]) for taken in range(len(path) + 1))
    return bool(path) and segment_matches(pattern[0], path[0]) and plainly_matches(pattern[1:], path[1:])


def segment_matches(pattern: str, text: str) -> bool:
    """`*` is one or more characters within a segment, `?` one."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(segment_matches(pattern[1:], text[taken:]) for taken in range(1, len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and segment_matches(pattern[1:], text[1:])


@given(patterns, paths)
@settings(max_examples=600)
def test_a_pattern_matches_what_its_plain_reading_says(pattern: str, path: str) -> None:
    """One matcher stands behind every list on every backend, so it must be the one of the rules."""
    assert parse_pattern(pattern).matches(path) == plainly_matches(pattern.split("/"), path.split("/"))


@given(patterns, paths)
@settings(max_examples=600)
def test_every_match_lies_in_the_patterns_range(pattern: str, path: str) -> None:
    """Backends look only between low and high: a match outside would be lost."""
    parsed = parse_pattern(pattern)
    if parsed.matches(path):
        assert parsed.low <= path
        assert parsed.high is None or path < parsed.high


@given(patterns, paths)
@settings(max_examples=600)
def test_a_pattern_that_is_a_subtree_matches_exactly_that_subtree(pattern: str, path: str) -> None:
    """Where a range alone decides, it must decide as the matcher would."""
    parsed = parse_pattern(pattern)
    if parsed.subtree is not None:
        assert parsed.matches(path) == is_within(path, parsed.subtree)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**", "ab", False),
        ("**", "a", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/*", "a", False),
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("a*", "a", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("A", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_patterns_of_the_rules_page(pattern: str, path: str, matches: bool) -> None:
    """The examples people reason with; case matters, and a dot is a dot."""
    assert parse_pattern(pattern).matches(path) is matches


def test_hostile_patterns_take_linear_time() -> None:
    """A pattern comes from outside: it must not be able to keep the server busy."""
    pattern, path = parse_pattern("a*" * 24 + "b"), "a" * 100
    began = time.perf_counter()
    assert not pattern.matches(path)
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("pattern", ["", "a//b", "/a", "a/", "a**", "a/b**/c", "a/../b", "a b", "é*", "a" * 1_001])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """A pattern that could never match is a mistake, and is told as one."""
    with pytest.raises(PathError) as caught:
        parse_pattern(pattern)
    assert caught.value.field == "pattern"
    assert caught.value.hint


@given(st.one_of(paths, st.text(string.ascii_letters + string.digits + "-_./ é\0", max_size=30)))
@settings(max_examples=600)
def test_a_path_is_taken_exactly_when_the_grammar_has_it(text: str) -> None:
    """The grammar is one line of RULES; nothing else is a path."""
    if GRAMMAR.match(text):
        assert parse_path(text) == text
    else:
        with pytest.raises(PathError) as caught:
            parse_path(text)
        assert caught.value.code == "TASK_INVALID_PATH"
        assert caught.value.field == "path"


@pytest.mark.parametrize(
    ("text", "right"),
    [("/a/b", "a/b"), ("a//b", "a/b"), ("a/b/", "a/b"), ("a/My Task!", "my-task"), ("a/Ünit", "unit")],
)
def test_the_hint_of_a_wrong_path_would_have_worked(text: str, right: str) -> None:
    """An agent that follows the hint succeeds at once."""
    with pytest.raises(PathError) as caught:
        parse_path(text)
    assert repr(right) in caught.value.hint


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("a/" * 8 + "a", limits.DEPTH),
        ("a/" + "b" * 101, limits.SEGMENT),
        ("a" * 1_001, limits.PATH),
        ("1a", "A-Z or a-z"),
        ("a/..", "no '.' or '..'"),
    ],
)
def test_a_wrong_path_names_its_bound(text: str, bound: object) -> None:
    """The bound is what the caller has to change."""
    with pytest.raises(PathError) as caught:
        parse_path(text)
    assert caught.value.bound == bound


@given(paths)
def test_the_parts_of_a_path_fit_together(path: str) -> None:
    """Parent, name, project, depth and ancestors are views of one thing."""
    parent = parent_of(path)
    assert path == (name_of(path) if parent is None else f"{parent}/{name_of(path)}")
    assert ancestors_of(path) == ([] if parent is None else [parent, *ancestors_of(parent)])
    assert depth_of(path) == len(ancestors_of(path)) + 1
    assert project_of(path) == (ancestors_of(path)[-1] if parent else path)
    assert all(is_below(path, above) for above in ancestors_of(path))
    assert not is_below(path, path)
    assert is_within(path, path)


@given(st.text(max_size=150))
def test_a_slug_is_always_a_segment(text: str) -> None:
    """Imports make segments of any wording."""
    assert parse_path(f"a/{slug(text)}")
    assert slug(slug(text)) == slug(text)


@given(paths)
def test_no_path_looks_like_an_id(path: str) -> None:
    """Wherever a path is taken an id is too, so they must never be confused."""
    assert is_id(new_id())
    if GRAMMAR.match(path):
        assert not is_id(path)
