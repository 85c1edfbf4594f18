"""The PostgreSQL store against psycopg doing the same SQL, statement by statement, one commit each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from atlas.storage.protocol import Store

from .backends import ONE_BY_ONE, READS, THINGS, Thing, lasting, singly, together
from .clock import alternate
from .durable import (
    AT_ONCE,
    BULK,
    EACH,
    FACTS,
    IN_RANGE,
    LOW,
    MANY,
    WRITERS,
    Fact,
    appended,
    journaled,
    ranged,
    reads,
)
from .rows import AbsentError, Bench, Measured, at_least, at_most, row

RAW = "psycopg doing the same SQL, one commit each"
_LIMITS = (
    "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),"
    " set_config('transaction_timeout', %s, true), pg_advisory_xact_lock(%s)"
)


def encoded(record: Thing | Fact) -> str:
    """Return a record as the tables keep it."""
    return msgspec.json.encode(record).decode()


class Raw:
    """What a careful program does in a store's tables: its turn, the state before, the writes, the end."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection = connection
        self._schema = f'"{schema}"'
        self._numbers = 0
        self._facts = 1
        self._ending = (
            f'WITH told AS (UPDATE {self._schema}."meta" SET "seq" = %s, "now" = %s),'
            f' signed AS (INSERT INTO {self._schema}."writer" VALUES (%s, %s, %s)'
            ' ON CONFLICT ("id") DO UPDATE SET "number" = excluded."number", "at" = excluded."at")'
            " SELECT pg_notify(channel, %s) FROM (SELECT %s::text AS channel) AS c WHERE channel IS NOT NULL"
        )

    async def writes(self, count: int, *, has_events: bool) -> float:
        """Write so many records, each with an event if so wanted; returns the seconds of one."""
        things = [(f"{n:06}", encoded(Thing(id=f"{n:06}", number=n)), n) for n in range(count)]
        facts = [(encoded(Fact(thing=f"{n:06}")), f"{n:06}") if has_events else None for n in range(count)]
        begun = time.perf_counter()
        for thing, fact in zip(things, facts, strict=True):
            self._write(thing, fact)
        return (time.perf_counter() - begun) / count

    def _write(self, thing: tuple[str, str, int], fact: tuple[str, str] | None) -> None:
        run, schema = self._connection.execute, self._schema
        run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        run(_LIMITS, ("30000", "30000", "35000", 7))
        seq, now, _ = run(f'SELECT "seq", "now", "schema" FROM {schema}."meta"').fetchone()
        if run(f'SELECT "value" FROM {schema}."thing" WHERE "key" = %s', thing[:1]).fetchone():
            run(f'UPDATE {schema}."thing" SET "value" = %s WHERE "key" = %s', (thing[1], thing[0]))
        else:
            run(f'INSERT INTO {schema}."thing" ("key", "value", "number") VALUES (%s, %s, %s)', thing)
        if fact is not None:
            seq += 1
            run(f'INSERT INTO {schema}."fact" ("key", "value", "thing") VALUES (%s, %s, %s)', (seq, *fact))
        self._numbers += 1
        run(self._ending, (seq, now, "raw", self._numbers, now, str(seq), "raw" if fact else None))
        run("COMMIT")

    async def reads(self) -> float:
        """Read records by their keys, each in a snapshot of its own; returns the seconds of one."""
        run, decode = self._connection.execute, msgspec.json.Decoder(Thing).decode
        begun = time.perf_counter()
        for number in range(READS):
            run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            text = f'SELECT "value" FROM {self._schema}."thing" WHERE "key" = %s'
            decode(run(text, (f"{number % ONE_BY_ONE:06}",)).fetchone()[0])
            run("COMMIT")
        return (time.perf_counter() - begun) / READS

    async def appends(self) -> float:
        """Append facts by COPY, a commit for each `AT_ONCE`; returns the seconds of one."""
        begun = time.perf_counter()
        for _ in range(0, BULK, AT_ONCE):
            first = self._facts
            self._facts += AT_ONCE
            with self._connection.transaction(), self._connection.cursor() as cursor:
                copying = f'COPY {self._schema}."fact" ("key", "value", "thing") FROM STDIN'
                with cursor.copy(copying) as copy:
                    for number in range(first, self._facts):
                        thing = f"{number:06}"
                        copy.write_row((number, encoded(Fact(seq=number, thing=thing)), thing))
        return (time.perf_counter() - begun) / BULK

    async def ranged(self) -> float:
        """Read the records of a range; returns the seconds of all of them."""
        decode = msgspec.json.Decoder(Thing).decode
        text = f'SELECT "value" FROM {self._schema}."thing" WHERE "number" >= %s AND "number" < %s ORDER BY "key"'
        begun = time.perf_counter()
        found = [decode(row[0]) for row in self._connection.execute(text, (LOW, LOW + IN_RANGE)).fetchall()]
        assert len(found) == IN_RANGE
        return time.perf_counter() - begun


@asynccontextmanager
async def _sides(bench: Bench) -> AsyncIterator[tuple[Store, Raw]]:
    """Give a store, and a raw program in the tables of another one; both on one server, on the bench's disk."""
    try:
        import psycopg
        from tests.contract.postgres_servers import server
    except ImportError as error:
        raise AbsentError from error
    from atlas.storage.postgres import PostgresStore

    with server(bench.folder) as running, running.schema() as url, running.schema() as other:
        async with lasting(PostgresStore(other, [THINGS, FACTS])):
            pass
        async with lasting(PostgresStore(url, [THINGS, FACTS])) as store:
            with psycopg.connect(running.url, autocommit=True) as connection:
                yield store, Raw(connection, other.rpartition("schema=")[2])


@row("postgres-write", "one durable write to PostgreSQL", against=RAW, goal=at_least(0.7))
async def postgres_write(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        mine, best = await alternate(
            lambda: singly(store, ONE_BY_ONE), lambda: raw.writes(ONE_BY_ONE, has_events=False)
        )
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("postgres-journaled", "one journaled durable write to PostgreSQL", against=RAW, goal=at_least(0.7))
async def postgres_journaled(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        mine, best = await alternate(
            lambda: journaled(store, ONE_BY_ONE), lambda: raw.writes(ONE_BY_ONE, has_events=True)
        )
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("postgres-32", "32 concurrent journaled writers to PostgreSQL", against=RAW, goal=at_least(4))
async def postgres_together(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        mine, best = await alternate(
            lambda: journaled(store, WRITERS * EACH, writers=WRITERS), lambda: raw.writes(ONE_BY_ONE, has_events=True)
        )
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("postgres-read", "one record by its key out of PostgreSQL", against=RAW.partition(",")[0], goal=at_most(2))
async def postgres_read(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        await singly(store, ONE_BY_ONE)
        await raw.writes(ONE_BY_ONE, has_events=False)
        mine, best = await alternate(lambda: reads(store), raw.reads)
    return Measured(mine * 1e6, best * 1e6, "µs", mine / best)


@row("postgres-bulk", "20,000 events in bulk to PostgreSQL", against="COPY of the same rows", goal=at_least(0.5))
async def postgres_bulk(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        mine, best = await alternate(lambda: appended(store), raw.appends, rounds=3)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("postgres-range", "1,000 records in order out of 20,000 in PostgreSQL", against="the same SELECT", goal=at_most(3))
async def postgres_range(bench: Bench) -> Measured:
    async with _sides(bench) as (store, raw):
        await together(store, MANY)
        await raw.writes(MANY, has_events=False)
        mine, best = await alternate(lambda: ranged(store), raw.ranged)
    return Measured(mine * 1e3, best * 1e3, "ms", mine / best)
