"""A store that counts: operations, errors, how long they took, and the bytes of records."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...errors import AtlasError
from ..protocol import DEFAULT_TIMEOUT, Committed, Store, Transaction
from .around import StoreAround
from .operation import KINDS, Operation, OperationTransaction, perform
from .recent import size_of

T = TypeVar("T")

BOUNDS = tuple(2**power / 1_000_000 for power in range(27))
"""The upper bounds of a histogram's buckets in seconds: from a microsecond to a minute, each twice the one before."""

CALLS = ("open", "close", "transact", "read", "maintain", "verify", "copy_to", "statistics")


class Histogram(msgspec.Struct, frozen=True):
    """How long things took, in seconds; `buckets` counts those up to each of `BOUNDS`, and last those above all."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    def quantile(self, part: float) -> float:
        """Return a bound in seconds that `part` (0 to 1) of all stayed below; 0 of nothing."""
        wanted, passed = math.ceil(part * self.count), 0
        for bound, number in zip(BOUNDS, self.buckets, strict=False):
            passed += number
            if passed >= wanted:
                return float(min(self.longest, bound))
        return self.longest


class Figures(msgspec.Struct, frozen=True):
    """What was counted since the store was made.

    `operations` are those inside transactions by kind (get, set, delete, append, query, count, aggregate) and the calls
    of the store (transact, read, open, …). Work that had to run again is counted once. A batch is one operation;
    `records` tells how many records went through each kind. `errors` counts failed operations by `kind:code`.
    """

    operations: dict[str, int]
    records: dict[str, int]
    errors: dict[str, int]
    seconds: dict[str, Histogram]
    bytes_read: int
    bytes_written: int


class _Tally:
    """Counts that grow."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from nothing: what an earlier run of the same work did is not counted."""
        self.took: list[tuple[str, float]] = []
        self.records: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.read = 0
        self.written = 0

    def failed(self, kind: str, error: BaseException) -> None:
        """Count an error."""
        code = error.code if isinstance(error, AtlasError) else type(error).__name__
        self.errors[f"{kind}:{code}"] += 1

    def passed(self, operation: Operation, value: Any) -> None:
        """Count the records that an operation gave or took."""
        kind = operation.kind
        if operation.records:
            self.records[kind] += len(operation.records)
            self.written += sum(map(_size, operation.records))
        elif kind in {"get", "query"}:
            rows = value.values() if kind == "get" else value
            self.records[kind] += len(rows)
            self.read += sum(map(_size, rows))
        elif kind == "delete":
            self.records[kind] += value


def _size(record: Any) -> int:
    return size_of(record) or 0


class _Clocked:
    """Sums of times, and how many fell into each bucket."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    def told(self) -> Histogram:
        """Return what was counted."""
        return Histogram(self.count, self.total, self.longest, tuple(self.buckets))


class MeteredStore(StoreAround):
    """Counts what the store inside does; `figures` tells."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._clocked = {name: _Clocked() for name in (*KINDS[:-1], *CALLS)}
        self._sums = _Tally()

    def figures(self) -> Figures:
        """Return the counts as they are now."""
        with self._lock:
            return Figures(
                operations={name: clocked.count for name, clocked in self._clocked.items()},
                records=dict(self._sums.records),
                errors=dict(self._sums.errors),
                seconds={name: clocked.told() for name, clocked in self._clocked.items()},
                bytes_read=self._sums.read,
                bytes_written=self._sums.written,
            )

    async def _timed(self, name: str, call: Callable[[], Awaitable[T]], tally: _Tally | None = None) -> T:
        """Time one call of the store; `tally` is what happened inside."""
        counted = tally or _Tally()
        begun = time.perf_counter()
        try:
            return await call()
        except BaseException as error:
            counted.failed(name, error)
            raise
        finally:
            counted.took.append((name, time.perf_counter() - begun))
            self._add(counted)

    def _add(self, tally: _Tally) -> None:
        with self._lock:
            for name, seconds in tally.took:
                self._clocked[name].add(seconds)
            for name, number in tally.records.items():
                self._sums.records[name] += number
            for name, number in tally.errors.items():
                self._sums.errors[name] += number
            self._sums.read += tally.read
            self._sums.written += tally.written

    def _counting(self, work: Callable[[Transaction], T], tally: _Tally) -> Callable[[Transaction], T]:
        def counting(tx: Transaction) -> T:
            tally.begin()
            return work(OperationTransaction(tx, lambda operation: _measured(tx, operation, tally)))

        return counting

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        tally = _Tally()
        counting = self._counting(work, tally)
        return await self._timed("transact", lambda: self.inner.transact(counting, timeout=timeout), tally)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        tally = _Tally()
        counting = self._counting(work, tally)
        return await self._timed("read", lambda: self.inner.read(counting), tally)

    async def open(self) -> None:
        """See Store."""
        await self._timed("open", self.inner.open)

    async def close(self) -> None:
        """See Store."""
        await self._timed("close", self.inner.close)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store."""
        return await self._timed("maintain", lambda: self.inner.maintain(analyze=analyze))

    async def verify(self) -> list[str]:
        """See Store."""
        return await self._timed("verify", self.inner.verify)

    async def copy_to(self, target: Path) -> Path:
        """See Store."""
        return await self._timed("copy_to", lambda: self.inner.copy_to(target))

    async def statistics(self) -> Mapping[str, Any]:
        """See Store; `metered` holds the figures."""
        inside = await self._timed("statistics", self.inner.statistics)
        return {**inside, "metered": msgspec.to_builtins(self.figures())}


def _measured(tx: Transaction, operation: Operation, tally: _Tally) -> Any:
    begun = time.perf_counter()
    try:
        value = perform(tx, operation)
    except BaseException as error:
        tally.failed(operation.kind, error)
        raise
    finally:
        tally.took.append((operation.kind, time.perf_counter() - begun))
    tally.passed(operation, value)
    return value
