"""A pool of connections under the trace that the cache is measured with: how often it had one ready."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from atlas.storage.protocol import Store
from atlas.storage.wrappers import CachedStore

from .backends import THINGS, lasting, together, zipf
from .rows import AbsentError, Bench, Measured, at_least, row

AT_ONCE = 32


async def _all(store: Store, keys: Sequence[str]) -> None:
    """Read the keys with so many readers at once."""
    waiting = iter(keys)

    async def some() -> None:
        for key in waiting:
            await store.read(lambda tx, key=key: tx.get(THINGS, key))  # type: ignore[misc]

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


@row(
    "pool-rate",
    "reads of that trace, by 32 readers, that a pool of 4 answered on a connection already open",
    against="all that the cache passed on to PostgreSQL",
    goal=at_least(90, "%"),
)
async def pool_rate(bench: Bench) -> Measured:
    try:
        from tests.contract.postgres_servers import server
    except ImportError as error:
        raise AbsentError from error
    from atlas.storage.postgres import PostgresStore

    with server(bench.folder) as running, running.schema() as url:
        plain = PostgresStore(url, [THINGS])
        async with lasting(plain):
            await together(plain, 10_000)
            cached = CachedStore(plain, entries=2_000, staleness=timedelta(minutes=1))
            await _all(cached, zipf())
            pool = (await plain.statistics())["pool"]
    passed_on = sum(each["calls"] for each in pool["each"])
    opened = pool["total"] + pool["recycled"] + pool["lost"]
    rate = 100 * (passed_on - opened) / passed_on
    return Measured(rate, 100.0, "%", rate)
