"""The way to a Redis server: connections kept for reuse, and its refusals as errors of the tree."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from ...errors import StorageError, StoreBusyError, StoreClosedError, StoreFullError, StoreReadOnlyError
from .address import Address
from .scripts import READ, Script, packed

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0

_KINDS: dict[str, Any] = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
_LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_CODE = re.compile(r"\b(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|NOPERM|NOAUTH|WRONGPASS|BUSY|MOVED|CROSSSLOT)\b")

_NOT_ALLOWED = re.compile(r"user executing the script can't|ACL failure in script")
_CODES = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoPermissionError, "NOPERM"),
)
"""The driver takes the code away from errors that it has a class for."""


class ServerLostError(StorageError):
    """The server cannot be reached, or the connection broke."""

    retryable = True
    hint = "Retry once the server answers; the store need not be opened again. What was acknowledged is not touched."


class UnreachedError(ServerLostError):
    """The server could not be reached, and so was told nothing."""


class Line:
    """One connection, and what went over it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.used = time.monotonic()
        self.calls = self.errors = self.sent = 0
        self.seconds = 0.0

    def exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands and return the replies, refusals among them."""
        data, asked = _on_the_wire(commands), time.perf_counter()
        self.connection.send_packed_command([data])
        replies = [_reply(self.connection) for _ in commands]
        self.used = time.monotonic()
        self.seconds += time.perf_counter() - asked
        self.sent += len(data)
        self.calls += 1
        self.errors += sum(isinstance(reply, Exception) for reply in replies)
        return replies

    def figures(self, state: str) -> dict[str, Any]:
        """Return what went over it so far."""
        return {
            "state": state,
            "unused_seconds": round(time.monotonic() - self.used, 3),
            "calls": self.calls,
            "errors": self.errors,
            "bytes_sent": self.sent,
            "mean_seconds": round(self.seconds / self.calls, 6) if self.calls else 0.0,
        }


class Link:
    """Connections to one server. Each is used by one thread at a time; a broken one is replaced by the next call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_reached = True
        self.lost = 0

    def connection(self) -> Any:
        """Return a new connection, which the caller keeps and ends."""
        return _KINDS[self._address.kind](
            **self._address.arguments,
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def ask(
        self, commands: Sequence[Sequence[Any]], *, is_atomic: bool = False, is_repeatable: bool = True
    ) -> list[Any]:
        """Return the replies to commands sent together; `is_atomic`: as one step.

        A connection that went bad while nobody used it is replaced unnoticed, unless the commands must not be sent
        twice. Raises ServerLostError, or what the server refuses with.
        """
        sent = [("MULTI",), *commands, ("EXEC",)] if is_atomic else commands
        replies = self._sent(sent, is_repeatable=is_repeatable)
        wrong = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if isinstance(wrong, exceptions.OutOfMemoryError) and is_atomic:
            # A server that is full takes no MULTI, but may still be read.
            whole: list[Any] = self.run(READ, (), (packed(commands),))
            return whole
        if is_atomic and wrong is None:
            replies = replies[-1]
            wrong = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if wrong is not None:
            raise self._translated(wrong) from wrong
        return replies

    def _sent(self, commands: Sequence[Sequence[Any]], *, is_repeatable: bool) -> list[Any]:
        line = self._taken(is_alive=not is_repeatable)
        try:
            if line is not None:
                try:
                    return self._exchange(line, commands)
                except _LOST as error:
                    if not is_repeatable or isinstance(error, exceptions.TimeoutError):
                        raise
                    self._forget_idle()
            return self._exchange(self._connected(), commands)
        except (*_LOST, exceptions.RedisError) as error:
            raise self._translated(error) from error

    def _connected(self) -> Line:
        """Return a new connection that stands; raises UnreachedError, before anything was sent."""
        connection = self.connection()
        try:
            connection.connect()
        except _LOST as error:
            made = self._translated(error)
            self._note(is_reached=False)
            raise (UnreachedError(made.message, details=made.details) if made.retryable else made) from error
        self._note(is_reached=True)
        return Line(connection)

    def _note(self, *, is_reached: bool) -> None:
        """Tell the log when the server is lost, and when it is there again."""
        if is_reached is not self._is_reached:
            self._is_reached = is_reached
            said = "answers again" if is_reached else "does not answer"
            logging.getLogger(__name__).warning("%s %s", self._address.url, said)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, is_repeatable: bool = True) -> Any:
        """Return what a script returns; a server that does not know it yet is told it."""
        rest = (len(keys), *keys, *arguments)
        try:
            (reply,) = self.ask([("EVALSHA", script.digest, *rest)], is_repeatable=is_repeatable)
        except StorageError as error:
            if not isinstance(error.__cause__, exceptions.NoScriptError):
                raise
            (reply,) = self.ask([("EVAL", script.text, *rest)], is_repeatable=is_repeatable)
        return reply

    def _taken(self, *, is_alive: bool) -> Line | None:
        """Return an idle connection, None where there is none; `is_alive`: one that the server has not left."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise StoreClosedError("the store is closed")
                if not self._idle:
                    return None
                line = self._idle.pop()
            if not is_alive or not _has_ended(line.connection):
                return line
            line.connection.disconnect()

    def _exchange(self, line: Line, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send and receive; the connection goes back to the others only when nothing of it is left unread."""
        with self._lock:
            self._busy.add(line)
        is_whole = False
        try:
            replies = line.exchange(commands)
            is_whole = True
        finally:
            self._give_back(line, is_whole=is_whole)
        return replies

    def _give_back(self, line: Line, *, is_whole: bool) -> None:
        with self._lock:
            self._busy.discard(line)
            self.lost += not is_whole
            if is_whole and not self._is_closed:
                self._idle.append(line)
                return
        line.connection.disconnect()

    def _forget_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.connection.disconnect()

    def open(self) -> None:
        """Let connections be made, from now on."""
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
            "total": len(idle) + len(busy),
            "active": len(busy),
            "idle": len(idle),
            "waiting": 0,
            "each": [*(line.figures("active") for line in busy), *(line.figures("idle") for line in idle)],
        }

    def _translated(self, error: Exception) -> StorageError:
        """Return the error of the tree; the driver's words name hosts and commands, never a password."""
        place, text = self._address.url, str(error)
        found = _CODE.search(text)
        code = next((named for kind, named in _CODES if isinstance(error, kind)), found.group(1) if found else "")
        code = "NOPERM" if _NOT_ALLOWED.search(text) else code
        if isinstance(error, exceptions.AuthenticationError) or code in {"NOAUTH", "WRONGPASS"}:
            return StorageError(
                f"{place} does not know this user and password", hint="Give them in the store URL; nothing was changed."
            )
        if isinstance(error, _LOST):
            return ServerLostError(f"{place} does not answer", details={"driver": text})
        facts: dict[str, Any] = {"details": {"driver": text}}
        if code == "OOM":
            return StoreFullError(
                f"the memory of {place} is full; the change was not made",
                hint="Raise maxmemory, or remove what is not needed; what was acknowledged before is safe.",
                **facts,
            )
        if code in {"READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"}:
            return StoreReadOnlyError(
                f"{place} takes no writes ({code})",
                hint="Connect to the primary, and see the server's log for why it refuses to write.",
                **facts,
            )
        if code == "NOPERM":
            return StorageError(
                f"the user may not do this at {place}",
                hint="Allow it all commands on the keys that begin with the prefix in braces.",
                **facts,
            )
        if code == "BUSY":
            return StoreBusyError(f"{place} is busy with a script", **facts)
        return StorageError(f"{place} refuses: {text}", **facts)


def _on_the_wire(commands: Sequence[Sequence[Any]]) -> bytes:
    """Return commands in the server's protocol; the driver's own way takes four times as long."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            data = part if type(part) is bytes else str(part).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _has_ended(connection: Any) -> bool:
    """Say whether an idle connection was ended by the other side: then there is something to be read."""
    try:
        return bool(connection.can_read())
    except _LOST:
        return True


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except exceptions.BusyLoadingError:
        raise
    except exceptions.ResponseError as error:
        return error
