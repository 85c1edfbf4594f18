"""One collection of a store as a plain asynchronous key-value view, for programs that want no more than that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar

from ..errors import AtlasError, InputError
from .collection import Collection
from .open import open_store
from .plain_transaction import (
    EndedError,
    Isolation,
    Outcome,
    StorageTransaction,
    records_of,
)
from .protocol import DEFAULT_TIMEOUT, Store, Transaction
from .query import Query, cursor_of, gt
from .wrappers.listed import ActiveTransactions, ListedStore, name_of

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

PAGE = 500
_FIRST_WAIT = 0.01
_LONGEST_WAIT = 1.0


class Storage(Generic[R]):
    """A collection of an open store; the record types of all verbs are those of the collection.

    Records are kept under the key that the collection names. Every verb is one transaction of its own.
    """

    def __init__(
        self, store: Store, collection: Collection[R], *, transactions: ActiveTransactions | None = None
    ) -> None:
        self.store = store
        self.collection = collection
        if transactions is None:
            transactions = store.transactions if isinstance(store, ListedStore) else ActiveTransactions()
        self.transactions = transactions
        # A store that lists would list the same transaction again, under another name.
        self._beneath = store.inner if isinstance(store, ListedStore) else store

    def beside(self, collection: Collection[S]) -> Storage[S]:
        """Return the view of another collection of the store; both list the same active transactions."""
        return Storage(self.store, collection, transactions=self.transactions)

    async def _do(self, operation: Callable[[StorageTransaction[R]], T]) -> T:
        return (await self.store.transact(lambda tx: operation(StorageTransaction(tx, self.collection)))).value

    async def _look(self, operation: Callable[[StorageTransaction[R]], T]) -> T:
        return await self.store.read(lambda tx: operation(StorageTransaction(tx, self.collection)))

    async def get(self, key: Any) -> R | None:
        """Return the record, None where there is none."""
        return await self.store.read(lambda tx: tx.get(self.collection, key))

    async def set(self, record: R, *, expected_version: int | None = None) -> None:
        """Keep a record under its key (of a sequence: append it).

        Raises VersionError unless the present `version` is the expected one.
        """
        await self._do(lambda view: view.set(record, expected_version=expected_version))

    async def delete(self, key: Any) -> bool:
        """Remove a record; says whether there was one."""
        return await self._do(lambda view: view.delete(key))

    async def has(self, key: Any) -> bool:
        """Say whether there is a record."""
        return await self.get(key) is not None

    async def clear(self) -> int:
        """Remove all records at once; says how many there were."""
        return await self._do(lambda view: view.clear())

    async def get_many(self, keys: Iterable[Any]) -> dict[Any, R]:
        """Return those of the records that exist, by key, all of one moment."""
        asked = list(keys)
        return await self._look(lambda view: view.get_many(asked))

    async def set_many(self, records: Iterable[R]) -> int:
        """Keep several records, all or none; says how many."""
        kept = list(records)
        return await self._do(lambda view: view.set_many(kept))

    async def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove several records, all or none; says how many there were."""
        asked = list(keys)
        return await self._do(lambda view: view.delete_many(asked))

    async def size(self) -> int:
        """Say how many records there are."""
        return await self._look(lambda view: view.size())

    async def keys(self, *, page: int = PAGE) -> AsyncIterator[Any]:
        """Give all keys in their order, read page by page.

        A key that is there all the while comes exactly once, whatever is written meanwhile.
        """
        asked = Query(self.collection).select(self.collection.key).limit(_checked(page))
        last: list[Any] = []
        while True:
            query = asked.where(gt(self.collection.key, last[-1])) if last else asked
            last = [key for (key,) in await self.store.read(_query(query))]
            for key in last:
                yield key
            if len(last) < page:
                return

    async def query(self, query: Query[R] | None = None, *, page: int = PAGE) -> AsyncIterator[R]:
        """Give the records that a query finds, in its order, read page by page.

        What is written meanwhile is seen from the next page on: a record whose place in the order does not change
        comes exactly once; one that moves may come again, or not at all.
        """
        _checked(page)
        asked = records_of(self.collection, query)
        left = asked.most
        while left is None or left > 0:
            size = page if left is None else min(page, left)
            rows: list[R] = await self.store.read(_query(asked.limit(size)))
            for row in rows:
                yield row
            if len(rows) < size:
                return
            left = None if left is None else left - size
            asked = asked.offset(0).after(cursor_of(asked, rows[-1]))

    async def count(self, query: Query[R] | None = None) -> int:
        """Say how many records a query's condition holds for."""
        return await self._look(lambda view: view.count(query))

    async def aggregate(self, query: Query[R]) -> list[dict[str, Any]]:
        """Return one row for each group of a query, with the group's fields and the named aggregates."""
        return await self._look(lambda view: view.aggregate(query))

    async def transaction(
        self,
        operation: Callable[[StorageTransaction[R]], T],
        *,
        isolation: Isolation | str | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        retries: int = 0,
        name: str = "",
    ) -> Outcome[T]:
        """Run `operation` on the view inside one transaction, and commit what it wrote.

        It is a plain function, not an asynchronous one: nothing can come between its reads and its writes, so it
        never sees half a change; it can be run again as a whole, and many of them fit into one commit. In turn it
        touches nothing but its view. An error that it raises leaves nothing behind; `commit` and `rollback` of the
        view end it early; `transaction` of the view nests. Transactions happen one after the other, so whatever
        `isolation` is asked for, the strongest is given, and the outcome says so. Each attempt may take `timeout`.
        After an error for which a retry can help (a busy store, a deadlock, a deadline) it is run again, up to
        `retries` times, waiting longer each time.
        """
        asked = _isolation(isolation)
        with self.transactions.one(name or name_of(operation), self.collection.name) as attempt:
            while True:
                attempts = attempt()
                try:
                    value, is_committed, seq = await self._attempt(operation, timeout)
                except AtlasError as error:
                    if not error.retryable or attempts > retries:
                        raise
                    await asyncio.sleep(_wait(attempts))
                    continue
                return Outcome(
                    value=value,
                    is_committed=is_committed,
                    seq=seq,
                    attempts=attempts,
                    isolation=Isolation.SERIALIZABLE,
                    asked=asked,
                )

    async def _attempt(
        self, operation: Callable[[StorageTransaction[R]], T], timeout: timedelta
    ) -> tuple[T, bool, int]:
        views: list[StorageTransaction[R]] = []

        def work(tx: Transaction) -> T:
            view = StorageTransaction(tx, self.collection)
            views.append(view)
            try:
                return operation(view)
            except EndedError as end:
                if end.view is not view or not end.is_committed:
                    raise
                value: T = end.value
                return value

        try:
            made = await self._beneath.transact(work, timeout=timeout)
        except EndedError as end:
            if end.view not in views:
                raise
            return end.value, False, await self.store.read(lambda tx: tx.seq)
        return made.value, True, made.seq


