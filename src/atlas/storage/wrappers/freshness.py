"""How a cache learns that others have changed the store: by asking it, or from what it hears."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol import Store
from .around import versioned

Look = Callable[[], int | None]
"""Gives a number that differs after changes of others, None while that cannot be told."""


def exact_look(store: Store) -> Look | None:
    """Return what tells every change of others at once, None where nothing does."""
    asked = versioned(store)
    if asked is not None:
        return asked.others_version
    return None if store.capabilities.is_shared else lambda: 0


class Heard:
    """Listens to the numbers of commits: one that is not an own commit's is somebody else's.

    What others write without appending anything is not heard, so entries must end by themselves.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = 0
        self._told = 0
        self._others = 0
        self._stop: Callable[[], None] | None = None

    def look(self) -> int:
        """Return a number that differs after what was heard of others."""
        if self._told > self._known:
            self._known = self._told
            self._others += 1
        return self._others

    def _tell(self, seq: int) -> None:
        self._told = max(self._told, seq)

    def wrote(self, before: int, after: int) -> None:
        """Hear that an own commit took the last number from `before` to `after`."""
        if before == self._known:
            self._known = after

    def open(self) -> None:
        """Begin to listen; the store is open."""
        if self._stop is None:
            self._stop = self._store.subscribe(self._tell)

    def close(self) -> None:
        """Stop listening."""
        if self._stop is not None:
            self._stop()
            self._stop = None
