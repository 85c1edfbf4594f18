"""The heart of the Redis store: reading a snapshot, and committing a group of functions at once."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ...errors import StorageError, StoreBusyError, StoreClosedError, StoreTimeoutError
from ..jobs import Job, TooLongError
from ..overlay import Overlay
from ..protocol import DEFAULT_TIMEOUT, Transaction
from ..refusing import of_the_parent
from ..slow import SlowQueries
from .layout import Layout
from .link import Link
from .session import RedisSession
from .snapshot import Moment, MovedError, Snapshot
from .turn import Turn

T = TypeVar("T")

SHORT_SECONDS = 0.002
CALM_SECONDS = 0.05
"""A server that once took longer than `SHORT_SECONDS` is waited for on threads for so long."""

KNOWN = 10_000
"""So many records are remembered from one commit to the next, for as long as nobody else commits."""


class Engine:
    """Runs functions on the records behind a link."""

    def __init__(self, link: Link, layout: Layout, *, clock: Callable[[], datetime], is_near: bool) -> None:
        self.link = link
        self.layout = layout
        self.clock = clock
        self.is_open = False
        self.is_near = is_near
        self._process = 0
        self._hurries_from = 0.0
        self._working = threading.Lock()
        self._unsettled: tuple[Job, Turn, RedisSession] | None = None
        self._settled: set[Job] = set()
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
            raise of_the_parent()

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
        with self._working:
            self._tidy()

    def _tidy(self) -> None:
        turn, self._left = self._left, None
        if turn is not None:
            turn.leave()

    @property
    def _can_hurry(self) -> bool:
        return self.is_near and time.monotonic() >= self._hurries_from

    def _calm_down(self) -> None:
        self._hurries_from = time.monotonic() + CALM_SECONDS

    def run_short(self, job: Job) -> bool:
        """See CommitEngine. Where nobody else writes, a server on this machine answers as soon as a disk.

        What takes longer than `SHORT_SECONDS` is left to `run`: also to find out whether it was committed after all.
        """
        if not self._can_hurry or self._known is None or not self._is_alone:
            return False
        if not self._working.acquire(blocking=False):
            return False
        try:
            return self._left is None and self._unsettled is None and self._run_short(job, self._known)
        finally:
            self._working.release()

    def _run_short(self, job: Job, moment: Moment) -> bool:
        end = time.monotonic() + SHORT_SECONDS
        turn = Turn(self.link.hurried(end), self.layout, closing=self.closing)
        turn.assume(moment)
        if not job.start():
            return True
        is_done = True
        try:
            self._attempt(turn, moment, [job], end, short_until=end)
        except MovedError:
            self._is_alone = is_done = False
        except TooLongError:
            is_done = False
            self._calm_down()
        except Exception as error:  # noqa: BLE001 - handed to the caller
            job.error = job.error or error
        turn.go_on(self.link)
        if self._unsettled is not None:
            return False
        self._leave_later(turn)
        return is_done or self._put_off(job)

    def _put_off(self, job: Job) -> bool:
        """Leave the job to `run`; says whether it is done instead, its time being up."""
        if time.monotonic() >= job.deadline:
            job.error = StoreTimeoutError("the work took longer than its deadline")
            return True
        job.postpone()
        return False

    def _settle(self) -> None:
        """Find out what became of the short job that was not waited for: it is done, or has to run again."""
        pending, self._unsettled = self._unsettled, None
        if pending is None:
            return
        job, turn, session = pending
        self._known = None
        try:
            moment = turn.settle(job.deadline)
        except Exception as error:  # noqa: BLE001 - handed to the caller: the thread that runs this must live on
            job.error = error
            self._settled.add(job)
        else:
            if moment is None:
                job.postpone()
            else:
                self._learn(session, self._held, moment)
                self._settled.add(job)
        self._leave_later(turn)

    def turn(self) -> Turn:
        """Return a turn that was not asked for yet."""
        return Turn(self.link, self.layout, closing=self.closing)

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """Run the jobs one after the other, each alone in its failure, and have one script commit them all.

        When others have committed meanwhile, all run again, with a longer lease on the turn.
        """
        del wait  # the deadlines of the jobs say it
        with self._working:
            self._settle()
            with contextlib.suppress(StorageError):
                self._tidy()
            left = [job for job in jobs if job not in self._settled]
            self._settled.difference_update(jobs)
            if left:
                self._run_long(left)

    def _run_long(self, jobs: Sequence[Job]) -> None:
        turn = self.turn()
        try:
            self._run(jobs, turn)
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error
        finally:
            self._leave_later(turn)

    def _leave_later(self, turn: Turn) -> None:
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

    def _attempt(
        self, turn: Turn, moment: Moment, jobs: Sequence[Job], end: float, *, short_until: float | None = None
    ) -> None:
        """Run the jobs and commit what they wrote; work that is short is given up with TooLongError then."""
        held = self._held if moment == self._known else {}
        session = RedisSession(turn.snapshot(held), clock=self.clock)
        for job in jobs:
            self._run_one(job, session, short_until)
            job.seq = session.seq
        batch = session.batch()
        if batch is None:
            # What was read, and what was refused for it, must be so.
            session.snapshot.ask([])
            self._keep(held, moment)
            return
        try:
            made = turn.commit(batch, seq=session.seq, now=session.now, until=end)
        except TooLongError:
            self._unsettled = jobs[0], turn, session
            raise
        self._learn(session, held, made)

    def _learn(self, session: RedisSession, held: dict[str, dict[Any, Any]], moment: Moment) -> None:
        session.learn(held)
        self.commits += 1
        self._keep(held, moment)

    def _keep(self, held: dict[str, dict[Any, Any]], moment: Moment) -> None:
        """Remember records as they are at a moment."""
        self._known = moment
        self._held = held if sum(map(len, held.values())) < KNOWN else {}

    def _run_one(self, job: Job, session: RedisSession, short_until: float | None) -> None:
        session.begin()
        job.error = None
        deadline, late = (job.deadline, StoreTimeoutError) if short_until is None else (short_until, TooLongError)
        overlay = Overlay(session, deadline=deadline, late=late, slow=self.slow)
        try:
            job.value = job.work(overlay)
            overlay.finish(session.check_references)
        except (MovedError, TooLongError):
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

    def read_short(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot at once; raises TooLongError where that cannot be within `SHORT_SECONDS`."""
        if not self._can_hurry:
            raise TooLongError
        end = time.monotonic() + SHORT_SECONDS
        session = RedisSession(Snapshot(self.link.hurried(end), self.layout), clock=self.clock)
        try:
            return work(Overlay(session, is_writable=False, deadline=end, late=TooLongError, slow=self.slow))
        except TooLongError:
            self._calm_down()
            raise
        except MovedError:
            raise TooLongError from None

    def latest(self) -> int:
        """Return the last number committed by anybody."""
        return self.read(lambda tx: tx.seq)
