"""The connections of a PostgreSQL store: how many there are, in what state, how they end and how they are secured."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.certificates import Authority
from tests.contract.postgres_proxy import tls_front
from tests.contract.postgres_servers import Server

from atlas.errors import ConfigError, StoreBusyError, StoreClosedError, StoreFormatError, StoreUnreachableError
from atlas.storage.postgres import PostgresStore
from atlas.storage.postgres.pool import Reader
from atlas.storage.postgres.server import persistence
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.testing.samples import COLLECTIONS, MARKS, PARTS, Mark, fill, ids, marks, part


async def opened(url: str, **how: Any) -> PostgresStore:
    store = PostgresStore(url, COLLECTIONS, **how)
    await store.open()
    return store


async def pool_of(store: PostgresStore) -> Any:
    return (await store.statistics())["pool"]


async def idle(store: PostgresStore) -> None:
    """Wait until the ends of all reads were answered: their callers were so before."""
    pool = store._database.pool
    async with asyncio.timeout(10):
        while pool is not None and pool.figures(0)["active"]:  # noqa: ASYNC110 - threads of the store make it so
            await asyncio.sleep(0.001)


class Crowd:
    """Reads that stay until they are let go, and how many of them were there at once."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.most = 0
        self._inside = 0
        self._changed = threading.Condition()

    def __call__(self, tx: Transaction) -> int:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
        self.leave.wait(10)
        with self._changed:
            self._inside -= 1
        return tx.count(Query(PARTS))

    def come(self, number: int) -> bool:
        """Wait until so many are there."""
        with self._changed:
            return self._changed.wait_for(lambda: self._inside >= number, 10)


@pytest.mark.anyio
async def test_readers_beyond_the_pool_wait_and_all_are_served(url: str) -> None:
    """A hundred agents that look at once are no reason to refuse any of them."""
    store, crowd = await opened(f"{url}&readers=3"), Crowd()
    await fill(store, [part("a")])
    reads = [asyncio.create_task(store.read(crowd)) for _ in range(100)]
    assert await asyncio.to_thread(crowd.come, 3)
    figures = store._database.pool.figures(store._readers.waiting)  # type: ignore[union-attr]
    assert (figures["size"], figures["active"], figures["waiting"]) == (3, 3, 97)
    assert [each["state"] for each in figures["each"]] == ["active"] * 3
    crowd.leave.set()
    assert await asyncio.gather(*reads) == [1] * 100
    assert crowd.most == 3
    await store.close()


@pytest.mark.anyio
async def test_whoever_waits_too_long_for_a_connection_is_told_so(url: str) -> None:
    """And does not hold up those who come after."""
    store, crowd = await opened(f"{url}&readers=1", patience=timedelta(seconds=0.2)), Crowd()
    holding = asyncio.create_task(store.read(crowd))
    assert await asyncio.to_thread(crowd.come, 1)
    refused = await asyncio.gather(*(ids(store) for _ in range(10)), return_exceptions=True)
    assert {type(error) for error in refused} == {StoreBusyError}
    assert (await store.transact(lambda tx: tx.count(Query(PARTS)))).value == 0
    crowd.leave.set()
    assert await holding == 0
    assert await ids(store) == []
    await store.close()


@pytest.mark.anyio
async def test_the_pool_is_resized_while_it_is_used(url: str) -> None:
    """More readers for a busy hour, fewer for a server that has not enough connections; nobody is interrupted."""
    store, first, second = await opened(f"{url}&readers=1"), Crowd(), Crowd()
    waiting = [asyncio.create_task(store.read(first)) for _ in range(3)]
    assert await asyncio.to_thread(first.come, 1)
    await store.resize(3)
    assert await asyncio.to_thread(first.come, 3)
    await store.resize(2)
    first.leave.set()
    assert await asyncio.gather(*waiting) == [0] * 3
    waiting = [asyncio.create_task(store.read(second)) for _ in range(5)]
    assert await asyncio.to_thread(second.come, 2)
    second.leave.set()
    assert await asyncio.gather(*waiting) == [0] * 5
    assert second.most == 2
    figures = await pool_of(store)
    assert figures["size"] == 2
    assert figures["total"] <= 2
    with pytest.raises(ConfigError):
        await store.resize(0)
    await store.close()


