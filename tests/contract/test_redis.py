"""The Redis store keeps the contract."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from tests.contract.redis_servers import running

from atlas.storage.redis import RedisStore
from atlas.testing import StoreContract, StoreFactory


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A server, as a URL that a prefix is to be added to."""
    given = os.environ.get("ATLAS_TEST_REDIS_URL")
    if given:
        yield f"{given}{'&' if '?' in given else '?'}prefix="
        return
    with running() as server:
        yield server.url("")


class TestRedisStore(StoreContract):
    @pytest.fixture
    def make_store(self, place: str) -> StoreFactory:
        url = f"{place}{uuid.uuid4().hex}"
        return lambda collections: RedisStore(url, collections)
