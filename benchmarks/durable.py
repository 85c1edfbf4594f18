"""The JSON file and Redis stores: each against what a program would do with a file, a dict or the driver alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from atlas.storage.collection import Collection
from atlas.storage.file import FileStore
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, ge, lt

from .backends import ONE_BY_ONE, READS, THINGS, Thing, lasting, redis_server, together
from .clock import alternate
from .rows import Bench, Measured, at_least, at_most, row

WRITERS = 32
EACH = 40
BULK, AT_ONCE = 20_000, 5_000
MANY, LOW, IN_RANGE = 20_000, 7_000, 1_000


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal appends for one change: about 250 bytes."""

    seq: int = 0
    thing: str
    text: str = "What became of it. " * 10


FACTS: Collection[Fact] = Collection(
    "fact", Fact, key="seq", columns=("thing",), indexes=(("thing", "seq"),), sequence=True, journaled=False
)


async def journaled(store: Store, count: int, *, writers: int = 1) -> float:
    """Write so many records, each with what the journal appends in a transaction of its own; the seconds of one."""
    numbers = iter(range(count))

    async def write() -> None:
        for number in numbers:
            key = f"{number:06}"

            def work(tx: Transaction, key: str = key, number: int = number) -> None:
                tx.put(THINGS, Thing(id=key, number=number))
                tx.append(FACTS, Fact(thing=key))

            await store.transact(work)

    await store.transact(lambda tx: tx.put(THINGS, Thing(id="warm")))
    begun = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return (time.perf_counter() - begun) / count


async def reads(store: Store) -> float:
    """Read records by their keys, one after the other; returns the seconds of one."""
    begun = time.perf_counter()
    for number in range(READS):
        key = f"{number % ONE_BY_ONE:06}"
        await store.read(lambda tx, key=key: tx.get(THINGS, key))  # type: ignore[misc]
    return (time.perf_counter() - begun) / READS


async def appended(store: Store) -> float:
    """Append facts in transactions of `AT_ONCE`; returns the seconds of one."""
    facts = [Fact(thing=f"{number:06}") for number in range(BULK)]

    def work(tx: Transaction, part: list[Fact]) -> None:
        for fact in part:
            tx.append(FACTS, fact)

    begun = time.perf_counter()
    for start in range(0, BULK, AT_ONCE):
        await store.transact(partial(work, part=facts[start : start + AT_ONCE]))
    return (time.perf_counter() - begun) / BULK


async def ranged(store: Store) -> float:
    """Read the records of a range, `IN_RANGE` of `MANY`, as records; returns the seconds of all of them."""
    begun = time.perf_counter()
    found = await store.read(lambda tx: tx.query(Query(THINGS).where(ge("number", LOW), lt("number", LOW + IN_RANGE))))
    assert len(found) == IN_RANGE
    return time.perf_counter() - begun


