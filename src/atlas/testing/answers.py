"""Laws of what a query answers with: order, pages, selected fields, counts and aggregates."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, contains, cursor_of, eq, exists, gt, match, ne
from .laws import Place, law
from .samples import MARKS, PARTS, Mark, Part, count, fill, ids, part, rows, summary, varied

ORDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("size",),
    ("-size",),
    ("kind", "-weight"),
    ("-made_at", "size", "-path"),
    ("metadata.build.id",),
    ("-metadata.build.id", "kind"),
    ("-id",),
    ("seen_at", "-note"),
)


async def _ordered(store: Store, *fields: str) -> list[str]:
    return [made.id for made in await rows(store, Query(PARTS).order_by(*fields))]


@law
async def absent_values_come_first_upwards(place: Place) -> None:
    """And last downwards; engines differ in this, callers must not notice."""
    store = await place.open()
    await fill(store, [part("a", size=1), part("b"), part("c", size=-1), part("d")])
    assert await _ordered(store, "size") == ["b", "d", "c", "a"]
    assert await _ordered(store, "-size") == ["a", "c", "b", "d"]


@law
async def each_field_has_its_own_direction(place: Place) -> None:
    """Mixed directions, and the key upwards wherever all else is equal."""
    store = await place.open()
    triples = [("d", 1, 0.5), ("c", 1, 0.5), ("b", 1, 2.0), ("a", 2, None), ("e", 2, 0.25)]
    await fill(store, [part(key, size=size, weight=weight) for key, size, weight in triples])
    assert await _ordered(store, "size", "-weight") == ["b", "c", "d", "e", "a"]
    assert await _ordered(store, "-size", "weight") == ["a", "e", "c", "d", "b"]
    assert await _ordered(store, "-size") == ["a", "e", "b", "c", "d"]
    assert await _ordered(store, "size", "-id") == ["d", "c", "b", "e", "a"]


@law
async def values_of_all_kinds_have_one_order(place: Place) -> None:
    """Absent, numbers, text by code point, with lists and objects as their text."""
    store = await place.open()
    values = [None, -1, 0.5, 1, 2**63 - 1, "", "B", "[a", [1], "a", {"k": 1}, "é", "\uffee", "😀"]
    ordered = [None, -1, 0.5, 1, 2**63 - 1, "", "B", [1], "[a", "a", {"k": 1}, "é", "\uffee", "😀"]
    keys = {repr(value): f"k{i:02d}" for i, value in enumerate(values)}
    await fill(store, [part(keys[repr(value)], metadata={"x": value}) for value in values])
    expected = [keys[repr(value)] for value in ordered]
    assert await _ordered(store, "metadata.x") == expected
    assert await _ordered(store, "-metadata.x") == expected[::-1]


@law
async def limit_and_offset_cut_the_ordered_rows(place: Place) -> None:
    """A limit of 0 is a limit; an offset needs none; either may be larger than any database counts."""
    store = await place.open()
    parts = varied()
    await fill(store, parts)
    whole = await _ordered(store, "-size")
    query = Query(PARTS).order_by("-size").select("id")
    for most, skip in ((0, 0), (3, 0), (3, 2), (None, 4), (100, 18), (2, 100), (None, 100), (2**70, 2), (2, 2**70)):
        expected = whole[skip:] if most is None else whole[skip : skip + most]
        assert [key for (key,) in await rows(store, query.limit(most).offset(skip))] == expected, (most, skip)


@law
async def pages_show_every_row_once(place: Place) -> None:
    """Whatever the order, and wherever absent values and ties fall on the edge of a page."""
    store = await place.open()
    parts = varied()
    await fill(store, parts)
    for order in ORDERS:
        query = Query(PARTS).order_by(*order)
        whole = await rows(store, query)
        for most in (1, 4, len(parts)):
            seen: list[Part] = []
            cursor = None
            while page := await rows(store, query.limit(most).after(cursor)):
                seen += page
                assert len(seen) <= len(parts), (order, most)
                cursor = cursor_of(query, page[-1])
            assert [made.id for made in seen] == [made.id for made in whole], (order, most)


@law
async def a_page_goes_on_where_the_last_one_ended(place: Place) -> None:
    """Rows added or removed behind the reader, the last row itself included, neither repeat nor hide others."""
    store = await place.open()
    await fill(store, [part(key, size=size) for key, size in (("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", None))])
    query = Query(PARTS).order_by("-size").limit(2)
    first = await rows(store, query)
    assert [made.id for made in first] == ["d", "b"]
    await fill(store, [part("new", size=9), part("aa", size=2)])
    await store.transact(lambda tx: tx.delete_many(PARTS, ["b", "d"]))
    second = await rows(store, query.after(cursor_of(query, first[-1])))
    assert [made.id for made in second] == ["c", "a"]
    third = await rows(store, query.after(cursor_of(query, second[-1])))
    assert [made.id for made in third] == ["e"]
    assert await rows(store, query.after(cursor_of(query, third[-1]))) == []


@law
async def a_cursor_narrows_a_condition(place: Place) -> None:
    """Pages of a filtered list, with an offset on top, are cut from what the filter leaves."""
    store = await place.open()
    await fill(store, varied())
    query = Query(PARTS).where(eq("kind", "odd"), ne("size", 1)).order_by("-weight", "size")
    whole = await rows(store, query)
    rest = await rows(store, query.after(cursor_of(query, whole[2])).offset(1).limit(2))
    assert rest == whole[4:6]


@law
async def selected_fields_come_as_scalars(place: Place) -> None:
    """Tuples in the order asked: times as text of one width, lists and objects as JSON, absent ones as None."""
    store = await place.open()
    parts = varied()
    await fill(store, [*parts, part("zz", tags=("ä", 'q"'), metadata={"a": [1, 2.0, None, {"b": "ü\n"}]})])
    fields = ("seen_at", "made_at", "tags", "metadata", "metadata.a", "is_open", "note", "id", "version")
    found = await rows(store, Query(PARTS).where(eq("id", "zz")).select(*fields))
    text = '[1,2.0,null,{"b":"ü\\n"}]'
    assert found == [(None, None, '["ä","q\\""]', f'{{"a":{text}}}', text, 0, "none", "zz", 1)]
    for field in ("seen_at", "made_at"):
        made = next(made for made in parts if getattr(made, field) is not None)
        found = await rows(store, Query(PARTS).where(eq("id", made.id)).select(field))
        assert found == [(f"{getattr(made, field):%Y-%m-%dT%H:%M:%S.%f}Z",)]


@law
async def a_count_heeds_only_the_condition(place: Place) -> None:
    """It says how many there are, not how many a page shows."""
    store = await place.open()
    parts = varied()
    await fill(store, parts)
    query = Query(PARTS).where(eq("kind", "odd"))
    cursor = cursor_of(query, (await rows(store, query))[1])
    number = sum(made.kind == "odd" for made in parts)
    for asked in (query, query.limit(1), query.limit(0), query.offset(3), query.after(cursor), query.select("kind")):
        assert await count(store, asked) == number
    assert await count(store, Query(PARTS)) == len(parts)
    assert await count(store, Query(PARTS).where(gt("size", 2**62), eq("kind", "none"))) == 0


@law
async def aggregates_leave_absent_values_out(place: Place) -> None:
    """As SQL does; the sum of nothing is None, so that it differs from a sum of zero."""
    store = await place.open()
    await fill(store, [part("a", size=1, weight=0.5), part("b", size=4), part("c", kind="odd", weight=2.0), part("d")])
    computed = {"n": "count", "sizes": "count:size", "total": "sum:size", "mean": "avg:size", "low": "min:size"}
    query = Query(PARTS).compute(**computed, high="max:weight", last="max:id")
    whole = {"n": 4, "sizes": 2, "total": 5, "mean": 2.5, "low": 1, "high": 2.0, "last": "d"}
    assert await summary(store, query) == [whole]
    grouped = [
        {"kind": "odd", "n": 1, "sizes": 0, "total": None, "mean": None, "low": None, "high": 2.0, "last": "c"},
        {"kind": "plain", "n": 3, "sizes": 2, "total": 5, "mean": 2.5, "low": 1, "high": 0.5, "last": "d"},
    ]
    assert await summary(store, query.group_by("kind")) == grouped


@law
async def aggregates_of_no_records(place: Place) -> None:
    """Without groups there is always one row; with groups there are as many as groups."""
    store = await place.open()
    query = Query(PARTS).compute(n="count", total="sum:weight", low="min:size")
    assert await summary(store, query) == [{"n": 0, "total": None, "low": None}]
    assert await summary(store, query.group_by("kind")) == []


@law
async def groups_come_sorted(place: Place) -> None:
    """By all their values, absent ones first; absent is a group of its own."""
    store = await place.open()
    pairs = [("a", 2, "x"), ("b", None, "x"), ("c", 2, None), ("d", 1, 5), ("e", None, "x"), ("f", 2, "x")]
    await fill(store, [part(key, size=size, metadata={"of": of}) for key, size, of in pairs])
    query = Query(PARTS).group_by("size", "metadata.of").compute(n="count", first="min:id").limit(1)
    found = [tuple(row.values()) for row in await summary(store, query)]
    assert found == [(None, "x", 2, "b"), (1, 5, 1, "d"), (2, None, 1, "c"), (2, "x", 2, "a")]


@law
async def sums_are_of_numbers(place: Place) -> None:
    """Text in metadata neither counts as zero nor breaks the sum."""
    store = await place.open()
    await fill(
        store, [part(key, metadata={"x": x}) for key, x in (("a", 2), ("b", "3 apples"), ("c", 1.5), ("d", None))]
    )
    query = Query(PARTS).compute(total="sum:metadata.x", mean="avg:metadata.x", n="count:metadata.x")
    assert await summary(store, query) == [{"total": 3.5, "mean": 1.75, "n": 3}]
    only_text = query.where(eq("id", "b"))
    assert await summary(store, only_text) == [{"total": None, "mean": None, "n": 1}]


@law
async def an_unknown_aggregate_is_refused(place: Place) -> None:
    """A misspelt one must not come back as another."""
    store = await place.open()
    for text in ("median:size", "sum", "sum:colour", ""):
        query = Query(PARTS).compute(x=text)
        try:
            found = await summary(store, query)
        except InputError:
            continue
        raise AssertionError(f"{text!r} was answered: {found}")


@law
async def queries_see_buffered_writes(place: Place) -> None:
    """Rules query for siblings and dependents of what the same call has just written."""
    store = await place.open()
    await fill(store, [part("a", size=1), part("b", size=2, tags=("red",)), part("c", size=3)])

    def work(tx: Transaction) -> tuple[Any, ...]:
        tx.put(PARTS, part("a", size=9, name="fresh", tags=("red",)))
        tx.delete(PARTS, "c")
        tx.put(PARTS, part("d", parent="a"))
        tx.append(MARKS, Mark(text="first"))
        by_size = [made.id for made in tx.query(Query(PARTS).order_by("-size"))]
        red = [made.id for made in tx.query(Query(PARTS).where(contains("tags", "red")))]
        total = tx.aggregate(Query(PARTS).compute(total="sum:size"))
        tx.put(PARTS, part("a", size=9, name="fresh"))
        fresh = [made.id for made in tx.query(Query(PARTS).where(match("fresh"), exists("size")))]
        tx.append(MARKS, Mark(text="second"))
        texts = tx.query(Query(MARKS).select("text"))
        return by_size, red, total, fresh, tx.count(Query(PARTS)), texts

    found = (await store.transact(work)).value
    assert found == (["a", "b", "d"], ["a", "b"], [{"total": 11}], ["a"], 3, [("first",), ("second",)])
    assert await ids(store, contains("tags", "red")) == ["b"]
