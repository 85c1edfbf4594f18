"""The contract suite: every law as a test of a class to inherit, and as a plain function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from . import (
    answers,
    concurrency,
    conditions,
    constraints,
    expiry,
    generated,
    lifecycle,
    records,
    refusals,
    sequences,
    transactions,
)
from .laws import LAWS, Law, NotPromised, StoreFactory, hold

SUBJECTS = (
    records,
    constraints,
    refusals,
    conditions,
    answers,
    transactions,
    sequences,
    lifecycle,
    expiry,
    concurrency,
    generated,
)


def run_contract(fresh: Callable[[], StoreFactory], laws: Iterable[str] | None = None) -> dict[str, BaseException]:
    """Try laws (all of them) without pytest; returns what each broken one was broken by.

    `fresh` is called once for each law, and gives the factory of stores at a new place.
    """
    broken: dict[str, BaseException] = {}
    for name in LAWS if laws is None else laws:
        try:
            asyncio.run(hold(LAWS[name], fresh()))
        except NotPromised:
            continue
        except Exception as error:  # noqa: BLE001 - a law is broken by whatever is raised, which is handed back
            broken[name] = error
    return broken


class StoreContract:
    """Inherit this, and give a `make_store` fixture; every promise of a store is then a test of it.

        class TestMyStore(StoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda collections: MyStore(tmp_path / "place", collections)

    The fixture gives a function from collections to an unopened store. Each test gets a new place; all stores made
    within one test lie at the same place, and the suite opens and closes them. Laws about what the store's
    `capabilities` do not claim are skipped.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio, as the stores do."""
        return "asyncio"


def _as_test(function: Law) -> Callable[[StoreContract, StoreFactory], Coroutine[Any, Any, None]]:
    async def test(_: StoreContract, make_store: StoreFactory) -> None:
        try:
            await hold(function, make_store)
        except NotPromised as reason:
            pytest.skip(str(reason))

    test.__doc__ = function.__doc__
    return test


for _name, _function in LAWS.items():
    setattr(StoreContract, f"test_{_name}", pytest.mark.anyio(_as_test(_function)))
