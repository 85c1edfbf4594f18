"""A store around a store, and a transaction around a transaction: what a wrapper leaves alone goes through here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ..collection import Collection
from ..explaining import Plan
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Store, Transaction, Versioned
from ..query import Query
from ..slow import SlowQueries

T = TypeVar("T")
R = TypeVar("R")


class StoreAround:
    """Hands everything on to `inner` (`protocol.Store` states the promise)."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """See Store."""
        return self.inner.url

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return self.inner.capabilities

    @property
    def slow_queries(self) -> SlowQueries:
        """See Store."""
        return self.inner.slow_queries

    @property
    def is_faithful(self) -> bool:
        """Whether just what is written here goes into `inner`: caches around ask."""
        return True

    async def open(self) -> None:
        """See Store."""
        await self.inner.open()

    async def close(self) -> None:
        """See Store."""
        await self.inner.close()

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        return await self.inner.transact(work, timeout=timeout)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        return await self.inner.read(work)

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """See Store."""
        return self.inner.subscribe(told)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store."""
        return await self.inner.maintain(analyze=analyze)

    async def verify(self) -> list[str]:
        """See Store."""
        return await self.inner.verify()

    async def copy_to(self, target: Path) -> Path:
        """See Store."""
        return await self.inner.copy_to(target)

    async def statistics(self) -> Mapping[str, Any]:
        """See Store."""
        return await self.inner.statistics()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


def versioned(store: Store) -> Versioned | None:
    """Return the store inside all wrappers if it can tell others' changes at once."""
    while isinstance(store, StoreAround):
        store = store.inner
    return store if isinstance(store, Versioned) else None


def path_of(store: Store) -> Path | None:
    """Return where the store inside all wrappers lies, None where that is no file."""
    while isinstance(store, StoreAround):
        store = store.inner
    path = getattr(store, "path", None)
    return None if path is None else Path(path)


def is_faithful(store: Store) -> bool:
    """Say whether just what is written goes into the store inside all wrappers."""
    while isinstance(store, StoreAround):
        if not store.is_faithful:
            return False
        store = store.inner
    return True


class TransactionAround:
    """Hands everything on to `inner` (`protocol.Transaction` states the promise)."""

    def __init__(self, inner: Transaction) -> None:
        self.inner = inner

    @property
    def now(self) -> datetime:
        """See Transaction."""
        return self.inner.now

    @property
    def seq(self) -> int:
        """See Transaction."""
        return self.inner.seq

    def new_id(self) -> str:
        """See Transaction."""
        return self.inner.new_id()

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Transaction."""
        return self.inner.get(collection, key)

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """See Transaction."""
        return self.inner.get_many(collection, keys)

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """See Transaction."""
        self.inner.put(collection, record, expected_version=expected_version)

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        self.inner.put_many(collection, records)

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        return self.inner.delete(collection, key)

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        return self.inner.delete_many(collection, keys)

    def append(self, collection: Collection[R], record: R) -> None:
        """See Transaction."""
        self.inner.append(collection, record)

    def start_over(self) -> None:
        """See Transaction."""
        self.inner.start_over()

    def query(self, query: Query[R]) -> list[Any]:
        """See Transaction."""
        return self.inner.query(query)

    def count(self, query: Query[Any]) -> int:
        """See Transaction."""
        return self.inner.count(query)

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Transaction."""
        return self.inner.aggregate(query)

    def explain(self, query: Query[Any]) -> Plan:
        """See Transaction."""
        return self.inner.explain(query)

    def savepoint(self) -> AbstractContextManager[None]:
        """See Transaction."""
        return self.inner.savepoint()
