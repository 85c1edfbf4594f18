"""A Redis store in trouble: nothing acknowledged is lost, nothing is done twice, and it goes on by itself."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from tests.contract.redis_servers import Cutter, Server, running

from atlas.errors import (
    ConfigError,
    ConflictError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
    StoreNewerError,
    StoreReadOnlyError,
)
from atlas.storage.collection import Collection
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query, eq, match
from atlas.storage.redis import RedisStore, engine, scripts, turn
from atlas.testing.samples import COLLECTIONS, COUNTERS, MARKS, PARTS, Counter, Mark, fill, ids, marks, numbered, part

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that lives through every test here, though some kill and restart it."""
    with running() as started:
        yield started


@asynccontextmanager
async def opened(url: str, collections: Any = COLLECTIONS, *, is_near: bool = True) -> AsyncIterator[RedisStore]:
    """Open a store; one that is not near never runs work where it is asked for, so that the work may wait there."""
    store = RedisStore(url, collections)
    store._engine.is_near = is_near
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def new_prefix() -> str:
    return uuid.uuid4().hex


def increment(tx: Transaction) -> int:
    value = (tx.get(COUNTERS, "n") or Counter(id="n")).value + 1
    tx.put(COUNTERS, Counter(id="n", value=value))
    tx.append(MARKS, Mark(text=f"{value}"))
    return value


async def value_of(store: RedisStore) -> int:
    counter = await store.read(lambda tx: tx.get(COUNTERS, "n"))
    return counter.value if counter else 0


async def test_a_restarted_server_is_found_again_unnoticed(server: Server) -> None:
    """Between two calls nothing was under way that could have been lost: nobody needs to hear of it."""
    async with opened(server.url(new_prefix())) as store:
        told: list[int] = []
        stop = store.subscribe(told.append)
        for number in range(1, 4):
            assert await marks(store, "x") == number
            server.end()
            server.start()
        assert await numbered(store) == [(1, "x"), (2, "x"), (3, "x")]
        assert await store.verify() == []
        async with opened(store.url) as other:
            await marks(other, "from elsewhere")
        async with asyncio.timeout(5):
            while 4 not in told:  # noqa: ASYNC110 - it is told by a thread, which knows no event of ours
                await asyncio.sleep(0.01)
        stop()


async def test_a_server_that_is_gone_is_said_to_be(server: Server) -> None:
    """With an error that a retry helps, for whatever is asked; the store need not be opened again."""
    async with opened(server.url(new_prefix())) as store:
        await marks(store, "a")
        server.end()
        try:
            calls: tuple[Callable[[], Any], ...] = (
                lambda: marks(store, "lost"),
                lambda: numbered(store),
                store.verify,
                store.statistics,
                store.maintain,
            )
            for call in calls:
                with pytest.raises(StorageError, match="does not answer") as refusal:
                    await call()
                assert refusal.value.retryable
        finally:
            server.start()
        assert await marks(store, "b") == 2
        assert await numbered(store) == [(1, "a"), (2, "b")]


async def test_a_server_killed_while_work_runs_keeps_nothing_of_it(server: Server) -> None:
    """The work is told, or its commit is; after the restart it can be done anew."""
    async with opened(server.url(new_prefix())) as store:
        await marks(store, "a")

        def killing(tx: Transaction) -> None:
            tx.append(MARKS, Mark(text="lost"))
            assert tx.count(Query(MARKS)) == 2
            server.end()

        def asking(tx: Transaction) -> None:
            killing(tx)
            tx.get(PARTS, "unknown")

        for work in (killing, asking):
            with pytest.raises(StorageError) as refusal:
                await store.transact(work, timeout=timedelta(seconds=0.3))
            assert refusal.value.retryable
            server.start()
            assert await numbered(store) == [(1, "a")]
        assert await marks(store, "b") == 2


async def test_a_server_restarted_while_work_runs_makes_it_run_again(server: Server) -> None:
    """What it has read is still so: the server syncs each write."""
    async with opened(server.url(new_prefix())) as store:
        runs: list[str] = []

        def work(tx: Transaction) -> int:
            if not runs:
                server.end()
                server.start()
            runs.append("run")
            return increment(tx)

        assert (await store.transact(work)).value == 1
        assert await value_of(store) == 1


