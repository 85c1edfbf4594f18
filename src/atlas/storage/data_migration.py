"""A data migration: a numbered step that rewrites records, the note that it was done, and its way through many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from ..errors import InputError
from .collection import Collection
from .protocol import Transaction
from .query import Query, cursor_of

R = TypeVar("R")

PAGE = 1_000


class DataMigration(msgspec.Struct, frozen=True):
    """One step, from the records as the step before left them to those of `number`.

    `up` and `down` touch nothing but the transaction, and may be run again as a whole. `validate` returns what is wrong
    with the records as `up` leaves them. `revision` stands for the source of `up` where that is not at hand.
    """

    number: int
    name: str
    up: Callable[[Transaction], None]
    down: Callable[[Transaction], None] | None = None
    validate: Callable[[Transaction], Iterable[str]] | None = None
    revision: str = ""

    @property
    def checksum(self) -> str:
        """The digest of name and `revision`, or else the source of `up`, by which an altered step is noticed.

        `down` and `validate` are left out: what is wrong with them may be mended after the step was applied.
        """
        import hashlib

        text = f"{self.name}\0{self.revision or self._source()}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _source(self) -> str:
        from inspect import getsource

        try:
            return getsource(self.up)
        except (OSError, TypeError) as error:
            raise InputError(
                f"the source of data migration {self.number} ({self.name}) is not at hand",
                field="revision",
                hint="Give it a revision, a text that changes only when the step does.",
            ) from error


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The note that a step was done, and how many records it wrote or removed in each collection."""

    number: int
    name: str
    checksum: str
    applied_at: datetime
    records: dict[str, int]


APPLIED: Collection[Applied] = Collection("data_migration", Applied, key="number", journaled=False)


class Kept(Protocol):
    """How a store keeps which steps were done."""

    def applied(self, tx: Transaction) -> list[Applied]:
        """Return the notes of all steps that were done and not undone, in order."""
        ...

    def changing(self, tx: Transaction) -> AbstractContextManager[Transaction]:
        """Give the transaction in which a step works and its note is kept."""
        ...

    def keep(self, tx: Transaction, note: Applied, *, is_up: bool) -> None:
        """Note that a step was done, or that it was undone."""
        ...


class InCollection:
    """Keeps the notes in APPLIED, which the program adds to its own collections."""

    def applied(self, tx: Transaction) -> list[Applied]:
        """See Kept."""
        return tx.query(Query(APPLIED).order_by("number"))

    def changing(self, tx: Transaction) -> AbstractContextManager[Transaction]:
        """See Kept."""
        return nullcontext(tx)

    def keep(self, tx: Transaction, note: Applied, *, is_up: bool) -> None:
        """See Kept."""
        if is_up:
            tx.put(APPLIED, note)
        else:
            tx.delete(APPLIED, note.number)


def paged(tx: Transaction, query: Query[R], *, size: int = PAGE) -> Iterator[list[R]]:
    """Yield the records of a query's condition in the order of their keys, so many at a time.

    A page is read when the one before was worked on. Whatever is done to records that were given, none comes twice;
    one that gets a key further on comes there.
    """
    if size < 1 or query.order or query.fields or query.joins or query.skip or query.most is not None:
        raise InputError("pages are of whole records, by key", field="query", hint="Leave all but where() out.")
    page = query.order_by(query.collection.key).limit(size)
    cursor: str | None = None
    while True:
        found: list[R] = tx.query(page.after(cursor))
        if found:
            cursor = cursor_of(page, found[-1])
            yield found
        if len(found) < size:
            return
