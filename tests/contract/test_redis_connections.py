"""The way from a Redis store to its server: how many connections, encrypted with whom, as which user, and told of."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.certificates import Authority
from tests.contract.redis_servers import EncryptedWay, Server, running

from atlas.errors import ConfigError, StorageError, StoreUnreachableError
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.storage.redis import RedisStore, pool, scripts
from atlas.testing.samples import COLLECTIONS, PARTS, fill, ids, marks, numbered, part

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
async def opened(url: str, *, is_near: bool = True) -> AsyncIterator[RedisStore]:
    """Open a store; one that is not near never runs work where it is asked for, so that the work may wait there."""
    store = RedisStore(url, COLLECTIONS)
    store._engine.is_near = is_near
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def new_prefix() -> str:
    return uuid.uuid4().hex


async def pool_of(store: RedisStore) -> dict[str, Any]:
    figures: dict[str, Any] = (await store.statistics())["pool"]
    return figures


async def test_connections_are_told_of(server: Server) -> None:
    """How many there are, and of each what it is used for; one that was not waited for takes its figures with it."""
    async with opened(server.url(new_prefix()), is_near=False) as store:
        await asyncio.gather(*(numbered(store) for _ in range(8)))
        told = await pool_of(store)
        assert told["size"] == 5
        assert told["total"] == told["idle"] == len(told["each"]) <= 5
        assert (told["active"], told["waiting"], told["lost"], told["regained"], told["recycled"]) == (0, 0, 0, 0, 0)
        assert sum(line["calls"] for line in told["each"]) > 8
        for line in told["each"]:
            assert line["state"] == "idle"
            assert line["unused_seconds"] >= 0
            assert line["bytes"] > 100 * line["calls"] > 0
            assert line["mean_seconds"] > 0


async def test_bytes_and_errors_are_counted_where_they_went(server: Server) -> None:
    """A script the server forgot is an error on the line that asked for it; a record counts when sent and when read."""
    async with opened(f"{server.url(new_prefix())}&readers=1", is_near=False) as store:
        before = await pool_of(store)
        await fill(store, [part("a", note="x" * 10_000)])
        await ids(store)
        with server.client() as client:
            client.script_flush()
        await fill(store, [part("b")])
        after = await pool_of(store)
        assert sum(line["errors"] for line in after["each"]) >= 1
        grown = sum(line["bytes"] for line in after["each"]) - sum(line["bytes"] for line in before["each"])
        assert 20_000 < grown < 60_000


async def test_no_more_reads_run_at_once_than_there_are_connections(server: Server) -> None:
    """The others wait for their turn, and all of them are answered; a writer has a connection to itself."""
    async with opened(f"{server.url(new_prefix())}&readers=2", is_near=False) as store:
        await fill(store, [part("a")])
        inside, leave = threading.Semaphore(0), threading.Event()

        def hold(tx: Transaction) -> int:
            inside.release()
            leave.wait(10)
            return tx.count(Query(PARTS))

        reads = [asyncio.create_task(store.read(hold)) for _ in range(6)]
        for _ in range(2):
            assert await asyncio.to_thread(inside.acquire, timeout=10)
        assert not inside.acquire(blocking=False)
        assert await marks(store, "written meanwhile") == 1
        told = store._link.figures()
        leave.set()
        assert await asyncio.gather(*reads) == [1] * 6
        assert told["size"] == 3
        assert (await pool_of(store))["total"] <= 3


async def test_who_waits_for_a_connection_is_told_of(server: Server) -> None:
    """Also that nobody does any more: those who gave up are not waiting."""
    async with opened(f"{server.url(new_prefix())}&readers=1", is_near=False) as store:
        inside, leave = threading.Event(), threading.Event()

        def hold(tx: Transaction) -> int:
            inside.set()
            leave.wait(10)
            return tx.seq

        reads = [asyncio.create_task(store.read(hold)) for _ in range(4)]
        assert await asyncio.to_thread(inside.wait, 10)
        told = asyncio.create_task(store.statistics())
        reads[3].cancel()
        await asyncio.gather(reads[3], return_exceptions=True)
        assert len(store._queued) == 3
        leave.set()
        await asyncio.gather(*reads[:3], told)
        assert (await pool_of(store))["waiting"] == 0


async def test_the_number_of_connections_changes_while_reads_run(server: Server) -> None:
    """More are made when they are asked for; those too many end, and nothing under way is broken off."""
    async with opened(f"{server.url(new_prefix())}&readers=1", is_near=False) as store:
        await fill(store, [part(f"p{i}") for i in range(50)])

        async def read_on(times: int) -> None:
            for _ in range(times):
                assert len(await ids(store)) == 50

        for readers in (6, 2, 1, 3):
            under_way = [asyncio.create_task(read_on(6)) for _ in range(6)]
            await asyncio.sleep(0)
            await store.resize(readers)
            await asyncio.gather(*under_way)
            told = await pool_of(store)
            assert told["size"] == readers + 1
            assert told["total"] <= readers + 1
        await store.resize(8)
        inside = threading.Barrier(8, timeout=10)
        await asyncio.gather(*(store.read(lambda tx: (inside.wait(), tx.seq)) for _ in range(8)))
        for wrong in (0, 65):
            with pytest.raises(ConfigError, match="readers"):
                await store.resize(wrong)
            with pytest.raises(ConfigError, match="readers"):
                RedisStore(f"redis://localhost?readers={wrong}", COLLECTIONS)


async def test_an_old_connection_is_replaced_before_it_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead elsewhere after a while, and balancers count connections; nobody is told of a loss."""
    async with opened(f"{server.url(new_prefix())}&readers=1") as store:
        await numbered(store)
        monkeypatch.setattr(pool, "LIFE_SECONDS", 0.0)
        assert await marks(store, "x") == 1
        assert await numbered(store) == [(1, "x")]
        told = await pool_of(store)
        assert told["recycled"] >= 3
        assert told["lost"] == told["regained"] == 0


