"""Laws of the time to live: a record is there until its time is over, and then it is not, whoever looks and however."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ..errors import VersionError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, cursor_of, eq, ge, isin, le, negate
from .laws import Place, Stopped, law, stop
from .samples import LEASES, PARTS, Lease, count, fill, part, rows, summary

HOUR = LEASES.ttl or timedelta(0)
MANY = 1_203
STEP_SECONDS = 0.002


def _lease(tx: Transaction, id: str, left: timedelta | None, **fields: Any) -> Lease:  # noqa: A002 - the field's own name
    """Return a lease that has so much time left, from the transaction's time; None: it stays."""
    return Lease(id=id, since=None if left is None else tx.now - HOUR + left, **fields)


LEFT = {"a over": timedelta(0), "b lives": HOUR / 2, "c stays": None, "d long over": -HOUR, "e lives": HOUR}
THERE = ["b lives", "c stays", "e lives"]


async def _leased(place: Place, of: Callable[[str], dict[str, Any]] = lambda _: {}) -> Store:
    """Return a store with leases of every age."""
    store = await place.open()
    await store.transact(
        lambda tx: tx.put_many(LEASES, [_lease(tx, key, left, **of(key)) for key, left in LEFT.items()])
    )
    return store


@law
async def what_is_over_is_not_found_by_its_key(place: Place) -> None:
    """Nobody has to ask whether a lease still holds; the moment its time is over belongs to what is gone."""
    store = await _leased(place)

    def look(tx: Transaction) -> tuple[list[bool], list[str]]:
        found = tx.get_many(LEASES, LEFT)
        return [tx.get(LEASES, key) is not None for key in LEFT], sorted(found)

    def anew(tx: Transaction) -> Any:
        tx.put_many(LEASES, [_lease(tx, key, left) for key, left in LEFT.items()])
        return look(tx)

    expected = [key in THERE for key in LEFT], THERE
    assert await store.read(look) == expected
    assert (await store.transact(look)).value == expected
    assert (await store.transact(anew)).value == expected
    assert len(await store.read(lambda tx: tx.get_many(LEASES.timeless, LEFT))) == len(LEFT)
    assert await store.read(look) == expected
    assert await store.read(lambda tx: tx.get(LEASES.timeless, "a over")) is not None


@law
async def queries_leave_out_what_is_over(place: Place) -> None:
    """Rows, counts and sums speak of the same records that a look by key finds."""
    store = await _leased(place)
    assert [lease.id for lease in await rows(store, Query(LEASES))] == THERE
    query = Query(LEASES).order_by("-id").limit(2).select("id")
    assert await rows(store, query) == [("e lives",), ("c stays",)]
    page = await rows(store, Query(LEASES).limit(1))
    rest = Query(LEASES).after(cursor_of(Query(LEASES), page[0])).offset(1)
    assert [lease.id for lease in await rows(store, rest)] == ["e lives"]
    for condition, there in ((ge("id", "c"), 2), (negate(eq("id", "b lives")), 2), (eq("id", "a over"), 0)):
        assert await count(store, Query(LEASES).where(condition)) == there
        assert len(await rows(store, Query(LEASES).where(condition))) == there
    assert await summary(store, Query(LEASES).compute(n="count", low="min:id")) == [{"n": 3, "low": "b lives"}]
    kept = Query(LEASES).group_by("version").compute(n="count").having(eq("n", 3))
    assert await summary(store, kept) == [{"version": 1, "n": 3}]
    assert await store.read(lambda tx: tx.explain(Query(LEASES))) is not None


@law
async def joins_and_inner_queries_leave_out_what_is_over(place: Place) -> None:
    """Also where it is not the leases that are asked for: a part whose lease is over is one without a lease."""
    store = await _leased(place, lambda key: {"part": key[0]})
    await fill(store, [part(letter) for letter in "abcde"])
    for kind in ("inner", "left", "right"):
        joined = Query(PARTS).join(LEASES, on=("id", "part"), kind=kind).select("id", "leases.id")
        lonely = [("a", None), ("d", None)] if kind == "left" else []
        assert sorted(await rows(store, joined)) == sorted([*lonely, *((key[0], key) for key in THERE)])
        assert await count(store, joined) == len(THERE) + len(lonely)
    back = Query(LEASES).join(PARTS, on=("part", "id")).compute(n="count")
    assert await summary(store, back) == [{"n": 3}]
    leased = Query(LEASES).where(le("part", "d")).select("part")
    assert await rows(store, Query(PARTS).where(isin("id", leased)).select("id")) == [("b",), ("c",)]
    assert await count(store, Query(PARTS).where(negate(isin("id", leased)))) == 3
    deeper = Query(PARTS).where(isin("id", Query(PARTS).where(isin("id", leased)).select("id")))
    assert await count(store, deeper) == 2
    assert await summary(store, deeper.compute(n="count")) == [{"n": 2}]


