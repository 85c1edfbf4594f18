"""From callers on event loops to an engine's commits: short work where it is asked for, the rest on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import StoreBusyError, StoreClosedError
from .jobs import Group, Job, Waiting

GROUP = 256
_JOIN_SECONDS = 30.0


class CommitEngine(Protocol):
    """What a store's engine does for a committer."""

    @property
    def is_open(self) -> bool:
        """Whether work may still run."""
        ...

    @property
    def is_untidy(self) -> bool:
        """Whether `tidy` has something to do."""
        ...

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in one transaction and commit it; each then has its value and seq, or its error."""
        ...

    def run_short(self, job: Job) -> bool:
        """Run one job and commit it without holding up the calling thread; False when that cannot be."""
        ...

    def tidy(self) -> None:
        """Do what may wait until the callers are answered; raises StorageError."""
        ...


class Committer:
    """Gathers what is asked for in one turn of an event loop and has it committed together.

    `committed` is called with the last number of each commit, on the event loop.
    """

    def __init__(self, engine: CommitEngine, *, committed: Callable[[int], None]) -> None:
        self._engine = engine
        self._committed = committed
        self._asked: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
        self._queue: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def has_thread(self) -> bool:
        """Whether anything needed the writer thread so far."""
        return self._thread is not None

    async def submit(self, job: Job) -> None:
        """Have the job committed; afterwards it has its value and seq, or its error."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(job)
        self._asked.setdefault(loop, []).append(waiting)
        try:
            await asyncio.sleep(0)
            asked = self._asked.pop(loop, None)
            if asked is not None:
                self._take(asked, loop)
            if waiting.answer is not None:
                await waiting.answer
        except asyncio.CancelledError:
            job.abandon()
            raise

    def _take(self, asked: list[Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """Commit one short job here; hand several, or a long one, to the writer thread."""
        if not self._engine.is_open:
            # Each of them, not only the one that is here to raise it: silence would be taken for a commit.
            for waiting in asked:
                waiting.job.error = StoreClosedError("the store is closed")
            return
        if len(asked) == 1 and self._engine.run_short(asked[0].job):
            self._committed(asked[0].job.seq)
            if not self._engine.is_untidy:
                return
            asked = []
        self._queue.put(Group(asked, loop))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="atlas-writer", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        """Take whatever waits, commit it together, answer, and only then tidy up; ends at None."""
        while True:
            first = self._queue.get()
            if first is None:
                return
            groups, is_last = [first], False
            while sum(len(group.members) for group in groups) < GROUP:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    is_last = True
                    break
                groups.append(following)
            self._commit(groups)
            self._tidy_quietly()
            if is_last:
                return

    def _commit(self, groups: Sequence[Group]) -> None:
        jobs = [waiting.job for group in groups for waiting in group.members]
        if not jobs:
            return
        self._engine.run(jobs)
        for group in groups:
            # A loop that was closed has nobody left to answer.
            with contextlib.suppress(RuntimeError):
                group.loop.call_soon_threadsafe(self._answer, group)

    def _tidy_quietly(self) -> None:
        """Tidy up; a failure is not the callers' (they are answered) and comes up again at the next commit."""
        try:
            self._engine.tidy()
        except Exception as error:  # noqa: BLE001 - said; the thread that runs this must live on
            logging.getLogger(__name__).warning("tidying up was put off: %s", error if str(error) else repr(error))

    def _answer(self, group: Group) -> None:
        group.answer()
        self._committed(max((waiting.job.seq for waiting in group.members), default=0))

    async def close(self) -> None:
        """Let what is under way end, once the engine takes no new work; raises StoreBusyError if it does not end."""
        if self._thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)
        if self._thread.is_alive():
            raise StoreBusyError("the writer is still waiting for another process")
        self._thread = None