async def test_a_connection_that_ended_idle_is_not_used_for_a_commit(server: Server) -> None:
    """What cannot be sent twice is sent where it arrives: the server has closed what was idle."""
    async with opened(server.url(new_prefix())) as store:
        for number in range(1, 4):
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            assert await marks(store, "x") == number
        told = await pool_of(store)
        assert told["lost"] >= 3
        assert told["regained"] == 0


async def test_a_lost_server_is_counted_and_told_of_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """However many ask meanwhile, whether they read, write or wait for news: one line when lost, one when regained."""
    async with opened(server.url(new_prefix())) as store:
        told: list[int] = []
        stop = store.subscribe(told.append)
        before = await pool_of(store)
        for _ in range(2):
            server.end()
            try:
                for _ in range(3):
                    for call in (numbered(store), marks(store, "lost")):
                        with pytest.raises(StoreUnreachableError) as refusal:
                            await call
                        assert refusal.value.code == "STORE_UNREACHABLE"
            finally:
                server.start()
            await numbered(store)
        after = await pool_of(store)
        assert after["lost"] > before["lost"]
        assert after["regained"] == 2
        stop()
    said = [record.message.rpartition("prefix=")[2].partition(" ")[2] for record in caplog.records]
    assert said == ["does not answer", "answers again"] * 2


async def test_the_server_is_told_of(server: Server) -> None:
    """What an operator would ask it: which one it is, how full, and how it keeps what it is given."""
    async with opened(server.url(new_prefix())) as store:
        await fill(store, [part("a")])
        told = (await store.statistics())["server"]
        assert told["version"].startswith(("redis 6.", "redis 7.", "redis 8.", "valkey "))
        assert not told["is_replica"]
        assert 0 < told["connections"] < told["connections_limit"]
        assert told["memory"] > 100_000
        assert (told["memory_limit"], told["eviction"], told["is_saving_failed"]) == (0, "noeviction", False)
        assert "before it answers" in told["persistence"]
        assert told["unsaved_changes"] > 0
        with server.client() as client:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.replicaof("127.0.0.1", "1")
            try:
                told = (await store.statistics())["server"]
            finally:
                client.replicaof("NO", "ONE")
                client.config_set("maxmemory", "0")
                client.config_set("maxmemory-policy", "noeviction")
        assert told["is_replica"]
        assert (told["memory_limit"], told["eviction"]) == (100 * 1024 * 1024, "allkeys-lru")


async def test_what_a_user_may_not_ask_is_left_out() -> None:
    """A user without the dangerous commands works all the same, and the store claims nothing for the server."""
    with running("--user", "shy", "on", ">pw", "~{p}:*", "+@all", "-@dangerous", "-@admin") as guarded:
        async with opened(guarded.url("p", "shy:pw@")) as store:
            await fill(store, [part("a")])
            assert set((await store.statistics())["server"]) == {"persistence"}


SECRET = "s3cr3t/with @signs:"
QUOTED = "s3cr3t%2Fwith%20%40signs%3A"


async def test_a_user_s_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not in errors or their causes, logs, figures, nor when the store is printed; whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with running("--user", "worker", "on", f">{SECRET}", "~{p}:*", "+@all") as guarded:
        async with opened(guarded.url("p", f"worker:{QUOTED}@")) as store:
            await fill(store, [part("a")])
            assert await ids(store) == ["a"]
            shown += [f"{await store.statistics()}", store.url, repr(store), repr(store._link), repr(store._address)]
            guarded.end()
            with pytest.raises(StoreUnreachableError) as refusal:
                await fill(store, [part("b")])
            shown += causes(refusal.value)
            guarded.start()
            with guarded.client() as client:
                client.execute_command("ACL", "SETUSER", "worker", ">another", f"<{SECRET}")
            with pytest.raises(StorageError, match="user and password") as refused:
                await fill(store, [part("b")])
            shown += causes(refused.value)
        with pytest.raises(StorageError, match="may not") as forbidden:
            await RedisStore(guarded.url("other", "worker:another@"), COLLECTIONS).open()
        shown += causes(forbidden.value)
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if "s3cr3t" in text]


