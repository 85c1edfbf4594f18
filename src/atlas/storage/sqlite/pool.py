"""The readers' pool of a SQLite store: threads with a connection each, for the reads that proved long."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

import apsw

from ...errors import StorageError, StoreClosedError
from ..protocol import Transaction
from .engine import Engine
from .settings import check

T = TypeVar("T")

RECYCLED_AFTER = timedelta(hours=1)

_Work = Callable[[Transaction], Any]
_log = logging.getLogger(__name__)


class _Reader:
    """One thread's connection, and what became of its reads."""

    def __init__(self, now: float) -> None:
        self.connection: apsw.Connection | None = None
        self.made_at = self.used_at = now
        self.is_active = False
        self.calls = self.errors = 0
        self.seconds = 0.0

    def figures(self, now: float) -> dict[str, Any]:
        return {
            "state": "active" if self.is_active else "idle",
            "unused_seconds": 0.0 if self.is_active else round(now - self.used_at, 3),
            "calls": self.calls,
            "errors": self.errors,
            "mean_seconds": round(self.seconds / self.calls, 6) if self.calls else 0.0,
        }


class ReaderPool:
    """Runs reads on at most `size` connections at once, the others in the order they were asked for.

    Each connection is looked at before it is used: one that does not answer gives way to a new one, and so does one
    that is older than `age`. While the file is not the one that was opened, reads raise StorageError.
    """

    def __init__(
        self, engine: Engine, *, size: int, age: timedelta = RECYCLED_AFTER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        check("readers", size)
        self._engine = engine
        self._size = size
        self._age = age.total_seconds()
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], _Work]] = deque()
        self._readers: list[_Reader] = []
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._is_lost = False
        self._lost = self._regained = self._recycled = 0

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Have `work` read a snapshot as soon as a connection is free."""
        asked: Future[T] = Future()
        with self._changed:
            self._check_open()
            self._waiting.append((asked, work))
            self._grow()
            self._changed.notify()
        return asked

    def resize(self, size: int) -> None:
        """Use at most `size` connections from now on; those too many end when their reads have ended."""
        check("readers", size)
        with self._changed:
            self._check_open()
            self._size = size
            self._grow()
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError("the store is closed")

    def figures(self) -> dict[str, Any]:
        """Return what `Store.statistics` tells of it. SQLite does not count the bytes of a connection."""
        with self._changed:
            now = self._clock()
            active = sum(reader.is_active for reader in self._readers)
            return {
                "size": self._size,
                "total": len(self._readers),
                "active": active,
                "idle": len(self._readers) - active,
                "waiting": len(self._waiting),
                "lost": self._lost,
                "regained": self._regained,
                "recycled": self._recycled,
                "each": [reader.figures(now) for reader in self._readers],
            }

    def close(self) -> None:
        """Take no more reads, and let those that were asked for end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _grow(self) -> None:
        """Add readers while more reads wait than there are idle ones, as far as the size allows."""
        idle = sum(not reader.is_active for reader in self._readers)
        while idle < len(self._waiting) and len(self._readers) < self._size:
            reader = _Reader(self._clock())
            thread = threading.Thread(target=self._serve, args=(reader,), name="atlas-reader", daemon=True)
            thread.start()
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            self._readers.append(reader)
            idle += 1

    def _serve(self, reader: _Reader) -> None:
        while self._serve_next(reader):
            pass
        self._drop(reader)

    def _serve_next(self, reader: _Reader) -> bool:
        """Wait for a read and run it; says False when there will be none. Nothing of it is held while waiting."""
        found = self._next(reader)
        if found is None:
            return False
        asked, work = found
        if asked.set_running_or_notify_cancel():
            self._answer(reader, asked, work)
        return True

    def _next(self, reader: _Reader) -> tuple[Future[Any], _Work] | None:
        with self._changed:
            reader.is_active = False
            while not (self._waiting or self._is_closed or len(self._readers) > self._size):
                self._changed.wait()
            if not self._waiting or len(self._readers) > self._size:
                self._readers.remove(reader)
                return None
            reader.is_active = True
            return self._waiting.popleft()

    def _answer(self, reader: _Reader, asked: Future[Any], work: _Work) -> None:
        began = time.perf_counter()
        try:
            connection = self._ready(reader)
            value = self._engine.read(work, connection=connection)
            self._engine.pages.take(connection)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function may have raised it
            self._note(reader, began, is_failed=isinstance(error, StorageError))
            asked.set_exception(error)
        else:
            self._note(reader, began)
            asked.set_result(value)

    def _note(self, reader: _Reader, began: float, *, is_failed: bool = False) -> None:
        with self._changed:
            reader.calls += 1
            reader.errors += is_failed
            reader.seconds += time.perf_counter() - began
            reader.used_at = self._clock()

    def _ready(self, reader: _Reader) -> apsw.Connection:
        """Return the reader's connection, or a new one in its place; raises StorageError."""
        if reader.connection is not None:
            self._look_at(reader, reader.connection)
        if reader.connection is None:
            reader.connection = self._engine.connect()
            reader.made_at = self._clock()
            if self._is_lost:
                self._regain()
        return reader.connection

    def _look_at(self, reader: _Reader, connection: apsw.Connection) -> None:
        # What cannot be written is opened as if nobody else wrote it either, which holds for the moment only.
        if self._clock() - reader.made_at >= self._age or not self._engine.database.is_writable:
            self._drop(reader)
            with self._changed:
                self._recycled += 1
            return
        try:
            self._engine.check(connection)
        except StorageError as error:
            _log.warning("a reading connection was lost: %s", error)
            self._drop(reader)
            with self._changed:
                self._lost += 1
                self._is_lost = True

    def _regain(self) -> None:
        _log.warning("%s is read again", self._engine.database.path)
        with self._changed:
            self._is_lost = False
            self._regained += 1

    def _drop(self, reader: _Reader) -> None:
        connection, reader.connection = reader.connection, None
        if connection is not None:
            self._engine.release(connection)
