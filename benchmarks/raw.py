"""The raw driver as the limit: the very rows that Atlas wrote, written again by prepared statements alone."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

CHECKPOINT_PAGES = 1_000
_WRITES = ("INSERT", "UPDATE", "DELETE")

Statement = tuple[str, Any]


class Captured:
    """The writes of each commit, in order, as they reached the driver; the store's own counters are left out."""

    def __init__(self) -> None:
        self.commits: list[list[Statement]] = []
        self._open: list[Statement] = []

    def trace(self, _cursor: apsw.Cursor, text: str, values: Any) -> bool:
        """See apsw.Connection.exec_trace."""
        if text.startswith("COMMIT"):
            if self._open:
                self.commits.append(self._open)
            self._open = []
        elif text.startswith("ROLLBACK"):
            if " TO " not in text:
                self._open = []
        elif text.startswith(_WRITES) and '"meta"' not in text:
            self._open.append((text, values))
        return True


@contextmanager
def capturing() -> Iterator[Captured]:
    """Capture what every connection opened inside the block writes."""
    captured = Captured()

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = captured.trace

    apsw.connection_hooks.append(hook)
    try:
        yield captured
    finally:
        apsw.connection_hooks.remove(hook)


async def captured_from(work: Callable[[], Awaitable[object]]) -> list[list[Statement]]:
    """Return the commits of work that opens its own store."""
    with capturing() as captured:
        await work()
    return captured.commits


class RawWriter:
    """A connection as fast as the driver allows at the same promise: WAL, FULL, the same checkpoints."""

    def __init__(self, path: Path) -> None:
        self.connection = raw_connection(path)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.wal_autocheckpoint(0)
        self.connection.set_wal_hook(self._count)
        self._pages = 0

    def _count(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def replay(self, commits: Sequence[Sequence[Statement]]) -> float:
        """Write each commit's rows, one commit each; returns the seconds."""
        execute = self.connection.execute
        start = time.perf_counter()
        for statements in commits:
            execute("BEGIN IMMEDIATE")
            for text, values in statements:
                execute(text, values)
            execute("COMMIT")
            self._tidy()
        return time.perf_counter() - start

    def insert(self, text: str, rows: Sequence[Any], *, at_once: int) -> float:
        """Insert rows by executemany, a commit for every `at_once` of them; returns the seconds."""
        start = time.perf_counter()
        for first in range(0, len(rows), at_once):
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(text, rows[first : first + at_once])
            self.connection.execute("COMMIT")
            self._tidy()
        return time.perf_counter() - start

    def _tidy(self) -> None:
        if self._pages >= CHECKPOINT_PAGES:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._pages = 0

    def close(self) -> None:
        """Release the file."""
        self.connection.close()


def raw_connection(path: Path) -> apsw.Connection:
    """Return a connection with the store's page cache and mapping, and nothing else."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "PRAGMA cache_size = -16384; PRAGMA mmap_size = 268435456; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON"
    ).fetchall()
    return connection
