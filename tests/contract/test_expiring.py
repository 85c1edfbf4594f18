"""What the laws of the time to live leave open: declarations, a cache's clock, copies, and files from before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atlas.errors import InputError
from atlas.storage.collection import Collection
from atlas.storage.copying import copy_store
from atlas.storage.file import FileStore
from atlas.storage.memory import MemoryStore
from atlas.storage.postgres import PostgresStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query
from atlas.storage.redis import RedisStore
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore
from atlas.testing.samples import COLLECTIONS, LEASES, Lease

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Slip(msgspec.Struct, frozen=True, kw_only=True):
    """A record with times, and one field that is none."""

    id: str
    of: str | None = None
    at: datetime
    seen_at: datetime | None = None
    updated_at: datetime = START


class Clock:
    """Goes only when it is told to; a store and a cache look at the same."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def slips(**given: Any) -> Collection[Slip]:
    return Collection(
        "slip", Slip, **{"columns": ("at", "of"), "journaled": False, "ttl": HOUR, "ttl_from": "at", **given}
    )


def test_the_stamp_of_the_last_change_is_where_a_time_to_live_begins() -> None:
    """Unless another column is named; stamps are columns without being declared."""
    made: Collection[Slip] = Collection("slip", Slip, journaled=False, ttl=HOUR)
    assert (made.ttl_from, slips().ttl_from) == ("updated_at", "at")
    assert (made.timeless.ttl, made.timeless.name, made.timeless.timeless) == (None, "slip", made.timeless)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"journaled": True}, "ttl"),
        ({"sequence": True}, "ttl"),
        ({"unique": ("of",)}, "ttl"),
        ({"references": {"of": "other"}}, "ttl"),
        ({"ttl": timedelta(0)}, "ttl"),
        ({"ttl": -HOUR}, "ttl"),
        ({"ttl": timedelta.max}, "ttl"),
        ({"ttl_from": "of"}, "ttl_from"),
        ({"ttl_from": "seen_at"}, "ttl_from"),
        ({"ttl_from": "nothing"}, "ttl_from"),
    ],
)
def test_what_cannot_have_a_time_to_live_is_refused(given: dict[str, Any], field: str) -> None:
    """A record that others count on, or that the journal tells of, cannot go without anybody's doing."""
    with pytest.raises(InputError) as caught:
        slips(**given)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "make",
    [
        MemoryStore,
        lambda collections: SqliteStore(Path("a.db"), collections),
        lambda collections: FileStore(Path("a.json"), collections),
        lambda collections: PostgresStore("postgresql://localhost/atlas", collections),
        lambda collections: RedisStore("redis://localhost/0", collections),
    ],
)
def test_no_store_takes_a_reference_to_what_goes_with_time(make: Callable[[Any], Store]) -> None:
    """It would lead to nothing one day; seen as soon as both collections are."""
    note: Collection[Slip] = Collection("note", Slip, columns=("of",), references={"of": "slip"})
    with pytest.raises(InputError) as caught:
        make([slips(), note])
    assert caught.value.field == "of"


async def test_a_cache_keeps_nothing_beyond_its_time() -> None:
    """Read or warmed, an entry ends with its record; what was written is weighed by the next read."""
    clock = Clock()
    inner = MemoryStore(COLLECTIONS, clock=clock.time)
    store = CachedStore(inner, clock=clock.seconds)
    await store.open()
    await store.transact(lambda tx: tx.put_many(LEASES, [Lease(id="a", since=tx.now), Lease(id="b"), Lease(id="c")]))

    def look(tx: Transaction) -> list[str]:
        return sorted(tx.get_many(LEASES, ["a", "b"]))

    assert [await store.read(look) for _ in range(3)] == [["a", "b"]] * 3
    assert (store.figures().hits, store.figures().misses) == (4, 2)
    clock.now += HOUR - timedelta(microseconds=1)
    assert await store.read(look) == ["a", "b"]
    assert store.figures().hits == 6
    clock.now += timedelta(microseconds=1)
    assert await store.read(look) == ["b"]
    assert store.figures().expirations == 1
    await store.transact(lambda tx: tx.put(LEASES, Lease(id="a", since=tx.now)))
    store.invalidate()
    assert await store.warm(Query(LEASES)) == 3
    hits = store.figures().hits
    assert await store.read(look) == ["a", "b"]
    assert store.figures().hits == hits + 2
    clock.now += HOUR
    assert await store.read(look) == ["b"]


async def test_a_copy_holds_what_is_over_too(tmp_path: Path) -> None:
    """What goes by the clock while it is copied would make source and target differ; the target's upkeep removes it."""
    clock = Clock()
    source = MemoryStore(COLLECTIONS, clock=clock.time)
    target = SqliteStore(tmp_path / "a.db", COLLECTIONS, clock=clock.time)
    await source.open()
    await target.open()
    await source.transact(lambda tx: tx.put_many(LEASES, [Lease(id=f"{n}", since=START) for n in range(3)]))
    clock.now += HOUR
    assert (await copy_store(source, target, COLLECTIONS)).records["leases"] == 3
    assert await target.read(lambda tx: (tx.count(Query(LEASES)), tx.count(Query(LEASES.timeless)))) == (0, 3)
    assert (await target.maintain())["expired"] == 3
    await target.close()


@pytest.mark.parametrize("name", ["a.db", "a.json"])
async def test_a_collection_may_be_given_a_time_to_live_later(tmp_path: Path, name: str) -> None:
    """And lose it again: it is a way of looking, and nothing of it is in the file."""
    kind: Any = SqliteStore if name == "a.db" else FileStore
    found: list[Slip | None] = []
    for collection in (slips(ttl=None), slips(), slips(ttl=None)):
        store = kind(tmp_path / name, [collection])
        await store.open()
        if not found:
            await store.transact(lambda tx, c=collection: tx.put(c, Slip(id="a", at=tx.now - HOUR)))
        found.append(await store.read(lambda tx, c=collection: tx.get(c, "a")))
        assert await store.verify() == []
        await store.close()
    assert [slip is not None for slip in found] == [True, False, True]
