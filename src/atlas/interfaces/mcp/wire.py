"""The wire of stdio: protocol messages, one JSON text per line, on descriptors that nothing else can reach."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

_log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_LINE_MOST = 160 * 1024 * 1024
_FINISH_SECONDS = 30.0
_FLUSH_SECONDS = 2.0


@contextmanager
def claimed() -> Iterator[tuple[int, int]]:
    """Yield private descriptors of stdin and stdout.

    Meanwhile 0 reads nothing and 1 goes to stderr, so that no stray print reaches the protocol and no child its input.
    """
    sys.stdout.flush()
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    blocking = [os.get_blocking(fd) for fd in (source, target)]
    try:
        for fd in (source, target):
            if _can_wait(fd):
                os.set_blocking(fd, False)
        yield source, target
    finally:
        sys.stdout.flush()
        for fd, place, was in ((source, 0, blocking[0]), (target, 1, blocking[1])):
            os.set_blocking(fd, was)
            os.dup2(fd, place)
            os.close(fd)


def _can_wait(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class Outgoing:
    """Writes messages whole: a line that was begun is finished before the next, whoever is cancelled meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left = bytearray()
        self._lock = anyio.Lock()
        self._is_broken = False
        self.unanswered: set[Any] = set()
        self.settled = anyio.Event()

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message; raises BrokenResourceError when nobody reads any more."""
        message = item.message
        self._left += _encoded(message)
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self.settle(message.id)
        if self._lock.locked() or not self._push():
            async with self._lock:
                while not self._push():
                    await anyio.wait_writable(self._fd)

    def settle(self, request_id: Any) -> None:
        """Note that a request needs no answer any more."""
        self.unanswered.discard(str(request_id))
        if not self.unanswered:
            self.settled.set()

    def _push(self) -> bool:
        """Write what goes without waiting; says whether that was all."""
        try:
            while self._left:
                del self._left[: os.write(self._fd, bytes(self._left[:_CHUNK]))]
        except BlockingIOError:
            return False
        except OSError as error:
            self._left.clear()
            self.unanswered.clear()
            self.settled.set()
            raise anyio.BrokenResourceError from error
        return True

    async def aclose(self) -> None:
        """Write out what was begun."""
        with anyio.move_on_after(_FLUSH_SECONDS, shield=True), suppress(anyio.BrokenResourceError):
            while not self._push():
                await anyio.wait_writable(self._fd)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Incoming:
    """Reads messages; the end comes when stdin ends and what was asked before has been answered."""

    def __init__(self, fd: int, out: Outgoing) -> None:
        self._fd = fd
        self._out = out
        self._begun = bytearray()
        self._lines: list[bytes] = []
        self._is_terminal = os.isatty(fd)

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message; raises EndOfStream at the end."""
        while True:
            line = await self._line()
            if line is None:
                await self._finished()
                raise anyio.EndOfStream
            if line.strip():
                message = await self._parsed(line)
                if message is not None:
                    self._note(message)
                    return SessionMessage(message)

    async def _line(self) -> bytes | None:
        while not self._lines:
            data = await self._read()
            if not data:
                rest, self._begun = bytes(self._begun), bytearray()
                return rest or None
            self._begun += data
            if b"\n" in data:
                *lines, begun = self._begun.split(b"\n")
                self._lines, self._begun = [bytes(line) for line in reversed(lines)], begun
            elif len(self._begun) > _LINE_MOST:
                await self._refuse(None, PARSE_ERROR, f"a message of more than {_LINE_MOST} bytes")
                return None
        return self._lines.pop()

    async def _read(self) -> bytes:
        while True:
            if self._is_terminal:
                await anyio.wait_readable(self._fd)
            try:
                return os.read(self._fd, _CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._fd)
            except OSError:
                return b""

    async def _parsed(self, line: bytes) -> JSONRPCMessage | None:
        try:
            return jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValidationError:
            pass
        # Lone surrogates are JSON to some clients; those who sent them get an answer that names them.
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            await self._refuse(None, PARSE_ERROR, f"not JSON: {type(error).__name__}")
            return None
        try:
            return jsonrpc_message_adapter.validate_python(data, by_name=False)
        except ValidationError:
            known = data.get("id") if isinstance(data, dict) else None
            request_id = known if isinstance(known, str | int) and not isinstance(known, bool) else None
            await self._refuse(request_id, INVALID_REQUEST, "not a JSON-RPC 2.0 message")
            return None

    async def _refuse(self, request_id: str | int | None, code: int, message: str) -> None:
        _log.warning("%s", message)
        error = JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message))
        with suppress(anyio.BrokenResourceError):
            await self._out.send(SessionMessage(error))

    def _note(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest) and not _waits(message):
            self._out.unanswered.add(str(message.id))
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._out.settle((message.params or {}).get("requestId"))

    async def _finished(self) -> None:
        with anyio.move_on_after(_FINISH_SECONDS):
            while self._out.unanswered:
                self._out.settled = anyio.Event()
                await self._out.settled.wait()

    async def aclose(self) -> None:
        """Stop reading."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _waits(request: JSONRPCRequest) -> bool:
    """Say whether a request waits for something to happen, so that nobody who has left needs its answer."""
    if request.method == "subscriptions/listen":
        return True
    return request.method == "tools/call" and (request.params or {}).get("name") == "wait_for"


def _encoded(message: JSONRPCMessage) -> bytes:
    if isinstance(message, JSONRPCResponse):
        try:
            return msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": message.result}) + b"\n"
        except (TypeError, ValueError, OverflowError):
            _log.debug("an answer that msgspec cannot write")
    data = message.model_dump(by_alias=True, mode="python", exclude_unset=True)
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
