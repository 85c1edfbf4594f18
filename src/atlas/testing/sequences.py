"""Laws of sequences: consecutive numbers in the order of commits, on one line for all sequences of a store."""

from __future__ import annotations

import asyncio
import contextlib

from ..storage.protocol import Store, Transaction
from ..storage.query import Query, contains, eq, match
from .laws import Place, Stopped, law, stop
from .samples import ECHOES, MARKS, PARTS, Mark, fill, marks, numbered, part, rows


async def _append_and_fail(store: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text="lost"))
        assert tx.count(Query(MARKS).where(eq("text", "lost"))) == 1
        stop()

    try:
        await store.transact(work)
    except Stopped:
        return
    raise AssertionError("the error did not reach the caller")


@law
async def numbers_follow_each_other(place: Place) -> None:
    """From 1, without a gap, in the order of appending, within and across transactions."""
    store = await place.open()
    assert await marks(store, "a", "b", "c") == 3
    assert await marks(store) == 3
    assert await marks(store, "d") == 4
    assert await numbered(store) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert await store.read(lambda tx: tx.get(MARKS, 3)) == Mark(number=3, text="c")


@law
async def a_given_number_is_replaced(place: Place) -> None:
    """Only the store knows the next number."""
    store = await place.open()
    await store.transact(lambda tx: tx.append(MARKS, Mark(number=77, text="a")))
    assert await numbered(store) == [(1, "a")]


@law
async def a_failed_transaction_takes_no_number(place: Place) -> None:
    """A gap would look like a change that somebody hid."""
    store = await place.open()
    await marks(store, "a")
    await _append_and_fail(store)
    ends = await asyncio.gather(*(_append_and_fail(store) if i % 2 else marks(store, f"m{i}") for i in range(8)))
    assert sorted(end for end in ends if end is not None) == [2, 3, 4, 5]
    assert [number for number, _ in await numbered(store)] == [1, 2, 3, 4, 5]


@law
async def all_sequences_share_one_line(place: Place) -> None:
    """One number says where a reader stands, whatever it reads."""
    store = await place.open()

    def work(tx: Transaction) -> None:
        tx.append(MARKS, Mark(text="a"))
        tx.append(ECHOES, Mark(text="b"))
        tx.append(MARKS, Mark(text="c"))

    assert (await store.transact(work)).seq == 3
    assert await numbered(store) == [(1, "a"), (3, "c")]
    assert await rows(store, Query(ECHOES)) == [Mark(number=2, text="b")]


@law
async def numbers_begin_again_where_nothing_has_one(place: Place) -> None:
    """A copy that is taken back leaves a store in which work begins as in a new one; a refusal leaves the numbers."""
    store = await place.open()
    await marks(store, "a", "b")

    def emptied(tx: Transaction) -> None:
        tx.delete_many(MARKS, [1, 2])
        with contextlib.suppress(Stopped), tx.savepoint():
            tx.start_over()
            stop()
        tx.append(MARKS, Mark(text="c"))
        assert tx.query(Query(MARKS).select("number")) == [(3,)]
        tx.delete(MARKS, 3)
        tx.start_over()

    def refused(tx: Transaction) -> None:
        emptied(tx)
        stop()

    with contextlib.suppress(Stopped):
        await store.transact(refused)
    assert await store.read(lambda tx: tx.seq) == 2
    assert (await store.transact(emptied)).seq == 0
    assert await store.read(lambda tx: tx.seq) == 0
    assert await marks(store, "d") == 1
    assert await numbered(store) == [(1, "d")]
    assert await store.verify() == []


@law
async def a_deleted_number_is_not_given_again(place: Place) -> None:
    """Retention deletes old events, sometimes all of them; readers that resume after a number must still be right."""
    store = await place.open()
    await marks(store, "a", "b")
    assert (await store.transact(lambda tx: tx.delete_many(MARKS, [1, 2]))).value == 2
    assert await store.read(lambda tx: tx.seq) == 2
    assert await marks(store, "c") == 3
    assert await numbered(store) == [(3, "c")]


@law
async def committed_numbers_are_their_own(place: Place) -> None:
    """A caller finds its own record under the number it was answered with, also when many commit together."""
    store = await place.open()
    texts = [f"t{i}" for i in range(24)]
    ends = await asyncio.gather(*(marks(store, text) for text in texts))
    assert sorted(ends) == list(range(1, 25))
    assert dict(await numbered(store)) == dict(zip(ends, texts, strict=True))


@law
async def a_reader_never_finds_a_gap(place: Place) -> None:
    """What it has not seen below the newest number would be lost to everybody who resumes after that number."""
    store = await place.open()
    writers = [asyncio.create_task(marks(store, f"{i}", f"{i}+")) for i in range(40)]
    seen: list[tuple[int, str]] = []
    while not all(writer.done() for writer in writers):
        found, seq = await store.read(lambda tx: (tx.query(Query(MARKS).select("number", "text")), tx.seq))
        assert [number for number, _ in found] == list(range(1, len(found) + 1))
        assert seq == len(found)
        assert found[: len(seen)] == seen
        seen = found
        await asyncio.sleep(0)
    await asyncio.gather(*writers)
    texts = [text for _, text in await numbered(store)]
    assert sorted(texts) == sorted(text for i in range(40) for text in (f"{i}", f"{i}+"))
    assert [text + "+" for text in texts[::2]] == texts[1::2]


@law
async def numbers_go_on_after_reopening(place: Place) -> None:
    """Also after those that were deleted; a number names one event for ever."""
    store = await place.open_lasting()
    await marks(store, "a", "b")
    await fill(store, [part("a")])
    await store.transact(lambda tx: tx.delete(MARKS, 2))
    await place.close()
    store = await place.open()
    assert await store.read(lambda tx: (tx.seq, tx.get(PARTS, "a"))) == (2, part("a"))
    assert await marks(store, "c") == 3


@law
async def what_was_appended_is_found_by_its_lists_and_words(place: Place) -> None:
    """A sequence is searched like any other collection."""
    store = await place.open()
    texts = ("a red house", "the blue house", "nothing")

    def work(tx: Transaction) -> None:
        for text in texts:
            tx.append(ECHOES, Mark(text=text, tags=tuple(text.split()[1:2])))

    await store.transact(work)
    await store.transact(lambda tx: tx.append(ECHOES, Mark(text="red again", tags=("red",))))
    found = Query(ECHOES).select("number")
    assert await rows(store, found.where(contains("tags", "red"))) == [(1,), (4,)]
    assert await rows(store, found.where(match("house"))) == [(1,), (2,)]
    assert await rows(store, found.where(match("red hou"))) == [(1,)]
    assert await store.verify() == []
