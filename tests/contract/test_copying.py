"""A copy from one store to another holds every record and the whole journal, and goes on at the next number."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.contract.kinds import BACKENDS, Spots

import atlas
from atlas.atlas import COLLECTIONS
from atlas.errors import ConflictError
from atlas.journal import ONCE
from atlas.model.task import Once
from atlas.storage.collection import Collection, encode
from atlas.storage.copying import Copied, copy_store, discard_copy, plan_copy
from atlas.storage.protocol import Committed, Store, Transaction
from atlas.storage.query import Query
from atlas.testing import samples
from atlas.testing.samples import ECHOES, MARKS, PARTS, Mark, part
from atlas.work.collections import TALLIES, TASKS

pytestmark = pytest.mark.anyio

Make = Callable[..., Awaitable[Store]]
Contents = dict[str, list[bytes]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def make(anyio_backend: str, spots: Spots) -> AsyncIterator[Make]:
    """Make open stores at new places by the name of their kind; they are closed in the end."""
    made: list[Store] = []

    async def one(kind: str, collections: Any = COLLECTIONS) -> Store:
        store = spots.maker(kind)(collections)
        await store.open()
        made.append(store)
        return store

    yield one
    for store in made:
        await store.close()


def on(store: Store, actor: str = "ann") -> atlas.Atlas:
    """Return Atlas on an open store."""
    return atlas.Atlas(store, limits=atlas.Limits(), actor=actor, source="test")


async def fill(store: Store) -> atlas.Atlas:
    """Work on a store until it holds something of everything."""
    a = on(store)
    for number in range(12):
        await a.tasks.create(f"p{number % 3}/g{number % 2}/t{number}", parents=True, notes=["seen"], tags=["x"])
    await a.tasks.update("p0/g0/t0", {"add_dependencies": ["p1/g1/t1"], "metadata": {"a": [1, True, None]}})
    await a.tasks.update("p2/g0/t2", {"status": "COMPLETED"}, expected_version=1)
    # Older than its parent: ids do not rise along the tree.
    await a.tasks.create("p1/new", type="GROUP")
    await a.tasks.move("p0/g0/t6", "p1/new/t6")
    await a.tasks.delete("p1/g0/t4")
    await a.plans.load("# plan\n\n- [ ] one\n- [x] two\n", idempotency_key="k")
    return a


async def contents(store: Store, collections: Any = COLLECTIONS) -> Contents:
    """Return all records as the JSON that they are kept as, and the last number."""
    return await store.read(
        lambda tx: {
            **{c.name: [encode(record) for record in tx.query(Query(c).order_by(c.key))] for c in collections},
            "seq": [encode(tx.seq)],
        }
    )


class CutError(Exception):
    """What stops a copy."""


async def stopped(
    ask: Callable[..., Awaitable[Any]],
    source: Store,
    target: Store,
    *,
    after: int,
    by: type[BaseException] = CutError,
) -> None:
    """Copy or discard, stopped after so many commits of the target."""
    real: Callable[..., Awaitable[Committed[Any]]] = target.transact
    left = after

    async def transact(work: object, **how: object) -> Committed[Any]:
        nonlocal left
        if not left:
            raise by
        left -= 1
        return await real(work, **how)

    target.transact = transact  # type: ignore[method-assign]
    try:
        with pytest.raises(by):
            await ask(source, target, COLLECTIONS)
    finally:
        target.transact = real  # type: ignore[method-assign, assignment]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages small, so that there are many."""
    monkeypatch.setattr("atlas.storage.copying.BATCH", 7)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kinds", list(itertools.product(BACKENDS, BACKENDS)), ids="-to-".join)
async def test_a_copy_is_the_same_and_goes_on_where_the_source_stood(make: Make, kinds: tuple[str, str]) -> None:
    """A team that moves must not notice, but for where its work lies."""
    source, target = [await make(kind) for kind in kinds]
    a, b = await fill(source), on(target, "bob")
    told: dict[str, tuple[int, int]] = {}
    copied = await copy_store(
        source, target, COLLECTIONS, tell=lambda done, total, what: told.update({what: (done, total)})
    )
    assert await contents(target) == await contents(source)
    assert copied.records == {name: len(records) for name, records in (await contents(source)).items() if name != "seq"}
    assert told["event"] == told["compared event"] == (copied.seq, copied.seq)
    assert told["task"] == (copied.records["task"],) * 2
    assert not copied.is_resumed
    assert encode(await b.timeline.read(since=0, limit=100)) == encode(await a.timeline.read(since=0, limit=100))
    assert encode(await b.lists.tree()) == encode(await a.lists.tree())
    assert (await b.plans.load("# plan\n\n- [ ] one\n- [x] two\n", idempotency_key="k")).receipt.seq == copied.seq
    written = await b.tasks.create("p0/new")
    assert written.receipt.seq == copied.seq + 1
    assert (await b.upkeep.repair()).issues_total == 0
    assert await target.verify() == []