def _append(tx: Transaction, *, text: str) -> None:
    tx.append(MARKS, Mark(text=text))


async def write_on(store: RedisStore, name: str, is_over: asyncio.Event) -> tuple[set[str], set[str]]:
    """Append until it is over; returns what was acknowledged, and what nobody knows of."""
    acknowledged, unknown = set(), set()
    number = 0
    while not is_over.is_set():
        number += 1
        text = f"{name}.{number}"
        try:
            await store.transact(partial(_append, text=text), timeout=timedelta(seconds=5))
        except StorageError as error:
            if not error.retryable:
                raise
            if "what became of it" in error.message:
                unknown.add(text)
            await asyncio.sleep(0.005)
        else:
            acknowledged.add(text)
    return acknowledged, unknown


async def harried(url: str, harry: Callable[[], None], times: int) -> None:
    """Have four stores write while `harry` happens again and again; what was acknowledged must be there once."""
    async with opened(url) as a, opened(url) as b, opened(url) as c, opened(url) as d:
        is_over = asyncio.Event()
        writers = [
            asyncio.create_task(write_on(store, f"{name}{i}", is_over))
            for name, store in (("a", a), ("b", b), ("c", c), ("d", d))
            for i in range(3)
        ]
        chance = random.Random(7)
        for _ in range(times):
            await asyncio.sleep(chance.uniform(0.01, 0.06))
            await asyncio.to_thread(harry)
        is_over.set()
        ends = await asyncio.gather(*writers)
        found = await numbered(a)
        assert await b.verify() == []
    acknowledged = {text for known, _ in ends for text in known}
    unknown = {text for _, unsure in ends for text in unsure}
    texts = [text for _, text in found]
    assert len(texts) == len(set(texts)), "done twice"
    assert acknowledged <= set(texts) <= acknowledged | unknown
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert len(acknowledged) > times


async def test_a_server_killed_at_any_moment_loses_nothing_acknowledged(server: Server) -> None:
    """And does nothing twice, though answers are lost on the way."""

    def restart() -> None:
        server.end()
        server.start()

    await harried(server.url(new_prefix()), restart, 12)


async def test_connections_cut_at_any_moment_lose_nothing(server: Server) -> None:
    """Nor is anybody told that something may be lost: the server is there to be asked."""

    def cut() -> None:
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    await harried(server.url(new_prefix()), cut, 40)


