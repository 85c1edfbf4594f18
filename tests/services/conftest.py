"""What the tests of services share: a desk on each kind of store that ATLAS_TEST_STORES names (memory by itself)."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.services.desk import Clock, Desk, Make

from atlas.atlas import COLLECTIONS
from atlas.storage.file import FileStore
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.sqlite import SqliteStore

KINDS = os.environ.get("ATLAS_TEST_STORES", "memory").split(",")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where stores are named, leave out what no store makes a difference to."""
    if "ATLAS_TEST_STORES" not in os.environ:
        return
    chosen = [item for item in items if "make_store" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[Clock], Store]]:
    """Make stores on one server, each in a schema of its own."""
    from tests.contract.postgres_servers import server

    from atlas.storage.postgres import PostgresStore

    with server() as running, ExitStack() as schemas:
        yield lambda clock: PostgresStore(schemas.enter_context(running.schema()), COLLECTIONS, clock=clock)


@pytest.fixture(scope="session")
def redis() -> Iterator[Callable[[Clock], Store]]:
    """Make stores on one server, each with a prefix of its own."""
    from tests.contract.redis_servers import running

    from atlas.storage.redis import RedisStore

    with running() as server:
        yield lambda clock: RedisStore(server.url(uuid.uuid4().hex), COLLECTIONS, clock=clock)


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make a store of the kind in question from a clock."""
    files: dict[str, Make] = {
        "memory": lambda clock: MemoryStore(COLLECTIONS, clock=clock),
        "sqlite": lambda clock: SqliteStore(tmp_path / "desk.db", COLLECTIONS, clock=clock, synchronous="OFF"),
        "file": lambda clock: FileStore(tmp_path / "desk.json", COLLECTIONS, clock=clock),
    }
    if request.param in files:
        return files[request.param]
    made: Make = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def desk(anyio_backend: str, make_store: Make) -> AsyncIterator[Desk]:
    """Atlas on a store, its clock standing still."""
    made = Desk(make=make_store)
    async with made.atlas:
        yield made
