"""Laws of single records: what is put is what is read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ..errors import VersionError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, isin
from .laws import Place, law
from .samples import COUNTERS, PARTS, Counter, Part, fill, ids, part, rows, varied

DIFFICULT: dict[str, Any] = {
    "empty": "",
    "quotes": "'\"`\\ /* -- ; DROP TABLE parts",
    "controls": "\x01\x1f\x7f\t\r\n\u2028",
    "unicode": "Zo\u00eb Zoe\u0308 ﬁ ß İ 日本 😀 \U0010ffff \ufffe",
    "placeholders": "? %s $1 :x {} %",
    "spaces": "  left and right  ",
    "big": [2**63 - 1, -(2**63), 2**53 + 1],
    "floats": [0.1, 1e-300, 5e-324, 1.7976931348623157e308, -0.5, 1.0],
    "kinds": [None, True, False, 0, 1, "1", [], {}, [[[]]]],
    "deep": {"a": {"b": {"c": {"d": [1, {"e": None}]}}}, "": {"": ""}},
    "keys": {"a.b": 1, 'q"q': 2, "ä": 3, "__proto__": 4, "$": 5},
    "long": "long " * 20_000,
}


async def _read(store: Store, key: str) -> Part | None:
    return await store.read(lambda tx: tx.get(PARTS, key))


async def _put(store: Store, made: Part, expected: int) -> None:
    await store.transact(lambda tx: tx.put(PARTS, made, expected_version=expected))


@law
async def a_record_put_is_read_back(place: Place) -> None:
    """The first promise of a store; every field, not only the indexed ones."""
    store = await place.open()
    parts = varied()
    await fill(store, parts)
    for made in parts:
        assert await _read(store, made.id) == made
    assert await rows(store, Query(PARTS)) == sorted(parts, key=lambda made: made.id)


@law
async def difficult_values_come_back_equal(place: Place) -> None:
    """Quoting, encodings and number formats are where stores lose data."""
    store = await place.open()
    made = part("x", metadata=DIFFICULT, name=DIFFICULT["unicode"], note=DIFFICULT["quotes"], size=2**63 - 1)
    await fill(store, [made])
    found = await _read(store, "x")
    assert found == made
    assert found.metadata["floats"] == DIFFICULT["floats"]
    assert [type(value) for value in found.metadata["kinds"]] == [type(value) for value in DIFFICULT["kinds"]]


@law
async def any_metadata_comes_back_equal(place: Place) -> None:
    """Agents put whatever JSON they have into metadata."""
    store = await place.open()
    loop = asyncio.get_running_loop()
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | text
    )
    values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)

    async def keep(metadata: dict[str, Any]) -> Part | None:
        await fill(store, [part("x", metadata=metadata)])
        return await _read(store, "x")

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(st.dictionaries(text, values, max_size=5))
    def check(metadata: dict[str, Any]) -> None:
        found = asyncio.run_coroutine_threadsafe(keep(metadata), loop).result()
        assert found == part("x", metadata=metadata)

    await asyncio.to_thread(check)


@law
async def a_time_is_the_same_moment_in_any_zone(place: Place) -> None:
    """Callers give times in their own zones; comparing and sorting them must not depend on that."""
    store = await place.open()
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    zones = [timezone(timedelta(hours=hours)) for hours in (-11, 0, 14)]
    parts = [part(f"p{i}", made_at=noon.astimezone(zone) + timedelta(i)) for i, zone in enumerate(zones)]
    await fill(store, reversed(parts))
    assert await rows(store, Query(PARTS).order_by("made_at")) == parts
    found = await rows(store, Query(PARTS).order_by("made_at").limit(1).select("made_at"))
    assert found == [("2025-01-01T12:00:00.000000Z",)]


@law
async def what_was_never_put_reads_as_none(place: Place) -> None:
    """None is the only answer for a missing record; no error, no empty record."""
    store = await place.open()
    assert await _read(store, "missing") is None
    assert await store.read(lambda tx: tx.get_many(PARTS, ["missing", ""])) == {}


@law
async def get_many_returns_those_that_exist(place: Place) -> None:
    """Callers look keys up in the answer, so a missing one is not there."""
    store = await place.open()
    await fill(store, [part("a"), part("b")])
    found = await store.read(lambda tx: tx.get_many(PARTS, ["b", "nothing", "a", "b"]))
    assert found == {"a": part("a"), "b": part("b")}


@law
async def thousands_of_keys_are_no_limit(place: Place) -> None:
    """Backends bound the parameters of a statement; callers must not have to know."""
    store = await place.open()
    keys = [f"k{i:05d}" for i in range(3_000)]
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id=key) for key in keys]))
    assert len(await store.read(lambda tx: tx.get_many(COUNTERS, keys))) == 3_000
    assert await store.read(lambda tx: tx.count(Query(COUNTERS).where(isin("id", keys)))) == 3_000
    assert (await store.transact(lambda tx: tx.delete_many(COUNTERS, keys[1:]))).value == 2_999
    assert await rows(store, Query(COUNTERS)) == [Counter(id=keys[0])]


@law
async def put_replaces_the_whole_record(place: Place) -> None:
    """A field left out of the new record must not shine through from the old one, nor stay findable."""
    store = await place.open()
    await fill(store, [part("a", name="old", size=3, tags=("red",), metadata={"x": 1}, code="c")])
    await fill(store, [part("a", weight=2.5)])
    assert await _read(store, "a") == part("a", weight=2.5)
    gone = Query(PARTS).where(isin("size", [3]))
    assert await rows(store, gone) == []


@law
async def the_last_of_several_puts_counts(place: Place) -> None:
    """Within one transaction and within one put_many, order decides."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        tx.put_many(PARTS, [part("a", size=1), part("b"), part("a", size=2)])
        tx.put(PARTS, part("a", size=3))
        tx.put(PARTS, part("c"))
        tx.delete(PARTS, "c")

    await store.transact(work)
    assert await rows(store, Query(PARTS)) == [part("a", size=3), part("b")]