async def test_the_same_records_have_the_same_digest_on_every_kind_of_store(make: Make) -> None:
    """Who copies twice can compare without looking."""
    source = await make("sqlite")
    await fill(source)
    first: Copied = await copy_store(source, await make("memory"), COLLECTIONS)
    second = await copy_store(source, await make("file"), COLLECTIONS)
    assert first.digest == second.digest
    await on(source).tasks.create("more")
    assert (await copy_store(source, await make("memory"), COLLECTIONS)).digest != first.digest


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("error", [CutError, asyncio.CancelledError])
async def test_a_copy_cut_short_anywhere_goes_on(make: Make, kind: str, error: type[BaseException]) -> None:
    """A million events are not begun anew because a laptop was closed; nor is the part lost when work has gone on."""
    source = await make("memory")
    a = await fill(source)
    for after, task in ((1, "p1/g1/t7"), (5, "p2/g1/t5"), (11, "p2/g0/t8")):
        target = await make(kind)
        await stopped(copy_store, source, target, after=after, by=error)
        await a.tasks.update("p0/g0/t0", {"description": f"after {after}"})
        await a.tasks.delete(task)
        copied = await copy_store(source, target, COLLECTIONS)
        assert copied.is_resumed
        assert await contents(target) == await contents(source)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", BACKENDS)
async def test_a_part_of_a_copy_is_taken_back(make: Make, kind: str) -> None:
    """Whoever gives up has the target as it was, numbers too, and whatever stops that does not stand in the way."""
    source, target = await make("memory"), await make(kind)
    await fill(source)
    empty = await contents(target)
    for after in (1, 11):
        await stopped(copy_store, source, target, after=after)
        await stopped(discard_copy, source, target, after=after // 2)
        gone = await discard_copy(source, target, COLLECTIONS)
        assert gone.is_begun
        assert await contents(target) == empty
        assert await target.verify() == []
    assert (await on(target).tasks.create("mine")).receipt.seq == 1


@pytest.mark.usefixtures("small")
async def test_a_copy_half_taken_back_is_not_gone_on_with(make: Make) -> None:
    """Its journal lacks the beginning, which nobody could append any more."""
    source, target = await make("memory"), await make("sqlite")
    await fill(source)
    await stopped(copy_store, source, target, after=4)
    await stopped(discard_copy, source, target, after=1)
    with pytest.raises(ConflictError, match="being discarded"):
        await copy_store(source, target, COLLECTIONS)
    await discard_copy(source, target, COLLECTIONS)
    assert not (await copy_store(source, target, COLLECTIONS)).is_resumed


async def test_a_whole_copy_is_not_discarded(make: Make) -> None:
    """It is a store of its own, somebody's work from now on; it may even be the source by another address."""
    source, target = await make("memory"), await make("memory")
    await fill(source)
    await copy_store(source, target, COLLECTIONS)
    for store in (target, source):
        with pytest.raises(ConflictError, match="whole copy"):
            await discard_copy(source, store, COLLECTIONS)
    assert await contents(target) == await contents(source)


async def test_a_store_with_work_of_its_own_is_no_target(make: Make) -> None:
    """Two histories cannot become one by putting one over the other; neither is one of them a copy to take back."""
    source, target = await make("sqlite"), await make("sqlite")
    await fill(source)
    await on(target).tasks.create("mine")
    before = await contents(target)
    for ask in (copy_store, discard_copy, plan_copy):
        with pytest.raises(ConflictError):
            await ask(source, target, COLLECTIONS)
    assert await contents(target) == before
    bare = await make("memory")
    await bare.transact(lambda tx: tx.put(TALLIES, msgspec.structs.replace(tx.get(TALLIES, "") or _tally(), last=7.0)))
    with pytest.raises(ConflictError, match="tally"):
        await copy_store(source, bare, COLLECTIONS)


@pytest.mark.parametrize("ask", [copy_store, discard_copy, plan_copy])
async def test_what_a_copy_got_of_its_own_without_an_event_is_not_taken_for_a_part(make: Make, ask: Any) -> None:
    """As long as the source did not go on, what it does not hold cannot have come from it."""
    source, target = [await make("memory", samples.COLLECTIONS) for _ in range(2)]
    await samples.marks(source, "a", "b")
    await source.transact(lambda tx: tx.put_many(PARTS, [part("a"), part("b")]))
    await copy_store(source, target, samples.COLLECTIONS)
    for own in (part("c"), part("b", name="mine")):
        await target.transact(lambda tx, own=own: tx.put(PARTS, own))  # type: ignore[misc]
        before = await contents(target, samples.COLLECTIONS)
        with pytest.raises(ConflictError, match="parts"):
            await ask(source, target, samples.COLLECTIONS)
        assert await contents(target, samples.COLLECTIONS) == before
        await target.transact(lambda tx: tx.delete(PARTS, "c"))


@pytest.mark.parametrize("ask", [copy_store, discard_copy, plan_copy])
async def test_a_journal_that_only_ends_alike_is_another(make: Make, ask: Any) -> None:
    """Lines without ids may be the same by chance; a foreign journal is neither gone on with nor emptied."""
    source, target = [await make("memory", samples.COLLECTIONS) for _ in range(2)]
    await samples.marks(source, "a", "b", "same", "d")
    await samples.marks(target, "x", "y", "same")
    before = await contents(target, samples.COLLECTIONS)
    with pytest.raises(ConflictError):
        await ask(source, target, samples.COLLECTIONS)
    assert await contents(target, samples.COLLECTIONS) == before


def _tally() -> Any:
    return TALLIES.record(id="")


async def test_a_plan_says_what_there_is_to_do_and_changes_nothing(make: Make) -> None:
    """A person wants to know before the evening of the move."""
    source, target = await make("memory"), await make("sqlite")
    await fill(source)
    empty = await contents(target)
    plan = await plan_copy(source, target, COLLECTIONS)
    assert (plan.records["event"], plan.present["event"], plan.is_begun) == (plan.seq, 0, False)
    assert await contents(target) == empty
    await copy_store(source, target, COLLECTIONS)
    assert (await plan_copy(source, target, COLLECTIONS)).is_whole


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", ["task", "compared task", "compared event"])
async def test_writing_to_the_source_meanwhile_is_noticed(make: Make, what: str) -> None:
    """A copy that lacks the last change would be found out when it is too late; run again, it goes on from there."""
    source, target = await make("memory"), await make("memory")
    a = await fill(source)
    calls: list[asyncio.Task[Any]] = []
    real = source.read

    def note(_done: int, _total: int, which: str) -> None:
        if which == what and not calls:
            calls.append(asyncio.ensure_future(a.tasks.update("p0/g0/t0", {"description": "late"})))

    async def read(work: Any) -> Any:
        await asyncio.sleep(0)
        return await real(work)

    source.read = read  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        await copy_store(source, target, COLLECTIONS, tell=note)
    await asyncio.gather(*calls)
    assert (await copy_store(source, target, COLLECTIONS)).is_resumed
    assert await contents(target) == await contents(source)


async def test_a_write_without_an_event_is_noticed_too(make: Make) -> None:
    """An idempotency key is kept without one; lost, the retry it is for would be done twice."""
    source, target = await make("memory"), await make("memory")
    await fill(source)
    late = (await source.read(lambda tx: tx.query(Query(ONCE))))[0]
    made: list[Once] = []
    real = source.read

    def note(_done: int, _total: int, which: str) -> None:
        if which == "compared event":
            made.append(msgspec.structs.replace(late, key="late"))

    async def read(work: Any) -> Any:
        if made:
            await source.transact(lambda tx: tx.put(ONCE, made[0]))
        return await real(work)

    source.read = read  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="written to"):
        await copy_store(source, target, COLLECTIONS, tell=note)


