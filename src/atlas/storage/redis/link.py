"""The way to a Redis server: what is asked of it, and its refusals as errors of the tree."""

from __future__ import annotations

import copy
import logging
import re
import ssl
import threading
from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from ...errors import StorageError, StoreBusyError, StoreFullError, StoreReadOnlyError, StoreUnreachableError
from .address import Address
from .pool import LOST, Line, Pool
from .scripts import READ, Script, packed

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0

_KINDS: dict[str, Any] = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
_CODE = re.compile(r"\b(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|NOPERM|NOAUTH|WRONGPASS|BUSY|MOVED|CROSSSLOT)\b")

_NOT_ALLOWED = re.compile(r"user executing the script can't|ACL failure in script")
_CODES = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoPermissionError, "NOPERM"),
)
"""The driver takes the code away from errors that it has a class for."""


class UnreachedError(StoreUnreachableError):
    """The server could not be reached, and so was told nothing."""


class Link:
    """Asks one server, over a pool of connections; a broken one is replaced by the next call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._noting = threading.Lock()
        self._is_reached = True
        self._regained = 0
        self.until: float | None = None
        self.pool = Pool(self.connected, size=address.readers + 1)

    def hurried(self, until: float) -> Link:
        """Return this link for calls that raise TooLongError instead of waiting for the server beyond a time."""
        made = copy.copy(self)
        made.until = until
        return made

    def _connection(self) -> Any:
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
        twice. Raises StoreUnreachableError, or what the server refuses with.
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
        try:
            return self.pool.exchange(commands, is_repeatable=is_repeatable, until=self.until)
        except (*LOST, exceptions.RedisError) as error:
            raise self._translated(error) from error

    def connected(self) -> Line:
        """Return a new connection that stands; raises UnreachedError, before anything was sent."""
        connection = self._connection()
        try:
            connection.connect()
        except LOST as error:
            if isinstance(error.__context__, ssl.SSLError) and not isinstance(error.__context__, ssl.SSLEOFError):
                raise self._untrusted(error) from error
            made = self._translated(error)
            self._note(is_reached=False)
            raise (UnreachedError(made.message, details=made.details) if made.retryable else made) from error
        self._note(is_reached=True)
        return Line(connection)

    def _untrusted(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self._address.url} cannot be trusted to be what it says",
            hint="Name its authority's certificate with the option ca, and the host as its own certificate does.",
            details={"driver": str(error)},
        )

    def _note(self, *, is_reached: bool) -> None:
        """Tell the log when the server is lost, and when it is there again."""
        with self._noting:
            if is_reached is self._is_reached:
                return
            self._is_reached = is_reached
            self._regained += is_reached
        said = "answers again" if is_reached else "does not answer"
        logging.getLogger(__name__).warning("%s %s", self._address.url, said)

    def figures(self) -> dict[str, Any]:
        """Return the figures of the pool, and how often the server was there again after a loss."""
        return {**self.pool.figures(), "regained": self._regained}

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
        if isinstance(error, LOST):
            return StoreUnreachableError(f"{place} does not answer", details={"driver": text})
        facts: dict[str, Any] = {"details": {"driver": text}}
        if code == "OOM":
            return StoreFullError(
                f"the memory of {place} is full; the change was not made",
                hint="Raise maxmemory, or remove what is not needed; what was acknowledged before is safe.",
                **facts,
            )
        if code == "MISCONF" and "No space left" in text:
            return StoreFullError(
                f"the disk of {place} is full; the change was not made",
                hint="Make room on the server's disk; what was acknowledged before is as safe as the server makes it.",
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
