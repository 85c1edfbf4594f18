"""Hearing of commits: a thread that waits on the stream where each commit leaves its last number.

The stream is bounded and only wakes: what is told is the newest number, so one entry stands for all before it. It is
looked for beside the stream too, which a replica does not have and a restart begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from redis import exceptions

from ...errors import StorageError, StoreUnreachableError
from .layout import Layout
from .link import Link
from .pool import LOST, Line

BLOCK_MILLIS = 1_000
AGAIN_SECONDS = 0.2


class Feed:
    """Calls `told` on the event loop with the newest number, until it is stopped; goes on when a connection breaks."""

    def __init__(self, link: Link, layout: Layout, told: Callable[[int], None]) -> None:
        self._link = link
        self._layout = layout
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._is_stopped = threading.Event()
        self._line: Line | None = None
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="atlas-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the waiting."""
        self._is_stopped.set()
        if self._line is not None:
            self._line.end()

    async def ended(self) -> None:
        """Wait until the thread has ended."""
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                self._line = self._link.connected()
                self._follow(self._line)
            except (*LOST, StoreUnreachableError):
                # That the server is lost, and when it is there again, the link says.
                pass
            except (exceptions.RedisError, StorageError, ValueError, AttributeError) as error:
                # Stopping ends the connection under its reader, which the driver meets in several ways.
                self._warn(str(error))
            finally:
                if self._line is not None:
                    self._line.end()
            self._is_stopped.wait(AGAIN_SECONDS)

    def _warn(self, text: str) -> None:
        if text != self._failed and not self._is_stopped.is_set():
            self._failed = text
            logging.getLogger(__name__).warning("not told of commits for a while: %s", text)

    def _follow(self, line: Line) -> None:
        feed = self._layout.feed
        last = _answer(line, "XREVRANGE", feed, "+", "-", "COUNT", 1)
        place = last[0][0] if last else b"0-0"
        while not self._is_stopped.is_set():
            self._tell(_answer(line, "HGET", self._layout.meta, "seq"))
            self._failed = ""
            found = _answer(line, "XREAD", "BLOCK", BLOCK_MILLIS, "STREAMS", feed, place)
            for _, entries in found or ():
                place = entries[-1][0]

    def _tell(self, seq: bytes | None) -> None:
        # A loop that was closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._told, int(seq or 0))


def _answer(line: Line, *command: Any) -> Any:
    (answer,) = line.exchange([command])
    if isinstance(answer, Exception):
        raise answer
    return answer
