"""Hearing of commits: a thread that waits on the stream where each commit leaves its last number."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from redis import exceptions

from .layout import Layout
from .link import Link

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
        self._connection: Any = None
        self._is_following = True
        self._thread = threading.Thread(target=self._run, name="atlas-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the waiting."""
        self._is_stopped.set()
        connection = self._connection
        if connection is not None:
            connection.disconnect()

    async def ended(self) -> None:
        """Wait until the thread has ended."""
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self._connection = self._link.connection()
            try:
                self._follow(self._connection)
            except (exceptions.RedisError, OSError, ValueError, AttributeError) as error:
                # Stopping ends the connection under its reader, which the driver meets in several ways.
                if self._is_following and not self._is_stopped.is_set():
                    logging.getLogger(__name__).warning("not told of commits for a while: %s", type(error).__name__)
                self._is_following = False
            finally:
                self._connection.disconnect()
            self._is_stopped.wait(AGAIN_SECONDS)

    def _follow(self, connection: Any) -> None:
        feed = self._layout.feed
        last = self._ask(connection, "XREVRANGE", feed, "+", "-", "COUNT", 1)
        place = last[0][0] if last else b"0-0"
        # What came before the waiting began.
        self._tell(self._ask(connection, "HGET", self._layout.meta, "seq"))
        self._is_following = True
        while not self._is_stopped.is_set():
            found = self._ask(connection, "XREAD", "BLOCK", BLOCK_MILLIS, "STREAMS", feed, place)
            for _, entries in found or ():
                place, (_, seq) = entries[-1]
                self._tell(seq)

    @staticmethod
    def _ask(connection: Any, *command: Any) -> Any:
        connection.send_command(*command)
        return connection.read_response()

    def _tell(self, seq: bytes | None) -> None:
        # A loop that was closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._told, int(seq or 0))
