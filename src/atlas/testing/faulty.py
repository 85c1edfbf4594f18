"""Stores that break one promise each: a contract suite that does not notice them is not worth running."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..errors import StorageError, StoreTimeoutError
from ..storage.collection import Collection
from ..storage.memory import MemoryStore, Snapshot
from ..storage.memory_session import MemorySession, State, Table
from ..storage.overlay import Overlay, Write
from ..storage.protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from .faults import Fault, breaks
from .faulty_expiry import EXPIRY_FAULTS
from .faulty_lives import LIFE_FAULTS
from .faulty_queries import QUERY_FAULTS
from .faulty_refusals import REFUSAL_FAULTS

T = TypeVar("T")

FAULTS: dict[str, Fault] = {**QUERY_FAULTS, **REFUSAL_FAULTS, **LIFE_FAULTS, **EXPIRY_FAULTS}
_breaks = partial(breaks, FAULTS)


# Records


@_breaks("a_record_put_is_read_back")
class _LosesAWrite(MemorySession):
    def write(self, writes: Sequence[Write]) -> None:
        super().write(writes[:-1] if len(writes) > 1 else writes)


@_breaks("difficult_values_come_back_equal")
class _TrimsText(MemorySession):
    def _put(self, table: Table, key: Any, record: Any) -> None:
        metadata = getattr(record, "metadata", None) or {}
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in metadata.items()}
        super()._put(table, key, msgspec.structs.replace(record, metadata=trimmed) if metadata else record)


@_breaks("what_was_never_put_reads_as_none")
class _MakesRecordsUp(MemorySession):
    def get(self, collection: Collection[T], key: Any) -> T | None:
        return super().get(collection, key) or collection.record(id=key, path=key)  # type: ignore[call-arg]


@_breaks("thousands_of_keys_are_no_limit")
class _ReadsAFewKeys(MemorySession):
    def get_many(self, collection: Collection[T], keys: Sequence[Any]) -> dict[Any, T]:
        return super().get_many(collection, keys[:999])


@_breaks("the_expected_version_must_be_the_present_one")
class _IgnoresVersions(Overlay):
    def put(self, collection: Collection[T], record: T, *, expected_version: int | None = None) -> None:
        super().put(collection, record, expected_version=expected_version and None)


@_breaks("put_replaces_the_whole_record")
class _LeavesIndexesBehind(MemorySession):
    def _put(self, table: Table, key: Any, record: Any) -> None:
        super()._put(table, key, record)
        for field, index in table.indexes.items():
            if record is not None and field in table.collection.unique:
                index.clear()


# Transactions


@_breaks("failing_work_leaves_nothing")
class _KeepsAFailedWrite(MemorySession):
    def undo(self) -> None:
        del self._undo[:1]
        super().undo()


@_breaks("errors_reach_the_caller_as_they_are")
class _WrapsErrors(MemoryStore):
    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        try:
            return await super().transact(work, timeout=timeout)
        except Exception as error:
            raise StorageError(str(error)) from error


@_breaks("a_failed_savepoint_leaves_nothing_after_a_query")
class _KeepsAFailedSavepoint(MemorySession):
    def rollback(self, level: int) -> None:
        self.release(level)


@_breaks("a_read_cannot_write")
class _WritesInReads(Overlay):
    def __init__(self, session: Any, *, is_writable: bool = True, deadline: float | None = None) -> None:
        super().__init__(session, is_writable=is_writable or True, deadline=deadline)


@_breaks("work_past_its_deadline_is_undone")
class _IgnoresDeadlines(Overlay):
    def __init__(self, session: Any, *, is_writable: bool = True, deadline: float | None = None) -> None:
        super().__init__(session, is_writable=is_writable, deadline=deadline and None)


@_breaks("work_past_its_deadline_is_undone")
class _KeepsWhatWasLate(MemorySession):
    def undo(self) -> None:
        if not isinstance(sys.exception(), StoreTimeoutError):
            super().undo()


@_breaks("time_stands_still_in_a_transaction")
class _RunsBackInTime(MemorySession):
    def __init__(self, state: State, clock_now: datetime) -> None:
        super().__init__(state, clock_now)
        self.now -= timedelta(milliseconds=10 * sum(len(table.records) for table in state.tables.values()))


@_breaks("new_ids_ascend")
class _ShufflesIds(Overlay):
    def new_id(self) -> str:
        return str(uuid.uuid4())


# Sequences


@_breaks("numbers_follow_each_other")
class _SkipsANumber(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        super().append(collection, records)
        self._state.seq += 1


@_breaks("a_given_number_is_replaced")
class _KeepsGivenNumbers(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        self._state.seq = max(self._state.seq, *(collection.key_of(record) - 1 for record in records))
        super().append(collection, records)


@_breaks("numbers_follow_each_other")
class _TurnsNumbersRound(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        super().append(collection, records[::-1])


@_breaks("a_failed_savepoint_leaves_nothing_after_a_query")
class _BurnsNumbers(MemorySession):
    def rollback(self, level: int) -> None:
        burnt = self._state.seq
        super().rollback(level)
        self._state.seq = burnt


@_breaks("a_deleted_number_is_not_given_again")
class _GivesNumbersAgain(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        sequences = (table for table in self._state.tables.values() if table.collection.sequence)
        self._state.seq = max((number for table in sequences for number in table.records), default=0)
        super().append(collection, records)


@_breaks("numbers_begin_again_where_nothing_has_one")
class _BeginsAtTwo(MemorySession):
    def start_over(self) -> None:
        self._state.seq = min(self._state.seq, 1)


@_breaks("what_was_appended_is_found_by_its_lists_and_words")
class _IndexesNoAppends(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        super().append(collection, records)
        for field in collection.lists:
            self._state.tables[collection.name].indexes[field].clear()


@_breaks("half_a_character_is_refused")
class _TakesHalves(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        halves = [record for record in records if "\ud83d" in getattr(record, "text", "")]
        super().append(collection, [record for record in records if record not in halves])


# Many callers


class _ShowsHalf(MemoryStore):
    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        before = self.snapshot()
        made = await super().transact(work, timeout=timeout)
        after = self.snapshot()
        self.restore(_half(before, after))
        await asyncio.sleep(0)
        self.restore(after)
        return made


def _half(before: Snapshot, after: Snapshot) -> Snapshot:
    """Take the newest write to one collection back."""
    records = {name: dict(held) for name, held in after.records.items()}
    changed = next((name for name in records if records[name] != before.records[name]), None)
    if changed is not None and records[changed]:
        key, _ = records[changed].popitem()
        if key in before.records[changed]:
            records[changed][key] = before.records[changed][key]
    return Snapshot(records, after.seq, after.now)


FAULTS["ShowsHalf"] = Fault(lambda: _ShowsHalf, "a_read_sees_one_moment")
FAULTS["LeavesHalfWhenCancelled"] = Fault(lambda: _ShowsHalf, "a_cancelled_caller_leaves_all_or_nothing")


@_breaks("no_increment_is_lost")
class _ForgetsOthers(MemoryStore):
    """Runs each function on the records as they were when it was handed in."""

    def __init__(self, collections: Sequence[Collection[Any]]) -> None:
        super().__init__(collections)
        self._seen: dict[Any, Snapshot] = {}

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        self._seen[asyncio.current_task()] = self.snapshot()
        return await super().transact(work, timeout=timeout)

    def _session(self) -> MemorySession:
        seen = self._seen.pop(asyncio.current_task(), None)
        if seen is not None:
            self._state = self._state_at(seen)
        return super()._session()


@_breaks("callers_do_not_keep_the_event_loop")
class _KeepsTheLoop(MemoryStore):
    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        running = super().transact(work, timeout=timeout)
        while True:
            try:
                running.send(None)
            except StopIteration as end:
                made: Committed[T] = end.value
                return made


@_breaks("a_store_that_stays_busy_says_so")
class _WaitsLonger(MemoryStore):
    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        return await super().transact(work, timeout=max(timeout, DEFAULT_TIMEOUT))


class _SharesNothing(MemoryStore):
    """Claims that others see its records."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability="memory", is_shared=True)


for _law in (
    "no_increment_is_lost_between_stores",
    "what_one_store_commits_another_reads",
    "a_place_may_be_opened_by_several_at_once",
    "another_store_is_told",
    "every_store_at_a_place_knows_what_is_over",
):
    FAULTS[f"SharesNothing: {_law}"] = Fault(lambda: _SharesNothing, _law)


class _ReadsInTurn(_SharesNothing):
    """Shares its records and the turn, also with those who only read."""

    def __init__(self, collections: Sequence[Collection[Any]], *, shared: dict[str, Any]) -> None:
        super().__init__(collections)
        self._state = shared.setdefault("state", self._state)
        self._lock = shared.setdefault("lock", self._lock)


FAULTS["ReadsInTurn"] = Fault(lambda: partial(_ReadsInTurn, shared={}), "a_read_does_not_wait_for_a_writer")