class RawFile:
    """The line of a journaled write, appended to a file and synced."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    async def writes(self) -> float:
        begun = time.perf_counter()
        for number in range(ONE_BY_ONE):
            put = {"thing": [Thing(id=f"{number:06}", number=number)], "fact": [Fact(seq=number, thing="000000")]}
            os.write(self.handle, msgspec.json.encode({"seq": number, "put": put}) + b"\n")
            os.fdatasync(self.handle)
        return (time.perf_counter() - begun) / ONE_BY_ONE

    async def appends(self) -> float:
        facts = [Fact(thing=f"{number:06}") for number in range(BULK)]
        held: dict[int, Fact] = {}
        by_thing: dict[str, dict[int, None]] = {}
        begun = time.perf_counter()
        for start in range(0, BULK, AT_ONCE):
            part = [msgspec.structs.replace(fact, seq=start + n) for n, fact in enumerate(facts[start:][:AT_ONCE])]
            for fact in part:
                held[fact.seq] = fact
                by_thing.setdefault(fact.thing, {})[fact.seq] = None
            os.write(self.handle, msgspec.json.encode({"put": {"fact": part}}) + b"\n")
            os.fdatasync(self.handle)
        return (time.perf_counter() - begun) / BULK


@asynccontextmanager
async def _on_file(bench: Bench, name: str) -> AsyncIterator[tuple[Store, RawFile]]:
    raw = RawFile(bench.place(f"{name}.log"))
    try:
        async with lasting(FileStore(bench.place(f"{name}.json"), [THINGS, FACTS])) as store:
            yield store, raw
    finally:
        os.close(raw.handle)


@row(
    "file-write",
    "one journaled durable write to a JSON file",
    against="the same line appended to a file and synced",
    goal=at_least(0.7),
)
async def file_write(bench: Bench) -> Measured:
    async with _on_file(bench, "w") as (store, raw):
        mine, best = await alternate(lambda: journaled(store, ONE_BY_ONE), raw.writes)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row(
    "file-group",
    "32 journaled durable writers of a JSON file at once",
    against="the same lines appended to a file, each synced",
    goal=at_least(4),
)
async def file_group(bench: Bench) -> Measured:
    async with _on_file(bench, "group") as (store, raw):
        mine, best = await alternate(lambda: journaled(store, EACH * WRITERS, writers=WRITERS), raw.writes)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row(
    "file-bulk",
    "20,000 events in bulk to a JSON file",
    against="the same lines appended and synced",
    goal=at_least(0.5),
)
async def file_bulk(bench: Bench) -> Measured:
    async with _on_file(bench, "bulk") as (store, raw):
        mine, best = await alternate(lambda: appended(store), raw.appends, rounds=3)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("file-read", "one record by its key out of a JSON file", against="a dict", goal=at_most(1_000), is_bar=False)
async def file_read(bench: Bench) -> Measured:
    held = {f"{number:06}": Thing(id=f"{number:06}", number=number) for number in range(ONE_BY_ONE)}

    async def raw() -> float:
        begun = time.perf_counter()
        for number in range(READS):
            held.get(f"{number % ONE_BY_ONE:06}")
        return (time.perf_counter() - begun) / READS

    async with _on_file(bench, "r") as (store, _):
        await together(store, ONE_BY_ONE)
        mine, best = await alternate(lambda: reads(store), raw)
    return Measured(mine * 1e6, best * 1e6, "µs", mine / best)


class RawRedis:
    """The driver doing what the store does for a journaled write: record, event, indexes and numbers at once."""

    def __init__(self, url: str) -> None:
        import redis

        self.client = redis.Redis(unix_socket_path=url.removeprefix("unix://").partition("?")[0])
        self._seq = 0

    def write(self, number: int) -> None:
        self._seq += 1
        key, seq = f"{number:06}", self._seq
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset("raw:meta", mapping={"commit": seq, "seq": seq, "now": "2026-01-01T00:00:00.000000Z"})
            pipe.hset("raw:things", key, msgspec.json.encode(Thing(id=key, number=number)))
            pipe.zadd("raw:thing", {key: 0})
            pipe.zadd("raw:thing:number", {f"{number:06}\0{key}": 0})
            pipe.hset("raw:facts", str(seq), msgspec.json.encode(Fact(seq=seq, thing=key)))
            pipe.zadd("raw:fact", {f"{seq:09}": 0})
            pipe.zadd("raw:fact:thing", {f"{key}\0{seq:09}": 0})
            pipe.xadd("raw:feed", {"seq": seq}, maxlen=16)
            pipe.execute()

    async def writes(self) -> float:
        begun = time.perf_counter()
        for number in range(ONE_BY_ONE):
            self.write(number)
        return (time.perf_counter() - begun) / ONE_BY_ONE

    async def reads(self) -> float:
        decode = msgspec.json.Decoder(Thing).decode
        begun = time.perf_counter()
        for number in range(READS):
            text = self.client.hget("raw:things", f"{number % ONE_BY_ONE:06}")
            assert isinstance(text, bytes)
            decode(text)
        return (time.perf_counter() - begun) / READS

    async def appends(self) -> float:
        begun = time.perf_counter()
        for start in range(0, BULK, AT_ONCE):
            texts: dict[Any, Any] = {}
            keys, things = {}, {}
            for _ in range(AT_ONCE):
                self._seq += 1
                seq, thing = self._seq, f"{start:06}"
                texts[str(seq)] = msgspec.json.encode(Fact(seq=seq, thing=thing))
                keys[f"{seq:09}"] = things[f"{thing}\0{seq:09}"] = 0
            with self.client.pipeline(transaction=True) as pipe:
                pipe.hset("raw:facts", mapping=texts)
                pipe.zadd("raw:fact", keys)
                pipe.zadd("raw:fact:thing", things)
                pipe.execute()
        return (time.perf_counter() - begun) / BULK

    def fill(self) -> None:
        """Put the records of the range that is read."""
        things = [Thing(id=f"{number:06}", number=number) for number in range(MANY)]
        self.client.hset("raw:things", mapping={thing.id: msgspec.json.encode(thing) for thing in things})
        self.client.zadd("raw:thing:number", {f"{thing.number:06}\0{thing.id}": 0 for thing in things})

    async def ranged(self) -> float:
        decode = msgspec.json.Decoder(Thing).decode
        begun = time.perf_counter()
        found: Any = self.client.zrangebylex("raw:thing:number", f"[{LOW:06}", f"({LOW + IN_RANGE:06}")
        texts: Any = self.client.hmget("raw:things", [member.partition(b"\0")[2] for member in found])
        assert len([decode(text) for text in texts]) == IN_RANGE
        return time.perf_counter() - begun


@asynccontextmanager
async def _on_redis() -> AsyncIterator[tuple[Store, RawRedis]]:
    async with redis_server() as url:
        from atlas.storage.redis import RedisStore

        raw = RawRedis(url)
        try:
            async with lasting(RedisStore(url, [THINGS, FACTS])) as store:
                yield store, raw
        finally:
            raw.client.close()


@row(
    "redis-write",
    "one journaled durable write to Redis",
    against="a pipeline putting the same record, event and indexes",
    goal=at_least(0.7),
)
async def redis_write(_bench: Bench) -> Measured:
    async with _on_redis() as (store, raw):
        mine, best = await alternate(lambda: journaled(store, ONE_BY_ONE), raw.writes)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row(
    "redis-group",
    "32 journaled durable writers of Redis at once",
    against="the same pipeline, one after the other",
    goal=at_least(4),
)
async def redis_group(_bench: Bench) -> Measured:
    async with _on_redis() as (store, raw):
        mine, best = await alternate(lambda: journaled(store, EACH * WRITERS, writers=WRITERS), raw.writes)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("redis-read", "one record by its key out of Redis", against="HGET and decoding", goal=at_most(2))
async def redis_read(_bench: Bench) -> Measured:
    async with _on_redis() as (store, raw):
        await raw.writes()
        await together(store, ONE_BY_ONE)
        mine, best = await alternate(lambda: reads(store), raw.reads)
    return Measured(mine * 1e6, best * 1e6, "µs", mine / best)


@row("redis-bulk", "20,000 events in bulk to Redis", against="a pipeline putting the same", goal=at_least(0.5))
async def redis_bulk(_bench: Bench) -> Measured:
    async with _on_redis() as (store, raw):
        mine, best = await alternate(lambda: appended(store), raw.appends, rounds=3)
    return Measured(1 / mine, 1 / best, "/s", best / mine)


@row("redis-range", "1,000 records in order out of 20,000 in Redis", against="ZRANGEBYLEX, HMGET", goal=at_most(3))
async def redis_range(_bench: Bench) -> Measured:
    async with _on_redis() as (store, raw):
        raw.fill()
        await together(store, MANY)
        mine, best = await alternate(lambda: ranged(store), raw.ranged)
    return Measured(mine * 1e3, best * 1e3, "ms", mine / best)
