"""A plan says which index a query goes by, and what it costs to have none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.contract.kinds import BACKENDS, Spots

from atlas.errors import InputError
from atlas.storage.explaining import Plan, explain
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, eq, glob, like
from atlas.testing.samples import COLLECTIONS, COUNTERS, PARTS, Counter, part

pytestmark = pytest.mark.anyio

PLENTY = 2_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=(*BACKENDS, "cached-memory", "observed-sqlite"))
async def store(anyio_backend: str, request: pytest.FixtureRequest, spots: Spots) -> AsyncIterator[Store]:
    """A store of so many records that a planner prefers an index to looking at all of them."""
    made: Store = spots.maker(request.param)(COLLECTIONS)
    await made.open()
    parts = [part(f"p{n:04}", path=f"a/p{n:04}", kind="odd" if n % 10 == 0 else "plain", size=n) for n in range(PLENTY)]
    await made.transact(lambda tx: tx.put_many(PARTS, parts))
    await made.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id=str(n)) for n in range(50)]))
    await made.maintain()
    yield made
    await made.close()


async def test_a_unique_value_is_looked_up(store: Store) -> None:
    plan = await explain(store, Query(PARTS).where(eq("path", "a/p0001")))
    assert [step.kind for step in plan.steps if step.kind in {"scan", "index"}] == ["index"]
    assert plan.indexes
    assert "path" in plan.indexes[0]
    assert plan.steps[0].rows == 1


async def test_an_index_narrows_and_a_field_without_one_does_not(store: Store) -> None:
    narrow = await explain(store, Query(PARTS).where(eq("kind", "odd")))
    wide = await explain(store, Query(PARTS).where(like("note", "%x%")))
    assert narrow.steps[0].kind == "index"
    assert wide.steps[0].kind == "scan"
    assert wide.steps[0].rows == PLENTY
    assert narrow.cost < wide.cost


async def test_what_has_to_be_sorted_is_said(store: Store) -> None:
    plan = await explain(store, Query(PARTS).where(eq("kind", "odd")).order_by("weight"))
    assert "sort" in [step.kind for step in plan.steps]


async def test_a_join_is_a_step(store: Store) -> None:
    plan = await explain(store, Query(PARTS).join(COUNTERS, on=("name", "id")).where(glob("path", "a/**")))
    assert [(step.kind, step.index) for step in plan.steps if step.kind == "join"] == [("join", "id")]


async def test_a_question_about_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InputError):
        await explain(store, Query(PARTS).where(eq("colour", "red")))


async def test_a_plan_inside_a_transaction_counts_what_it_wrote(store: Store) -> None:
    """And says what would be done then and there."""

    def work(tx: Transaction) -> tuple[Plan, int]:
        tx.put(PARTS, part("new", path="b/new", kind="odd"))
        return tx.explain(Query(PARTS).where(eq("path", "b/new"))), len(tx.query(Query(PARTS).where(eq("kind", "odd"))))

    plan, odd = (await store.transact(work)).value
    assert plan.indexes
    assert odd == PLENTY // 10 + 1
