"""Tells other processes' commits from this one's, at the price of one pragma."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import apsw


class Witness:
    """Watches a database through a connection of its own, which sees every commit but not whose it is."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._is_committing = False
        self._others = 0
        self._seen = self._version()

    def _version(self) -> object:
        return self._connection.execute("PRAGMA data_version").get

    def look(self) -> int | None:
        """Return a number that differs once others have committed; None while it may be the own commit that shows."""
        with self._lock:
            return self._look()

    def _look(self) -> int | None:
        found = self._version()
        if found == self._seen:
            return self._others
        if self._is_committing:
            return None
        self._seen = found
        self._others += 1
        return self._others

    @contextmanager
    def own(self) -> Iterator[None]:
        """Commit inside this block, which nobody else can do meanwhile: what shows afterwards is the own commit."""
        with self._lock:
            self._look()
            self._is_committing = True
        try:
            yield
        finally:
            with self._lock:
                self._is_committing = False
                try:
                    self._seen = self._version()
                except apsw.Error:
                    # The commit stands or falls without this look; unknown counts as a change of others.
                    self._seen = None

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            self._connection.close()
