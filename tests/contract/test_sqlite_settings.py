"""The settings of a SQLite store reach its file or are refused with their bounds; its figures tell what comes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.guards.sources import names_in, pages, section, tables

from atlas.errors import ConfigError
from atlas.storage.locking import WriterLock
from atlas.storage.open import open_store
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteSettings, SqliteStore, settings
from atlas.testing.samples import COLLECTIONS, PARTS, fill, ids, part

pytestmark = pytest.mark.anyio

SETTINGS = [
    ("cache_size=8M", "cache_size", -8192),
    ("cache_size=65536", "cache_size", -64),
    ("mmap=0", "mmap_size", 0),
    ("mmap=64K", "mmap_size", 65536),
    ("page_size=8192", "page_size", 8192),
    ("busy_wait=2.5", "busy_timeout", 2500),
    ("busy_wait=0", "busy_timeout", 0),
    ("temp_store=file", "temp_store", 1),
    ("temp_store=memory", "temp_store", 2),
    ("soft_heap_limit=1G", "soft_heap_limit", 2**30),
]

FIGURES = {
    *("page_size", "cache_bytes", "mmap_bytes", "cache_reads", "cache_hit_rate", "memory_bytes"),
    *("log_bytes", "log_pages", "log_pages_moved", "checkpoints"),
    *("lock_waits", "lock_wait_seconds", "lock_wait_longest_seconds"),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def _heap() -> Iterator[None]:
    """The limit is the process's."""
    yield
    apsw.soft_heap_limit(0)


async def opened(path: Path, options: str = "") -> SqliteStore:
    store = open_store(f"sqlite:///{path / 'atlas.db'}?{options}", COLLECTIONS)
    await store.open()
    assert isinstance(store, SqliteStore)
    return store


async def file_of(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = (await store.statistics())["file"]
    return found


@pytest.mark.usefixtures("_heap")
@pytest.mark.parametrize(("option", "pragma", "value"), SETTINGS)
async def test_a_setting_reaches_every_connection(tmp_path: Path, option: str, pragma: str, value: int) -> None:
    """One that was taken and not passed on would be believed to be in force."""
    store = await opened(tmp_path, option)
    await fill(store, [part("a")])
    database = store._database
    for connection in (database.reader(), database.writer(), database.connect()):
        assert connection.execute(f"PRAGMA {pragma}").get == value
    await store.close()


async def test_the_settings_of_the_constructor_are_those_of_the_address(tmp_path: Path) -> None:
    """Whoever opens a store in a program has the same choices."""
    options = "cache_size=1M&page_size=1024&mmap=0&busy_wait=1&checkpoint=7&soft_heap_limit=0&temp_store=file&readers=5"
    made = SqliteSettings(
        cache_size=2**20,
        page_size=1024,
        mmap=0,
        busy_wait=timedelta(seconds=1),
        checkpoint=7,
        temp_store="file",
        readers=5,
    )
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}?{options}&synchronous=normal", COLLECTIONS)
    assert isinstance(store, SqliteStore)
    assert store.settings == made
    assert SqliteStore(tmp_path / "a.db", COLLECTIONS, settings=made).settings == made
    assert SqliteStore(tmp_path / "a.db", COLLECTIONS).settings == SqliteSettings()


@pytest.mark.parametrize(
    "option",
    [
        *(
            "cache_size=1K",
            "cache_size=65G",
            "cache_size=",
            "cache_size=-1",
            "cache_size=8m",
            "cache_size=8MB",
            "cache_size=x",
            f"cache_size={'9' * 20}",
        ),
        *("mmap=-1", "mmap=2000G", "page_size=1000", "page_size=256", "page_size=131072", "page_size=None"),
        *("busy_wait=-1", "busy_wait=601", "busy_wait=5s", f"busy_wait={'9' * 20}", "busy_wait=nan", "busy_wait=1K"),
        *("checkpoint=0", "checkpoint=1K", "checkpoint=1000001", "soft_heap_limit=-1", "temp_store=disk"),
        *("temp_store=", "readers=0", "readers=65", "readers=1K", "readers=\u0663"),
    ],
)
async def test_a_value_out_of_its_bounds_is_refused_with_them(tmp_path: Path, option: str) -> None:
    """Before anything is made; the error says what would do."""
    with pytest.raises(ConfigError) as refusal:
        await opened(tmp_path, option)
    assert refusal.value.field == "store"
    assert refusal.value.bound == settings.OPTIONS[option.partition("=")[0]]
    assert refusal.value.bound in refusal.value.hint
    assert not (tmp_path / "atlas.db").exists()


