"""Copying between stores, the comparison included, against merely loading the same records."""

from __future__ import annotations

import time
from contextlib import ExitStack

from atlas.storage.bulk import bulk_load
from atlas.storage.copying import copy_store
from atlas.storage.protocol import Store
from atlas.storage.sqlite import SqliteStore

from .backends import THINGS, lasting, things
from .rows import AbsentError, Bench, Measured, at_most, row

COPIED = 20_000


async def _copied(bench: Bench, target: Store, rival: Store) -> Measured:
    """Copy things from SQLite to one store, and load them into another of its kind."""
    async with lasting(SqliteStore(bench.place("c.db"), [THINGS])) as source, lasting(target), lasting(rival):
        await bulk_load(source, THINGS, things(COPIED))
        begun = time.perf_counter()
        await copy_store(source, target, [THINGS])
        copied = time.perf_counter()
        await bulk_load(rival, THINGS, things(COPIED))
        mine, best = (copied - begun) / COPIED, (time.perf_counter() - copied) / COPIED
    return Measured(1 / mine, 1 / best, "/s", mine / best)


@row(
    "copy-sqlite",
    "20,000 records from SQLite to SQLite, compared",
    against="loading them",
    goal=at_most(3),
    is_bar=False,
)
async def copy_sqlite(bench: Bench) -> Measured:
    made = (SqliteStore(bench.place(name), [THINGS]) for name in ("t.db", "r.db"))
    return await _copied(bench, *made)


@row(
    "copy-postgres",
    "20,000 records from SQLite to PostgreSQL, compared",
    against="loading them",
    goal=at_most(3),
    is_bar=False,
)
async def copy_postgres(bench: Bench) -> Measured:
    with ExitStack() as until:
        try:
            from tests.contract.postgres_servers import server
        except ImportError as error:
            raise AbsentError from error
        from atlas.storage.postgres import PostgresStore

        running = until.enter_context(server())
        urls = [until.enter_context(running.schema()) for _ in range(2)]
        return await _copied(bench, *(PostgresStore(url, [THINGS]) for url in urls))


@row(
    "copy-redis",
    "20,000 records from SQLite to Redis, compared",
    against="loading them",
    goal=at_most(3),
    is_bar=False,
)
async def copy_redis(bench: Bench) -> Measured:
    try:
        from tests.contract.redis_servers import running
    except ImportError as error:
        raise AbsentError from error
    from atlas.storage.redis import RedisStore

    with running() as server:
        return await _copied(bench, *(RedisStore(server.url(prefix), [THINGS]) for prefix in ("t", "r")))
