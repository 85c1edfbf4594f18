"""Laws of transactions: all or nothing, one after the other, ended by errors and deadlines without a trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import StoreBusyError, StoreReadOnlyError, StoreTimeoutError
from ..storage.protocol import Store, Transaction
from ..storage.query import Query, eq
from .laws import Place, Stopped, law, stop
from .samples import COUNTERS, MARKS, PARTS, Counter, Mark, fill, ids, marks, numbered, part, rows

SHORT = timedelta(milliseconds=30)


async def _fails(
    store: Store, work: Callable[[Transaction], Any], kind: type[BaseException] = Stopped
) -> BaseException:
    """Return the error `work` ended with, having checked that it left nothing behind."""

    def everything(tx: Transaction) -> Any:
        return tx.query(Query(PARTS)), tx.query(Query(COUNTERS)), tx.query(Query(MARKS)), tx.seq

    before = await store.read(everything)
    raised = None
    try:
        await store.transact(work)
    except kind as error:
        raised = error
    assert raised is not None, f"no {kind.__name__} was raised"
    assert await store.read(everything) == before
    assert await store.verify() == []
    return raised


@law
async def work_says_what_it_came_to(place: Place) -> None:
    """The value of the function, and the last number once it was in: a receipt."""
    store = await place.open()
    done = await store.transact(lambda tx: tx.seq)
    assert (done.value, done.seq) == (0, 0)
    assert await marks(store, "a", "b") == 2
    done = await store.transact(lambda tx: tx.seq)
    assert (done.value, done.seq) == (2, 2)
    assert await store.read(lambda tx: tx.seq) == 2


@law
async def everything_becomes_visible(place: Place) -> None:
    """Writes to several collections are one change."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("a"))
        tx.put(COUNTERS, Counter(id="a", value=1))
        tx.append(MARKS, Mark(text="a"))

    await store.transact(work)
    found = await store.read(lambda tx: (tx.get(PARTS, "a"), tx.get(COUNTERS, "a"), tx.get(MARKS, 1)))
    assert found == (part("a"), Counter(id="a", value=1), Mark(number=1, text="a"))


@law
async def failing_work_leaves_nothing(place: Place) -> None:
    """Whatever it wrote, and whether or not a query had the writes handed on before."""
    store = await place.open()
    await fill(store, [part("a", size=1, tags=("red",)), part("b", parent="a")])
    await marks(store, "kept")

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("a", size=2, name="changed"))
        tx.put(PARTS, part("c", parent="a"))
        tx.append(MARKS, Mark(text="lost"))
        tx.delete(PARTS, "b")

    def stopped(tx: Transaction) -> None:
        work(tx)
        stop()

    def stopped_late(tx: Transaction) -> None:
        work(tx)
        assert tx.count(Query(PARTS)) == 2
        assert tx.count(Query(MARKS)) == 2
        tx.put(COUNTERS, Counter(id="x"))
        stop()

    await _fails(store, stopped)
    await _fails(store, stopped_late)
    assert await marks(store, "next") == 2


@law
async def errors_reach_the_caller_as_they_are(place: Place) -> None:
    """Rules raise errors with facts in them; a store that wraps them hides those."""
    store = await place.open()
    stop = Stopped("why")

    def work(tx: Transaction) -> None:
        tx.put(PARTS, part("a"))
        raise stop

    assert await _fails(store, work) is stop
    raised = None
    try:
        await store.read(_raising(stop))
    except Stopped as error:
        raised = error
    assert raised is stop


def _raising(error: Exception) -> Callable[[Transaction], Any]:
    def work(_: Transaction) -> Any:
        raise error

    return work


def _half_failing(tx: Transaction, *, is_looked_at: bool) -> list[str]:
    """Write around and inside a savepoint that fails; returns the ids there are afterwards."""
    tx.put(PARTS, part("b"))
    tx.append(MARKS, Mark(text="one"))
    try:
        with tx.savepoint():
            tx.put(PARTS, part("a", size=2))
            tx.put(PARTS, part("c"))
            tx.delete(PARTS, "b")
            tx.append(MARKS, Mark(text="lost"))
            if is_looked_at:
                assert tx.count(Query(PARTS)) == 2
                assert tx.count(Query(MARKS)) == 2
            tx.put(PARTS, part("d"))
            stop()
    except Stopped:
        pass
    assert tx.get(PARTS, "a") == part("a", size=1)
    tx.append(MARKS, Mark(text="two"))
    return [made.id for made in tx.query(Query(PARTS))]


@law
async def a_failed_savepoint_leaves_nothing(place: Place) -> None:
    """Bulk calls go on after an item that failed; what was written around it stays."""
    store = await place.open()
    await fill(store, [part("a", size=1)])
    assert (await store.transact(lambda tx: _half_failing(tx, is_looked_at=False))).value == ["a", "b"]
    assert await rows(store, Query(PARTS)) == [part("a", size=1), part("b")]
    assert await numbered(store) == [(1, "one"), (2, "two")]


@law
async def a_failed_savepoint_leaves_nothing_after_a_query(place: Place) -> None:
    """A query inside hands the buffered writes on, and those must come back too."""
    store = await place.open()
    await fill(store, [part("a", size=1)])
    assert (await store.transact(lambda tx: _half_failing(tx, is_looked_at=True))).value == ["a", "b"]
    assert await rows(store, Query(PARTS)) == [part("a", size=1), part("b")]
    assert await numbered(store) == [(1, "one"), (2, "two")]


