"""The threads that read, each with a connection at hand: as many as the store has connections."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...errors import StoreBusyError
from ..jobs import Job

Answer = Callable[[Any], None]
Asked = tuple[Job, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Readers:
    """Runs jobs on threads, which begin when they are needed; `work` gets a job, and what to call with its answer."""

    def __init__(self, work: Callable[[Job, Answer], Any], size: int) -> None:
        self._work = work
        self._size = size
        self._queue: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return self._queue.qsize()

    async def run(self, job: Job) -> None:
        """Have the job run, unless it is abandoned before its turn; afterwards it has its value, or its error."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self._queue.put((job, loop, answer))
        self._begin()
        timer = loop.call_later(max(0.0, job.deadline - time.monotonic()), _give_up, job, answer)
        try:
            await answer
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            timer.cancel()

    def _begin(self) -> None:
        """Start a thread where none is free for what waits."""
        with self._lock:
            if len(self._threads) < self._size and self._queue.qsize() > self._idle:
                thread = threading.Thread(target=self._serve, name="atlas-reader", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            asked = self._queue.get()
            with self._lock:
                self._idle -= 1
                if asked is None and len(self._threads) > self._size:
                    self._threads.discard(threading.current_thread())
                    return
            if asked is not None and asked[0].start():
                self._answer(*asked)

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
            for _ in range(len(self._threads) - size):
                self._queue.put(None)

    def close(self) -> None:
        """Wait for everything asked for; nothing new may come."""
        threads = list(self._threads)
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
