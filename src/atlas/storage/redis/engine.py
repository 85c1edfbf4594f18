"""The heart of the Redis store: reading a snapshot, and committing a group of functions at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ...errors import StoreBusyError, StoreClosedError
from ..jobs import Job
from ..overlay import Overlay
from ..protocol import DEFAULT_TIMEOUT, Transaction
from ..slow import SlowQueries
from .layout import Layout
from .link import Link
from .session import RedisSession
from .snapshot import Moment, MovedError, Snapshot
from .turn import Turn

T = TypeVar("T")

KNOWN = 10_000
"""So many records are remembered from one commit to the next, for as long as nobody else commits."""


class Engine:
    """Runs functions on the records behind a link."""

    def __init__(self, link: Link, layout: Layout, *, clock: Callable[[], datetime]) -> None:
        self.link = link
        self.layout = layout
        self.clock = clock
        self.is_open = False
        self._process = 0
        self.closing = threading.Event()
        self.commits = 0
        self.slow = SlowQueries()
        self.reruns = 0
        self.lock_waits = 0.0
        self._left: Turn | None = None
        self._known: Moment | None = None
        self._is_alone = False
        self._held: dict[str, dict[Any, Any]] = {}

    def start(self) -> None:
        """Take work, in this process."""
        self._process = os.getpid()
        self.closing.clear()
        self.is_open = True

    def check_open(self) -> None:
        """See durable.Engine."""
        if not self.is_open:
            raise StoreClosedError("the store is closed")
        if os.getpid() != self._process:
            raise StoreClosedError("the store was opened by the parent process", hint="Open it again in this one.")

    def stop(self) -> None:
        """See durable.Engine."""
        self.is_open = False
        self.closing.set()

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine."""
        return self._left is not None

    def tidy(self) -> None:
        """See CommitEngine: end a turn that came to no commit."""
        turn, self._left = self._left, None
        if turn is not None:
            turn.leave()

    def run_short(self, job: Job) -> bool:
        """See CommitEngine: a commit is an answer over a network, which no event loop waits for."""
        del job
        return False

    def turn(self) -> Turn:
        """Return a turn that was not asked for yet."""
        return Turn(self.link, self.layout, closing=self.closing)

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """Run the jobs one after the other, each alone in its failure, and have one script commit them all.

        When others have committed meanwhile, all run again, with a longer lease on the turn.
        """
        del wait  # the deadlines of the jobs say it
        turn = self.turn()
        try:
            self._run(jobs, turn)
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error
        finally:
            self._left = turn if turn.is_in_line else None

    def _run(self, jobs: Sequence[Job], turn: Turn) -> None:
        end = max(job.deadline for job in jobs)
        if self._known is not None and self._is_alone and self._hurried(turn, self._known, jobs, end):
            return
        started: list[Job] | None = None
        while True:
            asked = time.monotonic()
            moment = turn.wait(end)
            self.lock_waits += time.monotonic() - asked
            self._is_alone = moment is not None and moment == self._known
            if started is None:
                started = [job for job in jobs if job.start()]
            if moment is None:
                for job in started:
                    job.error = StoreBusyError("other writers held the store for all of the time given")
                return
            try:
                self._attempt(turn, moment, started, end)
            except MovedError:
                self.reruns += 1
                turn.lengthen()
            else:
                return

    def _hurried(self, turn: Turn, moment: Moment, jobs: Sequence[Job], end: float) -> bool:
        """Try without standing in line, as if nobody else had written meanwhile; says whether that was so."""
        started = [job for job in jobs if job.start()]
        turn.assume(moment)
        try:
            self._attempt(turn, moment, started, end)
        except MovedError:
            self._is_alone = False
            for job in started:
                job.postpone()
            return False
        return True

    def _attempt(self, turn: Turn, moment: Moment, jobs: Sequence[Job], end: float) -> None:
        """Run the jobs and commit what they wrote."""
        held = self._held if moment == self._known else {}
        session = RedisSession(turn.snapshot(held), clock=self.clock)
        for job in jobs:
            self._run_one(job, session)
            job.seq = session.seq
        batch = session.batch()
        if batch is None:
            # What was read, and what was refused for it, must be so.
            session.snapshot.ask([])
        else:
            moment = turn.commit(batch, seq=session.seq, now=session.now, until=end)
            session.learn(held)
            self.commits += 1
        self._known = moment
        self._held = held if sum(map(len, held.values())) < KNOWN else {}

    def _run_one(self, job: Job, session: RedisSession) -> None:
        session.begin()
        job.error = None
        overlay = Overlay(session, deadline=job.deadline, slow=self.slow)
        try:
            job.value = job.work(overlay)
            overlay.finish(session.check_references)
        except MovedError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function raised it
            job.error = error
            overlay.abandon()

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot; again when so much was committed meanwhile that the moment is lost."""
        end = time.monotonic() + DEFAULT_TIMEOUT.total_seconds()
        while True:
            session = RedisSession(Snapshot(self.link, self.layout), clock=self.clock)
            try:
                return work(Overlay(session, is_writable=False, slow=self.slow))
            except MovedError:
                self.reruns += 1
                if time.monotonic() > end:
                    raise StoreBusyError("what was read changed too often to be read as one") from None

    def latest(self) -> int:
        """Return the last number committed by anybody."""
        return self.read(lambda tx: tx.seq)
