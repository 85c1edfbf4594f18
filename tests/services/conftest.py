"""What the tests of services share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.services.desk import Desk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def desk(anyio_backend: str) -> AsyncIterator[Desk]:
    """Atlas in memory, its clock standing still."""
    made = Desk()
    async with made.atlas:
        yield made
