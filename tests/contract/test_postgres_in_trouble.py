"""A PostgreSQL store whose server dies, hangs up or keeps it waiting: nothing acknowledged is lost, and it goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.postgres_proxy import proxy
from tests.contract.postgres_servers import Server, own_server

from atlas.errors import AtlasError, StoreTimeoutError, StoreUnreachableError
from atlas.interfaces.cli.run import drive
from atlas.storage.postgres import PostgresStore
from atlas.storage.postgres.feed import POLL_SECONDS
from atlas.storage.postgres.line import Line
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.testing.samples import (
    COLLECTIONS,
    COUNTERS,
    MARKS,
    PARTS,
    Counter,
    Mark,
    fill,
    ids,
    marks,
    numbered,
    part,
)


async def opened(url: str, **how: Any) -> PostgresStore:
    store = PostgresStore(url, COLLECTIONS, **how)
    await store.open()
    return store


def schema_of(url: str) -> str:
    return url.rpartition("schema=")[2].partition("&")[0]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - other threads make it so
            await asyncio.sleep(0.005)


def _kill_one(postgres: Server) -> None:
    """Kill the process behind one connection: the server then ends all of them, and recovers."""
    asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'atlas' LIMIT 1"
    # Between two of them there may be none for a moment.
    found = next(found for found in iter(lambda: postgres.run(asked), None) if found)
    os.kill(found[0][0], signal.SIGKILL)


def _restart(postgres: Server) -> None:
    postgres.stop()
    postgres.start()


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", [_restart, _kill_one, Server.cut])
async def test_what_was_acknowledged_outlasts_the_server(
    postgres: Server, url: str, trouble: Callable[[Server], Any]
) -> None:
    """Each change is there exactly once, whenever the server went; writers and readers only notice a pause."""
    stores = [await opened(url), await opened(url)]
    is_over = False
    acknowledged: list[str] = []

    async def write(number: int) -> None:
        store, count = stores[number % 2], 0
        while not is_over or count < 3:
            await marks(store, text := f"{number}-{count}")
            acknowledged.append(text)
            count += 1

    async def read() -> None:
        while not is_over:
            found = await numbered(stores[0])
            assert [number for number, _ in found] == list(range(1, len(found) + 1))

    tasks = [asyncio.create_task(call) for call in (*(write(n) for n in range(6)), read())]
    for _ in range(2):
        before = len(acknowledged)
        await until(lambda before=before: len(acknowledged) > before + 30)  # type: ignore[misc]
        await asyncio.to_thread(trouble, postgres)
    is_over = True
    await asyncio.gather(*tasks)
    assert sorted(text for _, text in await numbered(stores[1])) == sorted(acknowledged)
    for store in stores:
        assert await store.verify() == []
        await store.close()


@pytest.mark.anyio
async def test_a_transaction_begins_anew_when_its_server_does(postgres: Server, url: str) -> None:
    """Its work has touched nothing but the transaction, so the caller need not know."""
    store = await opened(url)
    await fill(store, [part("a", size=1)])
    entered, leave = threading.Event(), threading.Event()
    runs: list[int | None] = []

    def work(tx: Transaction) -> None:
        before = tx.get(PARTS, "a")
        assert before is not None
        runs.append(before.size)
        tx.put(PARTS, part("a", size=2))
        tx.append(MARKS, Mark(text=f"run {len(runs)}"))
        assert tx.count(Query(MARKS)) == 1
        entered.set()
        leave.wait(10)

    running = asyncio.create_task(store.transact(work))
    await asyncio.to_thread(entered.wait, 10)
    await asyncio.to_thread(_restart, postgres)
    leave.set()
    assert (await running).seq == 1
    assert runs == [1, 1]
    assert await numbered(store) == [(1, "run 2")]
    await store.close()


@pytest.mark.anyio
async def test_work_that_swallows_the_loss_runs_again_all_the_same(postgres: Server, url: str) -> None:
    """Careless work would otherwise commit the second half of itself alone, or report what is none of its doing."""
    store = await opened(url)
    runs: list[str] = []

    def careless(tx: Transaction) -> None:
        tx.put(PARTS, part("first"))
        assert tx.count(Query(PARTS)) == 1
        runs.append("run")
        if len(runs) == 1:
            postgres.cut()
        try:
            tx.count(Query(PARTS))
        except AtlasError as error:
            raise ValueError("something went wrong") from error
        tx.put(PARTS, part("second"))

    await store.transact(careless)
    assert (len(runs), await ids(store)) == (2, ["first", "second"])
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_commit_whose_answer_is_lost_counts_once(postgres: Server, url: str, lost: str) -> None:
    """Only the server knows what became of it; asked again, it says so, and nothing is done twice or not at all."""
    runs: list[int] = []

    def work(tx: Transaction) -> int:
        counter = tx.get(COUNTERS, "n") or Counter(id="n")
        tx.put(COUNTERS, Counter(id="n", value=counter.value + 1))
        tx.append(MARKS, Mark(text="x"))
        runs.append(counter.value)
        return counter.value + 1

    with proxy(postgres.url) as between:
        store = await opened(f"{between.url}&schema={schema_of(url)}")
        assert (await store.transact(work)).value == 1
        between.loses = lost
        done = await store.transact(work)
        assert between.lost == 1
        assert (done.value, done.seq) == (2, 2)
        assert runs == ([0, 1, 1] if lost == "request" else [0, 1])
        assert (await store.transact(work)).value == 3
        assert await numbered(store) == [(1, "x"), (2, "x"), (3, "x")]
        await store.close()


@pytest.mark.anyio
async def test_a_commit_nobody_can_ask_about_is_reported_as_such(postgres: Server, url: str) -> None:
    """Neither success nor "nothing was changed" would be true."""
    with proxy(postgres.url) as between:
        store = await opened(f"{between.url}&schema={schema_of(url)}")
        await marks(store, "a")
        between.loses = "answer"
        between.refuses = True
        with pytest.raises(AtlasError, match="lost while committing") as raised:
            await store.transact(lambda tx: tx.append(MARKS, Mark(text="b")), timeout=timedelta(seconds=0.3))
        assert not raised.value.retryable
        between.refuses = False
        assert await numbered(store) == [(1, "a"), (2, "b")]
        assert await marks(store, "c") == 3
        await store.close()


@pytest.mark.anyio
async def test_a_server_that_is_away_is_waited_for_and_then_said_to_be(postgres: Server, url: str) -> None:
    """In the time the caller gave; when it is back, the same store goes on."""
    store = await opened(url, patience=timedelta(seconds=0.3))
    await marks(store, "before")
    postgres.stop()
    try:
        with pytest.raises(StoreUnreachableError) as written:
            await store.transact(lambda tx: tx.append(MARKS, Mark(text="lost")), timeout=timedelta(seconds=0.3))
        with pytest.raises(StoreUnreachableError) as read:
            await ids(store)
        assert written.value.retryable
        assert read.value.retryable
        waiting = asyncio.create_task(marks(store, "patient"))
        await asyncio.sleep(0.1)
    finally:
        await asyncio.to_thread(postgres.start)
    assert await waiting == 2
    assert await numbered(store) == [(1, "before"), (2, "patient")]
    await store.close()


@pytest.mark.anyio
async def test_a_store_closes_while_its_server_is_away(postgres: Server, url: str) -> None:
    """Whoever waits is told, and nothing stays behind."""
    store = await opened(url)
    await marks(store, "a")
    postgres.stop()
    try:
        waiting = asyncio.create_task(marks(store, "late"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await store.close()
        with pytest.raises(StoreUnreachableError):
            await waiting
    finally:
        await asyncio.to_thread(postgres.start)


@pytest.mark.anyio
async def test_subscribers_hear_of_what_happened_around_an_outage(postgres: Server, url: str) -> None:
    """A feed that went silent with its connection would look like a quiet team."""
    store, other = await opened(url), await opened(url)
    told: list[int] = []
    stop = store.subscribe(told.append)
    await marks(other, "a")
    await until(lambda: 1 in told)
    await asyncio.to_thread(_restart, postgres)
    await marks(other, "b")
    await until(lambda: 2 in told)
    await marks(other, "c")
    await until(lambda: 3 in told)
    stop()
    await other.close()
    await store.close()


@pytest.mark.parametrize("held", ["LOCK TABLE {}.parts IN ACCESS EXCLUSIVE MODE", "SELECT 1 FROM {}.meta FOR UPDATE"])
def test_a_person_who_interrupts_a_command_is_heard(postgres: Server, url: str, held: str) -> None:
    """Wherever Ctrl-C finds the work, it is not taken for a lost connection, after which everything runs again."""
    store = PostgresStore(url, COLLECTIONS, is_inline=True)
    drive(store.open())
    runs = []

    def work(tx: Transaction) -> None:
        runs.append(tx.now)
        tx.append(MARKS, Mark(text="a"))
        tx.count(Query(MARKS))
        tx.count(Query(PARTS))

    def interrupt() -> None:
        while not postgres.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with psycopg.connect(postgres.url) as other:
        other.execute(held.format(schema_of(url)))
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            drive(store.transact(work, timeout=timedelta(seconds=3)))
        thread.join()
    assert len(runs) == 1
    assert drive(store.read(lambda tx: tx.count(Query(MARKS)))) == 0
    drive(store.transact(lambda tx: tx.append(MARKS, Mark(text="b"))))
    drive(store.close())


class _Busy:
    """Stands for a connection that is interrupted just as its pipeline ends; the driver then says this."""

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        yield
        try:
            raise KeyboardInterrupt
        finally:
            raise psycopg.OperationalError("cannot exit pipeline mode while busy")


def test_an_interruption_that_the_driver_hides_is_heard() -> None:
    """About one Ctrl-C of a hundred would be taken for a lost connection, and the command go on."""
    line = Line(_Busy(), is_piped=True)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        line.run(line.enter)


@pytest.mark.anyio
async def test_subscribers_to_a_replica_hear_too(caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody may write, the server lets nobody listen either; that is no lost connection, over and over."""
    with own_server() as server:
        primary = await opened(server.at("x"))
        await marks(primary, "a")
        await primary.close()
        server.stop()
        (Path(server.process.pgdata) / "standby.signal").touch()
        server.start()
        replica = await opened(server.at("x"))
        assert not replica.capabilities.is_writable
        told: list[int] = []
        stop = replica.subscribe(told.append)
        await asyncio.sleep(3 * POLL_SECONDS)
        pool = (await replica.statistics())["pool"]
        assert (pool["lost"], pool["regained"], caplog.records) == (0, 0, [])
        # What comes from the primary appears as what is written here once this is the primary.
        server.run("SELECT pg_promote()")
        primary = await opened(server.at("x"))
        await marks(primary, "b")
        await until(lambda: told == [2])
        stop()
        await primary.close()
        await replica.close()