def causes(error: BaseException | None) -> list[str]:
    found = []
    while error is not None:
        found += [f"{error!r} {error} {error.as_dict() if isinstance(error, StorageError) else ''}"]
        error = error.__cause__ or error.__context__
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "right")


@pytest.fixture(scope="module")
def encrypted(server: Server, authority: Authority) -> Iterator[EncryptedWay]:
    """A way to the server as 127.0.0.1, which `authority` vouches for."""
    way = EncryptedWay(server, authority.vouched("127.0.0.1"))
    yield way
    way.close()


async def test_an_encrypted_server_is_used_like_any(encrypted: EncryptedWay, authority: Authority) -> None:
    """Also for news of commits, for what is large, and after its connections were lost."""
    url = f"rediss://127.0.0.1:{encrypted.port}/0?prefix={new_prefix()}&ca={authority.path}"
    async with opened(url) as store, opened(url) as other:
        heard = asyncio.Event()
        stop = store.subscribe(lambda _: heard.set())
        await fill(store, [part(f"p{i}", note="x" * 5_000) for i in range(200)])
        await marks(other, "x")
        await asyncio.wait_for(heard.wait(), 10)
        assert len(await ids(other)) == 200
        for line in store._link.pool._idle:
            line.connection._sock.shutdown(2)
        await fill(store, [part("p0")])
        assert await store.verify() == []
        stop()


async def test_who_is_not_vouched_for_is_told_nothing(
    encrypted: EncryptedWay, server: Server, authority: Authority, tmp_path: Path
) -> None:
    """Another authority, none that is known, or another name: the password would go to whoever answers."""
    wrong = Authority(tmp_path, "wrong")
    elsewhere = EncryptedWay(server, authority.vouched("db.example"))
    for url in (
        f"rediss://127.0.0.1:{encrypted.port}/0?ca={wrong.path}",
        f"rediss://127.0.0.1:{encrypted.port}/0",
        f"rediss://127.0.0.1:{elsewhere.port}/0?ca={authority.path}",
        f"rediss://localhost:{encrypted.port}/0?ca={authority.path}",
    ):
        with pytest.raises(StorageError, match="cannot be trusted") as refusal:
            await RedisStore(url, COLLECTIONS).open()
        assert not refusal.value.retryable
    elsewhere.close()


async def test_an_authority_that_is_not_there_is_refused() -> None:
    """Before anything is sent: a mistyped path must not read like a server that is away."""
    with pytest.raises(ConfigError, match="there is no file"):
        RedisStore("rediss://db.example?ca=/nowhere/ca.pem", COLLECTIONS)


async def test_news_is_not_missed_after_a_long_pause(server: Server) -> None:
    """The stream keeps the last few numbers only; one of them stands for all before it."""
    prefix = new_prefix()
    async with opened(server.url(prefix)) as store, opened(server.url(prefix)) as other:
        told: list[int] = []
        stop = store.subscribe(told.append)
        for _ in range(3):
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            last = max([await marks(other, "x") for _ in range(40)])
            async with asyncio.timeout(10):
                while told[-1:] != [last]:  # noqa: ASYNC110 - it is told by a thread, which knows no event of ours
                    await asyncio.sleep(0.01)
        assert told == sorted(set(told))
        with server.client() as client:
            assert client.xlen(f"{{{prefix}}}:feed") < 200
        stop()


async def test_news_comes_without_the_stream_too(server: Server) -> None:
    """A replica is not given it, and whoever cleans up may delete it: then it takes a second."""
    prefix = new_prefix()
    async with opened(server.url(prefix)) as store, opened(server.url(prefix)) as other:
        told: list[int] = []
        stop = store.subscribe(told.append)
        await marks(other, "x")
        async with asyncio.timeout(10):
            while 1 not in told:  # noqa: ASYNC110 - it is told by a thread, which knows no event of ours
                await asyncio.sleep(0.01)
        with server.client() as client:
            client.hset(f"{{{prefix}}}:meta", "seq", 7)
        async with asyncio.timeout(10):
            while told[-1] != 7:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
        stop()
    assert scripts.COMMIT.text.count("'MAXLEN'") == 1


async def test_event_loops_may_read_while_another_resizes(server: Server) -> None:
    """No read is refused for coming at that moment, and closing ends every thread."""
    before, interval = set(threading.enumerate()), sys.getswitchinterval()
    async with opened(server.url(new_prefix()), is_near=False) as store:
        failed: list[BaseException] = []

        async def many() -> None:
            for _ in range(200):
                await store.read(lambda tx: tx.seq)

        def elsewhere() -> None:
            try:
                asyncio.run(many())
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failed.append(error)

        reading = [threading.Thread(target=elsewhere) for _ in range(2)]
        sys.setswitchinterval(1e-6)
        try:
            for thread in reading:
                thread.start()
            while any(thread.is_alive() for thread in reading):
                for readers in (2, 4):
                    await store.resize(readers)
                await asyncio.sleep(0)
        finally:
            sys.setswitchinterval(interval)
    assert failed == []
    assert [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("atlas")] == []
