"""The page of storage can be followed: its queries run, its tables are there, its numbers are the ones in force."""

from __future__ import annotations

import asyncio
import importlib
import re
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.guards.sources import ROOT, blocks, names_in, pages, section, tables

import atlas
from atlas.atlas import COLLECTIONS
from atlas.storage.open import open_store
from atlas.storage.protocol import DEFAULT_TIMEOUT

PAGE = pages()["docs/storage.md"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the example plan, some of it done."""
    path = tmp_path_factory.mktemp("store") / "atlas.db"

    async def fill() -> None:
        async with atlas.open(f"sqlite:///{path}", actor="ada") as a:
            await a.plans.load((ROOT / "examples" / "plan.md").read_text("utf-8"), project="web-shop")
            done: Any = {"status": "COMPLETED", "notes": ["it is settled"]}
            await a.tasks.update("web-shop/foundations/choose-the-payment-provider", done)

    asyncio.run(fill())
    return path


def _rows(path: Path, text: str) -> list[Any]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("query", blocks(PAGE, "sql"))
def test_a_query_of_the_page_runs_and_finds_something(store: Path, query: str) -> None:
    """An example that finds nothing could mean anything."""
    assert _rows(store, query)


def test_every_table_is_on_the_page(store: Path) -> None:
    """All but what SQLite and FTS5 keep for themselves."""
    kept = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    real = {name for (name,) in _rows(store, kept) if "__text_" not in name}
    told = {name for row in tables(section(PAGE, "Layout"))[0][1:] for name in names_in(row[0])}
    assert told == real
    assert {collection.name for collection in COLLECTIONS} <= told


def test_the_numbers_of_the_page_are_in_force() -> None:
    """Each row says where its number is kept."""
    for _, number, place in tables(section(PAGE, "How a change is committed"))[0][1:]:
        file, name = names_in(place)
        module = importlib.import_module("atlas." + file.removesuffix(".py").replace("/", "."))
        told = re.findall(r"\d[\d,.]*", number)[0].strip(",.").replace(",", "")
        assert float(told) == float(getattr(module, name)), name
    assert f"{DEFAULT_TIMEOUT.total_seconds():.0f} seconds for its turn" in PAGE


def test_the_addresses_of_the_page_open_as_it_says() -> None:
    """What an address means for the receipts."""
    for addresses, _, durability, shared in tables(section(PAGE, "Backends"))[0][1:]:
        for address in names_in(addresses):
            url = f"sqlite:///x.db{address}" if address.startswith("?") else address
            can = open_store(url, ()).capabilities
            assert can.durability == names_in(durability)[0]
            assert can.is_shared is (shared == "yes")
