"""The promise of a store, and of the transaction inside it.

- `transact` runs one plain synchronous function inside a transaction: everything it wrote becomes visible and durable
  together, or nothing does. Transactions happen one after the other; each sees all before it. When the awaited call
  returns, the change is as durable as `capabilities.durability` says.
- The function may be run again as a whole, so it touches nothing but its transaction.
- `read` runs a function on a snapshot; it never waits for writers and cannot write.
- A raised error leaves nothing behind. A cancelled or timed-out caller leaves either everything or nothing; whether
  it was everything can be asked by reading.
- Appended records get consecutive numbers in commit order: a reader that has seen number n never later finds a
  number below n that it had not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from .collection import Collection
from .query import Query

if TYPE_CHECKING:
    from .explaining import Plan
    from .slow import SlowQueries

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_TIMEOUT = timedelta(seconds=30)


class Transaction(Protocol):
    """What a function inside `transact` or `read` may do."""

    @property
    def now(self) -> datetime:
        """The time of this transaction: one value throughout, never before that of an earlier one."""
        ...

    @property
    def seq(self) -> int:
        """The number last appended to any sequence before this transaction; 0 for none."""
        ...

    def new_id(self) -> str:
        """Return a new id, greater than all given before by this process (UUIDv7, RFC 9562)."""
        ...

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """Return the record, None where there is none."""
        ...

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """Return those of the records that exist, by key."""
        ...

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """Write the record under its key; raises VersionError unless the present `version` is the expected one."""
        ...

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """Write several records."""
        ...

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """Remove the record; says whether there was one."""
        ...

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """Remove several records; says how many there were."""
        ...

    def append(self, collection: Collection[R], record: R) -> None:
        """Add a record to a sequence; its number is given at commit."""
        ...

    def start_over(self) -> None:
        """Have numbers begin at 1 again; only for a transaction that takes the last record out of all sequences."""
        ...

    def query(self, query: Query[R]) -> list[Any]:
        """Return the records, or tuples of the selected fields, in the query's order."""
        ...

    def count(self, query: Query[Any]) -> int:
        """Count the records of the condition, whatever limit, offset and cursor say."""
        ...

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """Return one row for each group, with the group's fields and the named aggregates."""
        ...

    def explain(self, query: Query[Any]) -> Plan:
        """Return how a query would be answered: its steps, by which indexes, and about how many records they touch."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """Open a block that leaves nothing behind when an error escapes it; blocks nest."""
        ...


class Committed(msgspec.Struct, Generic[T], frozen=True):
    """What a transaction came to: what the function returned, and the last number appended once it was in."""

    value: T
    seq: int


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a store can do. `durability` is reached before an answer: memory (lost with the process) or disk.

    A read may show for as long as `staleness` what another process has changed meanwhile; a transaction never does.
    One that `is_inline` does its work on the caller's thread, and keeps the event loop until it is done.
    These are all that excuses a store from a law of `atlas.testing`.
    """

    durability: str
    is_shared: bool
    is_writable: bool = True
    staleness: timedelta = timedelta(0)
    is_inline: bool = False


class Store(Protocol):
    """A place where collections live."""

    @property
    def url(self) -> str:
        """The address it was opened by, secrets masked."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""
        ...

    @property
    def slow_queries(self) -> SlowQueries:
        """The queries that took long, here and in no other process."""
        ...

    async def open(self) -> None:
        """Make the store ready; creates it where there is none. Raises StorageError, having altered nothing."""
        ...

    async def close(self) -> None:
        """Finish what is under way and release everything; a second call does nothing."""
        ...

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """Run `work` and commit.

        Raises StoreBusyError when other writers held the store for the whole of `timeout`, StoreTimeoutError when
        `work` itself took longer, and whatever `work` raises; in each case nothing was changed.
        """
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot of the latest commit."""
        ...

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """Call `told` with the newest number after each commit, also another process's; returns how to stop it.

        The store's closing calls it once more, so that nobody waits for what cannot come.
        """
        ...

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """Remove what has expired, give back unused space, and refresh what the planner knows.

        Returns the sizes `before` and `after` in bytes, and how many records had `expired`.
        """
        ...

    async def verify(self) -> list[str]:
        """Check the integrity of what is stored; returns what is wrong, nothing when all is well."""
        ...

    async def copy_to(self, target: Path) -> Path:
        """Write a consistent copy to a path that does not exist yet, and return it."""
        ...

    async def statistics(self) -> Mapping[str, Any]:
        """Return figures of the store: sizes in bytes, counts of records per collection, waits in seconds."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """A store that can tell at once, without waiting, whether others changed it; caches over it are exact."""

    def others_version(self) -> int | None:
        """Return a number that differs after every change not made by `transact` of this store.

        None while that cannot be told, since a commit of this store is just becoming visible.
        """
        ...
