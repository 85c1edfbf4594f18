"""Handlers off the path: notices wait in a bounded line, and a handler takes them when it can."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

N = TypeVar("N")

IDLE_SECONDS = 1.0


class Line(ABC, Generic[N]):
    """The notices that wait for one handler, in their order; when `most` wait, further ones are dropped and counted."""

    def __init__(self, wanted: frozenset[str], most: int) -> None:
        self.wanted = wanted
        self.dropped = 0
        self.failed = 0
        self._most = most
        self._waiting: deque[N] = deque()
        self._changed = threading.Condition()
        self._is_served = False
        self._is_stopped = False

    def put(self, notices: list[N]) -> None:
        """Let the handler have these as soon as it can; for any thread, and never waits."""
        with self._changed:
            if self._is_stopped:
                return
            room = self._most - len(self._waiting)
            self._waiting.extend(notices[:room])
            self.dropped += max(0, len(notices) - room)
            is_new = bool(self._waiting) and not self._is_served
            self._is_served = self._is_served or is_new
            if is_new:
                self._serve()
            self._changed.notify_all()

    @abstractmethod
    def _serve(self) -> None:
        """Begin to hand the notices to the handler."""

    def stop(self) -> None:
        """Drop what waits, and take nothing more."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until the handler has had all; says whether it has. Never on the thread of its event loop."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, seconds)

    def _is_idle(self) -> bool:
        return not self._is_served


class ThreadLine(Line[N]):
    """For a plain function: a thread of its own, which ends when there was nothing to do for a while."""

    def __init__(self, handler: Callable[[N], Any], wanted: frozenset[str], most: int) -> None:
        super().__init__(wanted, most)
        self._handler: Callable[[N], Any] | None = handler
        self._is_busy = False

    def _is_idle(self) -> bool:
        return not self._waiting and not self._is_busy

    def _serve(self) -> None:
        threading.Thread(target=self._run, name="atlas-handler", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_stopped, IDLE_SECONDS)
                if not self._waiting or self._handler is None:
                    self._is_served = False
                    return
                notice, handler, self._is_busy = self._waiting.popleft(), self._handler, True
            try:
                handler(notice)
            except Exception:
                self.failed += 1
                logging.getLogger(__name__).exception("a handler of the store failed")
            del notice, handler

    def stop(self) -> None:
        """See Line. A function that never returns keeps its thread, which does not keep the process."""
        super().stop()
        self._handler = None


class LoopLine(Line[N]):
    """For an asynchronous function: a task on the event loop on which it was subscribed, while there is work."""

    def __init__(self, handler: Callable[[N], Awaitable[Any]], wanted: frozenset[str], most: int) -> None:
        super().__init__(wanted, most)
        self._handler: Callable[[N], Awaitable[Any]] | None = handler
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def _serve(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            # The loop was closed: nobody is left to be told.
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._is_served = False

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while (taken := self._next()) is not None:
                notice, handler = taken
                try:
                    await handler(notice)
                except Exception:
                    self.failed += 1
                    logging.getLogger(__name__).exception("a handler of the store failed")
        except asyncio.CancelledError:
            with self._changed:
                self._is_served = False
                self._changed.notify_all()
            raise

    def _next(self) -> tuple[N, Callable[[N], Awaitable[Any]]] | None:
        with self._changed:
            if not self._waiting or self._handler is None:
                self._is_served = False
                self._changed.notify_all()
                return None
            return self._waiting.popleft(), self._handler

    def stop(self) -> None:
        """See Line; a handler that is at work is cancelled."""
        super().stop()
        # A cancelled task remembers where it was, and so the handler.
        task, self._task, self._handler = self._task, None, None
        if task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)
