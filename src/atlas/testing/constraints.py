"""Laws of what a collection declares: unique values, references, and the values a field may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import AtlasError, ConflictError, InputError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, eq
from .laws import Place, law
from .samples import KINDS, MARKERS, MARKS, PARTS, Mark, fill, ids, part, rows

E = TypeVar("E", bound=AtlasError)


async def _refused(store: Store, kind: type[E], work: Callable[[Transaction], Any]) -> E:
    """Return the error by which `work` is refused, having checked that it left nothing behind."""
    before = await rows(store, Query(PARTS)), await rows(store, Query(MARKS))
    refusal = None
    try:
        await store.transact(work)
    except kind as error:
        refusal = error
    assert refusal is not None, f"no {kind.__name__} was raised"
    assert (await rows(store, Query(PARTS)), await rows(store, Query(MARKS))) == before
    return refusal


@law
async def a_unique_value_is_held_once(place: Place) -> None:
    """Two tasks at one path would make every answer ambiguous; the error names the field."""
    store = await place.open()
    await fill(store, [part("a", path="one", code="x"), part("b", path="two")])

    def work(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text="lost"))
        tx.put(PARTS, part("c", path="two"))

    assert (await _refused(store, ConflictError, work)).field == "path"
    taken = await _refused(store, ConflictError, lambda tx: tx.put(PARTS, part("b", path="two", code="x")))
    assert taken.field == "code"


@law
async def a_taken_value_is_named(place: Place) -> None:
    """Whoever is refused has to know which value to change; one that was free is never blamed."""
    store = await place.open()
    await fill(store, [part("a", path="one", code="x"), part("b", path="two")])
    path = await _refused(store, ConflictError, lambda tx: tx.put(PARTS, part("c", path="two")))
    code = await _refused(store, ConflictError, lambda tx: tx.put(PARTS, part("b", path="two", code="x")))
    assert (path.field, path.given) == ("path", "two")
    assert (code.field, code.given) == ("code", "x")
    batch = [part("d", path="three"), part("e", path="one"), part("f", path="four")]
    among = await _refused(store, ConflictError, lambda tx: tx.put_many(PARTS, batch))
    assert among.field == "path"
    assert among.given in {None, "one"}


@law
async def a_unique_value_is_held_once_within_a_transaction(place: Place) -> None:
    """Neither record is there yet when the other is written."""
    store = await place.open()
    await _refused(store, ConflictError, lambda tx: tx.put_many(PARTS, [part("a", path="x"), part("b", path="x")]))


@law
async def absent_values_are_not_unique(place: Place) -> None:
    """Unique means that no two hold the same value; holding none is no value."""
    store = await place.open()
    await fill(store, [part("a"), part("b"), part("c", code="x")])
    assert await ids(store, eq("code", None)) == ["a", "b"]


@law
async def a_freed_unique_value_can_be_taken(place: Place) -> None:
    """Also in the transaction that frees it, whatever the order of the writes."""
    store = await place.open()
    await fill(store, [part("a", path="x"), part("b", path="y")])

    def taken_first(tx: Transaction) -> None:
        tx.put(PARTS, part("c", path="x"))
        tx.delete(PARTS, "a")

    def moved_first(tx: Transaction) -> None:
        tx.put(PARTS, part("d", path="y"))
        tx.put(PARTS, part("b", path="z"))

    await store.transact(taken_first)
    await store.transact(moved_first)
    await store.transact(lambda tx: tx.delete(PARTS, "c"))
    await fill(store, [part("e", path="x")])
    assert [(made.id, made.path) for made in await rows(store, Query(PARTS))] == [("b", "z"), ("d", "y"), ("e", "x")]


@law
async def unique_values_may_change_hands(place: Place) -> None:
    """A rollback swaps paths back; three records in a ring are as good as two."""
    store = await place.open()
    await fill(store, [part("a", path="x", code="1"), part("b", path="y", code="2"), part("c", path="z", code="3")])
    ring = [part("a", path="y", code="1"), part("b", path="z", code="3"), part("c", path="x", code="2")]
    await fill(store, ring)
    assert await rows(store, Query(PARTS)) == ring
    for made in ring:
        assert await ids(store, eq("path", made.path)) == [made.id]


@law
async def a_unique_value_finds_its_present_holder(place: Place) -> None:
    """Looking a path up inside a transaction must see the moves of that transaction."""
    store = await place.open()
    await fill(store, [part("a", path="x"), part("b", path="y")])

    def work(tx: Transaction) -> list[list[str]]:
        def found(path: str) -> list[str]:
            return [made.id for made in tx.query(Query(PARTS).where(eq("path", path)))]

        seen = [found("x")]
        tx.put(PARTS, part("a", path="z"))
        tx.put(PARTS, part("b", path="x"))
        seen += [found("x"), found("y"), found("z")]
        tx.delete(PARTS, "b")
        tx.put(PARTS, part("c", path="q"))
        tx.put(PARTS, part("d", path="q"))
        tx.put(PARTS, part("d", path="r"))
        return [*seen, found("x"), found("q"), found("r")]

    assert (await store.transact(work)).value == [["a"], ["b"], [], ["a"], [], ["c"], ["d"]]


@law
async def only_declared_values_are_kept(place: Place) -> None:
    """A status nobody knows would be a task that no list shows."""
    store = await place.open()
    await fill(store, [part("a", kind="rare")])
    await _refused(store, InputError, lambda tx: tx.put(PARTS, part("b", kind="unknown")))
    await _refused(store, InputError, lambda tx: tx.put(PARTS, part("a", kind="")))
    await _refused(store, InputError, lambda tx: tx.append(MARKS, Mark(text="x", by="it")))


@law
async def an_undeclared_value_is_named(place: Place) -> None:
    """And those that would have done."""
    store = await place.open()
    batch = [part("a"), part("b", kind="unknown"), part("c", kind="rare")]
    kind = await _refused(store, InputError, lambda tx: tx.put_many(PARTS, batch))
    marked = await _refused(store, InputError, lambda tx: tx.append(MARKS, Mark(text="x", by="it")))
    assert (kind.field, kind.given, kind.bound) == ("kind", "unknown", list(KINDS))
    assert (marked.field, marked.given, marked.bound) == ("by", "it", list(MARKERS))


@law
async def a_reference_leads_to_a_record(place: Place) -> None:
    """A child without its parent is unreachable."""
    store = await place.open()
    await fill(store, [part("a")])
    await _refused(store, ConflictError, lambda tx: tx.put(PARTS, part("b", parent="missing")))
    await _refused(store, ConflictError, lambda tx: tx.put(PARTS, part("a", parent="missing")))
    await fill(store, [part("b", parent="a")])


@law
async def a_reference_to_nothing_is_named(place: Place) -> None:
    """Whether it never led anywhere, or what it leads to is deleted."""
    store = await place.open()
    await fill(store, [part("a"), part("b", parent="a")])
    batch = [part("c"), part("d", parent="missing"), part("e", parent="c")]
    missing = await _refused(store, ConflictError, lambda tx: tx.put_many(PARTS, batch))
    gone = await _refused(store, ConflictError, lambda tx: tx.delete(PARTS, "a"))
    assert (missing.field, missing.given) == ("parent", "missing")
    assert (gone.field, gone.given) == ("parent", "a")


@law
async def references_are_judged_at_the_end(place: Place) -> None:
    """Imports and rollbacks write in whatever order the records come; queries in between change nothing about it."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("child", parent="parent"))
        assert tx.count(Query(PARTS)) == 1
        tx.put(PARTS, part("parent"))

    await store.transact(work)
    assert await ids(store, eq("parent", "parent")) == ["child"]


