"""Connections to a Redis server, kept for reuse: each is used by one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions

from ...errors import StoreClosedError
from ..jobs import TooLongError

LIFE_SECONDS = 3600.0
"""A connection that is older is replaced before it is used again: addresses and loads change behind a name."""

SMALL_BYTES = 64 * 1024
"""What is larger is not sent in a hurry: sending alone may have to wait."""

LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
"""What the driver raises when the server is not there, or is there no more."""


class Line:
    """One connection, and what went over it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.made = self.used = time.monotonic()
        self.calls = self.errors = self.size = 0
        self.seconds = 0.0

    def exchange(self, commands: Sequence[Sequence[Any]], *, until: float | None = None) -> list[Any]:
        """Send commands and return the replies, refusals among them; TooLongError unless all came `until` then."""
        data, asked = _on_the_wire(commands), time.perf_counter()
        if until is not None and len(data) > SMALL_BYTES:
            raise TooLongError
        self.connection.send_packed_command([data])
        if until is not None and not self.connection.can_read(max(0.0, until - time.monotonic())):
            raise TooLongError
        replies = [_reply(self.connection, until) for _ in commands]
        self.used = time.monotonic()
        self.seconds += time.perf_counter() - asked
        self.size += len(data) + _size(replies)
        self.calls += 1
        self.errors += sum(isinstance(reply, Exception) for reply in replies)
        return replies

    def has_ended(self) -> bool:
        """Say whether the other side ended it while nobody used it: then there is something to be read."""
        try:
            return bool(self.connection.can_read())
        except LOST:
            return True

    def end(self) -> None:
        """End the connection."""
        self.connection.disconnect()

    def figures(self, state: str) -> dict[str, Any]:
        """Return what went over it so far; of the replies, the values are counted, not what frames them."""
        return {
            "state": state,
            "unused_seconds": round(time.monotonic() - self.used, 3),
            "calls": self.calls,
            "errors": self.errors,
            "bytes": self.size,
            "mean_seconds": round(self.seconds / self.calls, 6) if self.calls else 0.0,
        }


class Pool:
    """Keeps up to `size` connections for reuse.

    There is one for each thread that may ask at once, so that the one that writes never waits for those that read.
    """

    def __init__(self, connect: Callable[[], Line], *, size: int) -> None:
        self.size = size
        self.lost = self.recycled = 0
        self._connect = connect
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def exchange(
        self, commands: Sequence[Sequence[Any]], *, is_repeatable: bool, until: float | None = None
    ) -> list[Any]:
        """Return the replies. A connection that went bad while idle is replaced, where commands may be sent twice.

        Raises what the driver does, StoreClosedError, or TooLongError when no connection stands and answers `until`
        a time of the monotonic clock.
        """
        line = self._taken(is_alive=not is_repeatable)
        if line is not None:
            try:
                return self._used(line, commands, until=until)
            except LOST as error:
                if not is_repeatable or isinstance(error, exceptions.TimeoutError):
                    raise
                self.lost += self._forget_idle()
        if until is not None:
            raise TooLongError
        return self._used(self._connect(), commands)

    def _taken(self, *, is_alive: bool) -> Line | None:
        """Return an idle connection, None where there is none; `is_alive`: one that the server has not left."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise StoreClosedError("the store is closed")
                if not self._idle:
                    return None
                line = self._idle.pop()
            if time.monotonic() - line.made > LIFE_SECONDS:
                self.recycled += 1
            elif is_alive and line.has_ended():
                self.lost += 1
            else:
                return line
            line.end()

    def _used(self, line: Line, commands: Sequence[Sequence[Any]], *, until: float | None = None) -> list[Any]:
        """Send and receive; the connection goes back to the others only when nothing of it is left unread."""
        with self._lock:
            self._busy.add(line)
        is_whole = is_lost = False
        try:
            replies = line.exchange(commands, until=until)
            is_whole = True
        except LOST:
            is_lost = True
            raise
        finally:
            self._give_back(line, is_whole=is_whole, is_lost=is_lost)
        return replies

    def _give_back(self, line: Line, *, is_whole: bool, is_lost: bool) -> None:
        with self._lock:
            self._busy.discard(line)
            self.lost += is_lost
            if is_whole and not self._is_closed and len(self._idle) + len(self._busy) < self.size:
                self._idle.append(line)
                return
        line.end()

    def _forget_idle(self, *, kept: int = 0) -> int:
        with self._lock:
            ended = self._idle[: max(0, len(self._idle) - kept)]
            del self._idle[: len(ended)]
        for line in ended:
            line.end()
        return len(ended)

    def resize(self, size: int) -> None:
        """Allow so many connections from now on; those above end when they are no longer used."""
        with self._lock:
            self.size = size
            kept = max(0, size - len(self._busy))
        self._forget_idle(kept=kept)

    def open(self) -> None:
        """Lend connections, from now on."""
        with self._lock:
            self._is_closed = False

    def close(self) -> None:
        """End all connections; those in use end with what they are used for."""
        with self._lock:
            self._is_closed = True
        self._forget_idle()

    def figures(self) -> dict[str, Any]:
        """Return how many connections there are, and of each what went over it."""
        with self._lock:
            idle, busy = list(self._idle), list(self._busy)
        return {
            "size": self.size,
            "total": len(idle) + len(busy),
            "active": len(busy),
            "idle": len(idle),
            "lost": self.lost,
            "recycled": self.recycled,
            "each": [*(line.figures("active") for line in busy), *(line.figures("idle") for line in idle)],
        }


def _on_the_wire(commands: Sequence[Sequence[Any]]) -> bytes:
    """Return commands in the server's protocol; the driver's own way takes four times as long."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            data = part if type(part) is bytes else str(part).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _reply(connection: Any, until: float | None) -> Any:
    try:
        if until is None:
            return connection.read_response()
        return connection.read_response(timeout=max(0.0, until - time.monotonic()))
    except exceptions.TimeoutError:
        # What began to come may stop half way.
        if until is None:
            raise
        raise TooLongError from None
    except exceptions.BusyLoadingError:
        raise
    except exceptions.ResponseError as error:
        return error


def _size(reply: Any) -> int:
    if isinstance(reply, bytes):
        return len(reply)
    return sum(map(_size, reply)) if isinstance(reply, list) else 0
