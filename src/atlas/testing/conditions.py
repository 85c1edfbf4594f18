"""Laws of conditions: which records a query finds."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..storage.protocol import Store, Transaction
from ..storage.query import (
    Compare,
    Condition,
    Query,
    both,
    contains,
    either,
    eq,
    exists,
    ge,
    glob,
    gt,
    isin,
    le,
    like,
    lt,
    match,
    ne,
    negate,
)
from .laws import Place, law
from .samples import MARKS, PARTS, Mark, count, fill, ids, part, rows, varied

ALL = ["a", "b", "c", "d"]


async def _sized(place: Place, *sizes: int | None) -> Store:
    store = await place.open()
    await fill(store, (part(key, size=size) for key, size in zip(ALL, sizes, strict=False)))
    return store


async def _held(place: Place, *values: Any) -> Store:
    """Open a store whose parts hold these values at `metadata.x`."""
    store = await place.open()
    await fill(store, (part(key, metadata={"x": value}) for key, value in zip("abcdefghij", values, strict=False)))
    return store


async def _tell_apart(store: Store, all_ids: list[str], expected: dict[Condition, str]) -> None:
    """Check conditions against the ids they hold for, and their negations against all others."""
    for condition, wanted in expected.items():
        assert await ids(store, condition) == list(wanted), condition
        rest = [key for key in all_ids if key not in wanted]
        assert await ids(store, negate(condition)) == rest, negate(condition)


@law
async def equality_tells_absent_from_zero(place: Place) -> None:
    """`None` asks for absent fields, and `ne` finds what `eq` does not, absent fields included."""
    store = await _sized(place, 1, 0, None, 2)
    expected = {eq("size", 1): "a", eq("size", None): "c", ne("size", 1): "bcd", ne("size", None): "abd"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {exists("size"): "abd"})


@law
async def an_absent_field_compares_as_false(place: Place) -> None:
    """Conditions are true or false: the negation of a false one is true, also where SQL would say "unknown"."""
    store = await _sized(place, 1, 2, None, 3)
    expected = {gt("size", 1): "bd", ge("size", 2): "bd", lt("size", 3): "ab", le("size", 1): "a"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {op("size", None): "" for op in (gt, ge, lt, le)})
    await _tell_apart(
        store, ALL, {negate(negate(gt("size", 1))): "bd", negate(both(gt("size", 1), lt("size", 3))): "acd"}
    )


@law
async def numbers_compare_exactly(place: Place) -> None:
    """Integers beyond 2^53 are no floats, and whole floats equal integers."""
    store = await _sized(place, 2**53 + 1, 2**53, 2**63 - 1, -(2**63))
    expected = {eq("size", 2**53): "b", gt("size", 2**53): "ac", lt("size", 0): "d", ge("size", 2.0**53): "abc"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {eq("size", 2.0**53): "b"})


@law
async def text_compares_by_code_point(place: Place) -> None:
    """Not by locale, not by UTF-16 units, not without case."""
    store = await _held(place, "B", "a", "é", "z", "\uffee", "😀", "")
    await _tell_apart(store, list("abcdefg"), {gt("metadata.x", "a"): "cdef", ge("metadata.x", "\uffee"): "ef"})
    await _tell_apart(store, list("abcdefg"), {lt("metadata.x", "a"): "ag", eq("metadata.x", "b"): ""})


@law
async def numbers_come_before_text(place: Place) -> None:
    """Metadata mixes kinds, and a comparison must not fail or convert."""
    store = await _held(place, 1, "1", 10, "a", None, 1.5, True)
    everything = list("abcdefg")
    expected = {eq("metadata.x", 1): "ag", eq("metadata.x", "1"): "b", gt("metadata.x", 1): "bcdf"}
    await _tell_apart(store, everything, expected)
    expected = {lt("metadata.x", "1"): "acfg", ge("metadata.x", ""): "bd", isin("metadata.x", ["10", 1]): "ag"}
    await _tell_apart(store, everything, expected)


@law
async def booleans_and_times_compare_as_scalars(place: Place) -> None:
    """True is 1 wherever it stands; a time is its text in UTC."""
    store = await place.open()
    parts = varied()
    await fill(store, parts)
    assert await ids(store, eq("is_open", True)) == sorted(made.id for made in parts if made.is_open)
    assert await ids(store, eq("is_open", 0)) == sorted(made.id for made in parts if not made.is_open)
    moment = next(made.made_at for made in parts if made.made_at is not None)
    for field in ("made_at", "seen_at"):
        held = {made.id: getattr(made, field) for made in parts}
        later = sorted(key for key, value in held.items() if value is not None and value >= moment)
        assert await ids(store, ge(field, moment)) == later


@law
async def a_field_without_a_column_is_found_as_well(place: Place) -> None:
    """Columns are for speed; which ones there are changes no answer, also where the field has its default."""
    store = await place.open()
    await fill(store, [part("a"), part("b", note="x"), part("c", note=""), part("d", tags=("x",))])
    expected = {eq("note", "none"): "ad", ne("note", "none"): "bc", eq("tags", "[]"): "abc", exists("note"): "abcd"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {eq("metadata", "{}"): "abcd", exists("seen_at"): "", eq("tags", '["x"]'): "d"})


@law
async def one_of_several_values(place: Place) -> None:
    """Of no values never; None among them stands for absent."""
    store = await _sized(place, 1, 2, None, 3)
    expected = {isin("size", [1, 3, 5]): "ad", isin("size", []): "", isin("size", [1, None]): "ac"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {isin("id", ["b", "x"]): "b", isin("size", ["1"]): ""})


@law
async def one_of_what_a_query_selects(place: Place) -> None:
    """Joins are conditions; an absent field is in no selection, and an inner limit counts."""
    store = await place.open()
    parts = [part("a", size=1), part("b", parent="a"), part("c", parent="b", size=2), part("d", metadata={"of": "a"})]
    await fill(store, parts)
    parents = Query(PARTS).select("parent")
    await _tell_apart(store, ALL, {isin("id", parents): "ab", isin("parent", parents): "bc"})
    largest = Query(PARTS).where(exists("size")).order_by("-size").limit(1).select("id")
    roots = Query(PARTS).where(isin("id", Query(PARTS).where(eq("parent", None)).select("id"))).select("id")
    await _tell_apart(
        store, ALL, {isin("id", largest): "c", isin("parent", roots): "b", isin("metadata.of", roots): "d"}
    )
    await _tell_apart(store, ALL, {isin("id", Query(MARKS).select("text")): ""})


@law
async def like_has_two_wildcards(place: Place) -> None:
    """`%` is any characters, also none and line ends, `_` exactly one; only ASCII letters lose their case."""
    store = await _held(place, "Ab\ncd", "äb", "ÄB", "100%", "a_b", "axb", "", 1, ["ab"], None)
    everything = list("abcdefghij")
    expected = {"ab%": "a", "%": "abcdefgi", "_": "", "a_b": "ef", "äB": "b", "%B": "bcef", "1%": "d", "": "g"}
    await _tell_apart(store, everything, {like("metadata.x", text): wanted for text, wanted in expected.items()})
    more = {"%b%c%": "a", "__": "bc", "%%": "abcdefgi", "a.b": "", "[a]%": "", "%cd": "a", "a%b%": "aef", "\\_": ""}
    await _tell_apart(store, everything, {like("metadata.x", text): wanted for text, wanted in more.items()})


@law
async def a_glob_respects_segments(place: Place) -> None:
    """`*` and `?` stay within a segment, `**` crosses them; the neighbours of `/` in byte order do not slip in."""
    store = await place.open()
    await fill(store, varied())
    expected = {
        "a/**": ["a", "a/b", "a/b-c", "a/b.c", "a/b/c", "a/b/c/d", "a/bb"],
        "a/*": ["a/b", "a/b-c", "a/b.c", "a/bb"],
        "a/b": ["a/b"],
        "a?b": ["a-b", "a.b"],
        "?": ["A", "a", "b"],
        "**/b": ["a/b", "b", "b/a/b"],
        "c/x*": ["c/x.y", "c/x1", "c/x10", "c/x2"],
        "**/x1": ["c/deep/er/still/x1", "c/x1"],
        "z?z/**": ["z_z", "z_z/x"],
        "a/b?": ["a/bb"],
        "*/*/c": ["a/b/c"],
        "a/**/c/*": ["a/b/c/d"],
    }
    for pattern, wanted in expected.items():
        found = Query(PARTS).where(glob("path", pattern)).order_by("path").select("path")
        assert [path for (path,) in await rows(store, found)] == wanted, pattern
        others = await count(store, Query(PARTS).where(negate(glob("path", pattern))))
        assert others == len(varied()) - len(wanted), pattern


@law
async def a_list_contains_whole_members(place: Place) -> None:
    """Not parts of them, not other cases, not members that were removed; only a list contains anything."""
    store = await place.open()
    await fill(
        store, [part("a", tags=("red", "blue")), part("b", tags=("redder",)), part("c"), part("d", tags=("red",))]
    )
    await fill(store, [part("d", tags=("blue", 'q"x'))])
    expected = {contains("tags", "red"): "a", contains("tags", "blue"): "ad", contains("tags", "Red"): ""}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {contains("tags", 'q"x'): "d", contains("tags", ""): ""})
    await store.transact(lambda tx: tx.delete(PARTS, "a"))
    await _tell_apart(store, ["b", "c", "d"], {contains("tags", "blue"): "d"})


@law
async def a_list_in_json_contains_its_members(place: Place) -> None:
    """Metadata holds lists as well; text and objects are no lists."""
    store = await _held(place, ["red", 1], "red", {"k": "red"}, [["red"]], None, [])
    await _tell_apart(store, list("abcdef"), {contains("metadata.x", "red"): "a", contains("metadata.y", "red"): ""})


@law
async def a_path_into_json_leads_through_objects(place: Place) -> None:
    """Anything else on the way is absent; null is absent; lists and objects compare as their JSON text."""
    store = await place.open()
    builds: list[Any] = [
        {"id": 7},
        {"id": None},
        {"id": [1, "é"]},
        {"id": {"k": True}},
        "id",
        [{"id": 7}],
        {"id": False},
        {},
    ]
    await fill(store, (part(key, metadata={"build": build}) for key, build in zip("abcdefgh", builds, strict=True)))
    everything = list("abcdefgh")
    await _tell_apart(store, everything, {eq("metadata.build.id", 7): "a", exists("metadata.build.id"): "acdg"})
    await _tell_apart(store, everything, {eq("metadata.build.id", '[1,"é"]'): "c", eq("metadata.build.id", False): "g"})
    await _tell_apart(
        store, everything, {eq("metadata.build.id", '{"k":true}'): "d", eq("metadata.build.id.k", 1): "d"}
    )
    await _tell_apart(
        store, everything, {eq("metadata.build", '{"id":null}'): "b", exists("metadata.build"): "abcdefgh"}
    )


@law
async def nothing_joined_has_a_meaning(place: Place) -> None:
    """Conditions built in loops end up empty: all of none holds always, some of none never."""
    store = await _sized(place, 1, 2, None, 3)
    expected = {both(): "abcd", either(): "", both(eq("size", 1), either()): "", either(both(), eq("size", 1)): "abcd"}
    await _tell_apart(store, ALL, expected)
    await _tell_apart(store, ALL, {either(eq("size", 1), both(gt("size", 1), negate(eq("id", "d")))): "ab"})


@law
async def words_are_found_by_their_beginnings(place: Place) -> None:
    """Every word asked for, in any text field, without case and accents; of no word, nothing."""
    store = await place.open()
    parts = [
        part("a", name="Straße und Café", note="über-morgen"),
        part("b", name="strasse", note="cafeteria's"),
        part("c", name="restrasse", note=""),
        part("d", name="snake_case v2.0 日本語", note='"quoted" AND OR NOT *'),
    ]
    await fill(store, parts)
    expected = {
        "STRASSE": "ab",
        "strass caf": "ab",
        "cafe morg": "a",
        "uber": "a",
        "case": "d",
        "rasse": "",
        "und xyz": "",
    }
    await _tell_apart(store, ALL, {match(text): wanted for text, wanted in expected.items()})
    odd = {
        "": "",
        "-_.": "",
        "and or not": "d",
        '"quoted': "d",
        "v2": "d",
        "0 2": "",
        "日本": "d",
        "café*": "ab",
        "none": "",
    }
    await _tell_apart(store, ALL, {match(text): wanted for text, wanted in odd.items()})


@law
async def words_follow_their_record(place: Place) -> None:
    """A text index that lags behind finds what is gone and misses what is new."""
    store = await place.open()
    await fill(store, [part("a", name="old words"), part("b", name="other")])

    def work(tx: Transaction) -> list[list[str]]:
        def found(text: str) -> list[str]:
            return [made.id for made in tx.query(Query(PARTS).where(match(text)))]

        seen = [found("old")]
        tx.put(PARTS, part("a", name="new words"))
        seen += [found("old"), found("new")]
        tx.delete(PARTS, "a")
        tx.put(PARTS, part("c", name="words again"))
        return [*seen, found("words")]

    assert (await store.transact(work)).value == [["a"], [], ["a"], ["c"]]
    assert await ids(store, match("words")) == ["c"]
    assert await ids(store, match("new")) == []


@law
async def keys_and_numbers_are_fields(place: Place) -> None:
    """A sequence is read by ranges of its numbers."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        for text in "abcd":
            tx.append(MARKS, Mark(text=text, by="me"))

    await store.transact(work)
    found = Query(MARKS).where(gt("number", 1), le("number", 3)).select("number", "text", "by")
    assert await rows(store, found) == [(2, "b", "me"), (3, "c", "me")]
    assert [made.text for made in await rows(store, Query(MARKS).order_by("-number").limit(2))] == ["d", "c"]


@law
async def an_impossible_query_is_refused(place: Place) -> None:
    """A misspelt field is an error, not an empty answer."""
    store = await place.open()
    query = Query(PARTS)
    wrong: list[Query[Any]] = [
        query.where(eq("colour", 1)),
        query.where(negate(either(eq("size", 1), exists("colour.deep")))),
        query.order_by("-colour"),
        query.select("colour"),
        query.where(isin("id", Query(MARKS).select("colour"))),
        query.where(isin("id", Query(MARKS))),
        query.where(eq('metadata."x', 1)),
        query.where(Compare("size", "almost", 1)),
    ]
    for asked in wrong:
        try:
            found = await rows(store, asked)
        except InputError:
            continue
        raise AssertionError(f"{asked} was answered: {found}")