@law
async def a_record_referred_to_stays(place: Place) -> None:
    """Deleting it would leave references to nothing; deleting both, or putting it back, would not."""
    store = await place.open()
    await fill(store, [part("a"), part("b", parent="a")])

    def put_back(tx: Transaction) -> None:
        tx.delete(PARTS, "a")
        assert tx.count(Query(PARTS)) == 1
        tx.put(PARTS, part("a", size=1))

    await _refused(store, ConflictError, lambda tx: tx.delete(PARTS, "a"))
    await store.transact(put_back)
    assert (await store.transact(lambda tx: tx.delete_many(PARTS, ["a", "b"]))).value == 2
    assert await ids(store) == []


@law
async def one_refusal_does_not_touch_others(place: Place) -> None:
    """Stores commit several callers together; each stands or falls alone."""
    import asyncio

    store = await place.open()
    await fill(store, [part("a")])
    wrong = [part("w1", kind="unknown"), part("w2", parent="missing"), part("w3", path="a")]
    right = [part(f"r{i}", parent="a") for i in range(6)]
    mixed = [made for pair in zip(right, wrong * 2, strict=True) for made in pair]
    done = await asyncio.gather(*(fill(store, [made]) for made in mixed), return_exceptions=True)
    assert [made.id for made, end in zip(mixed, done, strict=True) if end is None] == [made.id for made in right]
    assert await ids(store) == ["a", *(made.id for made in right)]
