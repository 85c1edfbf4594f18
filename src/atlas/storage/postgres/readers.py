"""The threads that read, each with a connection at hand: as many as the store has connections."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...errors import StoreBusyError
from ..jobs import Job

Answer = Callable[[Any], None]
Asked = tuple[Job, asyncio.AbstractEventLoop, "asyncio.Future[None]"]
Box = queue.SimpleQueue["Asked | None"]


class Readers:
    """Runs jobs on threads, which begin when they are needed; `work` gets a job, and what to call with its answer.

    Of several threads that are free the last one used goes first: it and its connection are warm.
    """

    def __init__(self, work: Callable[[Job, Answer], Any], size: int) -> None:
        self._work = work
        self._size = size
        self._threads: dict[Box, threading.Thread] = {}
        self._free: list[Box] = []
        self._asked: deque[Asked] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._asked)

    async def run(self, job: Job) -> None:
        """Have the job run, unless it is abandoned before its turn; afterwards it has its value, or its error."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._asked.append((job, loop, answer))
            self._hand_out()
        timer = loop.call_later(max(0.0, job.deadline - time.monotonic()), _give_up, job, answer)
        try:
            await answer
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            timer.cancel()

    def _hand_out(self) -> None:
        """Give what waits to threads that are free, or begin some; the lock is held."""
        while self._asked and (self._free or len(self._threads) < self._size):
            box = self._free.pop() if self._free else self._begun()
            box.put(self._asked.popleft())

    def _begun(self) -> Box:
        box: Box = queue.SimpleQueue()
        self._threads[box] = threading.Thread(target=self._serve, args=(box,), name="atlas-reader", daemon=True)
        self._threads[box].start()
        return box

    def _serve(self, box: Box) -> None:
        asked = box.get()
        while asked is not None:
            if asked[0].start():
                self._answer(*asked)
            asked = self._next(box)

    def _next(self, box: Box) -> Asked | None:
        """Return what to do next, None where there are more threads than there should be."""
        with self._lock:
            if len(self._threads) > self._size and (self._size or not self._asked):
                del self._threads[box]
                return None
            if self._asked:
                return self._asked.popleft()
            self._free.append(box)
        return box.get()

    def _answer(self, job: Job, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[None]) -> None:
        told = False

        def tell(value: Any, error: BaseException | None = None) -> None:
            nonlocal told
            if not told:
                told, job.value, job.error = True, value, error
                # A loop that was closed has nobody left to answer.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_wake, answer)

        try:
            self._work(job, tell)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose work raised it
            tell(None, error)

    def resize(self, size: int) -> None:
        """Have so many threads at most; those beyond end with what they do."""
        with self._lock:
            self._size = size
            for _ in range(min(len(self._free), len(self._threads) - size)):
                box = self._free.pop(0)
                del self._threads[box]
                box.put(None)
            self._hand_out()

    def close(self) -> None:
        """Wait for everything asked for; nothing new may come."""
        with self._lock:
            threads = list(self._threads.values())
        self.resize(0)
        for thread in threads:
            thread.join()


def _give_up(job: Job, answer: asyncio.Future[None]) -> None:
    """Answer for a job that did not get its turn in time; one that runs already ends by its own deadline."""
    if job.abandon():
        job.error = StoreBusyError("no connection to the server became free in time")
        _wake(answer)


def _wake(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)
