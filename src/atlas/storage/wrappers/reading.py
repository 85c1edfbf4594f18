"""The transactions that a cache sees through: reads that it answers, reads that fill it, and changes it must heed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..collection import Collection
from ..expiring import time_left
from ..protocol import Transaction
from .around import TransactionAround
from .recent import EVERYTHING, Place, Recent

R = TypeVar("R")


class MissError(BaseException):
    """The cache cannot answer: the work runs again on the store. Not an error that the work itself may catch."""


class CacheReading:
    """A transaction over the cache alone: gets are answered, all else is a miss.

    Whether what it gave was true at one moment, its cache says afterwards.
    """

    __slots__ = ("_moment", "_now", "_recent", "hits", "is_missed")

    def __init__(self, recent: Recent, now: float) -> None:
        self._recent = recent
        self._now = now
        self._moment: object = None
        self.hits = 0
        self.is_missed = False

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Transaction."""
        entry = self._recent.find((collection.name, key))
        if entry is None or self._now >= entry.end or collection.is_timeless:
            raise self._missed()
        if entry.moment is not self._moment:
            if self._moment is not None:
                raise self._missed()
            self._moment = entry.moment
        self.hits += 1
        record: R | None = entry.record
        return record

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """See Transaction."""
        found = {key: self.get(collection, key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def _missed(self) -> MissError:
        self.is_missed = True
        return MissError()

    def __getattr__(self, name: str) -> Any:
        raise self._missed()


class Fill:
    """What one read found by key, and what was changed meanwhile."""

    def __init__(self, version: int | None, begun: float) -> None:
        self.version = version
        self.begun = begun
        self.found: dict[Place, Any] = {}
        self.lives: dict[Place, float] = {}
        self.spoiled: set[Place] = set()
        self.asked = 0

    def began(self) -> Fill:
        """Forget what an earlier run of the work found."""
        self.found, self.lives, self.asked = {}, {}, 0
        return self

    def note(self, tx: Transaction, collection: Collection[Any], key: Any, record: Any) -> None:
        """Remember a record, and how many seconds it still lives where its time is limited.

        What is seen regardless of its time is not remembered: it would come up where that is over.
        """
        if collection.is_timeless:
            return
        place = collection.name, key
        self.found[place] = record
        left = None if record is None or collection.ttl is None else time_left(collection, record, tx.now)
        if left is not None:
            self.lives[place] = left.total_seconds()


class FillingReading(TransactionAround):
    """A transaction that notes what is read by key."""

    def __init__(self, inner: Transaction, fill: Fill) -> None:
        super().__init__(inner)
        self._fill = fill

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Transaction."""
        record = self.inner.get(collection, key)
        self._note(collection, key, record)
        return record

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """See Transaction."""
        asked = list(keys)
        found = self.inner.get_many(collection, asked)
        for key in asked:
            self._note(collection, key, found.get(key))
        return found

    def _note(self, collection: Collection[Any], key: Any, record: Any) -> None:
        self._fill.asked += 1
        # Which numbers of a sequence are still to come, no commit announces.
        if record is not None or not collection.sequence:
            self._fill.note(self.inner, collection, key, record)


class Change:
    """What the last run of a work wrote, and its place among all that was announced."""

    def __init__(self) -> None:
        self.ticket = 0
        self.begun = 0.0
        self.version: int | None = None
        self.before = 0
        self.written: dict[Place, tuple[Collection[Any] | None, bool, Any]] = {}
        self.log: list[tuple[Place, Collection[Any]]] = []

    def begin(self) -> None:
        """Forget what an earlier run wrote."""
        self.written, self.log = {}, []

    def note(self, collection: Collection[Any], key: Any, record: Any) -> None:
        """Remember what a record became. For how long one with a time to live will be there, the next read finds."""
        place = (collection.name, key)
        self.written[place] = (collection, collection.ttl is None and not collection.is_timeless, record)
        self.log.append((place, collection))

    def admit(self) -> None:
        """Admit not to know what was written at all."""
        self.written = {EVERYTHING: (None, False, None)}

    def take_back(self, since: int) -> None:
        """Admit not to know what became of what was written since then."""
        for place, collection in self.log[since:]:
            self.written[place] = (collection, False, None)


class NotingTransaction(TransactionAround):
    """A transaction that reads and writes the store alone, and notes what it wrote."""

    def __init__(self, inner: Transaction, change: Change) -> None:
        super().__init__(inner)
        self._change = change

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """See Transaction."""
        self.inner.put(collection, record, expected_version=expected_version)
        self._change.note(collection, collection.key_of(record), record)

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        taken = list(records)
        self.inner.put_many(collection, taken)
        for record in taken:
            self._change.note(collection, collection.key_of(record), record)

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        was_there = self.inner.delete(collection, key)
        self._change.note(collection, key, None)
        return was_there

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        taken = list(keys)
        count = self.inner.delete_many(collection, taken)
        for key in taken:
            self._change.note(collection, key, None)
        return count

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """See Transaction."""
        since = len(self._change.log)
        try:
            with self.inner.savepoint():
                yield
        except BaseException:
            self._change.take_back(since)
            raise
