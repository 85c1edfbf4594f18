"""Every kind of store by its name: a backend, or a wrapper and the backend inside it, as `cached-sqlite`."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.contract import postgres_servers, redis_servers

from atlas.storage.file import FileStore
from atlas.storage.memory import MemoryStore
from atlas.storage.postgres import PostgresStore
from atlas.storage.protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Store, Transaction
from atlas.storage.redis import RedisStore
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore, ListedStore, MeteredStore, ObservedStore, Operation, ReadOnlyStore
from atlas.storage.wrappers.around import StoreAround

T = TypeVar("T")

Wrap = Callable[[Store], Store]
Maker = Callable[..., Store]
"""From collections, and `clock` where it matters, to an unopened store; always at the same place."""


class ReadsThrough(StoreAround):
    """Reads through a read-only wrapper, and writes to the store inside it: a read-only store alone keeps nothing."""

    def __init__(self, inner: Store) -> None:
        super().__init__(ReadOnlyStore(inner))
        self._writable = inner

    @property
    def capabilities(self) -> Capabilities:
        return self._writable.capabilities

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        return await self._writable.transact(work, timeout=timeout)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        return await self._writable.maintain(analyze=analyze)


def _noted(_: Any) -> None:
    """Be told."""


def _let_through(operation: Operation, go_on: Callable[[Operation], Any]) -> Any:
    return go_on(operation)


def observed(inner: Store) -> Store:
    """Return a store with handlers of every sort, and a middleware that every operation goes through."""
    store = ObservedStore(inner)
    store.on(["before_set", "after_set", "after_get", "after_query", "after_commit", "error"], _noted)
    store.use(_let_through)
    return store


BACKENDS = ("memory", "sqlite", "file", "redis", "postgres")
WRAPS: Mapping[str, Wrap] = {
    "cached": CachedStore,
    "observed": observed,
    "read_only": ReadsThrough,
    "metered": MeteredStore,
    "listed": ListedStore,
}
INSIDE = ("memory", "sqlite")
"""The backends that every wrapper is tried on."""
KINDS = (*BACKENDS, *(f"{wrap}-{inside}" for wrap in WRAPS for inside in INSIDE))


def wrapped(wrap: Wrap, make: Maker) -> Maker:
    """Return what makes the stores of a place within a wrapper."""
    return lambda collections, **how: wrap(make(collections, **how))


class Spot(NamedTuple):
    """A new place of a backend: its address, and what makes stores there."""

    url: str
    make: Maker


class Spots:
    """Finds new places on every backend, until `until` ends; a server is started when one on it is first asked for."""

    def __init__(self, until: ExitStack) -> None:
        self._until = until
        self._numbers = count()

    def new(self, backend: str) -> Spot:
        """Return a place where no store is yet."""
        found: Spot = getattr(self, f"_{backend}")()
        return found

    def maker(self, kind: str) -> Maker:
        """Return what makes stores of a kind at one new place."""
        wrap, _, backend = kind.rpartition("-")
        make = self.new(backend).make
        return wrapped(WRAPS[wrap], make) if wrap else make

    @cached_property
    def _folder(self) -> Path:
        """In memory where that can be: hundreds of stores are made, and none of their tests is about the disk."""
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        return Path(self._until.enter_context(tempfile.TemporaryDirectory(prefix="atlas-", dir=place)))

    @cached_property
    def _postgres_server(self) -> postgres_servers.Server:
        return self._until.enter_context(postgres_servers.server())

    @cached_property
    def _redis_server(self) -> redis_servers.Server:
        return self._until.enter_context(redis_servers.running())

    def _memory(self) -> Spot:
        return Spot("memory:", MemoryStore)

    def _sqlite(self) -> Spot:
        path = self._folder / f"{next(self._numbers)}.db"
        return Spot(f"sqlite:///{path}", partial(SqliteStore, path))

    def _file(self) -> Spot:
        path = self._folder / f"{next(self._numbers)}.json"
        return Spot(f"file:{path}", partial(FileStore, path))

    def _redis(self) -> Spot:
        url = self._redis_server.url(uuid.uuid4().hex)
        return Spot(url, partial(RedisStore, url))

    def _postgres(self) -> Spot:
        url = self._until.enter_context(self._postgres_server.schema())
        return Spot(url, partial(PostgresStore, url))
