"""What the plain view of a collection is inside a transaction, and what its transactions come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from ..errors import InputError
from .collection import Collection
from .protocol import Transaction
from .query import Query

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Isolation(StrEnum):
    """How far a transaction is kept apart from others, from the weakest on."""

    READ_UNCOMMITTED = "read uncommitted"
    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


class Outcome(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a transaction came to: its value, and whether it was committed or rolled back by its operation.

    `isolation` is what it had, `asked` what was asked for; `seq` the last number appended once it was in.
    """

    value: T
    is_committed: bool
    seq: int
    attempts: int
    isolation: Isolation
    asked: Isolation

    @property
    def is_stronger(self) -> bool:
        """Whether a weaker isolation was asked for than there was."""
        return self.asked is not self.isolation


class EndedError(BaseException):
    """How `commit` and `rollback` leave an operation: not an error that the operation itself may catch."""

    def __init__(self, view: StorageTransaction[Any], value: Any, *, is_committed: bool) -> None:
        self.view = view
        self.value = value
        self.is_committed = is_committed


class StorageTransaction(Generic[R]):
    """The view inside a transaction: the same verbs, at once and without `await`."""

    def __init__(self, tx: Transaction, collection: Collection[R]) -> None:
        self.tx = tx
        self.collection = collection

    def get(self, key: Any) -> R | None:
        """Return the record, None where there is none."""
        return self.tx.get(self.collection, key)

    def set(self, record: R, *, expected_version: int | None = None) -> None:
        """Keep a record under its key; raises VersionError unless the present `version` is the expected one."""
        if self.collection.sequence:
            self.tx.append(self.collection, record)
        else:
            self.tx.put(self.collection, record, expected_version=expected_version)

    def delete(self, key: Any) -> bool:
        """Remove a record; says whether there was one."""
        return self.tx.delete(self.collection, key)

    def has(self, key: Any) -> bool:
        """Say whether there is a record."""
        return self.get(key) is not None

    def clear(self) -> int:
        """Remove all records; says how many there were."""
        return self.delete_many(self.keys())

    def get_many(self, keys: Iterable[Any]) -> dict[Any, R]:
        """Return those of the records that exist, by key."""
        return self.tx.get_many(self.collection, keys)

    def set_many(self, records: Iterable[R]) -> int:
        """Keep several records; says how many."""
        kept = list(records)
        if self.collection.sequence:
            for record in kept:
                self.tx.append(self.collection, record)
        else:
            self.tx.put_many(self.collection, kept)
        return len(kept)

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove several records; says how many there were."""
        return self.tx.delete_many(self.collection, keys)

    def size(self) -> int:
        """Say how many records there are."""
        return self.tx.count(Query(self.collection))

    def keys(self) -> list[Any]:
        """Return all keys in their order."""
        return [key for (key,) in self.tx.query(Query(self.collection).select(self.collection.key))]

    def query(self, query: Query[R] | None = None) -> list[R]:
        """Return the records that a query finds, in its order; of none, all."""
        return self.tx.query(records_of(self.collection, query))

    def count(self, query: Query[R] | None = None) -> int:
        """Say how many records a query's condition holds for."""
        return self.tx.count(of(self.collection, query))

    def aggregate(self, query: Query[R]) -> list[dict[str, Any]]:
        """Return one row for each group of a query."""
        return self.tx.aggregate(of(self.collection, query))

    def beside(self, collection: Collection[S]) -> StorageTransaction[S]:
        """Return the view of another collection in the same transaction; to `commit` and `rollback` it is another."""
        return StorageTransaction(self.tx, collection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Open a block that leaves nothing behind when an error escapes it; blocks nest, and `commit` keeps them."""
        ended = None
        with self.tx.savepoint():
            try:
                yield
            except EndedError as end:
                if not end.is_committed:
                    raise
                ended = end
        if ended is not None:
            raise ended

    def transaction(self, operation: Callable[[StorageTransaction[R]], T]) -> T:
        """Run an operation in a savepoint: its errors leave nothing behind, its `commit` and `rollback` end only it."""
        inner = StorageTransaction(self.tx, self.collection)
        try:
            with self.savepoint():
                return operation(inner)
        except EndedError as end:
            if end.view is not inner:
                raise
            value: T = end.value
            return value

    def commit(self, value: Any = None) -> NoReturn:
        """End the operation here, keep what it wrote, and return `value` as what it came to."""
        raise EndedError(self, value, is_committed=True)

    def rollback(self, value: Any = None) -> NoReturn:
        """End the operation here, keep nothing of it, and return `value` as what it came to."""
        raise EndedError(self, value, is_committed=False)


def of(collection: Collection[R], query: Query[R] | None) -> Query[R]:
    """Return a query of this collection; raises InputError for one of another."""
    if query is None:
        return Query(collection)
    if query.collection is not collection:
        raise InputError(
            f"the query is of {query.collection.name}, not of {collection.name}",
            field="query",
            given=query.collection.name,
            bound=collection.name,
        )
    return query


def records_of(collection: Collection[R], query: Query[R] | None) -> Query[R]:
    """Return a query for whole records of this collection; raises InputError for one of other things."""
    asked = of(collection, query)
    if asked.fields:
        raise InputError(
            "a typed view gives whole records",
            field="query",
            given=list(asked.fields),
            hint="Leave select() out, or read fields with store.read(lambda tx: tx.query(query)).",
        )
    return asked
