"""The PostgreSQL store keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contract.postgres_servers import Server, server

from atlas.storage.postgres import PostgresStore
from atlas.testing import StoreContract, StoreFactory


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


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, url: str) -> StoreFactory:
        return lambda collections: PostgresStore(url, collections)


class TestInlinePostgresStore(StoreContract):
    """As the command line opens it: on the one thread there is, which nothing else needs."""

    test_callers_do_not_keep_the_event_loop = None

    @pytest.fixture
    def make_store(self, url: str) -> StoreFactory:
        return lambda collections: PostgresStore(url, collections, is_inline=True)
