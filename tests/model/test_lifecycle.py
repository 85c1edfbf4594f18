"""Statuses: the table of RULES, roll-up over trees, and who may hold whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ParentTypeError, StatusError
from atlas.model.lifecycle import FINISHED, ORDER, TRANSITIONS, Change, check_holds, roll_up, shift, transition
from atlas.model.task import Status, Type

TABLE = """
              PENDING    IN_PROGRESS  COMPLETED  FAILED   BLOCKED     CANCELLED
PENDING       no-change  free         free       yes      yes         yes
IN_PROGRESS   yes        no-change    free       yes      yes         yes
BLOCKED       yes        free         free       yes      no-change   yes
COMPLETED     yes        refused      no-change  refused  refused     refused
FAILED        yes        refused      refused    refused  refused     yes
CANCELLED     yes        refused      refused    refused  refused     no-change
"""
WORDS = {"no-change": Change.NONE, "yes": Change.ALLOWED, "free": Change.IF_FREE, "refused": Change.REFUSED}


def test_the_table_is_the_one_of_the_rules() -> None:
    """One place decides which status may follow which, and it is this table, word for word."""
    head, *rows = TABLE.strip().splitlines()
    for row in rows:
        start, *words = row.split()
        for end, word in zip(head.split(), words, strict=True):
            assert TRANSITIONS[Status(start), Status(end)] is WORDS[word], (start, end)


@pytest.mark.parametrize(("start", "end"), [pair for pair, change in TRANSITIONS.items() if change is Change.REFUSED])
def test_a_refused_change_names_those_that_are_possible(start: Status, end: Status) -> None:
    """The caller learns at once what would have worked."""
    with pytest.raises(StatusError) as caught:
        transition(start, end, "a/b")
    assert caught.value.field == "status"
    assert caught.value.given == end
    assert "PENDING" in caught.value.bound
    assert all(TRANSITIONS[start, Status(name)] is not Change.REFUSED for name in caught.value.bound)


trees = st.recursive(
    st.sampled_from(list(Status)), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12
)


def rolled(tree: Any) -> Status:
    """DESIGN 5, roll-up, as it is written there: of the direct children's statuses."""
    if isinstance(tree, Status):
        return tree
    found = [rolled(child) for child in tree]
    if all(status in FINISHED for status in found):
        return Status.CANCELLED if set(found) == {Status.CANCELLED} else Status.COMPLETED
    if Status.FAILED in found:
        return Status.FAILED
    if Status.IN_PROGRESS in found or any(status in FINISHED for status in found):
        return Status.IN_PROGRESS
    return Status.BLOCKED if set(found) == {Status.BLOCKED} else Status.PENDING


def leaves(tree: Any) -> list[Status]:
    return [tree] if isinstance(tree, Status) else [leaf for child in tree for leaf in leaves(child)]


@given(trees)
@settings(max_examples=400)
def test_counting_leaves_gives_what_rolling_up_children_gives(tree: Any) -> None:
    """Counts are kept per leaf, so that a change costs its depth; the rule speaks of children."""
    found = leaves(tree)
    if not isinstance(tree, Status):
        assert roll_up([found.count(status) for status in ORDER]) is rolled(tree)


@given(st.lists(st.sampled_from(list(Status)), min_size=1, max_size=6), st.data())
def test_shifting_counts_is_counting_again(statuses: list[Status], data: st.DataObject) -> None:
    """The incremental step of the counts, in all its three forms."""
    counts = tuple(statuses.count(status) for status in ORDER)
    index = data.draw(st.integers(0, len(statuses) - 1))
    after = data.draw(st.none() | st.sampled_from(list(Status)))
    changed = [*statuses[:index], *([] if after is None else [after]), *statuses[index + 1 :]]
    a, b, c, d, e, f = counts
    assert shift((a, b, c, d, e, f), statuses[index], after) == tuple(changed.count(status) for status in ORDER)


@pytest.mark.parametrize(
    ("parent", "held"),
    [(Type.MILESTONE, {Type.GROUP, Type.TASK}), (Type.GROUP, {Type.GROUP, Type.TASK}), (Type.TASK, set())],
)
def test_types_hold_what_the_rules_say(parent: Type, held: set[Type]) -> None:
    """MILESTONE and GROUP hold GROUP and TASK; TASK holds nothing."""
    for child in Type:
        if child in held:
            check_holds(parent, child, "a", "a/b")
        else:
            with pytest.raises(ParentTypeError) as caught:
                check_holds(parent, child, "a", "a/b")
            assert caught.value.bound == sorted(held)
            assert caught.value.hint
