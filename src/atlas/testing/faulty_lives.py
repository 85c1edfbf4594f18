"""Stores that open, tell, look after themselves or close wrongly, each in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import StoreClosedError
from ..storage.collection import Collection
from ..storage.listeners import Listeners
from ..storage.memory import MemoryStore, Snapshot
from ..storage.memory_session import MemorySession, Table
from ..storage.protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from ..storage.query import Query
from ..storage.slow import SlowQueries
from .faults import Fault, breaks

T = TypeVar("T")

LIFE_FAULTS: dict[str, Fault] = {}
_breaks = partial(breaks, LIFE_FAULTS)


class _LastingStore(MemoryStore):
    """Keeps its records on a shelf while it is closed."""

    def __init__(self, collections: Sequence[Collection[Any]], *, shelf: dict[str, Snapshot]) -> None:
        super().__init__(collections)
        self._shelf = shelf

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability="disk", is_shared=False)

    async def open(self) -> None:
        await super().open()
        if "last" in self._shelf:
            self.restore(self._shelf["last"])

    async def close(self) -> None:
        if self._is_open:
            self._shelf["last"] = self.kept()
        await super().close()

    def kept(self) -> Snapshot:
        return self.snapshot()


@_breaks("a_new_store_is_empty")
class _BringsARecord(MemoryStore):
    async def open(self) -> None:
        await super().open()
        table = self._state.tables["counters"]
        table.put("welcome", table.collection.record(id="welcome"))


@_breaks("a_store_says_what_it_can_do")
class _PromisesTheWorld(MemoryStore):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability="eternal", is_shared=False)


@_breaks("a_copy_takes_nothing_s_place")
class _CopiesOverEverything(MemoryStore):
    async def copy_to(self, target: Path) -> Path:
        return _overwritten(target)


def _overwritten(target: Path) -> Path:
    target.write_bytes(b"copy")
    return target


@_breaks("subscribers_are_told_after_the_commit")
class _TellsTooEarly(MemoryStore):
    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        self._listeners.tell(self._state.seq + 1)
        return await super().transact(work, timeout=timeout)


@_breaks("stopping_ends_the_telling")
class _NeverStopsTelling(MemoryStore):
    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        super().subscribe(told)
        return lambda: None


class _FrailListeners(Listeners):
    def tell(self, seq: int) -> None:
        for told in self._told.values():
            told(seq)


@_breaks("a_failing_subscriber_harms_nobody")
class _FailsWithItsSubscribers(MemoryStore):
    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        super().__init__(collections)
        self._listeners = _FrailListeners()


class _EqualListeners(Listeners):
    """Takes equal callbacks for one."""

    def add(self, told: Callable[[int], None]) -> Callable[[], None]:
        self._told[told] = told

        def stop() -> None:
            self._told.pop(told, None)

        return stop


@_breaks("one_listener_may_subscribe_twice")
class _KnowsListenersByWhatTheyAre(MemoryStore):
    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        super().__init__(collections)
        self._listeners = _EqualListeners()


@_breaks("closing_tells_subscribers_once_more")
class _ClosesInSilence(MemoryStore):
    async def close(self) -> None:
        self._is_open = False


@_breaks("closing_tells_subscribers_once_more")
class _ClosesAfterTheTelling(MemoryStore):
    async def close(self) -> None:
        self._listeners.close(self._state.seq)
        for _ in range(5):
            await asyncio.sleep(0)
        await super().close()


class _AcknowledgesTheLost(_LastingStore):
    """Has no error for those who waited when it was closed."""

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        try:
            return await super().transact(work, timeout=timeout)
        except StoreClosedError:
            made: Committed[Any] = Committed(None, self._state.seq)
            return made


@_breaks("a_closed_store_refuses")
class _NeverCloses(MemoryStore):
    async def close(self) -> None:
        return


class _ForgetsARecord(_LastingStore):
    def kept(self) -> Snapshot:
        whole = super().kept()
        records = {name: dict(list(held.items())[:-1]) for name, held in whole.records.items()}
        return Snapshot(records, whole.seq, whole.now)


class _ForgetsTheNumber(_LastingStore):
    def kept(self) -> Snapshot:
        whole = super().kept()
        return Snapshot(whole.records, max(whole.records["marks"], default=0), whole.now)


LIFE_FAULTS["ForgetsARecord"] = Fault(lambda: partial(_ForgetsARecord, shelf={}), "reopening_keeps_everything")
LIFE_FAULTS["ForgetsTheNumber"] = Fault(lambda: partial(_ForgetsTheNumber, shelf={}), "numbers_go_on_after_reopening")

LIFE_FAULTS["AcknowledgesTheLost"] = Fault(
    lambda: partial(_AcknowledgesTheLost, shelf={}), "what_a_closing_store_acknowledges_is_there"
)


@_breaks("a_used_store_is_well")
class _LosesTrackOfLists(MemorySession):
    def _put(self, table: Table, key: Any, record: Any) -> None:
        super()._put(table, key, record)
        for field in table.collection.lists:
            table.indexes[field].setdefault("ghost", {})[key] = None


class _TellingAll(SlowQueries):
    def saw(self, query: Query[Any], seconds: float, rows: int) -> None:
        super().saw(query, seconds, rows)
        if self._last:
            self._last[-1] = msgspec.structs.replace(self._last[-1], shape=f"where {query.condition}")


@_breaks("slow_queries_are_kept_without_their_values")
class _KeepsWhatWasCompared(MemoryStore):
    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        super().__init__(collections)
        self.slow_queries = _TellingAll()
