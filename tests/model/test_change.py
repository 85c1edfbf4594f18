"""Changes: what the journal keeps is enough to go forward and back, for any JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.model.change import apply, diff, invert

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2, width=16) | st.text("ab/~\n", max_size=3)
texts = st.text("ab", min_size=195, max_size=230)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=4),
    max_leaves=8,
)
records = st.dictionaries(st.sampled_from(["x", "y", "z", "added", "removed"]), values, max_size=4)
states = st.none() | records


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Two states that have much in common, as those around a real change have."""
    before = draw(states)
    after = draw(states)
    if before is not None and after is not None:
        after = {**before, **dict(list(after.items())[:1])}
    return before, after


def same(left: Any, right: Any) -> bool:
    """Compare as JSON: 1, 1.0 and true are three values, the order of keys is none."""
    return msgspec.json.encode(left, order="deterministic") == msgspec.json.encode(right, order="deterministic")


pairs = st.one_of(neighbours(), st.tuples(states, states))


@given(pairs)
@settings(max_examples=600)
def test_a_change_leads_from_before_to_after(pair: tuple[Any, Any]) -> None:
    """Replaying the journal gives the present state."""
    before, after = pair
    change = diff(before, after)
    assert same(after, before if change is None else apply(before, change))


@given(pairs)
@settings(max_examples=600)
def test_an_inverted_change_leads_back(pair: tuple[Any, Any]) -> None:
    """Whatever happened can be taken back from the journal alone."""
    before, after = pair
    change = diff(before, after)
    if change is not None:
        assert same(before, apply(after, invert(change)))
        assert same(invert(invert(change)), change)


@given(states)
def test_nothing_changed_is_no_change(state: Any) -> None:
    """An update that changes nothing writes no event."""
    assert diff(state, state) is None


@given(pairs)
@settings(max_examples=300)
def test_a_change_survives_the_journals_json(pair: tuple[Any, Any]) -> None:
    """Changes are read back from text: nothing in them may depend on being Python."""
    before, after = pair
    change = diff(before, after)
    if change is not None:
        stored = msgspec.json.decode(msgspec.json.encode(change))
        assert same(after, apply(before, stored))


@given(records)
def test_applying_leaves_the_record_given_as_it_was(record: dict[str, Any]) -> None:
    """States are shared between readers; a replay must not write into them."""
    other = {"x": {"a": {"b": [1]}}, **record, "y": [2]}
    kept = msgspec.json.encode(other)
    change = diff(other, {**other, "x": {"a": {"b": [1, 2]}, "c": 1}, "y": [2, 3]})
    if change is not None:
        apply(other, change)
    assert msgspec.json.encode(other) == kept


def test_one_word_in_a_long_text_costs_little() -> None:
    """An event is held under 1 KB for an ordinary update, however long the field."""
    text = "word " * 6_000
    change = diff({"description": text}, {"description": text[:9_000] + "other " + text[9_000:]})
    assert len(msgspec.json.encode(change)) < 200


def test_one_key_of_much_metadata_costs_little() -> None:
    """The same for objects: only the path that changed is kept."""
    metadata = {f"key{n}": {"value": "x" * 50} for n in range(500)}
    change = diff({"metadata": metadata}, {"metadata": {**metadata, "key7": {"value": "y"}}})
    assert change == {"fields": {"metadata": {"keys": {"/key7/value": ["x" * 50, "y"]}}}}


def test_a_list_or_object_left_out_counts_as_empty() -> None:
    """Records in the journal leave their defaults out; a change of such a field must still apply."""
    assert apply({}, {"fields": {"tags": {"splice": [0, [], ["a"]]}}}) == {"tags": ["a"]}
    assert apply({}, {"fields": {"metadata": {"gained": {"/a": 1}}}}) == {"metadata": {"a": 1}}


def test_a_change_of_fields_needs_a_record() -> None:
    """A journal that does not fit is noticed, not replayed into nonsense."""
    with pytest.raises(ValueError, match="needs a record"):
        apply(None, {"fields": {"x": [1, 2]}})
