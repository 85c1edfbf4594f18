"""The heart of the Redis store: reading a snapshot, and committing a group of functions at once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from ...errors import StorageError, StoreBusyError, StoreClosedError
from ..collection import to_scalar
from ..jobs import Job
from ..overlay import Overlay
from ..protocol import DEFAULT_TIMEOUT, Transaction
from . import scripts
from .layout import Layout
from .link import Link, ServerLostError
from .session import RedisSession
from .snapshot import FORMAT, Moment, MovedError, Snapshot, moment_of

T = TypeVar("T")

LEASE_SECONDS = 5.0
"""A writer that neither asks nor commits for so long loses its turn."""

SETTLE_SECONDS = 5.0
SETTLE_AGAIN_SECONDS = 0.05
"""For so long it is asked what became of a commit whose answer was lost."""


class Engine:
    """Runs functions on the records behind a link."""

    def __init__(self, link: Link, layout: Layout, *, clock: Callable[[], datetime]) -> None:
        self.link = link
        self.layout = layout
        self.is_open = False
        self.closing = threading.Event()
        self.commits = 0
        self.turn_waits = 0.0
        self.reruns = 0
        self._clock = clock
        self._name = uuid.uuid4().hex

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine: a server keeps order by itself."""
        return False

    def tidy(self) -> None:
        """See CommitEngine."""

    def run_short(self, job: Job) -> bool:
        """See CommitEngine: a commit is an answer over a network, which no event loop waits for."""
        del job
        return False

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs one after the other, each alone in its failure, and have one script commit them all.

        When others have committed meanwhile, all run again, with a longer lease on the turn.
        """
        try:
            Turn(self, jobs).run()
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot; again when so much was committed meanwhile that the moment is lost."""
        end = time.monotonic() + DEFAULT_TIMEOUT.total_seconds()
        while True:
            session = RedisSession(Snapshot(self.link, self.layout), clock=self._clock)
            try:
                return work(Overlay(session, is_writable=False))
            except MovedError:
                self.reruns += 1
                if time.monotonic() > end:
                    raise StoreBusyError("what was read changed too often to be read as one") from None

    def take_turn(self, token: str, lease: float) -> tuple[int, Moment]:
        """Stand in line, or stay there; returns how many are before, and where the store stands."""
        layout = self.layout
        keys = (layout.meta, layout.line, layout.alive, layout.ticket)
        place, *found = self.link.run(scripts.TAKE, keys, (token, int(lease * 1000)))
        return int(place), moment_of(found)

    def leave(self, token: str) -> None:
        """Leave the line; where that fails, the lease runs out."""
        try:
            self.link.run(scripts.DROP, (self.layout.line, self.layout.alive), (token,))
        except StorageError as error:
            import logging

            logging.getLogger(__name__).info("the turn ends by itself: %s", error)

    def new_token(self) -> str:
        """Return a name that no other commit has."""
        self.commits += 1
        return f"{self._name}.{self.commits}"

    def session(self, moment: Moment, kept: Callable[[], None]) -> RedisSession:
        """Return a session that writes."""
        snapshot = Snapshot(self.link, self.layout, at=moment, kept=kept)
        return RedisSession(snapshot, clock=self._clock)

    def latest(self) -> int:
        """Return the last number committed by anybody."""
        return self.read(lambda tx: tx.seq)


class Turn:
    """One group of jobs on its way to their commit."""

    def __init__(self, engine: Engine, jobs: Sequence[Job]) -> None:
        self._engine = engine
        self._jobs = jobs
        self._end = max((job.deadline for job in jobs), default=0.0)
        self._token = f"{uuid.uuid4().hex}"
        self._lease = LEASE_SECONDS
        self._renewed = 0.0
        self._moment: Moment | None = None

    def run(self) -> None:
        """See Engine.run."""
        started: list[Job] | None = None
        is_in_line = True
        try:
            while True:
                moment = self._wait()
                if started is None:
                    started = [job for job in self._jobs if job.start()]
                if moment is None:
                    self._give_up(started)
                    return
                try:
                    is_in_line = not self._attempt(moment, started)
                except MovedError:
                    self._engine.reruns += 1
                    self._lease *= 2
                else:
                    return
        finally:
            if is_in_line:
                self._engine.leave(self._token)

    def _wait(self) -> Moment | None:
        """Return where the store stands once it is this group's turn; None when nobody wants it any more."""
        asked = time.monotonic()
        try:
            while True:
                place, moment = self._engine.take_turn(self._token, self._lease)
                now = self._renewed = time.monotonic()
                if place == 0:
                    return moment
                if now >= self._end:
                    return None
                if self._engine.closing.wait(min(0.001 * place, 0.02, self._end - now)):
                    raise StoreClosedError("the store was closed while others held the turn to write")
        finally:
            self._engine.turn_waits += time.monotonic() - asked

    @staticmethod
    def _give_up(jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.error = StoreBusyError("other writers held the store for all of the time given")

    def _keep(self) -> None:
        """Renew the lease while the work goes on asking; raises MovedError when the turn was lost."""
        now = time.monotonic()
        if now - self._renewed > self._lease / 4:
            place, moment = self._engine.take_turn(self._token, self._lease)
            self._renewed = now
            if place or moment != self._moment:
                raise MovedError

    def _attempt(self, moment: Moment, jobs: Sequence[Job]) -> bool:
        """Run the jobs and commit what they wrote; says whether there was anything, and with it the turn has ended."""
        self._moment = moment
        session = self._engine.session(moment, self._keep)
        for job in jobs:
            self._run_one(job, session)
            job.seq = session.seq
        batch = session.batch()
        if batch is None:
            return False
        self._commit(moment, session, batch)
        return True

    def _run_one(self, job: Job, session: RedisSession) -> None:
        session.begin()
        job.error = None
        overlay = Overlay(session, deadline=job.deadline)
        try:
            job.value = job.work(overlay)
            overlay.finish(session.check_references)
        except MovedError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function raised it
            job.error = error
            overlay.abandon()

    def _commit(self, moment: Moment, session: RedisSession, batch: tuple[list[object], list[object]]) -> None:
        """Apply the batch if nothing came between; raises MovedError when something did."""
        engine, layout = self._engine, self._engine.layout
        token = engine.new_token()
        which = (moment.commit, moment.commit + 1, f"by{moment.commit % scripts.SLOTS}", token)
        keys = (layout.meta, layout.images, layout.weight, layout.feed, layout.line, layout.alive)
        rest = (self._token, session.seq, to_scalar(session.now), FORMAT, scripts.packed((*batch, ())))
        try:
            is_in = engine.link.run(scripts.COMMIT, keys, (*which, *rest), is_repeatable=False)
        except ServerLostError as error:
            is_in = self._settle(which, error)
        if not is_in:
            raise MovedError

    def _settle(self, which: tuple[object, ...], lost: ServerLostError) -> bool:
        """Find out what became of a commit whose answer was lost; says whether it is in."""
        engine = self._engine
        end = min(self._end, time.monotonic() + SETTLE_SECONDS)
        found = None
        while found is None:
            try:
                found = engine.link.run(scripts.SETTLE, (engine.layout.meta,), which)
            except ServerLostError as error:
                if time.monotonic() > end or engine.closing.wait(SETTLE_AGAIN_SECONDS):
                    raise _unknown() from error
        if found < 0:
            raise _unknown() from lost
        return bool(found)


def _unknown() -> ServerLostError:
    return ServerLostError(
        "the connection was lost during the commit, and the server does not say what became of it",
        hint="Read whether the change is there before you make it again, or repeat it with the same idempotency key.",
    )
