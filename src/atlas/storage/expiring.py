"""Time to live: which records are gone, and how questions leave them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .collection import Collection
from .query import Both, Compare, Condition, Either, Negate, Query, le, negate

if TYPE_CHECKING:
    from .explaining import Step
    from .overlay import Asked
    from .protocol import Store, Transaction

R = TypeVar("R")

PAGE = 500
"""So many records are removed in one transaction."""


def time_left(collection: Collection[R], record: R, now: datetime) -> timedelta | None:
    """Return for how long a record will be there, from `now`; None of one that stays."""
    since: datetime | None = None if collection.ttl is None else getattr(record, collection.ttl_from)
    return None if since is None or collection.ttl is None else since.astimezone(UTC) - (now - collection.ttl)


def is_gone(collection: Collection[R], record: R, now: datetime) -> bool:
    """Say whether a record's time is over."""
    left = time_left(collection, record, now)
    return left is not None and left <= timedelta(0)


def _over(collection: Collection[Any], now: datetime) -> Condition:
    """Return the condition that a record's time is over; one without that time compares as false."""
    assert collection.ttl is not None
    return le(collection.ttl_from, now - collection.ttl)


def collections_of(query: Query[Any]) -> Iterator[Collection[Any]]:
    """Yield every collection that a query asks, also in joins and inner queries."""
    yield query.collection
    yield from (join.collection for join in query.joins)
    waiting = [query.condition, query.kept]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Compare) and isinstance(part.value, Query):
            yield from collections_of(part.value)
        elif isinstance(part, (Both, Either)):
            waiting.extend(part.parts)
        elif isinstance(part, Negate):
            waiting.append(part.part)


class Living:
    """Answers for a session, whose time it heeds, as if what is gone were not there."""

    def __init__(self, asked: Asked, now: datetime) -> None:
        self._asked = asked
        self._now = now

    def query(self, query: Query[R]) -> list[Any]:
        """See Session."""
        return self._asked.query(self._narrowed(query))

    def count(self, query: Query[Any]) -> int:
        """See Session."""
        return self._asked.count(self._narrowed(query))

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Session."""
        return self._asked.aggregate(self._narrowed(query))

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """See Session."""
        return self._asked.explain(self._narrowed(query))

    def _narrowed(self, query: Query[R]) -> Query[R]:
        """Add to a query of one collection, and to the queries inside it, that nothing is gone."""
        condition = query.condition
        parts = [] if condition is None else [self._within(condition)]
        if query.collection.ttl is not None:
            parts.append(negate(_over(query.collection, self._now)))
        return msgspec.structs.replace(query, condition=None).where(*parts)

    def _within(self, part: Any) -> Any:
        if isinstance(part, (Both, Either)):
            return type(part)(tuple(map(self._within, part.parts)))
        if isinstance(part, Negate):
            return Negate(self._within(part.part))
        if isinstance(part, Compare) and isinstance(part.value, Query):
            return msgspec.structs.replace(part, value=self._narrowed(part.value))
        return part


def remove_some(tx: Transaction, collection: Collection[Any], most: int) -> int:
    """Remove up to so many records whose time is over; says how many there were."""
    everything = collection.timeless
    oldest = Query(everything).order_by(collection.ttl_from).limit(most).select(collection.key)
    return tx.delete_many(everything, [row[0] for row in tx.query(oldest.where(_over(collection, tx.now)))])


async def remove_expired(store: Store, collections: Iterable[Collection[Any]]) -> int:
    """Remove all records whose time is over, a page in a transaction; says how many there were."""
    removed = 0
    for collection in collections:
        is_more = collection.ttl is not None
        while is_more:
            some = (await store.transact(lambda tx, c=collection: remove_some(tx, c, PAGE))).value  # type: ignore[misc]
            removed += some
            is_more = some == PAGE
    return removed
