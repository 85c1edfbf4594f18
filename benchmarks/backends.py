"""The other stores, the wrappers and the views: each against what it stands on."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from atlas.storage.attributes import ENTITIES, AttributeIndex
from atlas.storage.bulk import bulk_load
from atlas.storage.collection import Collection
from atlas.storage.file import FileStore
from atlas.storage.graph import GRAPH, Edge, Graph, Node
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore

from .clock import alternate
from .raw import raw_connection
from .rows import AbsentError, Bench, Measured, at_least, at_most, row

ONE_BY_ONE = 200
BULK = 5_000
NODES = 10_000
READS = 2_000
TRACE = 20_000
STALENESS = timedelta(milliseconds=50)


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """A record of about 1 KB."""

    id: str
    number: int = 0
    text: str = "What is kept of it. " * 45


THINGS: Collection[Thing] = Collection("thing", Thing, columns=("number",), indexes=(("number",),), journaled=False)

Opened = Callable[[], Awaitable[Store]]


@asynccontextmanager
async def lasting(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def singly(store: Store, count: int, *, start: int = 0) -> float:
    """Write so many records, each in a transaction of its own; returns the seconds of one."""
    things = [Thing(id=f"{start + n:06}", number=n) for n in range(count)]
    await store.transact(lambda tx: tx.put(THINGS, Thing(id="warm")))
    begun = time.perf_counter()
    for thing in things:
        await store.transact(lambda tx, thing=thing: tx.put(THINGS, thing))  # type: ignore[misc]
    return (time.perf_counter() - begun) / count


async def together(store: Store, count: int, *, start: int = 0) -> float:
    """Write so many records in one transaction; returns the seconds of one."""
    things = [Thing(id=f"{start + n:06}", number=n) for n in range(count)]
    begun = time.perf_counter()
    await store.transact(lambda tx: tx.put_many(THINGS, things))
    return (time.perf_counter() - begun) / count


@row("memory", "one write to a memory store", against="one durable write to a JSON file", goal=at_least(100))
async def memory(bench: Bench) -> Measured:
    async with lasting(MemoryStore([THINGS])) as fast, lasting(FileStore(bench.place("m.json"), [THINGS])) as slow:
        mine, theirs = await alternate(lambda: singly(fast, ONE_BY_ONE), lambda: singly(slow, ONE_BY_ONE))
    return Measured(1 / mine, 1 / theirs, "/s", theirs / mine)


async def things(count: int, *, start: int = 0) -> AsyncIterator[Thing]:
    """Yield so many records as a source."""
    for number in range(count):
        yield Thing(id=f"{start + number:06}", number=number)


async def loaded(store: Store, count: int, *, start: int = 0) -> float:
    """Load so many records from a source; returns the seconds of one."""
    begun = time.perf_counter()
    await bulk_load(store, THINGS, things(count, start=start))
    return (time.perf_counter() - begun) / count


async def _bulk(store: Store) -> Measured:
    starts = iter(range(0, 10_000_000, BULK))
    async with lasting(store):
        mine, best = await alternate(
            lambda: loaded(store, BULK, start=next(starts)),
            lambda: singly(store, ONE_BY_ONE, start=next(starts)),
            rounds=3,
        )
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("bulk-sqlite", "5,000 records by `bulk_load`, SQLite", against="one by one", goal=at_least(10))
async def bulk_sqlite(bench: Bench) -> Measured:
    return await _bulk(SqliteStore(bench.place("b.db"), [THINGS]))


@row("bulk-file", "5,000 records by `bulk_load`, JSON file", against="one by one", goal=at_least(10))
async def bulk_file(bench: Bench) -> Measured:
    return await _bulk(FileStore(bench.place("b.json"), [THINGS]))


@row("bulk-postgres", "5,000 records by `bulk_load`, PostgreSQL", against="one by one", goal=at_least(10))
async def bulk_postgres(_bench: Bench) -> Measured:
    async with _postgres() as url:
        from atlas.storage.postgres import PostgresStore

        return await _bulk(PostgresStore(url, [THINGS]))


@row("bulk-redis", "5,000 records by `bulk_load`, Redis", against="one by one", goal=at_least(10))
async def bulk_redis(_bench: Bench) -> Measured:
    async with redis_server() as url:
        from atlas.storage.redis import RedisStore

        return await _bulk(RedisStore(url, [THINGS]))


@row(
    "cache-hit",
    "one record by its key out of a cache that states 50 ms of staleness",
    against="the SQLite store's read",
    goal=at_least(5),
)
async def cache_hit(bench: Bench) -> Measured:
    return await _hit(bench.place("c.db"), STALENESS)


@row(
    "cache-hit-exact",
    "one record by its key out of a cache that is never stale",
    against="the SQLite store's read",
    goal=at_least(2),
    is_bar=False,
)
async def cache_hit_exact(bench: Bench) -> Measured:
    return await _hit(bench.place("x.db"), timedelta(0))


async def _hit(path: Path, staleness: timedelta) -> Measured:
    plain = SqliteStore(path, [THINGS])
    async with lasting(plain):
        await together(plain, 1_000)
        cached = CachedStore(plain, staleness=staleness)

        def reads(store: Store) -> Callable[[], Awaitable[float]]:
            async def run() -> float:
                begun = time.perf_counter()
                for number in range(READS):
                    key = f"{number % 500:06}"
                    await store.read(lambda tx, key=key: tx.get(THINGS, key))  # type: ignore[misc]
                return (time.perf_counter() - begun) / READS

            return run

        await reads(cached)()
        mine, theirs = await alternate(reads(cached), reads(plain))
    return Measured(mine * 1e6, theirs * 1e6, "µs", theirs / mine)


def zipf() -> list[str]:
    """Return the keys of a trace over 10,000 records by Zipf's law (1.1), always the same."""
    weights = [1 / (rank + 1) ** 1.1 for rank in range(10_000)]
    return [f"{number:06}" for number in random.Random(7).choices(range(10_000), weights, k=TRACE)]


