"""What a SQLite store can tell of its file: its caches, its log, and how long its writers waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from .database import Database


class PageCounts:
    """How often pages were found in the caches of connections, and how often not."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._adding = threading.Lock()

    def take(self, connection: apsw.Connection) -> None:
        """Add what a connection counted since it was asked last; it must not be in use by another thread.

        SQLite would refuse one of the two, and that could be the one who reads.
        """
        hits, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_HIT, True)
        misses, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)
        with self._adding:
            self.hits += hits
            self.misses += misses

    @property
    def rate(self) -> float:
        """The share of hits; 1 where nothing was looked for."""
        return self.hits / (self.hits + self.misses) if self.misses else 1.0


class LockWaits:
    """How often writers waited for their turn, and for how many seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.longest = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the block as one wait, whether the turn came or not."""
        asked = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - asked
            self.count += 1
            self.seconds += seconds
            self.longest = max(self.longest, seconds)


def file_figures(database: Database, reader: apsw.Connection, pages: PageCounts, waits: LockWaits) -> dict[str, Any]:
    """Return the figures of the file; `reader` must not be in use."""
    log_pages, moved = _log(database, reader)
    return {
        "page_size": reader.execute("PRAGMA page_size").get,
        "cache_bytes": database.settings.cache_size,
        "cache_reads": pages.hits + pages.misses,
        "cache_hit_rate": round(pages.rate, 4),
        "memory_bytes": apsw.memory_used(),
        "mmap_bytes": reader.execute("PRAGMA mmap_size").get,
        "log_bytes": database.log_bytes(),
        "log_pages": log_pages,
        "log_pages_moved": moved,
        "checkpoints": database.checkpoints,
        "lock_waits": waits.count,
        "lock_wait_seconds": round(waits.seconds, 6),
        "lock_wait_longest_seconds": round(waits.longest, 6),
    }


def _log(database: Database, reader: apsw.Connection) -> tuple[int, int]:
    """Return how many pages the log holds, and how many of them are in the database already."""
    if not database.is_writable:
        # Who may not write a log may not look into it either.
        return 0, 0
    return tuple(max(pages, 0) for pages in reader.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP))  # type: ignore[return-value]