async def test_numbers_given_again_are_not_taken_for_the_first() -> None:
    """A server that syncs later loses commits, and others then come to their numbers: a reader and a writer notice."""
    with running("--appendonly", "no") as loose:
        async with opened(loose.url("p"), is_near=False) as store, opened(loose.url("p")) as other:
            await fill(store, [part("a")])
            loop = asyncio.get_running_loop()
            losses: list[str] = []

            def look(tx: Transaction) -> list[str]:
                tx.get(PARTS, "unknown")
                if not losses:
                    losses.append("lost")
                    with loose.client() as client:
                        client.flushall()
                    asyncio.run_coroutine_threadsafe(reopened(), loop).result(10)
                    asyncio.run_coroutine_threadsafe(fill(other, [part("b")]), loop).result(10)
                return [made.id for made in tx.query(Query(PARTS))]

            async def reopened() -> None:
                async with opened(loose.url("p")):
                    pass

            assert await store.read(look) == ["b"]
            losses.clear()
            assert (await store.transact(look)).value == ["b"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_made_once(server: Server, when: str) -> None:
    """Whether the server got it or not, the caller hears of one commit, and there is one."""
    cutter = Cutter(server, scripts.COMMIT.digest.encode())
    async with opened(cutter.url(new_prefix())) as store:
        for number in range(1, 6):
            assert (await store.transact(increment)).value == number
            cutter.cut(when)
        assert cutter.cuts == 4
        assert await value_of(store) == 5
        assert [text for _, text in await numbered(store)] == ["1", "2", "3", "4", "5"]
    cutter.close()


async def test_a_commit_that_is_not_waited_for_is_made_once(server: Server) -> None:
    """Where work is asked for nobody waits long for an answer; a thread then finds out what became of the commit."""
    cutter = Cutter(server, scripts.COMMIT.digest.encode())
    async with opened(cutter.url(new_prefix())) as store:
        number = 0
        for when in ("late", "after", "before") * 4:
            for _ in range(3):
                number += 1
                assert (await store.transact(increment)).value == number
            await asyncio.sleep(engine.CALM_SECONDS)
            cutter.cut(when)
        assert cutter.cuts == 11
        assert [text for _, text in await numbered(store)] == [f"{n + 1}" for n in range(number)]
        assert await store.verify() == []
        both = await asyncio.gather(*(store.transact(increment) for _ in range(5)))
        assert sorted(made.value for made in both) == list(range(number + 1, number + 6))
    cutter.close()


@pytest.mark.parametrize("call", [numbered, lambda store: marks(store, "x")])
async def test_a_server_that_hangs_holds_nobody_else_up(server: Server, call: Callable[[RedisStore], Any]) -> None:
    """Programs do other things on the event loop while a server is saving, or somebody asks it for all its keys."""
    async with opened(server.url(new_prefix())) as store:
        for _ in range(4):
            await marks(store, "x")
        with server.client() as client:
            client.client_pause(400)
        asked = asyncio.create_task(call(store))
        ticks = 0
        while not asked.done():
            await asyncio.sleep(0.005)
            ticks += 1
        await asked
        assert ticks > 10
        assert len(await numbered(store)) >= 4


@pytest.mark.parametrize("call", [numbered, lambda store: marks(store, "x")])
async def test_an_answer_that_stops_half_way_holds_nobody_else_up(
    server: Server, call: Callable[[RedisStore], Any]
) -> None:
    """Its beginning is no promise that the rest is near; and what it was about is done once."""
    cutter = Cutter(server, b"")
    async with opened(cutter.url(new_prefix())) as store:
        before = [await marks(store, "x") for _ in range(4)]
        cutter.halt(0.4)
        asked = asyncio.create_task(call(store))
        longest = 0.0
        while not asked.done():
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(0.005)
            longest = max(longest, asyncio.get_running_loop().time() - began)
        await asked
        assert cutter.cuts == 1
        assert longest < 0.2
        assert len(await numbered(store)) == len(before) + (call is not numbered)
    cutter.close()


async def test_sixteen_writers_on_one_record_all_finish(server: Server) -> None:
    """Each is a process's store with callers of its own; nobody starves, and nothing is added in vain."""
    url = server.url(new_prefix())
    stores = [RedisStore(url, COLLECTIONS) for _ in range(16)]
    await asyncio.gather(*(store.open() for store in stores))

    async def several(store: RedisStore) -> None:
        for _ in range(8):
            await store.transact(increment)

    await asyncio.gather(*(several(store) for store in stores))
    assert await value_of(stores[0]) == 16 * 8
    assert len(await numbered(stores[1])) == 16 * 8
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_writer_that_died_does_not_hold_the_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn ends by itself, and should it come back after all, its work runs again."""
    monkeypatch.setattr(turn, "LEASE_SECONDS", 0.2)
    url = server.url(new_prefix())
    async with opened(url) as slow, opened(url) as quick:
        entered, leave = threading.Event(), threading.Event()

        def hanging(tx: Transaction) -> int:
            value = increment(tx)
            entered.set()
            leave.wait(10)
            return value

        hung = asyncio.create_task(slow.transact(hanging))
        assert await asyncio.to_thread(entered.wait, 10)
        assert (await quick.transact(increment)).value == 1
        leave.set()
        assert (await hung).value == 2
        assert await value_of(quick) == 2


async def test_a_long_transaction_keeps_its_turn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it goes on asking: an import must not lose to every small change."""
    monkeypatch.setattr(turn, "LEASE_SECONDS", 0.2)
    url = server.url(new_prefix())
    async with opened(url) as long, opened(url) as short:
        runs = []
        entered = threading.Event()

        def work(tx: Transaction) -> int:
            runs.append("run")
            entered.set()
            end = time.monotonic() + 0.6
            while time.monotonic() < end:
                tx.get(PARTS, tx.new_id())
            return increment(tx)

        first = asyncio.create_task(long.transact(work))
        assert await asyncio.to_thread(entered.wait, 10)
        assert (await short.transact(increment)).value == 2
        assert (await first).value == 1
        assert runs == ["run"]


async def test_a_large_group_is_committed_at_once(server: Server) -> None:
    """Imports write more at once than a script may be given arguments."""
    async with opened(server.url(new_prefix())) as store:
        many = [part(f"p{i:05}", name=f"word{i} text", tags=("x", f"t{i % 7}"), size=i % 100) for i in range(6_000)]
        await fill(store, many)
        assert await store.read(lambda tx: tx.count(Query(PARTS))) == 6_000
        assert await ids(store, match("word5999")) == ["p05999"]
        assert await store.verify() == []
        await store.transact(lambda tx: tx.delete_many(PARTS, [made.id for made in many[1:]]))
        assert await ids(store) == ["p00000"]
        assert await store.verify() == []


async def test_a_script_the_server_forgot_is_told_again(server: Server) -> None:
    """A restart or SCRIPT FLUSH forgets them all."""
    async with opened(server.url(new_prefix())) as store:
        for number in range(1, 4):
            with server.client() as client:
                client.script_flush()
            assert await marks(store, "x") == number


async def test_a_full_server_refuses_and_keeps_what_it_has(server: Server) -> None:
    """With STORE_FULL; nothing of the change is there, and what is there can be read."""
    async with opened(server.url(new_prefix())) as store:
        await fill(store, [part("a")])
        with server.client() as client:
            client.config_set("maxmemory", "100kb")
            try:
                with pytest.raises(StoreFullError) as refusal:
                    await fill(store, [part("b"), part("c")])
                assert await ids(store) == ["a"]
            finally:
                client.config_set("maxmemory", "0")
        assert refusal.value.retryable
        await fill(store, [part("b")])
        assert await ids(store) == ["a", "b"]
        assert await store.verify() == []


async def test_memory_that_runs_out_at_the_commit_changes_nothing(server: Server) -> None:
    """The first write of the commit is refused, and so all of it."""
    async with opened(server.url(new_prefix())) as store:
        await fill(store, [part("a")])

        def fills(tx: Transaction) -> None:
            tx.put(PARTS, part("b"))
            tx.delete(PARTS, "a")
            assert tx.count(Query(PARTS)) == 1
            with server.client() as client:
                client.config_set("maxmemory", "100kb")

        try:
            with pytest.raises(StoreFullError):
                await store.transact(fills)
        finally:
            with server.client() as client:
                client.config_set("maxmemory", "0")
        assert await ids(store) == ["a"]
        await fill(store, [part("b")])
        assert await store.verify() == []


async def test_a_replica_is_read_but_not_written(server: Server) -> None:
    """With STORE_READ_ONLY, and nothing changed."""
    async with opened(server.url(new_prefix())) as store:
        await fill(store, [part("a")])
        with server.client() as client:
            client.replicaof("127.0.0.1", "1")
            try:
                with pytest.raises(StoreReadOnlyError):
                    await fill(store, [part("b")])
                assert await ids(store) == ["a"]
                async with opened(store.url) as other:
                    assert await ids(other) == ["a"]
            finally:
                client.replicaof("NO", "ONE")
        await fill(store, [part("b")])
        assert await ids(store) == ["a", "b"]


async def test_a_wrong_password_is_said_without_showing_it() -> None:
    """Errors reach logs and issues."""
    with running("--requirepass", "right-secret") as guarded:
        for user in ("", ":wrong-secret@", "somebody:wrong-secret@"):
            store = RedisStore(guarded.url("p", user), COLLECTIONS)
            with pytest.raises(StorageError, match="user and password") as refusal:
                await store.open()
            shown = f"{refusal.value.as_dict()} {refusal.value.__cause__} {store.url} {store!r}"
            assert "secret" not in shown
            await store.close()
        async with opened(guarded.url("p", ":right-secret@")) as store:
            await fill(store, [part("a")])
            assert "secret" not in f"{await store.statistics()}"


SHY = ("shy", "on", ">pw", "~*", "&*", "+@all", "-config")
ALLOWED = ("some", "on", ">pw", "~{p}:*", "+@all", "-@dangerous")


async def test_durability_is_what_the_server_does() -> None:
    """A receipt that says disk after a cache said yes would be a lie."""
    with running("--appendfsync", "everysec", "--user", *SHY) as loose:
        async with opened(loose.url("p")) as store:
            assert store.capabilities.durability == "memory"
            assert "about a second" in (await store.statistics())["server"]["persistence"]
            with loose.client() as client:
                client.config_set("appendfsync", "always")
            assert "before it answers" in (await store.statistics())["server"]["persistence"]
            assert store.capabilities.durability == "disk"
            with loose.client() as client:
                client.config_set("appendonly", "no")
            assert "no append-only file" in (await store.statistics())["server"]["persistence"]
            assert store.capabilities.durability == "memory"
        async with opened(loose.url("p", "shy:pw@")) as store:
            assert store.capabilities.durability == "memory"
            assert "does not say" in (await store.statistics())["server"]["persistence"]


async def test_a_user_without_rights_changes_nothing() -> None:
    """Least of all a part: what it may not do at all it is told at once."""
    with running("--user", *ALLOWED) as guarded:
        async with opened(guarded.url("p", "some:pw@")) as store:
            await fill(store, [part("a")])
            assert await ids(store) == ["a"]
        with pytest.raises(StorageError, match="may not"):
            await RedisStore(guarded.url("other", "some:pw@"), COLLECTIONS).open()
        with guarded.client() as client:
            assert not [key for key in client.keys("*") if b"other" in key]
            for command in ("zpopmin", "xadd", "hdel"):
                client.execute_command("ACL", "SETUSER", "some", f"-{command}")
                with pytest.raises(StorageError, match="may not"):
                    await RedisStore(guarded.url("p", "some:pw@"), COLLECTIONS).open()
                client.execute_command("ACL", "SETUSER", "some", f"+{command}")


async def test_a_key_of_another_kind_finds_nothing(server: Server) -> None:
    """In the server all keys are text; a task without a parent has not the one that is called None."""
    async with opened(server.url(new_prefix())) as store:
        await fill(store, [part("None"), part("1")])
        await marks(store, "x")

        def look(tx: Transaction) -> list[Any]:
            return [tx.get(PARTS, None), tx.get(PARTS, 1), tx.get(MARKS, "1"), tx.get_many(PARTS, [None, 1, "1"])]

        for found in (await store.read(look), (await store.transact(look)).value):
            assert found == [None, None, None, {"1": part("1")}]


async def test_prefixes_are_apart(server: Server) -> None:
    """Several stores live on one server; all of one has one hash tag, and so one slot of a cluster."""
    one, two = new_prefix(), new_prefix()
    async with opened(server.url(one)) as first, opened(server.url(two)) as second:
        await fill(first, [part("a")])
        await fill(second, [part("b")])
        assert (await ids(first), await ids(second)) == (["a"], ["b"])
    with server.client() as client:
        assert client.keys(f"*{one}*")
        assert all(key.startswith(f"{{{one}}}:".encode()) for key in client.keys(f"*{one}*"))


async def test_a_read_shows_one_moment_while_much_is_written(server: Server) -> None:
    """Also when the index it looks through changes under it, and records come, go and move."""
    url = server.url(new_prefix())
    async with opened(url, is_near=False) as store, opened(url) as other:
        before = [part(f"p{i}", size=i, tags=("old",)) for i in range(20)]
        await fill(store, before)
        loop = asyncio.get_running_loop()

        def rewrite(tx: Transaction) -> None:
            tx.delete_many(PARTS, ["p1", "p2"])
            tx.put(PARTS, part("p3", size=-1, path="elsewhere"))
            tx.put(PARTS, part("new", size=3, path="p3", tags=("old",)))
            tx.append(MARKS, Mark(text="x"))

        runs = []

        def look(tx: Transaction) -> None:
            runs.append("run")
            assert tx.get(PARTS, "p0") == before[0]
            if len(runs) == 1:
                asyncio.run_coroutine_threadsafe(other.transact(rewrite), loop).result(10)
            assert tx.query(Query(PARTS).order_by("size")) == before
            assert tx.query(Query(PARTS).order_by("-size").limit(19).offset(1)) == before[-2::-1]
            assert tx.query(Query(PARTS).where(eq("path", "p3"))) == [before[3]]
            assert tx.get_many(PARTS, ["p1", "new"]) == {"p1": before[1]}
            assert tx.count(Query(PARTS)) == 20
            assert tx.count(Query(MARKS)) == tx.seq == 0

        await store.read(look)
        assert runs == ["run"]
        assert await store.read(lambda tx: (tx.count(Query(PARTS)), tx.seq)) == (19, 1)


async def test_a_moment_that_is_lost_makes_the_read_begin_anew(server: Server) -> None:
    """A commit too large to remember what was before it; no reader ever sees half of it."""
    url = server.url(new_prefix())
    async with opened(url, is_near=False) as store, opened(url) as other:
        text = "x" * (scripts.IMAGES_BYTES // 40)
        await fill(store, [part(f"p{i}", note=text) for i in range(12)])
        loop = asyncio.get_running_loop()
        runs = []

        def look(tx: Transaction) -> list[int | None]:
            runs.append("run")
            first = tx.get(PARTS, "p0")
            if len(runs) == 1:
                changed = [part(f"p{i}", size=1) for i in range(12)]
                asyncio.run_coroutine_threadsafe(fill(other, changed), loop).result(10)
            assert first is not None
            return [first.size, *(made.size for made in tx.query(Query(PARTS)))]

        assert await store.read(look) == [1] * 13
        assert len(runs) == 2


async def test_verify_finds_what_maintain_mends(server: Server) -> None:
    """Somebody's hand in the server must not hide records for ever."""
    prefix = new_prefix()
    async with opened(server.url(prefix)) as store:
        await fill(store, [part("a", kind="odd", tags=("x",)), part("b", parent="a")])
        with server.client() as client:
            client.delete(f"{{{prefix}}}:i:parts:kind+size")
            client.zadd(f"{{{prefix}}}:l:parts:tags", {b"\x02y\x00\x00\x02b\x00\x00\x00\x00\x04": 0})
            client.hset(f"{{{prefix}}}:r:counters", "n", '{"id":"m"}')
        assert len(await store.verify()) == 4
        await store.maintain()
        assert await ids(store, eq("kind", "odd")) == ["a"]
        assert await store.verify() == ["counters n holds a record of another key"]
        with server.client() as client:
            client.hdel(f"{{{prefix}}}:r:counters", "n")
            client.hdel(f"{{{prefix}}}:r:parts", "a")
        assert any("refers to a missing a" in fault for fault in await store.verify())


async def test_new_indexes_are_made_for_old_records(server: Server) -> None:
    """A later Atlas looks records up in ways the earlier one did not; the earlier one must then not go on writing."""
    url = server.url(new_prefix())
    former = Collection("parts", PARTS.record, columns=("path", "size"), indexes=(("size", "path"),))
    async with opened(url, [former]) as old:
        await old.transact(lambda tx: tx.put_many(former, [part("a", size=1, tags=("x",)), part("b", parent="a")]))
        async with opened(url) as new:
            assert await ids(new, eq("parent", "a")) == ["b"]
            assert await new.verify() == []
            with pytest.raises(StoreNewerError, match="other indexes"):
                await old.transact(lambda tx: tx.put(former, part("c")))
            with pytest.raises(StoreNewerError, match="other indexes"):
                await old.read(lambda tx: tx.get(former, "a"))
            with pytest.raises(ConflictError):
                await fill(new, [part("c", path="a")])
        with server.client() as client:
            assert not [key for key in client.keys("*size+path*") if url.partition("prefix=")[2].encode() in key]


async def test_a_newer_format_is_refused(server: Server) -> None:
    """Also when it becomes newer while the store is open."""
    prefix = new_prefix()
    async with opened(server.url(prefix)) as store:
        with server.client() as client:
            client.hset(f"{{{prefix}}}:meta", "format", 2)
        for call in (lambda: marks(store, "x"), lambda: numbered(store), RedisStore(store.url, COLLECTIONS).open):
            with pytest.raises(StoreNewerError):
                await call()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@db.example/0", "not encrypted"),
        ("redis://:secret@localhost/zero", "number"),
        ("redis://:secret@localhost:port/0", "cannot be read"),
        ("redis://:secret@localhost/0?prefix=a{b}", "prefix"),
        ("redis://:secret@localhost/0?colour=red", "colour"),
        ("redis://:secret@localhost/0?tls=maybe", "tls"),
        ("rediss://:secret@db.example/0?tls=off", "tls"),
        ("unix://:secret@host?prefix=a", "socket"),
        ("redis://:one@secret@localhost/zero", "number"),
        ("redis://:secret/two@localhost/0", "cannot be read"),
        ("redis:me:secret@localhost/0", "number"),
        ("http://:secret@localhost", "http"),
    ],
)
async def test_a_wrong_address_is_refused_without_its_password(url: str, said: str) -> None:
    """What is sent off this machine is encrypted, unless that is refused by name."""
    with pytest.raises(ConfigError, match=said) as refusal:
        RedisStore(url, COLLECTIONS)
    assert "secret" not in f"{refusal.value.as_dict()}"
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0?prefix=atlas"),
        ("redis://me:secret@127.0.0.2:1/2?prefix=x", "redis://me:***@127.0.0.2:1/2?prefix=x"),
        ("redis://:secret@[::1]", "redis://:***@[::1]:6379/0?prefix=atlas"),
        ("redis://db.example/?tls=off", "redis://db.example:6379/0?prefix=atlas"),
        ("rediss://me:secret@db.example", "rediss://me:***@db.example:6379/0?prefix=atlas"),
        ("unix://:secret@/run/redis.sock?db=3", "unix://:***@/run/redis.sock?db=3&prefix=atlas"),
    ],
)
async def test_a_shown_address_hides_the_password(url: str, shown: str) -> None:
    assert RedisStore(url, COLLECTIONS).url == shown


