"""The tables of a PostgreSQL store: sequences in partitions, and earlier schemas brought up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.contract.postgres_servers import Server, server

import atlas
from atlas.atlas import COLLECTIONS as RELEASED
from atlas.errors import (
    AtlasError,
    ConflictError,
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreNewerError,
    StoreReadOnlyError,
)
from atlas.journal import EVENTS
from atlas.storage.collection import Collection
from atlas.storage.migration import Migration
from atlas.storage.postgres import PostgresStore, partitions, upgrading
from atlas.storage.postgres.compile import Compiler
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query, eq, gt
from atlas.testing.samples import COLLECTIONS, ECHOES, MARKS, Mark, marks, numbered, rows

SCHEMA_1 = Path(__file__).parents[1] / "data" / "postgres-schema-1.sql"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.schema() as made:
        yield made
        for number in (2, 3):
            postgres.run(f"DROP SCHEMA IF EXISTS {name_of(made)}_before_{number} CASCADE")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have partitions of ten numbers."""
    monkeypatch.setattr(partitions, "SPAN", 10)


def name_of(url: str) -> str:
    return url.rpartition("schema=")[2].partition("&")[0]


async def opened(url: str, collections: Any = COLLECTIONS) -> PostgresStore:
    store = PostgresStore(url, collections)
    await store.open()
    return store


PARTS = """SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(%s) ORDER BY length(c.relname), c.relname"""


def parts_of(postgres: Server, url: str, table: str = "marks") -> list[int]:
    """Return at which numbers the partitions of a sequence begin."""
    names = postgres.run(PARTS, f"{name_of(url)}.{table}")
    return [int(name.rpartition("_")[2]) for (name,) in names]


async def appended(store: PostgresStore, collection: Collection[Any], *records: Any) -> int:
    """Append records in one transaction; returns the last number."""

    def work(tx: Transaction) -> None:
        for record in records:
            tx.append(collection, record)

    return (await store.transact(work)).seq


def texts(*numbers: int) -> list[str]:
    return [f"t{number}" for number in numbers]


# Partitions.


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_commit_may_go_over_any_number_of_partitions(postgres: Server, url: str) -> None:
    """They are there before the rows come, whichever of the sequences has them; and the rows come back in order."""
    store = await opened(url)
    assert (parts_of(postgres, url), parts_of(postgres, url, "echoes")) == ([0], [0])
    assert await marks(store, *texts(*range(1, 8))) == 7
    assert await marks(store, *texts(*range(8, 36))) == 35
    assert parts_of(postgres, url) == [0, 10, 20, 30, 40]
    assert parts_of(postgres, url, "echoes") == [0, 10, 20, 30, 40]
    assert await numbered(store) == [(n, f"t{n}") for n in range(1, 36)]
    await appended(store, ECHOES, *[Mark(text="e")] * 200)
    assert [mark.number for mark in await rows(store, Query(ECHOES))] == list(range(36, 236))
    downwards = Query(MARKS).order_by("-number").limit(4)
    assert [mark.number for mark in await rows(store, downwards)] == [35, 34, 33, 32]
    assert await store.verify() == []
    assert (await store.maintain())["analyzed"]
    await store.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_writers_and_readers_go_over_the_boundaries_together(postgres: Server, url: str) -> None:
    """Every number is given once, and who has seen one never finds a smaller one later that was not there before."""
    stores = [await opened(url) for _ in range(3)]
    is_over = False

    async def write(number: int) -> list[int]:
        return [await marks(stores[number % 2], f"w{number}") for _ in range(8)]

    async def read() -> int:
        looks, seen = 0, 0
        while not is_over:
            found = [mark.number for mark in await rows(stores[2], Query(MARKS))]
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= seen
            looks, seen = looks + 1, len(found)
        return looks

    async def follow() -> list[int]:
        found: list[int] = []
        while not is_over or len(found) < 64:
            last = found[-1] if found else 0
            found += [mark.number for mark in await rows(stores[2], Query(MARKS).where(gt("number", last)).limit(5))]
        return found

    reading, following = asyncio.create_task(read()), asyncio.create_task(follow())
    given = await asyncio.gather(*(write(number) for number in range(8)))
    is_over = True
    assert await reading
    assert await following == list(range(1, 65))
    assert sorted({mark.number for mark in await rows(stores[2], Query(MARKS))}) == list(range(1, 65))
    assert max(max(numbers) for numbers in given) == 64
    assert parts_of(postgres, url) == [0, 10, 20, 30, 40, 50, 60]
    for store in stores:
        assert await store.verify() == []
        await store.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_partition_is_made_without_waiting_for_readers(postgres: Server, url: str) -> None:
    """An export may read for minutes, and a snapshot holds what it read until its end."""
    store = await opened(url)
    await marks(store, "a")
    with psycopg.connect(postgres.url) as reader:
        held = reader.execute(f"SELECT count(*) FROM {name_of(url)}.marks").fetchone()
        async with asyncio.timeout(10):
            assert await marks(store, *texts(*range(2, 26))) == 25
        assert held == (1,)
    await store.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_change_that_is_refused_leaves_no_partition(postgres: Server, url: str) -> None:
    """Alone or among others, it is as if it had never been; the numbers go on without a gap."""
    store = await opened(url)

    def unlucky(tx: Transaction) -> None:
        for number in range(40):
            tx.append(MARKS, Mark(text=f"{number}"))
        assert tx.count(Query(MARKS)) >= 40
        raise ConflictError("no")

    done = await asyncio.gather(
        marks(store, "a"), store.transact(unlucky), marks(store, "b"), store.transact(unlucky), return_exceptions=True
    )
    assert sorted(isinstance(each, ConflictError) for each in done) == [False, False, True, True]
    assert [mark.number for mark in await rows(store, Query(MARKS))] == [1, 2]
    assert parts_of(postgres, url) == [0]
    assert await marks(store, *texts(*range(3, 31))) == 30
    assert await store.verify() == []
    await store.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.usefixtures("small")
