"""Laws tried with generated queries: every store answers as `storage.evaluate` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..model.path import Pattern, parse_pattern
from ..storage.evaluate import aggregate_rows, count_rows, select_rows
from ..storage.protocol import Store, Transaction
from ..storage.query import (
    Condition,
    Query,
    both,
    contains,
    cursor_of,
    either,
    eq,
    exists,
    field_value,
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
from .laws import Place, Stopped, law, stop
from .samples import COUNTERS, MARKS, PARTS, Counter, Mark, fill, part, varied

COLUMNS = ("id", "path", "kind", "code", "size", "weight", "parent", "is_open", "made_at", "version")
OTHERS = ("name", "note", "seen_at", "tags", "metadata")
PATHS = ("metadata.build.id", "metadata.build", "metadata.labels", "metadata.build.id.deep", "metadata.nothing")
FIELDS = (*COLUMNS, *OTHERS, *PATHS)
QUIET = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

_held = [value for made in varied() for field in FIELDS if (value := field_value(made, field)) is not None]
_values = st.sampled_from(sorted({*_held, 0, 1, 7, -1, 0.5, 2.0**53, "", "7", "red", "zzz"}, key=repr))
_texts = st.sampled_from(("%", "%a%", "a_b", "RED%", "%/b", "c%", "_", "", "%_%1%", "100\\%", "%é%", "p0_"))
_words = st.sampled_from(("red", "strasse", "CAFÉ", "a b", "un text", "none", "", "no handed", "日本"))
_members = st.sampled_from(("red", "Red", "blue", "größe", "red,blue", ""))
_patterns = st.sampled_from(("**", "a/**", "a/*", "*", "**/b", "?", "a?*", "c/x*", "*/b/**", "zz/x", "a*/**/c"))
_orders = st.lists(st.sampled_from(FIELDS).flatmap(lambda f: st.sampled_from((f, "-" + f))), max_size=3, unique=True)

_plain: st.SearchStrategy[Condition] = st.one_of(
    st.builds(
        lambda op, field, value: op(field, value),
        st.sampled_from((eq, ne, gt, ge, lt, le)),
        st.sampled_from(FIELDS),
        _values | st.none(),
    ),
    st.builds(isin, st.sampled_from(FIELDS), st.lists(_values | st.none(), max_size=4)),
    st.builds(exists, st.sampled_from(FIELDS)),
    st.builds(like, st.sampled_from(FIELDS), _texts),
    st.builds(glob, st.sampled_from(("path", "code")), _patterns),
    st.builds(contains, st.sampled_from(("tags", "metadata.labels", "metadata.build")), _members),
    st.builds(match, _words),
)


def _joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, max_size=3)
    selected = st.builds(
        lambda part, field, most: Query(PARTS).where(part).order_by("-size").limit(most).select(field),
        inner,
        st.sampled_from(("id", "parent", "size", "metadata.build.id")),
        st.none() | st.integers(0, 5),
    )
    return st.one_of(
        several.map(lambda parts: both(*parts)),
        several.map(lambda parts: either(*parts)),
        inner.map(negate),
        st.builds(isin, st.sampled_from(("id", "parent", "size", "metadata.build.id")), selected),
    )


conditions: st.SearchStrategy[Condition] = st.recursive(_plain, _joined, max_leaves=6)


@st.composite
def queries(draw: st.DrawFn) -> Query[Any]:
    """Draw a query for rows of the varied parts: conditions, order, place, limit and fields."""
    query: Query[Any] = Query(PARTS).order_by(*draw(_orders))
    if draw(st.booleans()):
        query = query.where(draw(conditions))
    if draw(st.booleans()):
        query = query.after(cursor_of(query, draw(st.sampled_from(varied()))))
    query = query.limit(draw(st.none() | st.integers(0, 6))).offset(draw(st.sampled_from((0, 0, 1, 5))))
    return query.select(*draw(st.lists(st.sampled_from(FIELDS), max_size=3)))


@st.composite
def summaries(draw: st.DrawFn) -> Query[Any]:
    """Draw a query for aggregates; sums are of fields whose sums are exact in any order."""
    of_any = draw(st.sampled_from(FIELDS))
    query: Query[Any] = Query(PARTS).group_by(*draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True)))
    if draw(st.booleans()):
        query = query.where(draw(conditions))
    computed = {"there": f"count:{of_any}", "low": f"min:{of_any}", "high": f"max:{of_any}"}
    return query.compute(n="count", total="sum:version", mean="avg:is_open", **computed)


def _source(_: Query[Any]) -> list[Any]:
    return varied()


async def _tried(
    strategy: st.SearchStrategy[Any], most: int, agrees: Callable[[Any], Coroutine[Any, Any, None]]
) -> None:
    """Await `agrees` for generated examples: they are drawn on a thread, the store stays on its event loop."""
    loop = asyncio.get_running_loop()

    @settings(QUIET, max_examples=most)
    @given(strategy)
    def check(example: Any) -> None:
        asyncio.run_coroutine_threadsafe(agrees(example), loop).result()

    await asyncio.to_thread(check)


def _typed(found: list[Any]) -> list[Any]:
    """Show numbers with their kind: 1 == 1.0, but a row that has one where the other is kept is wrong."""
    return [repr(row) for row in found]


@law
async def the_same_query_gives_the_same_rows(place: Place) -> None:
    """Programs are written and tested on one store and run on another."""
    store = await place.open()
    await fill(store, varied())

    async def agrees(query: Query[Any]) -> None:
        found, number = await store.read(lambda tx: (tx.query(query), tx.count(query)))
        assert _typed(found) == _typed(select_rows(query, _source))
        assert number == count_rows(query, _source)

    await _tried(queries(), 250, agrees)


@law
async def the_same_summary_gives_the_same_rows(place: Place) -> None:
    """Reports are read by people who compare them."""
    store = await place.open()
    await fill(store, varied())

    async def agrees(query: Query[Any]) -> None:
        assert await store.read(lambda tx: tx.aggregate(query)) == aggregate_rows(query, _source)

    await _tried(summaries(), 120, agrees)


_SEGMENTS = ("a", "b", "ab", "aa", "a-b", "a.b", "a0", "A")
_chunks = st.lists(st.sampled_from(("a", "b", "*", "?", "-", ".", "0")), min_size=1, max_size=4).map("".join)
_globs = st.lists(
    _chunks.filter(lambda s: "**" not in s and s not in {".", ".."}) | st.just("**"), min_size=1, max_size=4
)


@law
async def a_glob_finds_what_its_matcher_matches(place: Place) -> None:
    """Each engine turns a pattern into ranges and expressions of its own; `Pattern.matches` decides."""
    store = await place.open()
    texts = ["/".join(segments) for depth in (1, 2, 3) for segments in product(_SEGMENTS, repeat=depth)]
    await fill(store, [part(f"k{i}", path=text) for i, text in enumerate(texts)])

    async def agrees(pattern: Pattern) -> None:
        query = Query(PARTS).where(glob("path", pattern)).order_by("path").select("path")
        found = [text for (text,) in await store.read(lambda tx: tx.query(query))]
        assert found == sorted(filter(pattern.matches, texts))

    await _tried(_globs.map("/".join).map(parse_pattern), 80, agrees)


@law
async def a_query_inside_a_transaction_sees_every_write(place: Place) -> None:
    """Whatever was written, overwritten, deleted, kept or undone before it."""
    store = await place.open()
    await store.transact(lambda tx: tx.append(MARKS, Mark(text="before")))
    key = st.sampled_from("abcd")
    step = st.tuples(st.just("put"), key, st.integers(0, 9)) | st.tuples(
        st.sampled_from(("delete", "query", "mark", "open", "keep", "undo")), key, st.just(0)
    )

    async def agrees(steps: list[tuple[str, str, int]]) -> None:
        await _replay(store, steps)

    await _tried(st.lists(step, max_size=14), 100, agrees)


async def _replay(store: Store, steps: list[tuple[str, str, int]]) -> None:
    """Take the steps in one transaction beside a dict, and compare at every query and afterwards."""
    kept, held = await store.read(lambda tx: (tx.query(Query(COUNTERS)), tx.count(Query(MARKS))))
    before = {counter.id: counter.value for counter in kept}, held

    def work(tx: Transaction) -> tuple[dict[str, int], int]:
        return _taken(tx, iter(steps), before, is_outermost=True)[0]

    expected = (await store.transact(work)).value
    found, number = await store.read(lambda tx: (tx.query(Query(COUNTERS)), tx.count(Query(MARKS))))
    assert ({counter.id: counter.value for counter in found}, number) == expected


def _taken(
    tx: Transaction, steps: Any, before: tuple[dict[str, int], int], *, is_outermost: bool = False
) -> tuple[tuple[dict[str, int], int], bool]:
    """Take steps up to the end of this savepoint; returns the state expected then, and whether it is undone."""
    state = dict(before[0]), before[1]
    for name, key, value in steps:
        if name == "open":
            try:
                with tx.savepoint():
                    inner, is_undone = _taken(tx, steps, state)
                    if is_undone:
                        stop()
                    state = inner
            except Stopped:
                continue
        elif name in {"keep", "undo"}:
            if not is_outermost:
                return state, name == "undo"
        else:
            state = _stepped(tx, name, key, value, state)
    return state, False


def _stepped(
    tx: Transaction, name: str, key: str, value: int, state: tuple[dict[str, int], int]
) -> tuple[dict[str, int], int]:
    values, number = state
    if name == "put":
        tx.put(COUNTERS, Counter(id=key, value=value))
        return {**values, key: value}, number
    if name == "delete":
        assert tx.delete(COUNTERS, key) is (key in values)
        return {k: v for k, v in values.items() if k != key}, number
    if name == "mark":
        tx.append(MARKS, Mark(text=key))
        return values, number + 1
    assert {counter.id: counter.value for counter in tx.query(Query(COUNTERS))} == values
    assert tx.count(Query(MARKS)) == number
    return state
