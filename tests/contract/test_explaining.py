"""A plan says which index a query goes by, and what it costs to have none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atlas.errors import InputError
from atlas.storage.explaining import Explains, explain
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.query import Query, eq, glob, like
from atlas.storage.sqlite import SqliteStore
from atlas.testing.samples import COLLECTIONS, COUNTERS, PARTS, Counter, part

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "sqlite"])
async def store(anyio_backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(COLLECTIONS) if request.param == "memory" else SqliteStore(tmp_path / "e.db", COLLECTIONS)
    await made.open()
    parts = [part(f"p{n:03}", path=f"a/p{n:03}", kind="odd" if n % 10 == 0 else "plain", size=n) for n in range(200)]
    await made.transact(lambda tx: tx.put_many(PARTS, parts))
    await made.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id=str(n)) for n in range(50)]))
    await made.maintain()
    yield made
    await made.close()


async def test_a_unique_value_is_looked_up(store: Store) -> None:
    assert isinstance(store, Explains)
    plan = await explain(store, Query(PARTS).where(eq("path", "a/p001")))
    assert [step.kind for step in plan.steps if step.kind in {"scan", "index"}] == ["index"]
    assert plan.indexes
    assert "path" in plan.indexes[0]
    assert plan.steps[0].rows == 1


async def test_an_index_narrows_and_a_field_without_one_does_not(store: Store) -> None:
    narrow = await explain(store, Query(PARTS).where(eq("kind", "odd")))
    wide = await explain(store, Query(PARTS).where(like("note", "%x%")))
    assert narrow.steps[0].kind == "index"
    assert wide.steps[0].kind == "scan"
    assert wide.steps[0].rows == 200
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