async def test_reading_a_range_reads_only_the_partitions_it_lies_in(postgres: Server, url: str, how: str) -> None:
    """In their order, without sorting, and none after the last row wanted; also by a statement prepared long ago."""
    store = await opened(url)
    await marks(store, *texts(*range(1, 58)))
    query = Query(MARKS).where(gt("number", 25)).order_by("number").limit(7)
    statement = Compiler(f'"{name_of(url)}"', MARKS).select(query)
    assert statement is not None
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for setting in (f"plan_cache_mode = {how}", "enable_seqscan = off", "enable_bitmapscan = off"):
            connection.execute(f"SET {setting}")
        text = statement.text
        for number in range(1, len(statement.values) + 1):
            text = text.replace("%s", f"${number}", 1)
        connection.execute(f"PREPARE wanted (bigint, bigint, bigint) AS {text}")
        values = ", ".join(str(value) for value in statement.values)
        found = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE wanted ({values})").fetchone()
    assert found is not None
    nodes = list(_nodes(found[0][0]["Plan"]))
    read = {node["Relation Name"] for node in nodes if "Relation Name" in node and node["Actual Loops"]}
    assert read == {"marks__from_20", "marks__from_30"}
    assert not [node for node in nodes if "Sort" in node["Node Type"]]
    assert not [node for node in nodes if node.get("Relation Name") in {"marks__from_0", "marks__from_10"}]
    assert [mark.number for mark in await rows(store, query)] == list(range(26, 33))
    await store.close()


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 0
    code: str | None = None
    either: int | str | None = None
    tags: tuple[str, ...] = ()