@asynccontextmanager
async def open_storage(url: str, collection: Collection[R], *others: Collection[Any]) -> AsyncIterator[Storage[R]]:
    """Open the store at `url` for the length of a block, and give the view of `collection`.

    `others` are the further collections of that store; `Storage.beside` gives their views.
    """
    store = open_store(url, [collection, *others])
    await store.open()
    try:
        yield Storage(store, collection)
    finally:
        await store.close()


def _query(query: Query[Any]) -> Callable[[Transaction], list[Any]]:
    return lambda tx: tx.query(query)


def _checked(page: int) -> int:
    if page < 1:
        raise InputError("a page holds at least one record", field="page", given=page, bound="1 or more")
    return page


def _isolation(asked: Isolation | str | None) -> Isolation:
    try:
        return Isolation.SERIALIZABLE if asked is None else Isolation(asked)
    except ValueError as error:
        raise InputError(
            f"no isolation {asked!r}", field="isolation", given=asked, bound=[level.value for level in Isolation]
        ) from error


def _name_of(operation: Callable[..., Any]) -> str:
    return getattr(operation, "__name__", type(operation).__name__)


def _wait(attempts: int) -> float:
    """Return the seconds before the next attempt: twice as long each time, and never in step with others."""
    longest: float = min(_FIRST_WAIT * 2 ** (attempts - 1), _LONGEST_WAIT)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