@pytest.mark.anyio
async def test_a_store_whose_opening_was_given_up_holds_nothing_and_opens_again(postgres: Server, url: str) -> None:
    """Its thread waits on in the server, and must let go of what it gets: nobody is there any more to close it."""
    mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'atlas'"
    store = PostgresStore(url, COLLECTIONS)
    with psycopg.connect(postgres.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (store._address.turn,))
        opening = asyncio.create_task(store.open())
        async with asyncio.timeout(10):
            while not postgres.run(f"{mine} AND wait_event_type = 'Lock'")[0][0]:  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with asyncio.timeout(10):
        while postgres.run(mine)[0][0]:  # noqa: ASYNC110 - a thread of the store makes it so
            await asyncio.sleep(0.01)
    with pytest.raises(StoreClosedError):
        await ids(store)
    await store.open()
    await marks(store, "a")
    assert (await pool_of(store))["total"] == 1
    assert await asyncio.to_thread(lambda: [t.name for t in threading.enumerate() if t.name == "atlas-reader"])
    await store.close()


@pytest.mark.anyio
async def test_figures_are_told_while_connections_come(url: str) -> None:
    """Connections are made on a thread of the pool, at any time."""
    store, made = await opened(url), threading.Event()
    pool = store._database.pool
    assert pool is not None
    readers = [Reader.connect(url.partition("?schema=")[0].partition("&schema=")[0]) for _ in range(40)]
    for reader in readers:
        # So that nothing but the looking itself takes time.
        reader.close()

    def come() -> None:
        for _ in range(300):
            with pool._lock:
                pool._readers.clear()
            for reader in readers:
                pool._made(reader)
        made.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        coming = asyncio.create_task(asyncio.to_thread(come))
        await asyncio.to_thread(lambda: [pool.figures(0) for _ in iter(made.is_set, True)])
        await coming
    finally:
        sys.setswitchinterval(before)
    await store.close()


@pytest.mark.anyio
async def test_connections_are_replaced_when_they_are_old(url: str) -> None:
    """Servers grow with what a connection has seen; a new one begins small, and goes to the server of today."""
    store = await opened(f"{url}&lifetime=1&readers=1")
    async with asyncio.timeout(10):
        while not (figures := await pool_of(store))["recycled"]:  # noqa: ASYNC110 - its age sets no event
            await asyncio.sleep(0.05)
    assert (figures["lost"], figures["total"]) == (0, 1)
    assert await ids(store) == []
    await store.close()


