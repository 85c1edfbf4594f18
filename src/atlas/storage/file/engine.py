"""The heart of the JSON file store: reading what is committed, and committing a group of functions as one line."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ...errors import StorageError, StoreBusyError, StoreClosedError, StoreReadOnlyError, StoreTimeoutError
from ..collection import Collection
from ..jobs import Job, TooLongError
from ..locking import WriterLock
from ..memory_session import State
from ..overlay import Overlay
from ..place import check_location, create_private, is_writable, prepare_folder, storage_error
from ..protocol import Transaction
from ..refusing import of_the_parent
from ..slow import SlowQueries
from .content import Content, copied
from .session import FileSession

T = TypeVar("T")

SHORT_SECONDS = 0.002
OPEN_SECONDS = 5.0
TIDY_SECONDS = 1.0
COMPACT_BYTES = 4 * 1024 * 1024
CHEAP_BYTES = 256 * 1024


class Engine:
    """Runs functions on the content of a store's files (`committing.CommitEngine` states what is asked of it)."""

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime],
        is_inline: bool,
        is_forced: bool,
    ) -> None:
        self.content = Content(path, collections, is_inline=is_inline)
        self.lock = WriterLock(path)
        self.path = path
        self.is_open = False
        self.commits = 0
        self.slow = SlowQueries()
        self.lock_waits = 0.0
        self._clock = clock
        self._is_inline = is_inline
        self._is_forced = is_forced
        self._commit_seconds = 0.0
        self._untidy_at = COMPACT_BYTES
        self._has_committed = False
        self._process = 0

    def open(self) -> None:
        """Check the files, make them where there are none, read them; raises StorageError, having altered nothing."""
        check_location(self.path, is_forced=self._is_forced)
        content = self.content
        with self.translated():
            exists = content.exists()
            content.is_writable = is_writable(content.path)
            if not exists:
                self._create()
            try:
                content.open()
            except BaseException:
                self._let_go()
                raise
        self._process = os.getpid()
        self.is_open = True

    def _create(self) -> None:
        if not self.content.is_writable:
            raise StoreReadOnlyError(f"{self.path} is empty and cannot be written")
        prepare_folder(self.content.path)
        create_private(self.content.path)
        with self.lock.held(OPEN_SECONDS):
            self.content.create()

    def check_open(self) -> None:
        """Raise StoreClosedError where the store is closed, or a forked child's parent's: locks are the parent's."""
        if not self.is_open:
            raise StoreClosedError("the store is closed")
        if os.getpid() != self._process:
            raise of_the_parent()

    def stop(self) -> None:
        """See durable.Engine."""
        self.is_open = False

    def check_writable(self) -> None:
        """Raise StoreReadOnlyError for a file that cannot be written."""
        if not self.content.is_writable:
            raise StoreReadOnlyError(f"{self.path} cannot be written")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the system's errors into those of the tree."""
        try:
            yield
        except OSError as error:
            raise storage_error(error, self.path) from error

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """See CommitEngine. `wait` bounds the wait for other processes, in seconds; None waits without end."""
        try:
            with self.translated():
                self.check_writable()
                with self._turn(wait):
                    self._commit_all([job for job in jobs if job.start()])
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error

    @contextmanager
    def _turn(self, wait: float | None) -> Iterator[None]:
        asked = time.perf_counter()
        self.lock.acquire(wait)
        self.lock_waits += time.perf_counter() - asked
        try:
            yield
        finally:
            self.lock.release()

    def run_short(self, job: Job) -> bool:
        """See CommitEngine. What takes longer than `SHORT_SECONDS` is undone, to be run by `run` on a thread."""
        # Making a log, or a snapshot in place of one that is distrusted, takes the disk several times as long.
        is_ready = self.content.is_writable and self.content.log.is_there and not self.content.log.is_distrusted
        if not is_ready or self._commit_seconds > SHORT_SECONDS or not self.lock.try_acquire():
            return False
        try:
            with self.translated():
                if job.start():
                    self._commit_all([job], end=time.monotonic() + SHORT_SECONDS)
        except TooLongError:
            if time.monotonic() < job.deadline:
                job.postpone()
                return False
            job.error = StoreTimeoutError("the work took longer than its deadline")
        except Exception as error:  # noqa: BLE001 - handed to the caller
            job.error = job.error or error
        finally:
            self.lock.release()
        return True

    def _commit_all(self, jobs: Sequence[Job], *, end: float | None = None) -> None:
        """Run the jobs one after the other, each alone in its failure, and write what they came to as one line."""
        if self.content.log.is_distrusted:
            self.content.compact()
        with self.content.writing(is_hurried=end is not None) as state:
            sessions: list[FileSession] = []
            try:
                for job in jobs:
                    self._run_one(job, state, sessions, end)
                    job.seq = state.seq
                self._write(state, sessions)
            except BaseException:
                for session in reversed(sessions):
                    session.undo()
                raise

    def _run_one(self, job: Job, state: State, sessions: list[FileSession], end: float | None) -> None:
        deadline, late = (job.deadline, StoreTimeoutError) if end is None else (end, TooLongError)
        session = FileSession(state, self._clock(), deadline=deadline, late=late)
        overlay = Overlay(session, deadline=deadline, late=late, slow=self.slow)
        job.error = None
        try:
            job.value = job.work(overlay)
            overlay.finish(session.check_references)
        except BaseException as error:
            session.undo()
            if isinstance(error, TooLongError):
                raise
            job.error = error
        else:
            sessions.append(session)

    def _write(self, state: State, sessions: Sequence[FileSession]) -> None:
        changed = {(c.collection.name, c.key): c for session in sessions for c in session.changes()}
        if not changed:
            return
        asked = time.perf_counter()
        self.content.commit(list(changed.values()), state.seq, state.now)
        self._commit_seconds = time.perf_counter() - asked
        self.commits += 1
        self._has_committed = True

    def read(self, work: Callable[[Transaction], T], *, is_short: bool = False) -> T:
        """Run `work` on what is committed; if it `is_short`, it raises TooLongError after `SHORT_SECONDS`.

        Long work has a copy to itself, so that it holds nobody up.
        """
        content = self.content
        if not content.mutex.acquire(timeout=SHORT_SECONDS if is_short else -1):
            raise TooLongError
        try:
            with self.translated():
                content.catch_up(is_hurried=is_short)
            if is_short or self._is_inline:
                return self._look(work, content.committed, SHORT_SECONDS if is_short else math.inf)
            state = copied(content.committed)
        finally:
            content.mutex.release()
        return self._look(work, state, math.inf)

    def _look(self, work: Callable[[Transaction], T], state: State, seconds: float) -> T:
        end = time.monotonic() + seconds
        session = FileSession(state, self._clock(), deadline=end, late=TooLongError)
        return work(Overlay(session, is_writable=False, deadline=end, late=TooLongError, slow=self.slow))

    def latest(self) -> int:
        """Return the last number committed by any process."""
        return self.read(lambda tx: tx.seq)

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine."""
        snapshot, log = self.content.size
        return log > max(snapshot, self._untidy_at)

    def tidy(self) -> None:
        """See CommitEngine: write a new snapshot once the log outgrows it, unless another writer keeps its turn."""
        if not self.is_untidy:
            return
        # A disk that has no room for it would otherwise have every commit try again.
        self._untidy_at = self.content.size[1] + COMPACT_BYTES
        with contextlib.suppress(StoreBusyError):
            self.compact(TIDY_SECONDS)

    def compact(self, wait: float) -> None:
        """Write a new snapshot; raises StorageError."""
        with self.translated(), self._turn(wait):
            self.content.compact()
        self._untidy_at = COMPACT_BYTES

    def faults(self) -> list[str]:
        """Return what is wrong with the files, the references and the numbers."""
        with self.translated():
            if not self.content.is_writable:
                return self.content.faults()
            with self._turn(OPEN_SECONDS):
                return self.content.faults()

    def close(self) -> None:
        """Leave one readable file where that is cheap; what stays in the log is as safe."""
        snapshot, log = self.content.size
        if self._has_committed and log and snapshot + log <= CHEAP_BYTES:
            try:
                self.compact(TIDY_SECONDS)
            except StorageError as error:
                import logging

                logging.getLogger(__name__).warning("the log of %s stays: %s", self.path, error)
        self._let_go()

    def _let_go(self) -> None:
        self.content.close()
        self.lock.close()
        self.is_open = self._has_committed = False
