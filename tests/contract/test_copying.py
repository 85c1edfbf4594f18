"""A copy from one store to another holds every record and the whole journal, and goes on at the next number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import atlas
from atlas.atlas import COLLECTIONS
from atlas.errors import ConflictError, StorageError
from atlas.storage.collection import encode
from atlas.storage.copying import Copied, copy_store
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Committed, Store
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteStore
from atlas.work.collections import NOTES, TASKS

pytestmark = pytest.mark.anyio

Make = Callable[[str], Awaitable[Store]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def make(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Make]:
    """Make open stores by the name of their kind; they are closed in the end."""
    made: list[Store] = []

    async def one(kind: str) -> Store:
        store: Store = (
            MemoryStore(COLLECTIONS)
            if kind == "memory"
            else SqliteStore(tmp_path / f"{len(made)}.db", COLLECTIONS, synchronous="OFF")
        )
        await store.open()
        made.append(store)
        return store

    yield one
    for store in made:
        await store.close()


async def fill(store: Store) -> atlas.Atlas:
    """Work on a store until it holds something of everything."""
    a = atlas.Atlas(store, limits=atlas.Limits(), actor="ann", source="test")
    for number in range(30):
        await a.tasks.create(f"p{number % 3}/g{number % 5}/t{number}", parents=True, notes=["seen"], tags=["x"])
    await a.tasks.update("p0/g0/t0", {"add_dependencies": ["p1/g1/t1"], "metadata": {"a": [1, True, None]}})
    await a.tasks.update("p2/g2/t2", {"status": "COMPLETED"}, expected_version=1)
    await a.tasks.delete("p1/g4/t4")
    await a.plans.load("# plan\n\n- [ ] one\n- [x] two\n", idempotency_key="k")
    return a


async def contents(store: Store) -> dict[str, list[bytes]]:
    """Return all records as the JSON that they are kept as, and the last number."""
    return await store.read(
        lambda tx: {
            **{c.name: [encode(record) for record in tx.query(Query(c).order_by(c.key))] for c in COLLECTIONS},
            "seq": [encode(tx.seq)],
        }
    )


@pytest.mark.parametrize("kinds", [("memory", "sqlite"), ("sqlite", "memory"), ("sqlite", "sqlite")])
async def test_a_copy_is_the_same_and_goes_on_where_the_source_stood(make: Make, kinds: tuple[str, str]) -> None:
    """A team that moves must not notice, but for where its work lies."""
    source, target = [await make(kind) for kind in kinds]
    await fill(source)
    told: list[tuple[int, int, str]] = []
    copied = await copy_store(source, target, COLLECTIONS, tell=lambda *how: told.append(how))
    assert await contents(target) == await contents(source)
    assert copied.records["task"] == len((await contents(source))["task"])
    assert told[-1] == (copied.seq, copied.seq, "event")
    assert not copied.is_resumed
    b = atlas.Atlas(target, limits=atlas.Limits(), actor="bob", source="test")
    written = await b.tasks.update("p0/g3/t3", {"priority": "high"})
    assert written.receipt.seq == copied.seq + 1
    assert (await b.upkeep.repair()).issues_total == 0


async def test_the_same_records_have_the_same_digest_on_every_kind_of_store(make: Make) -> None:
    """Who copies twice can compare without looking."""
    source = await make("sqlite")
    await fill(source)
    first: Copied = await copy_store(source, await make("memory"), COLLECTIONS)
    second = await copy_store(source, await make("sqlite"), COLLECTIONS)
    assert first.digest == second.digest


async def test_a_copy_cut_short_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million events are not begun anew because a laptop was closed."""
    source, target = await make("sqlite"), await make("memory")
    await fill(source)

    class CutError(Exception):
        pass

    real: Callable[..., Awaitable[Committed[Any]]] = target.transact

    async def cut(work: object, **how: object) -> Committed[Any]:
        committed = await real(work, **how)
        if committed.seq >= 1:
            raise CutError
        return committed

    monkeypatch.setattr(target, "transact", cut)
    with pytest.raises(CutError):
        await copy_store(source, target, COLLECTIONS)
    monkeypatch.undo()
    copied = await copy_store(source, target, COLLECTIONS)
    assert copied.is_resumed
    assert await contents(target) == await contents(source)


async def test_a_copy_that_fails_before_the_journal_leaves_nothing(make: Make) -> None:
    """The target is as it was, so that it can be tried again or given up."""
    source, target = await make("sqlite"), await make("sqlite")
    await fill(source)

    def fail(_done: int, _total: int, what: str) -> None:
        if what == NOTES.name:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        await copy_store(source, target, COLLECTIONS, tell=fail)
    assert await contents(target) == await contents(await make("memory"))


async def test_a_store_with_work_of_its_own_is_no_target(make: Make) -> None:
    """Two histories cannot become one by putting one over the other."""
    source, target = await make("sqlite"), await make("sqlite")
    await fill(source)
    await atlas.Atlas(target, limits=atlas.Limits(), actor=None, source=None).tasks.create("mine")
    before = await contents(target)
    with pytest.raises(ConflictError):
        await copy_store(source, target, COLLECTIONS)
    assert await contents(target) == before


async def test_writing_to_the_source_meanwhile_is_noticed(make: Make) -> None:
    """A copy that lacks the last change would be found out when it is too late."""
    source, target = await make("memory"), await make("memory")
    a = await fill(source)
    real = source.read
    calls = 0

    async def read(work: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 12:
            await a.journal.store.transact(lambda tx: tx.append(COLLECTIONS[5], tx.query(Query(COLLECTIONS[5]))[0]))
        return await real(work)  # type: ignore[arg-type]

    source.read = read  # type: ignore[method-assign, assignment]
    with pytest.raises((ConflictError, StorageError)):
        await copy_store(source, target, COLLECTIONS)


async def test_a_difference_is_found(make: Make) -> None:
    """The comparison at the end reads what is there, not what was sent."""
    source, target = await make("memory"), await make("memory")
    await fill(source)
    real = target.read
    spoiled = False

    def spoil(_done: int, _total: int, what: str) -> None:
        nonlocal spoiled
        spoiled = spoiled or what == "event"

    async def read(work: object) -> object:
        if spoiled:
            task = (await real(lambda tx: tx.query(Query(TASKS))))[0]
            await target.transact(lambda tx: tx.put(TASKS, msgspec.structs.replace(task, description="another")))
        return await real(work)  # type: ignore[arg-type]

    target.read = read  # type: ignore[method-assign, assignment]
    with pytest.raises(StorageError, match="was not copied"):
        await copy_store(source, target, COLLECTIONS, tell=spoil)
