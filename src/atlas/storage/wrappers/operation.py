"""What is done in a transaction as values: wrappers look at them, change them or refuse them before they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import msgspec

from ..collection import Collection
from ..protocol import Transaction
from ..query import Query
from .around import TransactionAround

R = TypeVar("R")

Kind = Literal["get", "set", "delete", "append", "query", "count", "aggregate", "commit"]
KINDS: tuple[Kind, ...] = ("get", "set", "delete", "append", "query", "count", "aggregate", "commit")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing asked of a transaction.

    `keys` are those of get, delete and commit (what was written, as pairs of collection name and key), `records`
    those of set and append. What it comes to: get, a dict of the records found by key; delete, how many there were;
    query, count and aggregate, what the transaction's own methods return; the others nothing.
    """

    kind: Kind
    collection: Collection[Any] | None = None
    keys: tuple[Any, ...] = ()
    records: tuple[Any, ...] = ()
    query: Query[Any] | None = None
    expected_version: int | None = None

    @property
    def touched(self) -> tuple[Any, ...]:
        """The keys of what it reads or writes by key."""
        if self.kind == "set" and self.collection is not None:
            return tuple(map(self.collection.key_of, self.records))
        return self.keys


Run = Callable[[Operation], Any]


def perform(tx: Transaction, operation: Operation) -> Any:
    """Do it, and return what it comes to."""
    collection, query = operation.collection, operation.query
    if collection is not None:
        return _perform_on(tx, collection, operation)
    if query is not None:
        call = {"query": tx.query, "count": tx.count, "aggregate": tx.aggregate}[operation.kind]
        return call(query)
    return None


def _perform_on(tx: Transaction, collection: Collection[Any], operation: Operation) -> Any:
    if operation.kind == "get":
        return tx.get_many(collection, operation.keys)
    if operation.kind == "delete":
        return tx.delete_many(collection, operation.keys)
    if operation.kind == "append":
        for record in operation.records:
            tx.append(collection, record)
    elif operation.expected_version is None:
        tx.put_many(collection, operation.records)
    else:
        for record in operation.records:
            tx.put(collection, record, expected_version=operation.expected_version)
    return None


class OperationTransaction(TransactionAround):
    """A transaction whose every call becomes an operation that `run` is asked to do."""

    def __init__(self, inner: Transaction, run: Run) -> None:
        super().__init__(inner)
        self._run = run

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Transaction."""
        record: R | None = self._run(Operation(kind="get", collection=collection, keys=(key,))).get(key)
        return record

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """See Transaction."""
        found: dict[Any, R] = self._run(Operation(kind="get", collection=collection, keys=tuple(keys)))
        return found

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """See Transaction."""
        self._run(Operation(kind="set", collection=collection, records=(record,), expected_version=expected_version))

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        self._run(Operation(kind="set", collection=collection, records=tuple(records)))

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        return bool(self._run(Operation(kind="delete", collection=collection, keys=(key,))))

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        return int(self._run(Operation(kind="delete", collection=collection, keys=tuple(keys))))

    def append(self, collection: Collection[R], record: R) -> None:
        """See Transaction."""
        self._run(Operation(kind="append", collection=collection, records=(record,)))

    def query(self, query: Query[R]) -> list[Any]:
        """See Transaction."""
        rows: list[Any] = self._run(Operation(kind="query", query=query))
        return rows

    def count(self, query: Query[Any]) -> int:
        """See Transaction."""
        return int(self._run(Operation(kind="count", query=query)))

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Transaction."""
        rows: list[dict[str, Any]] = self._run(Operation(kind="aggregate", query=query))
        return rows