CODED = Collection(
    "coded", Coded, key="number", columns=("code", "either"), unique=("code", "either"), lists=("tags",), sequence=True
)


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_unique_field_of_a_sequence_is_unique_across_its_partitions(postgres: Server, url: str) -> None:
    """Which no index of a partitioned table can promise but that of its key; lists are found there as elsewhere."""
    store = await opened(url, [CODED])

    append = partial(appended, store, CODED)
    await append(*(Coded(code=f"c{n}", either=n, tags=("odd",) if n % 2 else ()) for n in range(1, 26)), Coded())
    for taken in ({"code": "c3"}, {"either": 3}, {"code": "c24"}):
        with pytest.raises(ConflictError) as refused:
            await append(Coded(**taken))
        assert {refused.value.field: refused.value.given} == taken
    await append(Coded(), Coded(either="3"))
    assert [found.number for found in await rows(store, Query(CODED).where(eq("code", "c17")))] == [17]

    def swap(tx: Transaction) -> None:
        tx.put(CODED, Coded(number=2, code="c22"))
        tx.put(CODED, Coded(number=22, code="c2", either=2))
        tx.delete(CODED, 4)

    await store.transact(swap)
    assert await append(Coded(code="c4", either=22)) == 29
    assert [found.number for found in await rows(store, Query(CODED).where(eq("either", 2)))] == [22]
    assert await store.verify() == []
    postgres.run(f"DELETE FROM {name_of(url)}.coded__code WHERE value = 'c9'")
    assert await store.verify() == ["coded 9 is not found by what its lists and texts hold"]
    await store.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_partition_that_is_gone_is_noticed(postgres: Server, url: str) -> None:
    """Its rows are, too; nobody shall go on as if they had never been. One that was still empty is made again."""
    store, name = await opened(url), name_of(url)
    await marks(store, *texts(*range(1, 36)))
    postgres.run(f"DROP TABLE {name}.marks__from_40")
    assert await store.verify() == []
    assert await marks(store, *texts(*range(36, 46))) == 45
    postgres.run(f"ALTER TABLE {name}.marks DETACH PARTITION {name}.marks__from_10")
    postgres.run(f"DROP TABLE {name}.echoes__from_40, {name}.echoes__from_50")
    wrong = ["marks has no partition from 10 to 19", "echoes has no partition from 40 to 46"]
    assert await store.verify() == wrong
    await store.close()
    with pytest.raises(StoreFormatError, match="marks has no partition from 10 to 19"):
        await opened(url)
    postgres.run(f"ALTER TABLE {name}.marks ATTACH PARTITION {name}.marks__from_10 FOR VALUES FROM (10) TO (20)")
    postgres.run(f"CREATE TABLE {name}.plain (LIKE {name}.echoes INCLUDING ALL)")
    postgres.run(f"DROP TABLE {name}.echoes; ALTER TABLE {name}.plain RENAME TO echoes")
    with pytest.raises(StoreFormatError, match="echoes is not partitioned"):
        await opened(url)


# Upgrades.

_DUMPS = (
    """SELECT c.relname, c.relkind::text, a.attname, a.attnum::int, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    l.collname, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE c.relnamespace = to_regnamespace(%s) AND a.attnum > 0 ORDER BY c.relname, a.attnum""",
    """SELECT pg_get_indexdef(i.indexrelid), i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = to_regnamespace(%s) ORDER BY 1""",
    """SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = to_regnamespace(%s) ORDER BY 1, 2""",
)


def structure(postgres: Server, name: str) -> list[str]:
    """Return everything that the server knows of the tables of a schema, whatever the schema's name."""
    found = [str(row) for query in _DUMPS for row in postgres.run(query, name)]
    return [line.replace(f"{name}.", "").replace(f"'{name}'", "") for line in found]


def contents(
    postgres: Server, name: str, *, without: tuple[str, ...] = ("migration", "writer")
) -> dict[str, list[Any]]:
    """Return the rows of all tables but partitions."""
    tables = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')"
    names = [row[0] for row in postgres.run(f"{tables} AND NOT relispartition ORDER BY 1", name)]
    return {
        table: sorted(str(row) for row in postgres.run(f'SELECT * FROM "{name}"."{table}"'))
        for table in names
        if table not in without
    }


async def work_in(url: str) -> None:
    """Leave tasks and events of all kinds there."""
    async with atlas.open(url, actor="ann") as a:
        for number in range(7):
            await a.tasks.create(f"shop/t{number}", parents=True, notes=["a note"], tags=("red", f"n{number}"))
        await a.tasks.create("shop/after", dependencies=["shop/t1"])


@pytest.fixture
def old(postgres: Server, url: str) -> str:
    """Make the store as schema 1 was released, with everything in it that Atlas keeps; returns its URL."""
    with postgres.schema() as fresh:
        asyncio.run(work_in(fresh))
        name, source = name_of(url), name_of(fresh)
        postgres.run(SCHEMA_1.read_text("utf-8").replace('"atlas"', f'"{name}"'))
        postgres.run(f"UPDATE {name}.meta SET (seq, now) = (SELECT seq, now FROM {source}.meta)")
        copied = [table for table in contents(postgres, source) if table != "meta"]
        postgres.run("; ".join(f"INSERT INTO {name}.{table} SELECT * FROM {source}.{table}" for table in copied))
    return url


