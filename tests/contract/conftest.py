"""What the tests of stores share: they run on asyncio, and those in trouble have a PostgreSQL server of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.contract.postgres_servers import Server, own_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A server that the tests of one module may stop, kill and cut off."""
    with own_server() as running:
        yield running


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """The address of a new schema."""
    with postgres.schema() as made:
        yield made