@pytest.mark.anyio
async def test_a_connection_that_the_server_ended_is_replaced_unnoticed(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen before it is used: neither a reader nor a writer tries in vain, and then again after a pause."""
    monkeypatch.setattr("atlas.storage.postgres.database.PAUSE", 60.0)
    store = await opened(url, patience=timedelta(seconds=100))
    await fill(store, [part("a")])
    assert await ids(store) == ["a"]
    for _ in range(3):
        postgres.cut()
        async with asyncio.timeout(10):
            assert await ids(store) == ["a"]
            await fill(store, [part("a")])
    figures = await pool_of(store)
    assert figures["lost"] >= 6
    assert figures["regained"] >= 3
    await store.close()


@pytest.mark.anyio
async def test_a_loss_is_told_once_and_so_is_its_end(
    postgres: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log sees when the server was away, not how often it was tried."""
    store = await opened(url)
    stop = store.subscribe(lambda _: None)
    await fill(store, [part("a")])
    await asyncio.gather(*(ids(store) for _ in range(20)))
    postgres.stop()
    try:
        waiting = [asyncio.create_task(call) for call in (*(ids(store) for _ in range(8)), marks(store, "a"))]
        await asyncio.sleep(0.3)
    finally:
        await asyncio.to_thread(postgres.start)
    await asyncio.gather(*waiting)
    told = [r.getMessage() for r in caplog.records if r.name.startswith("atlas.storage.postgres")]
    assert len(told) == 2
    assert "was lost" in told[0]
    assert "answers again" in told[1]
    assert (await pool_of(store))["regained"] == 1
    stop()
    await store.close()


@pytest.mark.anyio
async def test_what_each_connection_did_is_counted(postgres: Server, url: str) -> None:
    """One that is slow, or fails, stands out."""
    with tls_front(postgres.url, None) as front:
        there = f"postgresql://postgres@127.0.0.1:{front.port}/postgres?sslmode=disable&readers=1"
        store = await opened(f"{there}&schema={url.rpartition('schema=')[2]}")
        await fill(store, [part("a", name="n" * 5_000)])
        for _ in range(5):
            await ids(store)
        (before,) = (await pool_of(store))["each"]
        schema = url.rpartition("schema=")[2]
        postgres.run(f"ALTER TABLE {schema}.parts RENAME TO gone")
        with pytest.raises(StoreFormatError):
            await ids(store)
        postgres.run(f"ALTER TABLE {schema}.gone RENAME TO parts")
        (after,) = (await pool_of(store))["each"]
        assert before["calls"] >= 5
        assert after["calls"] > before["calls"]
        assert (before["errors"], after["errors"]) == (0, 1)
        assert 0 < after["mean_seconds"] < 10
        assert 0 <= after["unused_seconds"] < 10
        assert after["bytes"] is None or after["bytes"] > 25_000
        await store.close()


@pytest.mark.anyio
async def test_round_trips_are_few(postgres: Server, url: str) -> None:
    """Each is as long as the network; what is written goes with the commit, however many wrote."""
    with tls_front(postgres.url, None) as front:
        there = f"postgresql://postgres@127.0.0.1:{front.port}/postgres?sslmode=disable&readers=1"
        store = await opened(f"{there}&schema={url.rpartition('schema=')[2]}")
        await fill(store, [part("a")])
        await idle(store)
        before = front.turns
        await store.transact(lambda tx: tx.append(MARKS, Mark(text="a")))
        appended, before = front.turns - before, front.turns
        await fill(store, [part("b")])
        put, before = front.turns - before, front.turns
        assert await store.read(lambda tx: tx.get(PARTS, "a")) == part("a")
        await idle(store)
        read = front.turns - before
        await store.close()
    assert (appended, put, read) == (2, 3, 3)


@pytest.mark.anyio
async def test_the_server_is_told_of(url: str) -> None:
    """What it runs, how full it is, and whether it keeps what it acknowledges."""
    store = await opened(url)
    server = (await store.statistics())["server"]
    assert int(server["version"].partition(".")[0]) >= 12
    assert server["is_replica"] is False
    assert 1 <= server["connections"] <= server["connections_limit"]
    assert "on disk" in server["persistence"]
    await store.close()
    hasty = await opened(f"{url}&options=-c%20synchronous_commit%3Doff")
    assert "before" in (await hasty.statistics())["server"]["persistence"]
    await hasty.close()
    assert "lose everything" in persistence("on", "off")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "right")


def secured(port: int, url: str, host: str, **options: Any) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"postgresql://postgres:hush@{host}:{port}/postgres?schema={url.rpartition('schema=')[2]}{more}"


@pytest.mark.anyio
async def test_a_server_that_proves_who_it_is_is_talked_to_in_secret(
    postgres: Server, url: str, right: Authority
) -> None:
    """Every connection, for reads, writes and news alike."""
    with tls_front(postgres.url, right.vouched("127.0.0.1")) as front:
        store = await opened(secured(front.port, url, "127.0.0.1", sslmode="verify-full", sslrootcert=right.path))
        told: list[int] = []
        stop = store.subscribe(told.append)
        assert await marks(store, "a") == 1
        await fill(store, [part("a")])
        assert await ids(store) == ["a"]
        used = postgres.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'atlas'")
        assert used[0][0] >= 2
        stop()
        await store.close()
    assert b"INSERT" in front.heard


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["unknown authority", "another host", "no encryption", "required, no encryption"])
async def test_a_server_that_does_not_is_not_talked_to(
    postgres: Server, url: str, right: Authority, tmp_path: Path, trouble: str
) -> None:
    """Not a word of what is kept, nor the password, reaches it or the error."""
    wrong = Authority(tmp_path, "wrong")
    certificate = {
        "unknown authority": wrong.vouched("127.0.0.1"),
        "another host": right.vouched("db.example.org"),
    }.get(trouble)
    how = {"sslmode": "require"} if trouble.startswith("required") else {"sslmode": "verify-full"}
    with tls_front(postgres.url, certificate) as front:
        store = PostgresStore(secured(front.port, url, "127.0.0.1", **how, sslrootcert=right.path), COLLECTIONS)
        with pytest.raises(StoreUnreachableError) as raised:
            await store.open()
    assert "hush" not in str(raised.value.as_dict())
    assert "SSL" in raised.value.message or "does not match host name" in raised.value.message
    assert front.heard == b""