@row(
    "cache-rate",
    "hits of a cache of 2,000 in 10,000 records, asked for by Zipf's law (1.1)",
    against="all that was asked for",
    goal=at_least(80, "%"),
)
async def cache_rate(bench: Bench) -> Measured:
    plain = SqliteStore(bench.place("z.db"), [THINGS])
    async with lasting(plain):
        await together(plain, 10_000)
        cached = CachedStore(plain, entries=2_000)
        for key in zipf():
            await cached.read(lambda tx, key=key: tx.get(THINGS, key))  # type: ignore[misc]
        rate = cached.figures().hit_rate * 100
    return Measured(rate, 100.0, "%", rate)


@row(
    "traverse",
    "walking a tree of 10,000 nodes",
    against="the recursive SQL for it, nodes decoded",
    goal=at_most(3),
)
async def traverse(bench: Bench) -> Measured:
    path = bench.place("g.db")
    nodes = [Node(id=f"{n:05}", kind="file") for n in range(NODES)]
    edges = [Edge(id=f"e{n}", source=f"{(n - 1) // 10:05}", target=f"{n:05}", kind="holds") for n in range(1, NODES)]
    walk = (
        'WITH RECURSIVE found(key, depth) AS (VALUES (?, 0) UNION SELECT e."target", depth + 1 FROM found '
        'JOIN "edge" AS e ON e."source" = found.key) '
        'SELECT n."value", depth FROM found JOIN "node" AS n ON n."key" = found.key'
    )
    decode = msgspec.json.Decoder(Node).decode
    async with lasting(SqliteStore(path, GRAPH)) as store:
        graph = Graph(store)
        await graph.load(nodes, edges)
        connection = raw_connection(path)

        async def ours() -> float:
            begun = time.perf_counter()
            count = 0
            async for _ in graph.traverse("00000"):
                count += 1
            assert count == NODES
            return time.perf_counter() - begun

        async def raw() -> float:
            begun = time.perf_counter()
            found = [(decode(text), depth) for text, depth in connection.execute(walk, ("00000",))]
            assert len(found) == NODES
            return time.perf_counter() - begun

        mine, best = await alternate(ours, raw, rounds=15)
        connection.close()
    return Measured(mine * 1e3, best * 1e3, "ms", mine / best)


@row("attributes-add", "10,000 entities into an index of attributes", against="1 s", goal=at_most(1_000, "ms"))
async def attributes_add(bench: Bench) -> Measured:
    async with _indexed(bench.place("a.db")) as (_, seconds):
        return Measured(seconds * 1e3, None, "ms", seconds * 1e3)


@row("attributes-find", "finding among 10,000 entities by two attributes", against="10 ms", goal=at_most(10, "ms"))
async def attributes_find(bench: Bench) -> Measured:
    async with _indexed(bench.place("a.db")) as (index, _):

        async def find() -> float:
            begun = time.perf_counter()
            assert len(await index.find("kind", 7) & await index.find("size", 7)) == 100
            return time.perf_counter() - begun

        (best,) = await alternate(find, rounds=10)
    return Measured(best * 1e3, None, "ms", best * 1e3)


@asynccontextmanager
async def _indexed(path: Path) -> AsyncIterator[tuple[AttributeIndex, float]]:
    items = [(f"e{n:05}", name, n % 100) for n in range(10_000) for name in ("kind", "size")]
    async with lasting(SqliteStore(path, [ENTITIES])) as store:
        index = AttributeIndex(store)
        begun = time.perf_counter()
        await index.add_many(items)
        yield index, time.perf_counter() - begun


@asynccontextmanager
async def _postgres() -> AsyncIterator[str]:
    """Give the URL of a store on a server of its own; raises AbsentError where the tests' server is not installed."""
    try:
        from tests.contract.postgres_servers import server
    except ImportError as error:
        raise AbsentError from error
    with server() as running, running.schema() as url:
        yield url


@asynccontextmanager
async def redis_server() -> AsyncIterator[str]:
    """Give the URL of a store on a server of its own that syncs every write."""
    try:
        from tests.contract.redis_servers import running
    except ImportError as error:
        raise AbsentError from error
    with running() as server:
        yield server.url("bench")