async def test_a_turn_that_comes_to_nothing_is_given_back(server: Server) -> None:
    """Work that only read, or failed, must not make others wait for its lease."""
    url = server.url(new_prefix())
    async with opened(url) as store, opened(url) as other:

        def fail(tx: Transaction) -> None:
            tx.put(PARTS, part("a"))
            raise ZeroDivisionError

        for work in (lambda tx: tx.get(PARTS, "a"), fail):
            await asyncio.gather(store.transact(work), return_exceptions=True)
            begun = time.monotonic()
            await marks(other, "x")
            assert time.monotonic() - begun < turn.LEASE_SECONDS / 2


async def test_who_gives_up_waiting_is_not_waited_for(server: Server) -> None:
    """The line is for those who still want their turn."""
    url = server.url(new_prefix())
    async with opened(url) as first, opened(url) as second, opened(url) as third:
        entered, leave = threading.Event(), threading.Event()

        def hold(tx: Transaction) -> None:
            entered.set()
            leave.wait(10)
            tx.append(MARKS, Mark(text="held"))

        held = asyncio.create_task(first.transact(hold))
        assert await asyncio.to_thread(entered.wait, 10)
        with pytest.raises(StoreBusyError):
            await second.transact(increment, timeout=timedelta(seconds=0.05))
        waiting = asyncio.create_task(marks(third, "third"))
        leave.set()
        await asyncio.gather(held, waiting)
        assert await value_of(third) == 0
        assert [text for _, text in await numbered(third)] == ["held", "third"]


async def test_closing_does_not_wait_for_another_s_turn(server: Server) -> None:
    """Who waited is told that the store was closed, and nothing of it is written later."""
    url = server.url(new_prefix())
    async with opened(url) as first, opened(url) as second:
        entered, leave = threading.Event(), threading.Event()

        def hold(tx: Transaction) -> None:
            tx.append(MARKS, Mark(text="held"))
            entered.set()
            leave.wait(10)

        held = asyncio.create_task(first.transact(hold))
        assert await asyncio.to_thread(entered.wait, 10)
        waiting = asyncio.create_task(marks(second, "late"))
        await asyncio.sleep(0.02)
        await asyncio.wait_for(second.close(), 5)
        with pytest.raises(StoreClosedError):
            await waiting
        leave.set()
        await held
        assert await numbered(first) == [(1, "held")]
