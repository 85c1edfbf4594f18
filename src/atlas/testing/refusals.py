"""Laws of what may follow a refused write: nothing, until the savepoint or the transaction around it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AtlasError, ConflictError, InputError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, eq, isin
from .laws import Place, law
from .samples import COUNTERS, MARKS, PARTS, Counter, Mark, Part, fill, ids, numbered, part

_GOING_ON: tuple[Callable[[Transaction], Any], ...] = (
    lambda tx: tx.get(PARTS, "a"),
    lambda tx: tx.get_many(PARTS, ["a"]),
    lambda tx: tx.put(COUNTERS, Counter(id="x")),
    lambda tx: tx.put_many(COUNTERS, [Counter(id="x")]),
    lambda tx: tx.delete(PARTS, "a"),
    lambda tx: tx.append(MARKS, Mark(text="x")),
    lambda tx: tx.query(Query(PARTS)),
    lambda tx: tx.query(Query(PARTS).where(eq("path", "elsewhere"))),
    lambda tx: tx.count(Query(COUNTERS)),
    lambda tx: tx.aggregate(Query(PARTS).group_by("kind").compute(n="count")),
)


async def _prepared(place: Place) -> Store:
    store = await place.open()
    await fill(store, [part("a", path="taken")])
    return store


def _swallowed(tx: Transaction, call: Callable[[Transaction], Any]) -> str:
    """Return what a call was refused with, as work does that survives its own errors."""
    try:
        call(tx)
    except AtlasError as error:
        return error.message
    return "not refused"


def _refuse(tx: Transaction, wrong: Part) -> None:
    """Have a good and a wrong write handed over by a query, and swallow the refusal."""
    tx.put(PARTS, part("b"))
    tx.append(MARKS, Mark(text="lost"))
    assert tx.count(Query(PARTS)) == 2
    assert tx.count(Query(MARKS)) == 1
    tx.put(PARTS, wrong)
    assert _swallowed(tx, lambda tx: tx.count(Query(PARTS))) != "not refused"


async def _is_refused(store: Store, work: Callable[[Transaction], Any]) -> bool:
    try:
        await store.transact(work)
    except ConflictError as error:
        return "refused before" in error.message
    return False


@law
async def refused_work_cannot_go_on(place: Place) -> None:
    """What it did next would stand on a write that is there in part, or not at all, depending on the store."""
    store = await _prepared(place)
    for wrong in (part("c", path="taken"), part("c", kind="unknown")):
        told: list[str] = []

        def work(tx: Transaction, wrong: Part = wrong, told: list[str] = told) -> None:
            _refuse(tx, wrong)
            told += [_swallowed(tx, call) for call in _GOING_ON]

        await _is_refused(store, work)
        assert ["refused before" in message for message in told] == [True] * len(_GOING_ON), told


@law
async def work_that_swallows_a_refusal_commits_nothing(place: Place) -> None:
    """Half of what it wrote would pass for all of it."""
    store = await _prepared(place)
    for wrong in (part("c", path="taken"), part("c", kind="unknown")):
        assert await _is_refused(store, lambda tx, wrong=wrong: _refuse(tx, wrong))  # type: ignore[misc]
        assert (await ids(store), await numbered(store)) == (["a"], [])
    await fill(store, [part("next")])
    assert await store.verify() == []


@law
async def leaving_its_savepoint_mends_a_refusal(place: Place) -> None:
    """Bulk calls tell each item's refusal and go on with the next."""
    store = await _prepared(place)

    def work(tx: Transaction) -> list[str]:
        tx.put(PARTS, part("first"))
        for wrong in (part("c", path="taken"), part("c", kind="unknown")):
            try:
                with tx.savepoint(), tx.savepoint():
                    _refuse_below(tx, wrong)
            except AtlasError:
                tx.append(MARKS, Mark(text=f"{tx.count(Query(PARTS))}"))
        tx.put(PARTS, part("c"))
        return [made.id for made in tx.query(Query(PARTS))]

    assert (await store.transact(work)).value == ["a", "c", "first"]
    assert await ids(store) == ["a", "c", "first"]
    assert await numbered(store) == [(1, "2"), (2, "2")]


def _refuse_below(tx: Transaction, wrong: Part) -> None:
    tx.append(MARKS, Mark(text="lost"))
    assert tx.count(Query(MARKS)) > 0
    tx.put_many(PARTS, [part("lost"), wrong])
    tx.count(Query(PARTS))


@law
async def a_refusal_of_what_came_before_a_savepoint_outlasts_it(place: Place) -> None:
    """Leaving the savepoint undoes what was written inside it, which was right."""
    store = await _prepared(place)
    told: list[str] = []

    def work(tx: Transaction) -> None:
        tx.put_many(PARTS, [part("b"), part("c", path="taken")])
        try:
            with tx.savepoint():
                tx.put(PARTS, part("d"))
                tx.count(Query(PARTS))
        except ConflictError:
            told.extend(_swallowed(tx, call) for call in _GOING_ON)

    assert await _is_refused(store, work)
    assert ["refused before" in message for message in told] == [True] * len(_GOING_ON), told
    assert await ids(store) == ["a"]


@law
async def half_a_character_is_refused(place: Place) -> None:
    """A text that no file and no network can carry is wrong wherever it is given, and is in no store to be found."""
    store = await _prepared(place)
    half = "\ud83d"

    def append(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text=half))

    changes: list[Callable[[Transaction], Any]] = [
        lambda tx: tx.put(PARTS, part(half)),
        lambda tx: tx.put(PARTS, part("b", name=half)),
        lambda tx: tx.put(PARTS, part("b", path=half)),
        lambda tx: tx.put(PARTS, part("b", tags=(half,))),
        append,
    ]
    for change in changes:
        refused = False
        try:
            await store.transact(change)
        except InputError:
            refused = True
        assert refused
    asked: list[Callable[[Transaction], Any]] = [
        lambda tx: tx.get(PARTS, half),
        lambda tx: tx.get_many(PARTS, [half, "a b"]),
        lambda tx: tx.query(Query(PARTS).where(eq("path", half))),
        lambda tx: tx.query(Query(PARTS).where(eq("name", half))),
        lambda tx: tx.count(Query(PARTS).where(isin("name", [half]))),
    ]
    for ask in asked:
        try:
            found = await store.read(ask)
        except InputError:
            continue
        assert not found
    assert (await ids(store), await numbered(store)) == (["a"], [])
