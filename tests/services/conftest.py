"""What the tests of services share: a desk on each kind of store that ATLAS_TEST_STORES names.

Without it that is memory. Where it names kinds (or `all`), only the tests that a store makes a difference to are run.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from tests.contract.kinds import KINDS, Spots
from tests.services.desk import Desk, Make

from atlas.atlas import COLLECTIONS

NAMED = os.environ.get("ATLAS_TEST_STORES")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what no store makes a difference to, where stores are named."""
    if NAMED is None:
        return
    chosen = [item for item in items if "make_store" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _named() -> tuple[str, ...]:
    return KINDS if NAMED == "all" else tuple((NAMED or "memory").split(","))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=_named())
def make_store(request: pytest.FixtureRequest, spots: Spots) -> Make:
    """Make stores of the kind in question, each at a new place, from a clock."""
    return lambda clock: spots.maker(request.param)(COLLECTIONS, clock=clock)


@pytest.fixture
async def desk(anyio_backend: str, make_store: Make) -> AsyncIterator[Desk]:
    """Atlas on a store, its clock standing still."""
    made = Desk(make=make_store)
    async with made.atlas:
        yield made


@pytest.fixture
async def memory_desk(anyio_backend: str) -> AsyncIterator[Desk]:
    """Atlas on the memory store, for laws about that one."""
    made = Desk()
    async with made.atlas:
        yield made
