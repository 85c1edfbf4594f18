"""The JSON file store keeps the contract, and what it promises beyond it: one readable file, and a log beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.storage.file import FileStore
from atlas.testing import StoreContract, StoreFactory


class TestFileStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: FileStore(tmp_path / "plan.json", collections)


class TestInlineFileStore(StoreContract):
    """As the command line opens it: on the one thread there is, which nothing else needs."""

    test_callers_do_not_keep_the_event_loop = None

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> StoreFactory:
        return lambda collections: FileStore(tmp_path / "plan.json", collections, is_inline=True)
