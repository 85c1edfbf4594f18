"""Ids in the order of their making: UUIDv7 (RFC 9562, 5.7) with a counter in place of the first random bits."""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0
_entropy: list[int] = []


def _refill() -> None:
    """Draw randomness for many ids at once: a system call for each would cost more than all the rest of an id."""
    drawn = os.urandom(8 * 128)
    _entropy.extend(int.from_bytes(drawn[i : i + 8], "big") for i in range(0, len(drawn), 8))


# A forked child would give out its parent's numbers again.
os.register_at_fork(after_in_child=_entropy.clear)


def new_id() -> str:
    """Return a new id, greater than all given before by this process; the first 48 bits are Unix milliseconds."""
    global _last  # noqa: PLW0603 - the order of ids is a promise of the whole process
    with _lock:
        # 12 bits below the millisecond make the counter, so that 4096 ids a millisecond stay in order.
        _last = max(_last + 1, (time.time_ns() // 1_000_000) << 12)
        made = _last
        if not _entropy:
            _refill()
        drawn = _entropy.pop()
    millis, tail = made >> 12, drawn & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    return (
        f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7{made & 0xFFF:03x}-{tail >> 48:04x}-{tail & 0xFFFF_FFFF_FFFF:012x}"
    )
