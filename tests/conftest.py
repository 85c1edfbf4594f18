"""What all tests share: new places on every backend, on servers that run as long as the tests do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.contract.kinds import Spots


@pytest.fixture(scope="session")
def spots() -> Iterator[Spots]:
    """Find new places on every backend; one server of each sort for all of a worker's tests."""
    with ExitStack() as until:
        yield Spots(until)
