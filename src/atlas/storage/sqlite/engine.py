"""The heart of the SQLite store: reading a snapshot, and committing a group of functions at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

import apsw

from ...errors import StorageError, StoreBusyError, StoreClosedError, StoreTimeoutError
from ..collection import to_scalar
from ..jobs import Job, TooLongError
from ..overlay import Overlay
from ..protocol import Transaction
from ..slow import SlowQueries
from .database import Database
from .figures import LockWaits, PageCounts, file_figures
from .place import check_schema
from .session import SnapshotSession, SqliteSession, dangling
from .witness import Witness

T = TypeVar("T")

SHORT_SECONDS = 0.002


class Engine:
    """Runs functions on a database."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self.database = database
        self.lock_waits = LockWaits()
        self.pages = PageCounts()
        self.commits = 0
        self.slow = SlowQueries()
        self._clock = clock
        self._commit_seconds = 0.0
        self._versions: dict[apsw.Connection, int] = {}
        self._reading = threading.Lock()
        self._looking = threading.Lock()
        self._witness: Witness | None = None

    @property
    def is_open(self) -> bool:
        """See CommitEngine."""
        return self.database.is_open

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine."""
        return self.database.is_untidy

    def check_open(self) -> None:
        """See durable.Engine."""
        self.database.check_process()
        if not self.database.is_open:
            raise StoreClosedError("the store is closed")

    def stop(self) -> None:
        """See durable.Engine."""
        self.database.is_open = False

    def tidy(self) -> None:
        """See CommitEngine: move the log into the database when it has grown."""
        with self.database.translated():
            self.database.tidy()

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """Run the jobs one after the other in one transaction, each alone in its failure, and commit once.

        Afterwards each job has its value and seq, or its error. `wait` bounds the wait for other processes, in
        seconds; None waits without end, for a thread whose callers give up by themselves.
        """
        try:
            with self.database.translated():
                self._run(jobs, wait)
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error

    def _run(self, jobs: Sequence[Job], wait: float | None) -> None:
        self.database.check_writable()
        self._take_turn(wait)
        try:
            self.database.check_file()
            # Made while the turn is held: two threads would make two.
            writer = self.database.writer()
            started = [job for job in jobs if job.start()]
            if not self._commit_all(writer, started, is_guarded=False):
                self._commit_all(writer, started, is_guarded=True)
        finally:
            self.database.lock.release()

    def _take_turn(self, wait: float | None) -> None:
        if not self.database.lock.try_acquire():
            with self.lock_waits.timed():
                self.database.lock.acquire(wait)

    def run_short(self, job: Job) -> bool:
        """Run one job at once if nobody else is writing, the disk is quick and the job short; else say False.

        After False the job waits as before, and nothing has happened. For the thread that must not be held up: what
        takes longer than `SHORT_SECONDS` is rolled back, to be run by `run` on a thread of its own.
        """
        if (
            self._commit_seconds > SHORT_SECONDS
            or not self.database.is_writable
            or not self.database.lock.try_acquire()
        ):
            return False
        try:
            with self.database.translated(), self._hurried() as end:
                self.database.check_file()
                if job.start():
                    self._commit_all(self.database.writer(), [job], is_guarded=False, end=end)
        except (TooLongError, StoreBusyError):
            if time.monotonic() < job.deadline:
                job.postpone()
                return False
            job.error = StoreTimeoutError("the work took longer than its deadline")
        except Exception as error:  # noqa: BLE001 - handed to the caller
            job.error = job.error or error
        finally:
            self.database.lock.release()
        return True

    @contextmanager
    def _hurried(self) -> Iterator[float]:
        """Have the writer wait for nobody; gives the time at which short work ends."""
        writer = self.database.writer()
        writer.set_busy_timeout(0)
        try:
            yield time.monotonic() + SHORT_SECONDS
        finally:
            writer.set_busy_timeout(self.database.settings.busy_millis)

    def _commit_all(
        self, writer: apsw.Connection, jobs: Sequence[Job], *, is_guarded: bool, end: float | None = None
    ) -> bool:
        """Run the jobs and commit; says False when an unguarded job failed after it wrote, and all must run again.

        A savepoint for each job costs every page it changes a copy, so the first attempt does without.
        """
        writer.execute("BEGIN IMMEDIATE")
        try:
            return self._run_all(writer, jobs, is_guarded=is_guarded, end=end)
        finally:
            if writer.in_transaction:
                writer.execute("ROLLBACK")

    def _run_all(self, writer: apsw.Connection, jobs: Sequence[Job], *, is_guarded: bool, end: float | None) -> bool:
        seq, now = self._look(writer)
        has_written = False
        for job in jobs:
            session = SqliteSession(writer, now=now, seq=seq, is_guarded=is_guarded)
            if self._run_one(job, session, end):
                seq = session.seq
                has_written = has_written or session.has_written
            if not writer.in_transaction:
                # SQLite itself gave the transaction up: nothing of the group survives. Work that was interrupted is
                # late, and in the second run is so before it has done anything.
                if isinstance(job.error, StoreTimeoutError) and not is_guarded:
                    return len(jobs) == 1
                raise job.error if isinstance(job.error, Exception) else StorageError("the transaction was given up")
            if session.is_spoiled:
                return len(jobs) == 1
            job.seq = seq
        if has_written:
            writer.execute('UPDATE "meta" SET "seq" = ?, "now" = ?', (seq, to_scalar(now)))
        asked = time.perf_counter()
        with nullcontext() if self._witness is None else self._witness.own():
            writer.execute("COMMIT")
        self._commit_seconds = time.perf_counter() - asked
        self.commits += 1
        return True

    def _begin(self, connection: apsw.Connection) -> tuple[int, datetime]:
        row = connection.execute('SELECT "seq", "now", "schema" FROM "meta"').get
        seq, now, found = row
        if found > 1 + len(self.database.migrations):
            check_schema(found, self.database.path)
        return seq, datetime.fromisoformat(now).astimezone(UTC)

    def _run_one(self, job: Job, session: SqliteSession, end: float | None) -> bool:
        late = StoreTimeoutError if end is None else TooLongError
        overlay = Overlay(session, deadline=end or job.deadline, late=late, slow=self.slow)
        job.error = None
        self.database.statement_end = end or job.deadline
        try:
            job.value = job.work(overlay)
            overlay.finish(self._check_references)
        except apsw.InterruptError as error:
            job.error = late("the work took longer than its deadline")
            job.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function raised it
            job.error = self.database.storage_error(error) if isinstance(error, apsw.Error) else error
        finally:
            # In a rollback or the commit, the deadline would hide what became of them.
            self.database.statement_end = math.inf
        if isinstance(job.error, TooLongError):
            raise job.error
        if job.error is not None and self.database.writer().in_transaction:
            overlay.abandon()
        return job.error is None

    def _check_references(self) -> None:
        """Refuse references to nothing per function: SQLite itself would only notice at the commit of the group."""
        writer = self.database.writer()
        if writer.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise dangling(writer)

    def read(
        self,
        work: Callable[[Transaction], T],
        *,
        connection: apsw.Connection | None = None,
        seconds: float | None = None,
    ) -> T:
        """Run `work` on a snapshot; raises apsw.InterruptError when SQLite takes longer than `seconds`."""
        try:
            # One snapshot at a time on the connection that all event loops share.
            with self._reading if connection is None else nullcontext():
                return self._snapshot(connection or self.database.reader(), work, seconds)
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            raise self.database.storage_error(error) from error

    def _snapshot(self, reader: apsw.Connection, work: Callable[[Transaction], T], seconds: float | None) -> T:
        session = SnapshotSession(reader, look=lambda: self._look(reader))
        reader.execute("BEGIN")
        try:
            if seconds is not None:
                end = time.perf_counter() + seconds
                reader.set_progress_handler(lambda: time.perf_counter() > end, 1_000)
            answer = work(Overlay(session, is_writable=False, slow=self.slow))
            self._check_current(reader)
            return answer
        finally:
            # The deadline is for the work alone: struck in the rollback, it would leave the transaction open.
            if seconds is not None:
                reader.set_progress_handler(None)
            if reader.in_transaction:
                reader.execute("ROLLBACK")

    def _check_current(self, connection: apsw.Connection) -> None:
        """Refuse what a newer Atlas may have written since this connection last looked."""
        version = connection.data_version()
        if self._versions.get(connection) != version:
            self._begin(connection)
            self._versions[connection] = version

    def _look(self, connection: apsw.Connection) -> tuple[int, datetime]:
        seq, before = self._begin(connection)
        return seq, max(self._clock(), before)

    def connect(self) -> apsw.Connection:
        """Return a new connection that answers and can only read; raises StorageError."""
        with self.database.translated():
            connection = self.database.connect()
        try:
            self.check(connection)
        except StorageError:
            connection.close()
            raise
        return connection

    def check(self, connection: apsw.Connection) -> None:
        """Raise StorageError where a connection does not answer, or the file is not the one that was opened."""
        with self.database.translated():
            self.database.check_file()
            connection.execute("PRAGMA schema_version").fetchall()

    def release(self, connection: apsw.Connection) -> None:
        """Close a connection that `connect` gave."""
        self._versions.pop(connection, None)
        connection.close()

    def file_figures(self) -> dict[str, Any]:
        """Return the figures of the file. The writer's caches are asked only where it is not writing just now."""
        with self._reading, self.database.translated():
            reader = self.database.reader()
            self.pages.take(reader)
            self._take_pages_of_writer()
            return file_figures(self.database, reader, self.pages, self.lock_waits)

    def _take_pages_of_writer(self) -> None:
        writer = self.database.made_writer
        if writer is not None and self.database.lock.try_acquire():
            try:
                self.pages.take(writer)
            finally:
                self.database.lock.release()

    def latest(self) -> int:
        """Return the last number committed by any process."""
        return self.read(lambda tx: tx.seq)

    def others_version(self) -> int | None:
        """See Versioned."""
        try:
            return (self._witness or self._made_witness()).look()
        except apsw.Error as error:
            raise self.database.storage_error(error) from error

    def _made_witness(self) -> Witness:
        with self._looking:
            if self._witness is None:
                self._witness = Witness(self.database.connect())
            return self._witness

    def forget_others(self) -> None:
        """End the looking for commits of others, before the database is closed."""
        with self._looking:
            if self._witness is not None:
                self._witness.close()
                self._witness = None