@pytest.mark.parametrize(
    "given",
    [
        *({"cache_size": 1}, {"page_size": 1}, {"mmap": -1}, {"busy_wait": timedelta(days=1)}, {"checkpoint": 0}),
        *({"soft_heap_limit": -1}, {"temp_store": "disk"}, {"readers": 100}),
    ],
)
def test_the_constructor_refuses_the_same(given: dict[str, Any]) -> None:
    """A program's mistake shows where it is made."""
    with pytest.raises(ConfigError) as refusal:
        SqliteSettings(**given)
    assert refusal.value.bound == settings.OPTIONS[next(iter(given))]


async def test_an_unknown_option_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """A misspelt one would have no effect."""
    with pytest.raises(ConfigError) as refusal:
        await opened(tmp_path, "cache=8M")
    assert {"cache_size", "readers", "synchronous", "force"} <= set(refusal.value.bound)


def test_the_page_tells_of_every_option_and_figure() -> None:
    """With the bounds in force; a store's figures without a meaning help nobody."""
    options, figures = tables(section(pages()["docs/backends.md"], "SQLite"))
    told = {names_in(row[0])[0]: row[2] for row in options[1:]}
    assert set(told) == {*settings.OPTIONS, "synchronous", "force"}
    plain = {name: bound for name, bound in settings.OPTIONS.items() if name not in {"page_size", "temp_store"}}
    assert {name: told[name] for name in plain} == plain
    assert {name for row in figures[1:] for name in names_in(row[0])} == FIGURES


@pytest.mark.parametrize(
    ("machine", "limit", "cache"),
    [
        (2**28, None, 2 * 2**20),
        (2**32, None, 8 * 2**20),
        (2**40, None, 16 * 2**20),
        (2**40, "max", 16 * 2**20),
        (2**40, "2147483648", 4 * 2**20),
        (2**32, "1099511627776", 8 * 2**20),
    ],
)
def test_the_cache_suits_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: int, limit: str | None, cache: int
) -> None:
    """Or the container, which is told of the memory of the machine and ended when it uses more than its own."""
    told = tmp_path / "memory.max"
    if limit is not None:
        told.write_text(f"{limit}\n")
    monkeypatch.setattr(settings, "_LIMIT", told)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": machine // 4096}.__getitem__)
    assert SqliteSettings().cache_size == cache


async def test_the_size_of_pages_is_that_of_a_new_file_and_of_copies(tmp_path: Path) -> None:
    """The pages of a file stay as they were made, however it is opened later."""
    store = await opened(tmp_path, "page_size=8192")
    await fill(store, [part("a")])
    await store.close()
    store = await opened(tmp_path)
    same = await store.copy_to(tmp_path / "same.db")
    await store.close()
    store = await opened(tmp_path, "page_size=1024")
    await store.maintain()
    other = await store.copy_to(tmp_path / "other.db")
    assert (await file_of(store))["page_size"] == 8192
    await store.close()
    for copy, size in ((same, 8192), (other, 1024)):
        store = SqliteStore(copy, COLLECTIONS)
        await store.open()
        assert (await file_of(store))["page_size"] == size
        assert await ids(store) == ["a"]
        assert await store.verify() == []
        await store.close()