@law
async def delete_says_whether_there_was_one(place: Place) -> None:
    """Callers answer "not found" by it."""
    store = await place.open()
    await fill(store, [part("a"), part("b"), part("c")])
    assert (await store.transact(lambda tx: tx.delete(PARTS, "a"))).value is True
    assert (await store.transact(lambda tx: tx.delete(PARTS, "a"))).value is False
    assert (await store.transact(lambda tx: tx.delete_many(PARTS, ["a", "b", "b", "x"]))).value == 1
    assert await ids(store) == ["c"]


@law
async def a_transaction_reads_what_it_wrote(place: Place) -> None:
    """Rules are checked against the state that the same call has made so far."""
    store = await place.open()
    await fill(store, [part("a"), part("b")])

    def work(tx: Transaction) -> tuple[Any, ...]:
        tx.put(PARTS, part("a", size=1))
        tx.delete(PARTS, "b")
        tx.put(PARTS, part("c"))
        several = tx.get_many(PARTS, ["a", "b", "c", "d"])
        return tx.get(PARTS, "a"), tx.get(PARTS, "b"), several, tx.delete(PARTS, "b")

    first, second, several, again = (await store.transact(work)).value
    assert (first, second, again) == (part("a", size=1), None, False)
    assert several == {"a": part("a", size=1), "c": part("c")}


@law
async def the_expected_version_must_be_the_present_one(place: Place) -> None:
    """Optimistic callers rely on it; the error says both versions, and nothing changes."""
    store = await place.open()
    await fill(store, [part("a", version=7)])
    for expected, given_part in ((6, part("a", version=8)), (8, part("a", version=8)), (1, part("new"))):
        refused = None
        try:
            await _put(store, given_part, expected)
        except VersionError as error:
            refused = error
        assert refused is not None, f"{given_part.id} was written with expected_version={expected}"
        assert (refused.expected, refused.current) == (expected, 7 if given_part.id == "a" else 0)
    await _put(store, part("a", version=8), 7)
    await _put(store, part("b"), 0)
    assert [(made.id, made.version) for made in await rows(store, Query(PARTS))] == [("a", 8), ("b", 1)]


@law
async def versions_are_compared_with_buffered_writes(place: Place) -> None:
    """A second write in the same transaction is held against the first."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("a", version=1), expected_version=0)
        tx.put(PARTS, part("a", version=2), expected_version=1)
        tx.delete(PARTS, "a")
        tx.put(PARTS, part("a", version=5), expected_version=0)

    await store.transact(work)
    assert await _read(store, "a") == part("a", version=5)
