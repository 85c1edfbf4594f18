"""Laws of limits: what is too long is cut in its place and whole beside it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atlas.model import limits
from atlas.model.task import Criterion
from atlas.work.imports.decode import clean
from atlas.work.imports.draft import Draft, DraftNote
from atlas.work.imports.fit import fit


def fitted(**fields: Any) -> Draft:
    return fit(Draft(**{"source": "s", "path": "p/s", "name": "n", **fields}), "x")[0]


def test_a_draft_within_the_limits_is_left_alone() -> None:
    """Most records need nothing; they must not change by being looked at."""
    draft = Draft(source="s", path="p/s", name="n" * 200, metadata={"a": [1]}, tags=("a",))
    assert fit(draft, "x") == (draft, [])


def test_each_long_text_is_cut_and_whole_in_metadata() -> None:
    """The limits count characters; the whole text is found under the name of its field."""
    draft = fitted(name="n" * 201, reason="r" * 8_193, assignee="a" * 201, reasoning="g" * 8_193)
    assert [len(draft.name), len(draft.reason or ""), len(draft.assignee or "")] == [200, 8_192, 200]
    whole = draft.metadata["x"]["whole"]
    assert {name: len(text) for name, text in whole.items()} == {
        "name": 201,
        "reason": 8_193,
        "assignee": 201,
        "reasoning": 8_193,
    }


def test_a_text_that_metadata_cannot_hold_becomes_notes_in_parts() -> None:
    """The parts after their first lines, put together, are the text."""
    text = "".join(chr(0x4E00 + index % 5_000) for index in range(100_000))
    draft, remarks = fit(Draft(source="s", path="p/s", name="n", description=text), "x")
    parts = [note.text.partition("\n") for note in draft.notes]
    assert "".join(part[2] for part in parts) == text
    assert parts[0][0] == f"x.whole.description, part 1 of {len(parts)}:"
    assert all(len(note.text) <= limits.NOTE for note in draft.notes)
    assert any("notes" in remark.message for remark in remarks)
    limits.check_metadata(draft.metadata)


def test_metadata_nested_too_deeply_is_kept_as_json_text() -> None:
    """Eight levels are the limit of metadata; the structure is not lost."""
    deep: Any = "leaf"
    for _ in range(20):
        deep = [deep]
    draft = fitted(metadata={"x": {"odd": deep, "fine": 1}})
    assert msgspec.json.decode(draft.metadata["x"]["odd"]) == deep
    assert draft.metadata["x"]["fine"] == 1


def test_lists_are_cut_to_what_fits_and_whole_in_metadata() -> None:
    """A tag over its length, an empty or repeated one cannot stand."""
    draft = fitted(tags=("a", "a", " ", "b" * 101), acceptance=tuple(Criterion("c" * 1_001) for _ in range(101)))
    assert draft.tags == ("a",)
    assert draft.metadata["x"]["whole"]["tags"] == ["a", "a", " ", "b" * 101]
    assert len(draft.acceptance) == 100
    assert len(draft.acceptance[0].text) == 1_000
    kept = "".join(note.text.partition("\n")[2] for note in draft.notes)
    assert len(msgspec.json.decode(kept)) == 101


def test_a_long_note_is_split_and_keeps_who_and_when() -> None:
    """A note holds 32,768 characters."""
    notes = fitted(notes=(DraftNote(text="n" * 70_000, by="ann"),)).notes
    assert "".join(note.text for note in notes) == "n" * 70_000
    assert {note.by for note in notes} == {"ann"}


def test_hours_that_cannot_be_are_kept_in_metadata() -> None:
    """Infinite and negative estimates are no estimates."""
    assert fitted(estimated_hours=-1.0).metadata == {"x": {"whole": {"estimated_hours": -1.0}}}
    assert fitted(estimated_hours=float("inf")).metadata == {"x": {"whole": {"estimated_hours": "inf"}}}


def test_a_draft_without_a_name_is_called_by_its_place() -> None:
    """A task must be nameable."""
    draft, remarks = fit(Draft(source="s", path="p/here", name="  "), "x")
    assert draft.name == "here"
    assert remarks


@given(
    st.recursive(
        st.text(st.characters()) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    )
)
def test_cleaned_data_can_be_stored_and_clean_data_is_left_alone(value: Any) -> None:
    """NUL and half surrogate pairs are refused by every store."""
    cleaned, count = clean(value)
    limits.check_clean(cleaned, "value")
    assert (cleaned is value) == (count == 0)
