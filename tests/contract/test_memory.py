"""The memory store keeps the contract, and what it promises beyond it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from atlas.errors import ConflictError, InputError, StorageError, StoreBusyError
from atlas.storage.memory import MemoryStore
from atlas.storage.memory_session import Table
from atlas.storage.query import Query, eq
from atlas.testing import StoreContract, StoreFactory
from atlas.testing.samples import COLLECTIONS, MARKS, PARTS, Mark, fill, ids, marks, numbered, part, varied


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> StoreFactory:
        return MemoryStore


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(anyio_backend: str) -> AsyncIterator[MemoryStore]:
    made = MemoryStore(COLLECTIONS)
    await made.open()
    yield made
    await made.close()


@pytest.mark.anyio
async def test_time_never_runs_back_with_the_clock() -> None:
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    jumps: Iterator[datetime] = iter([noon, noon - timedelta(hours=1), noon + timedelta(seconds=1)])
    store = MemoryStore(COLLECTIONS, clock=lambda: next(jumps))
    await store.open()
    times = [(await store.transact(lambda tx: tx.now)).value for _ in range(3)]
    assert times == [noon, noon, noon + timedelta(seconds=1)]


@pytest.mark.anyio
async def test_a_restored_snapshot_is_the_store_as_it_was(store: MemoryStore) -> None:
    await fill(store, varied())
    await marks(store, "a")
    kept = store.snapshot()
    await marks(store, "b")
    await store.transact(lambda tx: tx.delete_many(PARTS, [made.id for made in reversed(varied())]))
    store.restore(kept)
    assert await ids(store) == sorted(made.id for made in varied())
    assert await ids(store, eq("path", "a/b")) == [made.id for made in varied() if made.path == "a/b"]
    assert await numbered(store) == [(1, "a")]
    assert await marks(store, "c") == 2
    assert await store.verify() == []


@pytest.mark.anyio
async def test_a_store_begins_with_what_it_is_given(store: MemoryStore) -> None:
    """Records by collection, kept to the same rules as those of a transaction; or a snapshot of another store."""
    made = MemoryStore(COLLECTIONS, initial={"parts": varied(), "marks": [Mark(text="a"), Mark(text="b")]})
    await made.open()
    assert await ids(made) == sorted(record.id for record in varied())
    assert await numbered(made) == [(1, "a"), (2, "b")]
    assert await marks(made, "c") == 3
    again = MemoryStore(COLLECTIONS, initial=made.snapshot())
    await again.open()
    assert await ids(again) == await ids(made)
    assert await marks(again, "d") == 4
    with pytest.raises(ConflictError):
        MemoryStore(COLLECTIONS, initial={"parts": [part("a", parent="nobody")]})
    with pytest.raises(InputError, match="the store has no nuts"):
        MemoryStore(COLLECTIONS, initial={"nuts": []})


@pytest.mark.anyio
async def test_a_snapshot_stays_as_it_was(store: MemoryStore) -> None:
    await fill(store, [part("a", size=1)])
    kept = store.snapshot()
    await fill(store, [part("a", size=2), part("b")])
    assert dict(kept.records["parts"]) == {"a": part("a", size=1)}


@pytest.mark.anyio
async def test_a_memory_store_says_that_it_cannot_be_copied(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refusal:
        await store.copy_to(tmp_path / "copy")  # nothing is written there
    assert "Export" in refusal.value.hint


@pytest.mark.anyio
async def test_another_thread_waits_for_its_turn(store: MemoryStore) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: object) -> None:
        entered.set()
        leave.wait(5)

    def elsewhere() -> None:
        import asyncio

        asyncio.run(store.transact(hold))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    entered.wait(5)
    with pytest.raises(StoreBusyError):
        await store.transact(lambda tx: tx.seq, timeout=timedelta(milliseconds=20))
    leave.set()
    thread.join()
    assert await marks(store, "a") == 1


@pytest.mark.anyio
async def test_verify_finds_what_is_wrong(store: MemoryStore) -> None:
    await fill(store, [part("a", path="x", tags=("red",)), part("b", parent="a"), part("c")])
    await marks(store, "one")
    parts, sequence = store._state.tables["parts"], store._state.tables["marks"]
    parts.records["c"] = part("c", path="x")
    del parts.records["a"]
    parts.records["d"] = part("d", path="x")
    sequence.records[9] = sequence.records.pop(1)
    found = "; ".join(await store.verify())
    assert "parts b refers to a missing a in parent" in found
    assert "several parts hold 'x' as their path" in found
    assert "the index of parts by tags is wrong" in found
    assert "marks goes beyond the last number 1" in found


def test_indexes_leave_few_records_to_look_at() -> None:
    table = Table(PARTS)
    for made in varied():
        table.put(made.id, made)
    few = {made.id for made in varied() if made.kind == "odd"}
    assert table.among(eq("kind", "odd")) == few
    assert table.among(Query(PARTS).where(eq("kind", "odd"), eq("path", "a/b")).condition) == {"p07"}
    assert table.among(eq("name", "cafe")) is None
    assert MARKS.sequence
