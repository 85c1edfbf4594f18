"""The SQLite store keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.storage.sqlite import SqliteStore
from atlas.testing import StoreContract, StoreFactory


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: SqliteStore(tmp_path / "atlas.db", collections)


class TestInlineSqliteStore(StoreContract):
    """As the command line opens it: on the one thread there is, which nothing else needs."""

    test_callers_do_not_keep_the_event_loop = None

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: SqliteStore(tmp_path / "atlas.db", collections, is_inline=True)
