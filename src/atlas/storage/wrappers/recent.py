"""Records lately used, by collection and key: the longest unused leave first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ..collection import Collection, encode

Place = tuple[str, Any]
EVERYTHING: Place = ("", None)
"""The place of whatever there is: no collection is without a name."""


class Kept(NamedTuple):
    """A record (None: there is none) as JSON takes `size` bytes; not to be used from `end` on.

    Records of one `moment` were, or are, true together.
    """

    record: Any
    size: int
    end: float
    moment: object


_NOT_JSON = (msgspec.MsgspecError, TypeError, ValueError, OverflowError)


def size_of(record: Any) -> int | None:
    """Return the bytes of a record as JSON; None of one that only a store in memory can hold."""
    try:
        return len(encode(record))
    except _NOT_JSON:
        return None


def kept(record: Any, *, end: float, moment: object) -> Kept | None:
    """Return an entry for a record as the store gave it; None for one that cannot be weighed."""
    size = 0 if record is None else size_of(record)
    return None if size is None else Kept(record, size, end, moment)


def kept_anew(collection: Collection[Any], record: Any, *, end: float, moment: object) -> Kept | None:
    """Return an entry for a record that was written: what a read of it would give, whatever becomes of this one."""
    if record is None:
        return Kept(None, 0, end, moment)
    try:
        text = encode(record)
        return Kept(collection.decode(text), len(text), end, moment)
    except _NOT_JSON:
        return None


class Recent:
    """Entries by place, bounded in number and in bytes; one lock of its owner guards all that changes it."""

    def __init__(self, *, entries: int, most_bytes: int) -> None:
        self._entries: OrderedDict[Place, Kept] = OrderedDict()
        self._most = entries
        self._most_bytes = most_bytes
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, place: Place) -> Kept | None:
        """Return an entry, now the last that would have to leave; None where there is none."""
        entry = self._entries.get(place)
        if entry is not None:
            try:
                self._entries.move_to_end(place)
            except KeyError:
                # Another thread has dropped it just now.
                return None
        return entry

    def put(self, place: Place, entry: Kept | None) -> None:
        """Keep an entry, and let others go for it; one that alone is too large is not kept."""
        self.drop(place)
        if entry is None or entry.size > self._most_bytes:
            return
        self._entries[place] = entry
        self.bytes += entry.size
        while len(self._entries) > self._most or self.bytes > self._most_bytes:
            _, gone = self._entries.popitem(last=False)
            self.bytes -= gone.size
            self.evictions += 1

    def drop(self, place: Place) -> bool:
        """Forget an entry; says whether there was one."""
        gone = self._entries.pop(place, None)
        if gone is None:
            return False
        self.bytes -= gone.size
        return True

    def drop_ended(self, place: Place, now: float) -> bool:
        """Forget an entry whose time is over; says whether there was one."""
        entry = self._entries.get(place)
        return entry is not None and entry.end <= now and self.drop(place)

    def drop_all(self, is_meant: Callable[[Place], bool]) -> int:
        """Forget the entries at certain places; says how many there were."""
        return sum(self.drop(place) for place in [place for place in self._entries if is_meant(place)])

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0