async def test_the_log_is_moved_as_often_as_the_setting_says(tmp_path: Path) -> None:
    """The figures tell how much there is, how much of it was moved, and how often."""
    store = await opened(tmp_path, "checkpoint=1000000")
    await fill(store, [part(f"p{i}", note="x" * 4_000) for i in range(20)])
    before = await file_of(store)
    assert before["log_pages"] > 20
    assert (before["log_pages_moved"], before["checkpoints"]) == (0, 0)
    assert before["log_bytes"] > before["log_pages"] * before["page_size"]
    await store.close()
    # On one thread the log is moved before the caller goes on.
    store = SqliteStore(tmp_path / "atlas.db", COLLECTIONS, settings=SqliteSettings(checkpoint=5), is_inline=True)
    await store.open()
    await fill(store, [part(f"q{i}", note="x" * 4_000) for i in range(20)])
    after = await file_of(store)
    assert after["log_pages"] == after["log_pages_moved"] > 5
    assert after["checkpoints"] == 1
    await store.close()


async def test_what_is_read_again_comes_from_the_cache(tmp_path: Path) -> None:
    """The share of hits says whether the cache is large enough."""
    store = await opened(tmp_path, "mmap=0")
    await fill(store, [part(f"p{i}", note="x" * 1_000) for i in range(200)])
    await store.close()
    store = await opened(tmp_path, "mmap=0")
    await store.read(lambda tx: tx.query(Query(PARTS)))
    cold = await file_of(store)
    assert cold["cache_hit_rate"] < 1
    for _ in range(20):
        await store.read(lambda tx: tx.query(Query(PARTS)))
    warm = await file_of(store)
    assert warm["cache_reads"] > cold["cache_reads"] > 0
    assert warm["cache_hit_rate"] > max(cold["cache_hit_rate"], 0.9)
    assert warm["memory_bytes"] > 0
    await store.close()


async def test_waiting_for_the_turn_is_counted(tmp_path: Path) -> None:
    """How often, how long in all, and how long at worst; a turn that is free costs no wait."""
    store = await opened(tmp_path)
    await asyncio.gather(fill(store, [part("a")]), fill(store, [part("b")]))
    assert (await file_of(store))["lock_waits"] == 0
    other = WriterLock(tmp_path / "atlas.db")
    other.acquire(None)
    asked = asyncio.ensure_future(fill(store, [part("c")]))
    await asyncio.sleep(0.05)
    assert not asked.done()
    await asyncio.to_thread(other.release)
    await asked
    other.close()
    found = await file_of(store)
    assert found["lock_waits"] == 1
    assert 0 < found["lock_wait_longest_seconds"] <= found["lock_wait_seconds"]
    assert (await store.statistics())["lock_wait_seconds"] == found["lock_wait_seconds"]
    await store.close()


def _work(tx: Transaction) -> None:
    """Keep the connection busy, but not for as long as would be taken elsewhere."""
    connection = tx._session._connection  # type: ignore[attr-defined]
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT max(i) FROM n"
    ).fetchall()


async def test_asking_for_figures_disturbs_nobody(tmp_path: Path) -> None:
    """SQLite's connections are used by one thread at a time; the one that asks could be taken for a second."""
    store = await opened(tmp_path)
    await fill(store, [part(f"p{i}") for i in range(20)])

    async def busy() -> None:
        for number in range(15):
            writes = (fill(store, [part("p0", size=number)]) for _ in range(3))
            await asyncio.gather(*writes, *(store.read(_work) for _ in range(20)))

    def elsewhere() -> None:
        asyncio.run(busy())

    threads = [asyncio.ensure_future(asyncio.to_thread(elsewhere)) for _ in range(2)]
    long = [store.pool.submit(lambda tx: tx.count(Query(PARTS))) for _ in range(100)]
    while not all(thread.done() for thread in threads):
        await file_of(store)
        await asyncio.sleep(0)
    await asyncio.gather(*threads)
    assert {read.result() for read in long} == {20}
    await store.close()


async def test_a_file_that_cannot_be_written_has_figures_too(tmp_path: Path) -> None:
    """Its log cannot be looked into, and its writer does not exist."""
    store = await opened(tmp_path)
    await fill(store, [part("a")])
    await store.close()
    (tmp_path / "atlas.db").chmod(0o400)
    store = await opened(tmp_path)
    assert not store.capabilities.is_writable
    found = await file_of(store)
    assert set(found) == FIGURES
    assert (found["log_pages"], found["checkpoints"], found["page_size"]) == (0, 0, 4096)
    await store.close()