@law
async def what_is_reached_does_not_go_through_what_is_over(place: Place) -> None:
    """A chain is broken where one of its links is gone."""
    store = await _leased(place, lambda key: {"part": {"e": "b lives", "b": "a over", "a": "c stays"}.get(key[0])})
    assert await rows(store, Query(LEASES).reach(["e lives"], along=[("id", "part")])) == [
        ("a over",),
        ("b lives",),
        ("e lives",),
    ]


@law
async def what_is_over_may_be_put_anew(place: Place) -> None:
    """Taking over a lapsed lease is making one; what was there before has neither a version nor to be deleted."""
    store = await _leased(place)

    def deleted(tx: Transaction) -> tuple[bool, int, bool]:
        return (
            tx.delete(LEASES, "a over"),
            tx.delete_many(LEASES, ["d long over", "e lives"]),
            tx.delete(LEASES, "e lives"),
        )

    def put(tx: Transaction, expected: int) -> None:
        tx.put(LEASES, _lease(tx, "a over", HOUR, version=7), expected_version=expected)

    def renewed(tx: Transaction) -> tuple[int, Lease | None]:
        try:
            with tx.savepoint():
                put(tx, 0)
                assert tx.count(Query(LEASES).where(eq("id", "a over"))) == 1
                stop()
        except Stopped:
            gone = tx.get(LEASES, "a over")
        put(tx, 0)
        return tx.count(Query(LEASES)), gone

    assert (await store.transact(deleted)).value == (False, 1, False)
    refusal = None
    try:
        await store.transact(lambda tx: put(tx, 1))
    except VersionError as error:
        refusal = error
    assert refusal is not None
    assert (await store.transact(renewed)).value == (3, None)
    found = await store.read(lambda tx: tx.get(LEASES, "a over"))
    assert found is not None
    assert found.version == 7
    assert await store.verify() == []


@law
async def a_record_is_there_until_its_time(place: Place) -> None:
    """Neither a moment less nor, for whoever remembers it, a moment more."""
    store = await place.open()

    def begin(tx: Transaction) -> datetime:
        left = timedelta(milliseconds=50)
        tx.put(LEASES, _lease(tx, "short", left))
        return tx.now + left

    end = (await store.transact(begin)).value
    before = after = await store.read(lambda tx: tx.now)
    while before < end:
        before = await store.read(lambda tx: tx.now)
        found = await store.read(lambda tx: tx.get(LEASES, "short"))
        among = await store.read(lambda tx: tx.get_many(LEASES, ["short"]))
        after = await store.read(lambda tx: tx.now)
        assert (found is None, len(among)) in ({(False, 1)} if after < end else {(False, 1), (False, 0), (True, 0)})
        assert before < end or (found, among) == (None, {})
        await asyncio.sleep(STEP_SECONDS)
    assert await count(store, Query(LEASES)) == 0


@law
async def upkeep_removes_what_is_over(place: Place) -> None:
    """What nobody sees takes space until then; more of it than is removed at once goes too, and nothing else."""
    store = await _leased(place)
    await store.transact(lambda tx: tx.put_many(LEASES, [_lease(tx, f"x{i}", timedelta(0)) for i in range(MANY)]))
    assert await count(store, Query(LEASES.timeless)) == MANY + len(LEFT)
    assert (await store.maintain())["expired"] == MANY + 2
    assert await count(store, Query(LEASES.timeless)) == len(THERE)
    assert [lease.id for lease in await rows(store, Query(LEASES))] == THERE
    assert (await store.maintain())["expired"] == 0
    assert await store.verify() == []


@law
async def every_store_at_a_place_knows_what_is_over(place: Place) -> None:
    """A lease is the same for all who look at it, and so is its end."""
    first, second = await place.open_two()
    await first.transact(lambda tx: tx.put_many(LEASES, [_lease(tx, key, left) for key, left in LEFT.items()]))
    staleness = second.capabilities.staleness.total_seconds()
    await asyncio.sleep(staleness)
    assert [lease.id for lease in await rows(second, Query(LEASES))] == THERE
    assert await second.read(lambda tx: tx.get(LEASES, "a over")) is None
    await second.transact(lambda tx: tx.put(LEASES, _lease(tx, "a over", HOUR), expected_version=0))
    await asyncio.sleep(staleness)
    assert await first.read(lambda tx: tx.get(LEASES, "a over")) is not None
    assert (await first.maintain())["expired"] == 1
    assert await count(second, Query(LEASES.timeless)) == len(THERE) + 1