@law
async def savepoints_nest(place: Place) -> None:
    """An inner failure undoes the inner block, an outer one both, a kept one only joins the one around it."""
    store = await place.open()

    def work(tx: Transaction) -> list[list[str]]:
        seen = []

        def look() -> None:
            seen.append([made.id for made in tx.query(Query(PARTS))])

        with tx.savepoint():
            tx.put(PARTS, part("a"))
            look()
            try:
                with tx.savepoint():
                    tx.put(PARTS, part("b"))
                    with tx.savepoint():
                        tx.put(PARTS, part("c"))
                        look()
                    stop()
            except Stopped:
                look()
            tx.put(PARTS, part("d"))
        try:
            with tx.savepoint():
                with tx.savepoint():
                    tx.delete(PARTS, "a")
                    look()
                tx.put(PARTS, part("e"))
                stop()
        except Stopped:
            look()
        return seen

    done = await store.transact(work)
    assert done.value == [["a"], ["a", "b", "c"], ["a"], ["d"], ["a", "d"]]
    assert await ids(store) == ["a", "d"]


@law
async def a_kept_savepoint_falls_with_its_transaction(place: Place) -> None:
    """A savepoint is no commit."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        with tx.savepoint():
            tx.put(PARTS, part("a"))
            tx.append(MARKS, Mark(text="lost"))
            assert tx.count(Query(PARTS)) == tx.count(Query(MARKS)) == 1
        stop()

    await _fails(store, work)


@law
async def unique_values_return_with_a_savepoint(place: Place) -> None:
    """An undone move gives the path back, also to look-ups by it."""
    store = await place.open()
    await fill(store, [part("a", path="x")])

    def work(tx: Transaction) -> list[list[str]]:
        def found(path: str) -> list[str]:
            return [made.id for made in tx.query(Query(PARTS).where(eq("path", path)))]

        try:
            with tx.savepoint():
                tx.put(PARTS, part("a", path="y"))
                tx.put(PARTS, part("b", path="x"))
                seen = [found("x"), found("y")]
                assert tx.count(Query(PARTS)) == 2
                stop()
        except Stopped:
            return [found("x"), found("y")]
        return seen

    assert (await store.transact(work)).value == [["a"], []]
    assert await rows(store, Query(PARTS)) == [part("a", path="x")]


@law
async def a_read_cannot_write(place: Place) -> None:
    """Reads run where writers are not kept out."""
    store = await place.open()
    await fill(store, [part("a")])
    writes: list[Callable[[Transaction], Any]] = [
        lambda tx: tx.put(PARTS, part("b")),
        lambda tx: tx.put_many(PARTS, [part("b")]),
        lambda tx: tx.delete(PARTS, "a"),
        lambda tx: tx.delete_many(PARTS, ["a"]),
        lambda tx: tx.append(MARKS, Mark(text="x")),
    ]
    for work in writes:
        is_refused = False
        try:
            await store.read(work)
        except StoreReadOnlyError:
            is_refused = True
        assert is_refused
    assert await rows(store, Query(PARTS)) == [part("a")]
    assert await numbered(store) == []


async def _is_late(store: Store, work: Callable[[Transaction], object]) -> bool:
    """Say whether work outlasts its deadline; a busy machine may not let it begin in time, then it is asked again."""
    for _ in range(20):
        try:
            await store.transact(work, timeout=SHORT)
        except StoreTimeoutError:
            return True
        except StoreBusyError:
            continue
        return False
    return False


@law
async def work_past_its_deadline_is_undone(place: Place) -> None:
    """Whether it reads on and on or only comes back late: the caller was told that nothing happened."""
    store = await place.open()
    await fill(store, [part("a")])
    end = time.monotonic() + 2

    def wrote(tx: Transaction) -> None:
        tx.put(PARTS, part("b"))
        tx.append(MARKS, Mark(text="late"))
        assert tx.count(Query(PARTS)) == 2
        tx.put(PARTS, part("c"))

    def reads_one(tx: Transaction) -> None:
        wrote(tx)
        while time.monotonic() < end:
            tx.get(PARTS, "a")

    def reads_new(tx: Transaction) -> None:
        wrote(tx)
        while time.monotonic() < end:
            tx.get(PARTS, tx.new_id())

    def queries(tx: Transaction) -> None:
        wrote(tx)
        while time.monotonic() < end:
            tx.query(Query(PARTS))

    def sleeps(tx: Transaction) -> None:
        wrote(tx)
        time.sleep(3 * SHORT.total_seconds())

    for work in (reads_one, reads_new, queries, sleeps):
        assert await _is_late(store, work), work.__name__
        assert await ids(store) == ["a"], work.__name__
    assert await marks(store, "next") == 1


@law
async def time_stands_still_in_a_transaction(place: Place) -> None:
    """And never runs back from one to the next: what is newer has the later time."""
    store = await place.open()
    times: list[datetime] = []

    def work(tx: Transaction) -> tuple[datetime, datetime]:
        started = tx.now
        tx.put(COUNTERS, Counter(id=tx.new_id()))
        return started, tx.now

    for _ in range(30):
        started, ended = (await store.transact(work)).value
        assert started == ended
        times += [started, await store.read(lambda tx: tx.now)]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert abs(times[-1] - datetime.now(UTC)) < timedelta(minutes=1)


@law
async def new_ids_ascend(place: Place) -> None:
    """What was made later sorts later, within and across transactions."""
    store = await place.open()
    made: list[str] = []
    for _ in range(4):
        made += (await store.transact(lambda tx: [tx.new_id() for _ in range(50)])).value
    assert made == sorted(set(made))
