"""How a cache learns that others have changed the store: exactly, or from what it hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...errors import ConfigError
from ..protocol import Store
from .around import versioned


class Freshness(Protocol):
    """Tells others' changes."""

    @property
    def is_exact(self) -> bool:
        """Whether no change of others can go unnoticed by `version`."""
        ...

    def version(self) -> int | None:
        """Return a number that differs after changes of others, None while that cannot be told."""
        ...

    def wrote(self, before: int, after: int) -> None:
        """Hear that an own commit took the last number from `before` to `after`."""
        ...

    def open(self) -> None:
        """Begin to listen; the store is open."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Exact:
    """Asks the store itself, or knows that nobody else has it."""

    is_exact = True

    def __init__(self, version: Callable[[], int | None]) -> None:
        self.version = version

    def wrote(self, before: int, after: int) -> None:
        """See Freshness; own commits do not change the version."""

    def open(self) -> None:
        """See Freshness; the store is asked, not listened to."""

    def close(self) -> None:
        """See Freshness."""


class Heard:
    """Listens to the numbers of commits: one that is not an own commit's is somebody else's.

    What others write without appending anything is not heard, so entries must end by themselves.
    """

    is_exact = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = 0
        self._told = 0
        self._others = 0
        self._stop: Callable[[], None] | None = None

    def version(self) -> int | None:
        """See Freshness."""
        if self._told > self._known:
            self._known = self._told
            self._others += 1
        return self._others

    def _tell(self, seq: int) -> None:
        self._told = max(self._told, seq)

    def wrote(self, before: int, after: int) -> None:
        """See Freshness."""
        if before == self._known:
            self._known = after

    def open(self) -> None:
        """See Freshness."""
        if self._stop is None:
            self._stop = self._store.subscribe(self._tell)

    def close(self) -> None:
        """See Freshness."""
        if self._stop is not None:
            self._stop()
            self._stop = None


def freshness_of(store: Store, *, has_staleness: bool) -> Freshness:
    """Return the best there is for this store; raises ConfigError where a staleness would have to be stated."""
    asked = versioned(store)
    if asked is not None:
        return Exact(asked.others_version)
    if not store.capabilities.is_shared:
        return Exact(lambda: 0)
    if not has_staleness:
        raise ConfigError(
            "this store cannot say at once that others changed it",
            field="staleness",
            hint="State for how long a read may show what was so before: staleness=timedelta(seconds=1).",
        )
    return Heard(store)
