"""Bulk work: parts are whole, a cut goes on where it was, memory is bounded, and a batch is all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from signal import SIGKILL

import pytest
from tests.acceptance.disks import FullDisk
from tests.contract import postgres_servers, redis_servers
from tests.contract.kinds import BACKENDS, Spots

from atlas.errors import ConflictError, InputError, StorageError, StoreFullError, VersionError
from atlas.storage.bulk import Operation, batch_write, bulk_export, bulk_load
from atlas.storage.open import open_store
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, cursor_of, ge
from atlas.storage.sqlite import SqliteStore
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, part, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def store(anyio_backend: str, request: pytest.FixtureRequest, spots: Spots) -> AsyncIterator[Store]:
    made: Store = spots.maker(request.param)(COLLECTIONS)
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


async def test_an_export_gives_none_twice_while_others_write(store: Store) -> None:
    """What is there all the while is exported once; what comes and goes, once or not at all."""
    await bulk_load(store, COUNTERS, counters(40))
    taken: list[str] = []

    async def take(page: Sequence[Counter]) -> None:
        taken.extend(counter.id for counter in page)
        number = len(taken)

        def work(tx: Transaction) -> None:
            tx.put_many(COUNTERS, [Counter(id=f"{place:05}a", value=0) for place in (number - 3, number + 3)])
            tx.delete_many(COUNTERS, [f"{place:05}" for place in range(number - 2, number + 2)])

        await store.transact(work)

    await bulk_export(store, Query(COUNTERS).order_by("id"), take, part=8)
    assert taken == sorted(set(taken))
    assert {counter.id for counter in await rows(store, Query(COUNTERS)) if len(counter.id) == 5} <= set(taken)


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


@pytest.mark.parametrize(
    "query",
    [
        Query(COUNTERS).limit(3),
        Query(COUNTERS).offset(3),
        Query(COUNTERS).select("id"),
    ],
)
async def test_an_export_of_less_than_all_records_is_refused(store: Store, query: Query[Counter]) -> None:
    """A limit would be ignored, and an offset leave so many records out of every part."""
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id=f"c{number}") for number in range(9)]))
    given: list[Counter] = []

    async def take(records: Sequence[Counter]) -> None:
        given.extend(records)

    with pytest.raises(InputError, match="whole"):
        await bulk_export(store, query, take, part=2)
    assert given == []


async def test_a_part_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InputError):
        await bulk_load(store, COUNTERS, counters(3), part=0)


CURSOR = "cursor"


async def marks(count: int) -> AsyncIterator[Mark]:
    for number in range(count):
        yield Mark(text=str(number))


def keep(tx: Transaction, done: int) -> None:
    tx.put(COUNTERS, Counter(id=CURSOR, value=done))


async def kept(store: Store) -> int:
    """Return how many marks are there, once they are those that the cursor says."""

    def look(tx: Transaction) -> tuple[list[str], int]:
        found = tx.get(COUNTERS, CURSOR)
        rows = tx.query(Query(MARKS).order_by("number").select("text"))
        return [text for (text,) in rows], 0 if found is None else found.value

    texts, done = (await store.transact(look)).value
    assert texts == [str(number) for number in range(done)]
    return done


async def test_what_a_load_keeps_is_there_exactly_when_its_part_is(store: Store) -> None:
    """Cancelled anywhere, a load into a sequence goes on without a gap and without a double."""
    for turns in range(0, 60, 3):
        loading = asyncio.ensure_future(bulk_load(store, MARKS, marks(60), part=5, skip=await kept(store), keep=keep))
        for _ in range(turns):
            await asyncio.sleep(0)
        loading.cancel()
        await asyncio.wait([loading])
    loaded = await bulk_load(store, MARKS, marks(60), part=5, skip=await kept(store), keep=keep)
    assert loaded.count == loaded.seq == await kept(store) == 60


@contextlib.contextmanager
def _mortal(kind: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the URL of a store on a server of its own, and what kills that server and starts it again."""
    if kind == "postgres":
        with postgres_servers.own_server() as postgres, postgres.schema() as url:

            def again() -> None:
                postgres.stop()
                postgres.start()

            yield url, again
        return
    with redis_servers.running() as redis:

        def anew() -> None:
            redis.end(SIGKILL)
            redis.start()

        yield redis.url("bulk"), anew


class Deadly:
    """A source of marks that kills the server at some of them, each time while the load goes on."""

    def __init__(self, restart: Callable[[], None], total: int, at: Sequence[int]) -> None:
        self.restarts: list[asyncio.Task[None]] = []
        self._restart, self._total, self._at = restart, total, at

    async def marks(self) -> AsyncIterator[Mark]:
        for number in range(self._total):
            if len(self.restarts) < len(self._at) and number == self._at[len(self.restarts)]:
                await asyncio.gather(*self.restarts)
                self.restarts.append(asyncio.ensure_future(asyncio.to_thread(self._restart)))
            yield Mark(text=str(number))


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_server_killed_in_the_middle_of_a_load_costs_nothing(kind: str, anyio_backend: str) -> None:
    """What was told of is there; the load goes on by what it kept, on the same open store, and nothing is twice."""
    total, told = 6_000, [0]
    with _mortal(kind) as (url, restart):
        source = Deadly(restart, total, (1_050, 3_000, 4_990))
        store = open_store(url, COLLECTIONS)
        await store.open()
        for _ in range(5):
            skip = await kept(store)
            assert skip >= told[-1]
            with contextlib.suppress(StorageError):
                await bulk_load(store, MARKS, source.marks(), part=100, skip=skip, keep=keep, tell=told.append)
            await asyncio.gather(*source.restarts)
            if told[-1] == total:
                break
        assert len(source.restarts) == 3
        assert await kept(store) == total
        assert await store.verify() == []
        await store.close()


async def test_a_disk_that_fills_up_in_the_middle_of_a_load_costs_nothing(tmp_path: Path, anyio_backend: str) -> None:
    """With space again, the load goes on, on the same open store."""
    disk = FullDisk(f"full-{uuid.uuid4()}")
    store = SqliteStore(tmp_path / "b.db", COLLECTIONS, vfs=disk.name)
    try:
        await store.open()
        disk.room = 300_000
        told: list[int] = []
        with pytest.raises(StoreFullError):
            await bulk_load(store, COUNTERS, counters(20_000), part=500, tell=told.append)
        assert await present(store) == list(range(told[-1]))
        disk.room = None
        assert (await bulk_load(store, COUNTERS, counters(20_000), skip=told[-1], tell=told.append)).count == 20_000
        assert await present(store) == list(range(20_000))
        assert await store.verify() == []
    finally:
        await store.close()
        disk.unregister()
