"""Bulk work: parts are whole, a cut goes on where it was, memory is bounded, and a batch is all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from atlas.errors import ConflictError, InputError, VersionError
from atlas.storage.bulk import Operation, batch_write, bulk_export, bulk_load
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.query import Query, cursor_of, ge
from atlas.storage.sqlite import SqliteStore
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, part, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(COLLECTIONS) if request.param == "memory" else SqliteStore(tmp_path / "b.db", COLLECTIONS)
    await made.open()
    yield made
    await made.close()


async def counters(count: int, *, until: int | None = None) -> AsyncIterator[Counter]:
    for number in range(count):
        if number == until:
            raise ConnectionError("the source is gone")
        yield Counter(id=f"{number:05}", value=number)


async def present(store: Store) -> list[int]:
    return [counter.value for counter in await store.read(lambda tx: tx.query(Query(COUNTERS).order_by("id")))]


async def test_a_source_is_loaded_whole_and_tells_how_far_it_is(store: Store) -> None:
    told: list[int] = []
    loaded = await bulk_load(store, COUNTERS, counters(25), part=10, tell=told.append)
    assert (loaded.count, told) == (25, [10, 20, 25])
    assert await present(store) == list(range(25))


async def test_a_load_that_was_cut_short_leaves_whole_parts_and_goes_on(store: Store) -> None:
    """Nobody wants to begin a million records anew."""
    told: list[int] = []
    with pytest.raises(ConnectionError):
        await bulk_load(store, COUNTERS, counters(25, until=17), part=5, tell=told.append)
    assert await present(store) == list(range(15))
    assert told[-1] == 15
    loaded = await bulk_load(store, COUNTERS, counters(25), part=5, skip=told[-1])
    assert loaded.count == 25
    assert await present(store) == list(range(25))


async def test_a_cancelled_load_leaves_whole_parts(store: Store) -> None:
    first = asyncio.Event()

    async def source() -> AsyncIterator[Counter]:
        async for counter in counters(1_000):
            if counter.value == 10:
                first.set()
                await asyncio.sleep(60)
            yield counter

    loading = asyncio.ensure_future(bulk_load(store, COUNTERS, source(), part=5))
    await first.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert len(await present(store)) % 5 == 0


async def test_a_source_is_read_no_further_than_a_part_ahead(store: Store) -> None:
    """A source larger than the memory must pass through."""
    given = 0

    async def source() -> AsyncIterator[Counter]:
        nonlocal given
        async for counter in counters(30):
            given += 1
            yield counter

    ahead: list[int] = []
    await bulk_load(store, COUNTERS, source(), part=10, tell=lambda done: ahead.append(given - done))
    assert max(ahead) <= 1


async def test_a_sequence_is_appended_to(store: Store) -> None:
    async def source() -> AsyncIterator[Mark]:
        for text in "abc":
            yield Mark(text=text)

    loaded = await bulk_load(store, MARKS, source(), part=2)
    assert loaded.seq == 3
    assert [mark.number for mark in await rows(store, Query(MARKS))] == [1, 2, 3]


async def test_an_export_hands_out_every_record_once_in_order(store: Store) -> None:
    await bulk_load(store, COUNTERS, counters(23))
    taken: list[Counter] = []

    async def take(page: Sequence[Counter]) -> None:
        assert len(page) <= 5
        taken.extend(page)

    query = Query(COUNTERS).where(ge("value", 3)).order_by("id")
    exported = await bulk_export(store, query, take, part=5)
    assert exported.count == 20
    assert [counter.value for counter in taken] == list(range(3, 23))
    assert (await bulk_export(store, query, take, after=exported.cursor)).count == 0


async def test_an_export_that_was_cut_short_goes_on_behind_its_last_record(store: Store) -> None:
    await bulk_load(store, COUNTERS, counters(23))
    query = Query(COUNTERS).order_by("id")
    taken: list[Counter] = []

    async def take(page: Sequence[Counter]) -> None:
        taken.extend(page)
        if len(taken) == 10:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await bulk_export(store, query, take, part=5)
    await bulk_export(store, query, take, part=5, after=cursor_of(query, taken[-1]))
    assert [counter.value for counter in taken] == list(range(23))


async def test_a_batch_is_done_in_order_or_not_at_all(store: Store) -> None:
    done = await batch_write(
        store,
        [
            Operation(op="put", collection=PARTS, record=part("a", path="x")),
            Operation(op="delete", collection=PARTS, key="a"),
            Operation(op="put", collection=PARTS, record=part("b", path="x")),
            Operation(op="delete", collection=PARTS, key="nobody"),
        ],
    )
    assert (done.put, done.deleted) == (2, 1)
    with pytest.raises(ConflictError):
        await batch_write(
            store,
            [
                Operation(op="delete", collection=PARTS, key="b"),
                Operation(op="put", collection=PARTS, record=part("c", path="y")),
                Operation(op="put", collection=PARTS, record=part("d", path="y")),
            ],
        )
    with pytest.raises(VersionError):
        await batch_write(
            store, [Operation(op="put", collection=PARTS, record=part("b", path="z"), expected_version=7)]
        )
    assert [(record.id, record.path) for record in await rows(store, Query(PARTS))] == [("b", "x")]


async def test_a_part_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InputError):
        await bulk_load(store, COUNTERS, counters(3), part=0)
