"""A law: an asynchronous function that holds for every store, and the place where it is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

from ..storage.collection import Collection
from ..storage.protocol import Capabilities, Store
from .samples import COLLECTIONS

StoreFactory = Callable[[Sequence[Collection[Any]]], Store]
"""Makes an unopened store of these collections, at the same place each time it is called."""

PATIENCE_SECONDS = 60.0


class NotPromised(Exception):  # noqa: N818 - no error: the store says that it does not do this
    """The law is about something that the store's `capabilities` do not claim, by the flag that is named."""

    def __init__(self, flag: str) -> None:
        assert flag in Capabilities.__struct_fields__
        super().__init__(f"excused by its capabilities: {flag}")


class Stopped(Exception):  # noqa: N818 - no error: how a law ends a transaction
    """Raised on purpose."""


def stop() -> NoReturn:
    """End a transaction or a savepoint."""
    raise Stopped("on purpose")


class Place:
    """Where the stores of one law lie; closes those that the law leaves open."""

    def __init__(self, make: StoreFactory) -> None:
        self._make = make
        self._open: list[Store] = []

    async def open(self) -> Store:
        """Return another open store at this place."""
        store = self._make(COLLECTIONS)
        await store.open()
        self._open.append(store)
        return store

    async def open_two(self) -> tuple[Store, Store]:
        """Return two stores on the same records; raises NotPromised when the store is not shared."""
        first = await self.open()
        if not first.capabilities.is_shared:
            raise NotPromised("is_shared")
        return first, await self.open()

    async def open_lasting(self) -> Store:
        """Return a store whose records outlive it; raises NotPromised for one in memory."""
        store = await self.open()
        if store.capabilities.durability == "memory":
            raise NotPromised("durability")
        return store

    async def open_aside(self) -> Store:
        """Return a store that works aside from its callers' thread; raises NotPromised for one that does not."""
        store = await self.open()
        if store.capabilities.is_inline:
            raise NotPromised("is_inline")
        return store

    async def close(self) -> None:
        """Close every store opened here."""
        while self._open:
            await self._open.pop().close()


Law = Callable[[Place], Awaitable[None]]

LAWS: dict[str, Law] = {}


def law(function: Law) -> Law:
    """Make a function one of the laws; its name says the law, its docstring why it matters."""
    LAWS[function.__name__] = function
    return function


async def hold(function: Law, make: StoreFactory) -> None:
    """Try one law on a store; raises what breaks it, or NotPromised."""
    place = Place(make)
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            await function(place)
        finally:
            await place.close()