async def test_a_difference_is_found(make: Make) -> None:
    """The comparison at the end reads what is there, not what was sent."""
    source, target = await make("memory"), await make("memory")
    await fill(source)
    real = target.transact

    async def spoil(work: Callable[[Transaction], Any], **how: Any) -> Committed[Any]:
        def spoiled(tx: Transaction) -> Any:
            value = work(tx)
            for task in tx.query(Query(TASKS).limit(1)):
                tx.put(TASKS, msgspec.structs.replace(task, description="another"))
            return value

        return await real(spoiled, **how)

    target.transact = spoil  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="is not in the target as it is in the source"):
        await copy_store(source, target, COLLECTIONS)


@pytest.mark.usefixtures("small")
async def test_several_sequences_are_copied_on_their_one_line(make: Make) -> None:
    """Any collections can be copied, not only those of tasks; children may be written before their parents."""
    source, target = [await make(kind, samples.COLLECTIONS) for kind in ("memory", "sqlite")]

    def work(tx: Transaction) -> None:
        tx.put_many(PARTS, [part(f"{n:03}", parent=f"{n + 1:03}" if n < 40 else None) for n in range(41)])
        for number in range(30):
            tx.append(MARKS if number % 3 else ECHOES, Mark(text=str(number)))

    await source.transact(work)
    await copy_store(source, target, samples.COLLECTIONS)
    assert await contents(target, samples.COLLECTIONS) == await contents(source, samples.COLLECTIONS)


async def test_a_journal_with_gaps_is_refused_before_anything_is_copied(make: Make) -> None:
    """The target would give other numbers to the same events."""
    source, target = [await make("memory", samples.COLLECTIONS) for _ in range(2)]
    await samples.marks(source, "a", "b", "c")
    await source.transact(lambda tx: tx.delete(MARKS, 2))
    with pytest.raises(ConflictError, match="gaps"):
        await copy_store(source, target, samples.COLLECTIONS)
    assert await contents(target, samples.COLLECTIONS) == await contents(
        await make("memory", samples.COLLECTIONS), samples.COLLECTIONS
    )


async def test_collections_that_refer_to_each_other_are_refused(make: Make) -> None:
    """There is no order in which they could be copied."""
    one = Collection("one", Mark, key="text", references={"by": "two"})
    two = Collection("two", Mark, key="text", references={"by": "one"})
    store = await make("memory", [one, two])
    with pytest.raises(Exception, match="circle"):
        await plan_copy(store, store, [one, two])
