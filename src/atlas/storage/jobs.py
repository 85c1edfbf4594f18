"""Functions that wait for their commit, as the engines of durable stores run them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import StoreBusyError
from .protocol import Transaction

if TYPE_CHECKING:
    import asyncio


class TooLongError(BaseException):
    """Short work proved long and is rolled back, to run elsewhere: not an error that the work itself may catch."""


class Job:
    """One function waiting for its commit. It is abandoned, or it runs; never both."""

    __slots__ = ("_lock", "_state", "deadline", "error", "seq", "value", "work")

    def __init__(self, work: Callable[[Transaction], Any], deadline: float) -> None:
        self.work = work
        self.deadline = deadline
        self.value: Any = None
        self.error: BaseException | None = None
        self.seq = 0
        self._state = "waiting"
        self._lock = threading.Lock()

    def start(self) -> bool:
        """Say whether the job may run; from then on it cannot be abandoned."""
        return self._move("running")

    def postpone(self) -> None:
        """Let a job that ran in vain wait again."""
        self.error = None
        self._state = "waiting"

    def abandon(self) -> bool:
        """Say whether the job was still waiting; it will not run any more."""
        return self._move("abandoned")

    def _move(self, state: str) -> bool:
        with self._lock:
            if self._state != "waiting":
                return False
            self._state = state
            return True


class Waiting:
    """A job whose caller waits; there is an `answer` to await once the job is on its way to the writer thread."""

    __slots__ = ("answer", "job")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.answer: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let the caller see what became of the job."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)


class Group:
    """What was asked for in one turn of an event loop, on its way through the writer thread."""

    __slots__ = ("_timer", "loop", "members")

    def __init__(self, members: Sequence[Waiting], loop: asyncio.AbstractEventLoop) -> None:
        self.members = members
        self.loop = loop
        for waiting in members:
            waiting.answer = loop.create_future()
        self._watch()

    def _watch(self) -> None:
        """Answer for jobs that did not get their turn in time; one that runs already ends by its own deadline."""
        now = time.monotonic()
        for waiting in self.members:
            if waiting.job.deadline <= now and waiting.job.abandon():
                waiting.job.error = StoreBusyError("other writers held the store for all of the time given")
                waiting.wake()
        ends = [waiting.job.deadline for waiting in self.members if waiting.job.deadline > now]
        self._timer = self.loop.call_later(min(ends) - now, self._watch) if ends else None

    def answer(self) -> None:
        """Wake all callers."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self.members:
            waiting.wake()
