"""The index of attributes: finds what was added, forgets what was removed, and keeps it in a file that others read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.kinds import BACKENDS, Spots

from atlas.errors import InputError, StorageError, StoreFormatError
from atlas.storage.attributes import ENTITIES, AttributeIndex, Wanted, canonical

pytestmark = pytest.mark.anyio

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def index(anyio_backend: str, request: pytest.FixtureRequest, spots: Spots) -> AsyncIterator[AttributeIndex]:
    store = spots.maker(request.param)([ENTITIES])
    await store.open()
    yield AttributeIndex(store)
    await store.close()


async def test_entities_are_found_by_attribute_and_by_value(index: AttributeIndex) -> None:
    await index.add("a", "colour", "red")
    await index.add("a", "colour", "blue")
    await index.add("b", "colour", "red")
    await index.add("b", "size", 3)
    assert await index.find("colour") == {"a", "b"}
    assert await index.find("colour", "blue") == {"a"}
    assert await index.find("colour", "green") == set()
    assert await index.find("size", 3) == {"b"}
    assert await index.attributes_of("a") == {"colour": ["red", "blue"]}
    assert await index.attributes_of("nobody") == {}


async def test_equal_objects_are_one_value_whatever_the_order_of_their_keys(index: AttributeIndex) -> None:
    """Keyed by identity, half of them would be lost when the index is loaded again."""
    await index.add("a", "place", {"x": 1, "y": [1, 2]})
    await index.add("b", "place", {"y": [1, 2], "x": 1})
    assert await index.find("place", {"x": 1, "y": [1, 2]}) == {"a", "b"}
    assert (await index.statistics()).values == 1


async def test_values_that_only_python_takes_for_the_same_are_several(index: AttributeIndex) -> None:
    values: list[Any] = [1, True, 1.0, "1", None]
    await index.add_many((f"e{number}", "v", value) for number, value in enumerate(values))
    for number, value in enumerate(values):
        assert await index.find("v", value) == {f"e{number}"}


@pytest.mark.parametrize("name", ["a:b", 'a":"b', "__proto__", "é", "a\nb", '"', "\\"])
async def test_an_attribute_may_have_any_name(index: AttributeIndex, name: str) -> None:
    await index.add("e", name, "v:1")
    assert await index.find(name, "v:1") == {"e"}
    assert await index.remove("e", name, "v:1")
    assert await index.find(name) == set()


async def test_removing_takes_a_value_an_attribute_or_all_of_an_entity(index: AttributeIndex) -> None:
    await index.add_many([("a", "x", 1), ("a", "x", 2), ("a", "y", [1]), ("b", "x", 1)])
    assert await index.remove("a", "x", 1)
    assert not await index.remove("a", "x", 1)
    assert await index.find("x") == {"a", "b"}
    assert await index.remove("a", "x")
    assert await index.find("x") == {"b"}
    assert await index.remove("a")
    assert await index.find("y") == set()
    assert not await index.remove("a")
    assert await index.names() == {"x"}


async def test_conditions_combine(index: AttributeIndex) -> None:
    await index.add_many(
        [("a", "n", "alpha"), ("a", "k", 1), ("b", "n", "beta"), ("b", "k", 1), ("c", "n", "Alphabet")]
    )
    starts = Wanted(name="n", operator="starts_with", value="al")
    one = Wanted(name="k", value=1)
    assert await index.find_all([starts, one]) == {"a"}
    assert await index.find_all([starts, one], combine="or") == {"a", "b"}
    assert await index.find_all([]) == set()
    assert await index.find("n", "pha", "contains") == {"a", "c"}
    await index.add("d", "n", ["pha", 1])
    assert await index.find("n", "pha", "contains") == {"a", "c", "d"}
    assert await index.find("n", operator="exists") == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Wanted(name="n"), "value"),
        (Wanted(name="n", operator="contains"), "value"),
        (Wanted(name="n", operator="starts_with", value=1), "value"),
        (Wanted(name="n", operator="resembles", value=1), "operator"),  # type: ignore[arg-type]
    ],
)
async def test_a_condition_that_means_nothing_is_refused(index: AttributeIndex, wanted: Wanted, field: str) -> None:
    """An empty answer would be taken for one."""
    with pytest.raises(InputError) as refused:
        await index.find_all([wanted])
    assert refused.value.field == field


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800", {1: 2}])
async def test_what_is_no_json_is_refused_and_leaves_nothing(index: AttributeIndex, value: object) -> None:
    with pytest.raises(InputError):
        await index.add_many([("a", "x", 1), ("a", "x", value)])
    assert await index.find("x") == set()


@pytest.mark.parametrize(("entity", "name"), [("", "x"), ("a", ""), (None, "x"), ("a", "\0")])
async def test_entities_and_attributes_have_names(index: AttributeIndex, entity: Any, name: Any) -> None:
    with pytest.raises(InputError):
        await index.add(entity, name, 1)


async def test_entities_are_indexed_by_type_name_and_metadata(index: AttributeIndex) -> None:
    await index.add_entities([{"id": "a", "type": "file", "name": "a.py", "metadata": {"lines": 3, "tags": ["x"]}}])
    assert await index.attributes_of("a") == {"type": ["file"], "name": ["a.py"], "lines": [3], "tags": [["x"]]}


async def test_a_file_holds_all_of_it(index: AttributeIndex, tmp_path: Path) -> None:
    await index.add_many([("a", "x:y", {"b": [1, None]}), ("a", "n", "v"), ("b", "n", "v"), ("b", "n", True)])
    before = {entity: await index.attributes_of(entity) for entity in ("a", "b")}
    path = tmp_path / "deep" / "index.json"
    await index.save(path)
    made = json.loads(path.read_text())["metadata"]
    await index.remove("a")
    await index.add("c", "gone", 1)
    await index.load(path)
    assert {entity: await index.attributes_of(entity) for entity in ("a", "b")} == before
    assert await index.attributes_of("c") == {}
    await index.save(path)
    again = json.loads(path.read_text())["metadata"]
    assert (again["createdAt"], again["entityCount"]) == (made["createdAt"], 2)


async def test_a_file_of_the_earlier_program_is_read(index: AttributeIndex, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    old = {
        "version": "1.0.0",
        "index": {"type": {'"file"': ["a", "b"]}, "place": {'{"c":1,"b":2}': ["a"]}},
        "entityAttributes": {"a": ['type:"file"'], "b": ['type:"file"']},
        "metadata": {
            "createdAt": "2025-09-01T00:00:00.000Z",
            "lastModified": "2025-09-01T00:00:00.000Z",
            "entityCount": 2,
        },
    }
    path.write_text(json.dumps(old, indent=2))
    await index.load(path)
    assert await index.find("type", "file") == {"a", "b"}
    assert await index.find("place", {"b": 2, "c": 1}) == {"a"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": "2.0.0", "index": {}}', '{"version": "1.0.0", "index": {"a": {"{": ["x"]}}}']
)
async def test_a_file_that_cannot_be_read_changes_nothing(index: AttributeIndex, tmp_path: Path, text: str) -> None:
    """Cleared before it is parsed, the live index would be gone."""
    await index.add("a", "x", 1)
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(StoreFormatError):
        await index.load(path)
    with pytest.raises(StorageError):
        await index.load(tmp_path / "nowhere.json")
    assert await index.find("x", 1) == {"a"}


async def test_ten_thousand_entities_are_found(index: AttributeIndex) -> None:
    """How quickly is a row of the benchmarks."""
    await index.add_many((f"e{n}", name, n % 100) for n in range(10_000) for name in ("kind", "size"))
    assert len(await index.find("kind", 7)) == 100
    assert await index.find_all([Wanted(name="kind", value=7), Wanted(name="size", value=8)]) == set()
    assert (await index.statistics()).entities == 10_000


@settings(max_examples=200)
@given(JSON)
def test_a_value_comes_back_from_its_canonical_text(value: Any) -> None:
    assert canonical(json.loads(canonical(value))) == canonical(value)