@pytest.mark.anyio
@pytest.mark.parametrize("span", [10, 1_000_000])
async def test_an_upgraded_store_is_as_a_fresh_one(
    postgres: Server, old: str, monkeypatch: pytest.MonkeyPatch, span: int
) -> None:
    """Two stores of one schema must not differ by their past; every row is there, and the numbers go on."""
    monkeypatch.setattr(partitions, "SPAN", span)
    name = name_of(old)
    before = contents(postgres, name, without=("meta",))
    last = postgres.run(f"SELECT seq FROM {name}.meta")[0][0]
    assert last > 15
    store = await opened(old, RELEASED)
    after = contents(postgres, name, without=("meta",))
    assert after.pop("migration")
    assert after == before
    assert postgres.run(f"SELECT seq, schema FROM {name}.meta") == [(last, 2)]
    steps = [(n, m.name, m.checksum) for n, m in enumerate(upgrading.MIGRATIONS, 2)]
    assert postgres.run(f"SELECT number, name, checksum FROM {name}.migration") == steps
    assert await store.verify() == []
    (event,) = await rows(store, Query(EVENTS).limit(1))
    await store.close()
    with postgres.schema() as fresh:
        made = await opened(fresh, RELEASED)
        await appended(made, EVENTS, *[event] * last)
        await made.close()
        assert structure(postgres, name) == structure(postgres, name_of(fresh))
    async with atlas.open(old) as a:
        assert (await a.tasks.create("shop/more")).receipt.seq > last


@pytest.mark.anyio
async def test_a_copy_is_taken_before_an_upgrade(postgres: Server, old: str) -> None:
    """Whoever regrets the upgrade opens it with the Atlas from before: it lacks nothing, down to the references."""
    name = name_of(old)
    before = structure(postgres, name), contents(postgres, name, without=())
    for _ in range(2):
        store = await opened(old, RELEASED)
        await store.close()
    assert (structure(postgres, f"{name}_before_2"), contents(postgres, f"{name}_before_2", without=())) == before
    assert structure(postgres, f"{name}_before_3") == []


