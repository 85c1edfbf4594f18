"""Stores that take the time to live of their records wrongly, each in one way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from ..storage.collection import Collection
from ..storage.expiring import PAGE, collections_of, remove_some, time_left
from ..storage.memory import MemoryStore
from ..storage.overlay import Asked, Overlay
from ..storage.query import Query
from ..storage.wrappers import CachedStore
from ..storage.wrappers.reading import Fill
from .faults import Fault, breaks
from .samples import LEASES

T = TypeVar("T")

EXPIRY_FAULTS: dict[str, Fault] = {}
_breaks = partial(breaks, EXPIRY_FAULTS)


@_breaks("what_is_over_is_not_found_by_its_key")
class _GetsWhatIsOver(Overlay):
    def get(self, collection: Collection[T], key: Any) -> T | None:
        return super().get(collection.timeless, key)


@_breaks("what_is_over_is_not_found_by_its_key")
class _TakesAnAbsentTimeForOver(Overlay):
    def get(self, collection: Collection[T], key: Any) -> T | None:
        found = super().get(collection, key)
        return None if found is not None and time_left(collection, found, self.now) is None else found


@_breaks("a_record_is_there_until_its_time")
class _EndsEarly(Overlay):
    def get(self, collection: Collection[T], key: Any) -> T | None:
        found = super().get(collection, key)
        left = None if found is None else time_left(collection, found, self.now)
        return None if left is not None and left < timedelta(milliseconds=25) else found


@_breaks("what_is_over_is_not_found_by_its_key")
class _GetsManyThatAreOver(Overlay):
    def get_many(self, collection: Collection[T], keys: Iterable[Any]) -> dict[Any, T]:
        return super().get_many(collection.timeless, keys)


@_breaks("queries_leave_out_what_is_over")
class _FindsWhatIsOver(Overlay):
    def _prepare(self, query: Query[Any]) -> Asked:
        super()._prepare(query)
        return self._session


@_breaks("joins_and_inner_queries_leave_out_what_is_over")
class _LooksAtOneCollection(Overlay):
    def _prepare(self, query: Query[Any]) -> Asked:
        right = super()._prepare(query)
        return right if len(list(collections_of(query))) == 1 else self._session


@_breaks("what_is_reached_does_not_go_through_what_is_over")
class _GoesThroughWhatIsOver(Overlay):
    def _prepare(self, query: Query[Any]) -> Asked:
        right = super()._prepare(query)
        return right if query.trail is None else self._session


@_breaks("what_is_over_may_be_put_anew")
class _ComparesWithWhatIsOver(Overlay):
    def put(self, collection: Collection[T], record: T, *, expected_version: int | None = None) -> None:
        super().put(collection.timeless, record, expected_version=expected_version)


@_breaks("what_is_over_may_be_put_anew")
class _DeletesWhatIsOver(Overlay):
    def delete(self, collection: Collection[T], key: Any) -> bool:
        return super().delete(collection.timeless, key)


class _RemembersTooLong(CachedStore):
    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        super().__init__(MemoryStore(collections))

    def _take(self, fill: Fill) -> None:
        fill.lives.clear()
        super()._take(fill)


EXPIRY_FAULTS["RemembersTooLong"] = Fault(lambda: _RemembersTooLong, "a_record_is_there_until_its_time")


@_breaks("upkeep_removes_what_is_over")
class _KeepsWhatIsOver(MemoryStore):
    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        before = self.snapshot()
        figures = await super().maintain(analyze=analyze)
        self.restore(before)
        return figures


@_breaks("upkeep_removes_what_is_over")
class _RemovesOnePage(MemoryStore):
    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        gone = (await self.transact(lambda tx: remove_some(tx, LEASES, PAGE))).value
        return {**await super().maintain(analyze=analyze), "expired": gone}