@pytest.mark.anyio
async def test_a_statement_past_its_deadline_is_undone(postgres: Server, url: str) -> None:
    """The server itself ends it; those who committed in the same group do not suffer."""
    store = await opened(url)
    schema = schema_of(url)
    postgres.run(
        f"CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.key = 'slow' THEN PERFORM pg_sleep(20); END IF; RETURN NEW; END$$"
    )
    postgres.run(f"CREATE TRIGGER slow BEFORE INSERT ON {schema}.parts FOR EACH ROW EXECUTE FUNCTION {schema}.slow()")
    late = store.transact(lambda tx: tx.put(PARTS, part("slow")), timeout=timedelta(seconds=0.3))
    async with asyncio.timeout(5):
        ends = await asyncio.gather(fill(store, [part("a")]), late, fill(store, [part("b")]), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), StoreTimeoutError, type(None)]
    assert await ids(store) == ["a", "b"]
    await store.close()


@pytest.mark.anyio
async def test_a_writer_that_hangs_does_not_keep_the_turn(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was stopped, or its network is gone: the server ends its transaction a while after its deadline."""
    monkeypatch.setattr("atlas.storage.postgres.engine.IDLE_GRACE", 0.1)
    store, other = await opened(url), await opened(url)
    entered, leave = threading.Event(), threading.Event()

    def hang(tx: Transaction) -> None:
        tx.put(PARTS, part("hung"))
        tx.count(Query(PARTS))
        entered.set()
        leave.wait(10)

    hanging = asyncio.create_task(store.transact(hang, timeout=timedelta(seconds=0.2)))
    await asyncio.to_thread(entered.wait, 10)
    async with asyncio.timeout(5):
        await fill(other, [part("next")])
    leave.set()
    with pytest.raises(StoreTimeoutError):
        await hanging
    assert await ids(store) == ["next"]
    await fill(store, [part("recovered")])
    await other.close()
    await store.close()