@pytest.mark.anyio
@pytest.mark.usefixtures("small")
async def test_a_copy_of_partitions_is_partitioned(postgres: Server, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later schemas are copied as they are, too; two steps at once need one copy."""
    name = name_of(old)
    await (await opened(old, RELEASED)).close()
    before = structure(postgres, name), contents(postgres, name, without=())
    more = Migration("more", 'ALTER TABLE "event" ADD COLUMN "more" text; UPDATE "event" SET "more" = \'100%\'')
    monkeypatch.setattr(upgrading, "MIGRATIONS", (*upgrading.MIGRATIONS, more))
    await (await opened(old, RELEASED)).close()
    assert (structure(postgres, f"{name}_before_3"), contents(postgres, f"{name}_before_3", without=())) == before
    assert postgres.run(f"SELECT DISTINCT more FROM {name}.event") == [("100%",)]


def untouched(postgres: Server, name: str) -> tuple[Any, ...]:
    """Return what nothing that is refused may change."""
    return structure(postgres, name), contents(postgres, name, without=()), structure(postgres, f"{name}_before_2")


@pytest.mark.anyio
async def test_a_copy_takes_nobodys_place(postgres: Server, old: str) -> None:
    """What is there may be all that somebody has left; an empty schema may be an administrator's help."""
    name = name_of(old)
    postgres.run(f"CREATE SCHEMA {name}_before_2; CREATE TABLE {name}_before_2.mine (a int)")
    before = untouched(postgres, name)
    with pytest.raises(StorageError, match=f"{name}_before_2") as refused:
        await opened(old, RELEASED)
    assert refused.value.hint
    assert untouched(postgres, name) == before
    postgres.run(f"DROP TABLE {name}_before_2.mine")
    await (await opened(old, RELEASED)).close()
    assert contents(postgres, f"{name}_before_2")["task"]


@pytest.mark.anyio
async def test_a_migration_that_does_not_fit_leaves_the_store_as_it_was(
    postgres: Server, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are one transaction: the first does not count when the second fails, and no copy is left over."""
    name = name_of(old)
    before = untouched(postgres, name)
    for script in ("CREATE TABEL x", 'DELETE FROM "task" WHERE "path" = \'shop\'', 'INSERT INTO "meta" VALUES (1)'):
        wrong = (*upgrading.MIGRATIONS[:1], Migration("wrong", script))
        with monkeypatch.context() as patch:
            patch.setattr(upgrading, "MIGRATIONS", wrong)
            with pytest.raises(StoreFormatError) as refused:
                await opened(old, RELEASED)
        assert "migration 3 (wrong) does not fit" in refused.value.message
        assert refused.value.hint
        assert untouched(postgres, name) == before
    await (await opened(old, RELEASED)).close()


@pytest.mark.anyio
async def test_a_migration_altered_after_its_release_is_refused(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stores would claim one schema and hold two; also where there is more to do."""
    await (await opened(url, RELEASED)).close()
    before = untouched(postgres, name_of(url))
    (first,) = upgrading.MIGRATIONS
    altered = Migration(first.name, first.script + " ")
    for steps in ((altered,), (altered, Migration("more", "SELECT 1"))):
        monkeypatch.setattr(upgrading, "MIGRATIONS", steps)
        with pytest.raises(StoreFormatError, match=r"migration 2 \(partitions\)"):
            await opened(url, RELEASED)
        assert untouched(postgres, name_of(url)) == before


@pytest.mark.anyio
async def test_a_newer_store_is_refused_and_left_as_it_is(
    postgres: Server, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Atlas from before knows nothing of what it would write into, even where it has it open already."""
    await (await opened(old, RELEASED)).close()
    before = untouched(postgres, name_of(old))
    monkeypatch.setattr(upgrading, "MIGRATIONS", ())
    with pytest.raises(StoreNewerError, match="schema 2"):
        await opened(old, RELEASED)
    assert untouched(postgres, name_of(old)) == before


@pytest.mark.anyio
async def test_several_that_upgrade_at_once_do_it_once(postgres: Server, old: str) -> None:
    """A team's agents are restarted together after an upgrade of Atlas."""
    stores = await asyncio.gather(*(opened(old, RELEASED) for _ in range(4)))
    assert postgres.run(f"SELECT count(*) FROM {name_of(old)}.migration") == [(1,)]
    for store in stores:
        assert await store.verify() == []
        await store.close()


@pytest.mark.anyio
async def test_an_upgrade_that_is_cut_off_leaves_the_store_as_it_was(
    postgres: Server, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a server that goes away, or by a reader that does not: then others do not wait behind it for ever."""
    before = untouched(postgres, name_of(old))
    with monkeypatch.context() as patch, psycopg.connect(postgres.url) as reader:
        reader.execute(f"SELECT count(*) FROM {name_of(old)}.event")
        patch.setattr(upgrading, "DEFAULT_TIMEOUT", timedelta(seconds=0.1))
        with pytest.raises(StoreBusyError):
            await opened(old, RELEASED)
    assert untouched(postgres, name_of(old)) == before
    lost = Migration("lost", "SELECT pg_terminate_backend(pg_backend_pid())")
    with monkeypatch.context() as patch:
        patch.setattr(upgrading, "MIGRATIONS", (*upgrading.MIGRATIONS, lost))
        with pytest.raises(AtlasError) as cut:
            await opened(old, RELEASED)
    assert cut.value.retryable
    assert untouched(postgres, name_of(old)) == before
    await (await opened(old, RELEASED)).close()


@pytest.mark.anyio
async def test_who_may_not_write_does_not_upgrade(postgres: Server, old: str) -> None:
    """Nor read by tables that are not there; the error says what would help."""
    before = untouched(postgres, name_of(old))
    with pytest.raises(StoreReadOnlyError, match="older schema") as refused:
        await opened(f"{old}&options=-c%20default_transaction_read_only%3Don", RELEASED)
    assert refused.value.hint
    assert untouched(postgres, name_of(old)) == before


def test_the_name_of_a_copy_is_never_cut_by_the_server() -> None:
    """Names have 63 letters there; what is cut silently would be looked for in vain."""
    assert upgrading.copy_name("atlas", 2) == "atlas_before_2"
    assert upgrading.copy_name("a" * 63, 12) == "a" * 53 + "_before_12"
