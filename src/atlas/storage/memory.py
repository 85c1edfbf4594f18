"""The memory store: records in dicts, functions run where they are called; everything goes with the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import InputError, StorageError, StoreBusyError, StoreClosedError
from .clock import utc_now
from .collection import Collection, check_alone
from .expiring import remove_expired
from .listeners import Listeners
from .memory_session import MemorySession, State
from .overlay import Overlay
from .protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from .query import Query
from .slow import SlowQueries

T = TypeVar("T")


class Snapshot(msgspec.Struct, frozen=True):
    """All records of a store at one moment; taking one copies no record."""

    records: Mapping[str, Mapping[Any, Any]]
    seq: int
    now: datetime


class MemoryStore:
    """A store that is as lasting as its process (`protocol.Store` states the promise).

    Records are kept as they are given, so what they hold must not be changed afterwards. `initial` is what it begins
    with: a snapshot, or records by the names of their collections (those of a sequence are numbered from 1).
    """

    session_type = MemorySession
    overlay_type = Overlay

    def __init__(
        self,
        collections: Sequence[Collection[Any]],
        *,
        initial: Snapshot | Mapping[str, Iterable[Any]] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        check_alone(collections)
        self._state = State(collections)
        self._clock = clock
        self.slow_queries = SlowQueries()
        self._lock = threading.Lock()
        self._listeners = Listeners()
        self._commits = 0
        self._restores = 0
        self._is_open = False
        if isinstance(initial, Snapshot):
            self._state = self._state_at(initial)
        elif initial:
            self._begin_with(initial)

    def _begin_with(self, initial: Mapping[str, Iterable[Any]]) -> None:
        """Take records in as a transaction would; raises InputError for a collection that is not the store's."""
        session = self._session()
        overlay = self.overlay_type(session)
        for name, records in initial.items():
            table = self._state.tables.get(name)
            if table is None:
                raise InputError(
                    f"the store has no {name}", field="initial", given=name, bound=sorted(self._state.tables)
                )
            if table.collection.sequence:
                for record in records:
                    overlay.append(table.collection, record)
            else:
                overlay.put_many(table.collection, records)
        overlay.finish()
        session.check_references()

    @property
    def url(self) -> str:
        """See Store."""
        return "memory://"

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return Capabilities(durability="memory", is_shared=False)

    async def open(self) -> None:
        """See Store."""
        self._is_open = True

    async def close(self) -> None:
        """See Store. The records stay, for the case that it is opened again."""
        self._is_open = False
        self._listeners.close(self._state.seq)

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        await asyncio.sleep(0)
        deadline = time.monotonic() + timeout.total_seconds()
        with self._turn(timeout):
            before = self._state.seq
            session = self._session()
            overlay = self.overlay_type(session, deadline=deadline, slow=self.slow_queries)
            try:
                value = work(overlay)
                overlay.finish()
                session.check_references()
            except BaseException:
                session.undo()
                raise
            self._commits += 1
            made = Committed(value, self._state.seq)
        if made.seq > before:
            self._listeners.tell(made.seq)
        return made

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        await asyncio.sleep(0)
        with self._turn(DEFAULT_TIMEOUT):
            return work(self.overlay_type(self._session(), is_writable=False, slow=self.slow_queries))

    @contextmanager
    def _turn(self, timeout: timedelta) -> Iterator[None]:
        """Let one thread at a time in: on one event loop nobody ever waits here."""
        seconds = min(max(0.0, timeout.total_seconds()), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=seconds):
            raise StoreBusyError(f"no turn within {seconds:g} s")
        try:
            if not self._is_open:
                raise StoreClosedError("the store is not open")
            yield
        finally:
            self._lock.release()

    def _session(self) -> MemorySession:
        return self.session_type(self._state, self._clock())

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """See Store."""
        return self._listeners.add(told)

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        with self._turn(DEFAULT_TIMEOUT):
            records = {name: dict(table.records) for name, table in self._state.tables.items()}
            return Snapshot(records, self._state.seq, self._state.now)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of these collections, numbers included; subscribers are told the number."""
        with self._turn(DEFAULT_TIMEOUT):
            self._state = self._state_at(snapshot)
            self._restores += 1
        self._listeners.tell(snapshot.seq)

    def others_version(self) -> int | None:
        """See Versioned."""
        if not self._is_open:
            raise StoreClosedError("the store is not open")
        return self._restores

    def _state_at(self, snapshot: Snapshot) -> State:
        state = State([table.collection for table in self._state.tables.values()])
        state.seq, state.now = snapshot.seq, snapshot.now
        for name, records in snapshot.records.items():
            for key, record in records.items():
                state.tables[name].put(key, record)
        return state

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store. Nothing else is to be given back; the size is that of the records as JSON."""
        await asyncio.sleep(0)
        with self._turn(DEFAULT_TIMEOUT):
            before, collections = self._state.size(), [table.collection for table in self._state.tables.values()]
        expired = await remove_expired(self, collections)
        with self._turn(DEFAULT_TIMEOUT):
            after = self._state.size()
        return {"before": before, "after": after, "analyzed": analyze, "expired": expired}

    async def verify(self) -> list[str]:
        """See Store."""
        await asyncio.sleep(0)
        with self._turn(DEFAULT_TIMEOUT):
            return self._state.faults()

    async def copy_to(self, target: Path) -> Path:
        """See Store; always refuses."""
        raise StorageError(
            f"a memory store cannot be copied to {target}",
            hint="Export its records, or open a store in a file.",
        )

    async def statistics(self) -> Mapping[str, Any]:
        """See Store."""
        await asyncio.sleep(0)
        with self._turn(DEFAULT_TIMEOUT):
            tx = self.overlay_type(self._session(), is_writable=False)
            return {
                "url": self.url,
                "bytes": self._state.size(),
                "records": {name: tx.count(Query(table.collection)) for name, table in self._state.tables.items()},
                "seq": self._state.seq,
                "commits": self._commits,
                "slow_queries": self.slow_queries.figures(),
            }
