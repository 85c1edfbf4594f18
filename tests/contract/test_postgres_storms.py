"""Many writers of the same records of a PostgreSQL store: all finish, and nothing is counted twice or lost."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio.subprocess import PIPE
from typing import Any

import psycopg
import pytest
from tests.contract.postgres_servers import Server

from atlas.storage.postgres import PostgresStore
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.testing.samples import COLLECTIONS, COUNTERS, PARTS, Counter, fill, part, rows


async def opened(url: str, **how: Any) -> PostgresStore:
    store = PostgresStore(url, COLLECTIONS, **how)
    await store.open()
    return store


@pytest.mark.anyio
async def test_sixteen_writers_of_one_record_all_finish(url: str) -> None:
    """Each through a connection of its own; they take turns, and none has to try again."""
    stores = [await opened(url) for _ in range(16)]
    runs: list[int] = []

    def work(tx: Transaction) -> None:
        counter = tx.get(COUNTERS, "n") or Counter(id="n")
        runs.append(counter.value)
        tx.put(COUNTERS, Counter(id="n", value=counter.value + 1))

    async def several(store: PostgresStore) -> None:
        for _ in range(10):
            await store.transact(work)

    await asyncio.gather(*map(several, stores))
    assert await stores[0].read(lambda tx: tx.get(COUNTERS, "n")) == Counter(id="n", value=160)
    assert sorted(runs) == list(range(160))
    await asyncio.gather(*(store.close() for store in stores))


_COUNTING = """
import asyncio, sys
from atlas.storage.postgres import PostgresStore
from atlas.testing.samples import COLLECTIONS, COUNTERS, Counter

def count(tx):
    counter = tx.get(COUNTERS, "n") or Counter(id="n")
    tx.put(COUNTERS, Counter(id="n", value=counter.value + 1))

async def several(store):
    for _ in range(15):
        await store.transact(count)

async def main():
    store = PostgresStore(sys.argv[1], COLLECTIONS)
    await store.open()
    print("opened", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(several(store) for _ in range(8)))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.anyio
async def test_sixteen_writers_in_two_processes_count_right_through_a_restart(postgres: Server, url: str) -> None:
    """None of them loses a count, counts twice, or has to be started again."""
    store = await opened(url)
    await store.transact(lambda tx: tx.put(COUNTERS, Counter(id="n")))

    async def counted() -> int:
        counter = await store.read(lambda tx: tx.get(COUNTERS, "n"))
        return counter.value if counter else 0

    async with asyncio.timeout(60):
        program = (sys.executable, "-c", _COUNTING, url)
        started = [await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE) for _ in range(2)]
        for process in started:
            assert process.stdout
            assert await process.stdout.readline() == b"opened\n"
        for process in started:
            assert process.stdin
            process.stdin.write(b"go\n")
        while await counted() < 30:  # noqa: ASYNC110 - other processes make it so
            await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        assert [await process.wait() for process in started] == [0] * 2
    assert await counted() == 240
    await store.close()


@pytest.mark.anyio
async def test_a_transaction_that_meets_another_one_runs_again(postgres: Server, url: str) -> None:
    """Somebody at a SQL prompt holds one record and wants the other: one of both has to yield, and it is ours."""
    store = await opened(f"{url}&options=-c%20deadlock_timeout%3D10ms")
    await fill(store, [part("a"), part("b")])
    table, runs = f"{url.rpartition('schema=')[2]}.parts", 0

    def work(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        tx.put(PARTS, part("b", size=runs))
        assert tx.count(Query(PARTS)) == 2
        if runs == 1:
            wanting.start()
            while not postgres.run("SELECT 1 FROM pg_locks WHERE NOT granted"):
                pass
        tx.put(PARTS, part("a", size=runs))
        tx.count(Query(PARTS))

    with psycopg.connect(postgres.url) as other:
        other.execute(f"UPDATE {table} SET size = 7 WHERE key = 'a'")

        def want() -> None:
            other.execute(f"UPDATE {table} SET size = 7 WHERE key = 'b'")
            other.rollback()

        wanting = threading.Thread(target=want)
        async with asyncio.timeout(10):
            await store.transact(work)
        wanting.join()
    assert runs > 1
    assert [found.size for found in await rows(store, Query(PARTS))] == [runs, runs]
    assert (await store.statistics())["pool"]["lost"] == 0
    await store.close()
