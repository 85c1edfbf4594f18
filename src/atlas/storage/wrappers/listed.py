"""A store that lists the transactions under way, whoever runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import msgspec

from ..protocol import DEFAULT_TIMEOUT, Committed, Store, Transaction
from .around import StoreAround

T = TypeVar("T")


class ActiveTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that has not ended; `name` is its caller's or its function's, `attempts` counts the tries."""

    id: int
    name: str
    collection: str | None
    started: datetime
    attempts: int


class ActiveTransactions:
    """The transactions under way, of all who share this list."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._active: dict[int, ActiveTransaction] = {}

    def listed(self) -> tuple[ActiveTransaction, ...]:
        """Return them, the oldest first."""
        return tuple(self._active.values())

    @contextmanager
    def one(self, name: str, collection: str | None = None) -> Iterator[Callable[[], int]]:
        """List a transaction for the length of a block; gives what counts a further attempt."""
        id_ = next(self._ids)
        self._active[id_] = ActiveTransaction(
            id=id_, name=name, collection=collection, started=datetime.now(UTC), attempts=0
        )

        def attempt() -> int:
            before = self._active[id_]
            self._active[id_] = msgspec.structs.replace(before, attempts=before.attempts + 1)
            return before.attempts + 1

        try:
            yield attempt
        finally:
            del self._active[id_]


def name_of(work: Callable[..., Any]) -> str:
    """Return what a function is called."""
    name: str = getattr(work, "__qualname__", type(work).__name__)
    return name


class ListedStore(StoreAround):
    """Lists what `transact` is asked to do until it is answered, in `transactions`.

    Give it to everybody, outside other wrappers: they run functions of their own making.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.transactions = ActiveTransactions()

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        with self.transactions.one(name_of(work)) as attempt:
            attempt()
            return await self.inner.transact(work, timeout=timeout)
