"""Limits: what is outside is refused with the field, the bound and what was given."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import InputError
from atlas.model import limits
from atlas.model.limits import check_clean, check_metadata, check_unique


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("a\0b", "x"),
        ("\ud800", "x"),
        (math.nan, "x"),
        (math.inf, "x"),
        (["ok", {"k": ["a\0"]}], "x[1].k[0]"),
        ({"deep": {"deeper": -math.inf}}, "x.deep.deeper"),
        ({"bad\0key": 1}, "x"),
        ({"é\ud800": 1}, "x"),
    ],
)
def test_what_no_store_keeps_alike_is_refused_wherever_it_stands(value: Any, field: str) -> None:
    """NUL, lone surrogates, NaN and infinities change meaning from backend to backend."""
    with pytest.raises(InputError) as caught:
        check_clean(value, "x")
    assert caught.value.field == field
    str(caught.value.as_dict()).encode()


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_everything_else_is_clean(value: Any) -> None:
    """No other character and no finite number is refused."""
    check_clean([value, {"k": value}], "x")


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels - 1):
        made = {"a": made}
    return made


def test_metadata_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    """8 levels of containers, the outermost counted."""
    check_metadata(nested(limits.METADATA_DEPTH))
    with pytest.raises(InputError) as caught:
        check_metadata(nested(limits.METADATA_DEPTH + 1))
    assert (caught.value.bound, caught.value.given) == (limits.METADATA_DEPTH, limits.METADATA_DEPTH + 1)


def test_hostile_depth_is_refused_without_exhausting_the_stack() -> None:
    """The check itself must survive what it refuses."""
    with pytest.raises(InputError):
        check_metadata(nested(100_000))


def test_metadata_is_measured_in_bytes_of_json() -> None:
    """64 KiB of UTF-8, not of characters: the size is what stores and answers carry."""
    frame = len('{"a":""}')
    check_metadata({"a": "x" * (limits.METADATA_BYTES - frame)})
    for text in ("x" * (limits.METADATA_BYTES - frame + 1), "é" * (limits.METADATA_BYTES // 2)):
        with pytest.raises(InputError) as caught:
            check_metadata({"a": text})
        assert caught.value.bound == limits.METADATA_BYTES
        assert caught.value.given > limits.METADATA_BYTES


def test_metadata_that_is_not_json_is_refused() -> None:
    """Programs can hand in anything; what JSON has no word for is refused by name."""
    with pytest.raises(InputError, match="not JSON"):
        check_metadata({"a": object()})


def test_a_list_names_everything_once() -> None:
    """Naming a thing twice is a slip that is told, not mended in silence."""
    check_unique(("a", "b"), "tags")
    with pytest.raises(InputError) as caught:
        check_unique(("a", "b", "a"), "tags")
    assert (caught.value.field, caught.value.given) == ("tags", "a")


def test_the_limits_are_those_of_the_design() -> None:
    """Others script against these numbers."""
    assert (limits.NAME, limits.DESCRIPTION, limits.REASONING) == (200, 32_768, 8_192)
    assert (limits.NOTE, limits.NOTES) == (32_768, 100)
    assert (limits.METADATA_BYTES, limits.METADATA_DEPTH) == (64 * 1_024, 8)
    assert (limits.TAG, limits.TAGS) == (100, 100)
    assert (limits.DEPENDENCIES, limits.CHILDREN, limits.DEPTH, limits.PATH) == (50, 10_000, 8, 1_000)
