"""The synchronous heart of the SQLite store: opening, reading, and committing a group of functions at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ...errors import (
    AtlasError,
    ConflictError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoreFormatError,
    StoreFullError,
    StoreReadOnlyError,
    StoreTimeoutError,
)
from ...model.path import regex_matches
from ..collection import Collection, to_scalar
from ..overlay import Overlay
from ..protocol import Transaction
from . import place, schema
from .session import SnapshotSession, SqliteSession

T = TypeVar("T")

CHECKPOINT_PAGES = 1_000
TRUNCATE_BYTES = 10 * 1024 * 1024
BUSY_MILLIS = 5_000
SHORT_SECONDS = 0.002

_ERRORS: tuple[tuple[type[Exception], type[StorageError], str], ...] = (
    (apsw.FullError, StoreFullError, "the disk is full"),
    (apsw.ReadOnlyError, StoreReadOnlyError, "the store cannot be written"),
    (apsw.PermissionsError, StoreReadOnlyError, "the store cannot be written"),
    (apsw.NotADBError, StoreFormatError, "not a SQLite database"),
    (apsw.CorruptError, StoreFormatError, "the database is damaged"),
    (apsw.BusyError, StoreBusyError, "another program holds the database"),
    (apsw.LockedError, StoreBusyError, "another program holds the database"),
)


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


class Engine:
    """One process's hold on a database file."""

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime],
        migrations: Sequence[schema.Migration] = (),
        synchronous: str = "FULL",
        is_forced: bool = False,
        vfs: str = "",
    ) -> None:
        self.path = path
        self.collections = tuple(collections)
        self.is_writable = True
        self.lock = place.WriterLock(path)
        self.lock_waits = 0.0
        self.commits = 0
        self._commit_seconds = 0.0
        self._versions: dict[apsw.Connection, int] = {}
        self._clock = clock
        self._migrations = tuple(migrations)
        self._synchronous = synchronous
        self._is_forced = is_forced
        self._vfs = vfs
        self._reader: apsw.Connection | None = None
        self._writer: apsw.Connection | None = None
        self._wal_pages = 0
        self.is_open = False

    def open(self) -> None:
        """Check the file, make it where there is none, upgrade it where it is old; raises StorageError."""
        place.check_location(self.path, is_forced=self._is_forced)
        exists = place.check_header(self.path)
        self.is_writable = place.is_writable(self.path)
        with self.translated():
            if not exists:
                self._create()
            self._reader = self.connect()
            if schema.version_of(self._reader) != 1 + len(self._migrations):
                self._upgrade()
            different = schema.differences(self._reader, self.collections)
        if different:
            self.close()
            raise StoreFormatError(
                f"the schema of {self.path} is not as Atlas made it: {'; '.join(different[:5])}",
                hint="Restore a copy, or export what can be read into a new store.",
                details={"differences": different},
            )
        self.is_open = True

    def _create(self) -> None:
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} is empty and cannot be written")
        place.prepare_folder(self.path)
        place.create_private(self.path)
        with self.lock.held(BUSY_MILLIS / 1000):
            if not place.check_header(self.path):
                with place.made_beside(self.path) as beside:
                    connection = self._connection(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, beside)
                    schema.create(connection, self.collections, self._migrations)
                    connection.close()

    def _upgrade(self) -> None:
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} has an older schema and cannot be written")
        with self.lock.held(BUSY_MILLIS / 1000):
            schema.upgrade(self.writer(), self._migrations, self.path)

    def _connection(self, flags: int, path: Path | None = None) -> apsw.Connection:
        name = str(path or self.path)
        if not self.is_writable:
            has_log = self.path.with_name(self.path.name + "-wal").exists()
            name = f"{self.path.absolute().as_uri()}?mode=ro" + ("" if has_log else "&immutable=1")
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(name, flags=flags, vfs=self._vfs or None)
        connection.set_busy_timeout(BUSY_MILLIS)
        connection.execute(
            "PRAGMA cache_size = -16384; PRAGMA mmap_size = 268435456; PRAGMA temp_store = MEMORY;"
            "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON"
        ).fetchall()  # a pragma that answers with a row would otherwise end the script there
        connection.create_scalar_function("atlas_glob", _glob, 2, deterministic=True)
        connection.create_scalar_function("atlas_time", _time, 1, deterministic=True)
        connection.wal_autocheckpoint(0)
        return connection

    def connect(self) -> apsw.Connection:
        """Return a new connection that can only read."""
        connection = self._connection(apsw.SQLITE_OPEN_READWRITE)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def writer(self) -> apsw.Connection:
        """Return the one connection that writes."""
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} cannot be written")
        if self._writer is None:
            connection = self._connection(apsw.SQLITE_OPEN_READWRITE)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.set_wal_hook(self._count_pages)
            self._writer = connection
        return self._writer

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors into those of the tree."""
        try:
            yield
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            raise self._storage_error(error) from error
        except OSError as error:
            raise place.storage_error(error, self.path) from error

    def _storage_error(self, error: apsw.Error) -> AtlasError:
        for kind, made, text in _ERRORS:
            if isinstance(error, kind):
                return made(f"{text}: {self.path}", details={"driver": str(error)})
        return StorageError(f"{self.path}: {error}")

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """Run the jobs one after the other in one transaction, each alone in its failure, and commit once.

        Afterwards each job has its value and seq, or its error. `wait` bounds the wait for other processes, in
        seconds; None waits without end, for a thread whose callers give up by themselves.
        """
        try:
            with self.translated():
                self._run(jobs, wait)
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or error

    def _run(self, jobs: Sequence[Job], wait: float | None) -> None:
        writer = self.writer()
        asked = time.perf_counter()
        self.lock.acquire(wait)
        self.lock_waits += time.perf_counter() - asked
        try:
            started = [job for job in jobs if job.start()]
            if not self._commit_all(writer, started, is_guarded=False):
                self._commit_all(writer, started, is_guarded=True)
        finally:
            self.lock.release()

    def run_short(self, job: Job) -> bool:
        """Run one job at once if nobody else is writing, the disk is quick and the job short; else say False.

        After False the job waits as before, and nothing has happened. For the thread that must not be held up: what
        takes longer than `SHORT_SECONDS` is rolled back, to be run by `run` on a thread of its own.
        """
        if self._commit_seconds > SHORT_SECONDS or not self.is_writable or not self.lock.try_acquire():
            return False
        try:
            with self.translated(), self._hurried() as end:
                if job.start():
                    self._commit_all(self.writer(), [job], is_guarded=False, end=end)
        except (TooLongError, apsw.InterruptError, StoreBusyError):
            if time.monotonic() < job.deadline:
                job.postpone()
                return False
            job.error = StoreTimeoutError("the work took longer than its deadline")
        except Exception as error:  # noqa: BLE001 - handed to the caller
            job.error = job.error or error
        finally:
            self.lock.release()
        return True

    @contextmanager
    def _hurried(self) -> Iterator[float]:
        """Have the writer wait for nobody, and no statement run past the end of a short time; gives that end."""
        writer = self.writer()
        end = time.monotonic() + SHORT_SECONDS
        writer.set_busy_timeout(0)
        writer.set_progress_handler(lambda: time.monotonic() > end, 1_000)
        try:
            yield end
        finally:
            writer.set_progress_handler(None)
            writer.set_busy_timeout(BUSY_MILLIS)

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
                # SQLite itself gave the transaction up (disk full, I/O error): nothing of the group survives.
                raise job.error or StorageError("the transaction was given up")
            if session.is_spoiled:
                return len(jobs) == 1
            job.seq = seq
        if has_written:
            writer.execute('UPDATE "meta" SET "seq" = ?, "now" = ?', (seq, to_scalar(now)))
        if end is not None:
            # Struck in the commit itself, the deadline would hide what became of it.
            writer.set_progress_handler(None)
        asked = time.perf_counter()
        writer.execute("COMMIT")
        self._commit_seconds = time.perf_counter() - asked
        self.commits += 1
        return True

    def _begin(self, connection: apsw.Connection) -> tuple[int, datetime]:
        row = connection.execute('SELECT "seq", "now", "schema" FROM "meta"').get
        seq, now, found = row
        if found > 1 + len(self._migrations):
            place.check_schema(found, self.path)
        return seq, datetime.fromisoformat(now).astimezone(UTC)

    def _run_one(self, job: Job, session: SqliteSession, end: float | None) -> bool:
        late = StoreTimeoutError if end is None else TooLongError
        overlay = Overlay(session, deadline=end or job.deadline, late=late)
        job.error = None
        try:
            job.value = job.work(overlay)
            overlay.finish(self._check_references)
        except (TooLongError, apsw.InterruptError):
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function raised it
            job.error = self._storage_error(error) if isinstance(error, apsw.Error) else error
            if self.writer().in_transaction:
                overlay.abandon()
            return False
        return True

    def _check_references(self) -> None:
        """Refuse references to nothing per function: SQLite itself would only notice at the commit of the group."""
        assert self._writer is not None
        if self._writer.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise ConflictError(
                "a record refers to one that does not exist", hint="Create what is referred to in the same transaction."
            )

    def read(
        self,
        work: Callable[[Transaction], T],
        *,
        connection: apsw.Connection | None = None,
        seconds: float | None = None,
    ) -> T:
        """Run `work` on a snapshot; raises apsw.InterruptError when SQLite takes longer than `seconds`."""
        reader = connection or self._reader
        if reader is None:
            raise StoreClosedError("the store is closed")
        session = SnapshotSession(reader, look=lambda: self._look(reader))
        try:
            reader.execute("BEGIN")
            try:
                if seconds is not None:
                    end = time.perf_counter() + seconds
                    reader.set_progress_handler(lambda: time.perf_counter() > end, 1_000)
                answer = work(Overlay(session, is_writable=False))
                self._check_current(reader)
                return answer
            finally:
                # The deadline is for the work alone: struck in the rollback, it would leave the transaction open.
                if seconds is not None:
                    reader.set_progress_handler(None)
                if reader.in_transaction:
                    reader.execute("ROLLBACK")
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            raise self._storage_error(error) from error

    def _check_current(self, connection: apsw.Connection) -> None:
        """Refuse what a newer Atlas may have written since this connection last looked."""
        version = connection.data_version()
        if self._versions.get(connection) != version:
            self._begin(connection)
            self._versions[connection] = version

    def _look(self, connection: apsw.Connection) -> tuple[int, datetime]:
        seq, before = self._begin(connection)
        return seq, max(self._clock(), before)

    @property
    def is_untidy(self) -> bool:
        """Whether the log has grown so long that `tidy` has something to do."""
        return self._wal_pages >= CHECKPOINT_PAGES

    def tidy(self) -> None:
        """Move the log into the database when it has grown, after the callers were answered."""
        if not self.is_untidy or self._writer is None:
            return
        log = self.path.with_name(self.path.name + "-wal")
        is_large = log.exists() and log.stat().st_size > TRUNCATE_BYTES
        self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE if is_large else apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._wal_pages = 0

    def checkpoint(self, mode: int) -> None:
        """Move the log into the database as far as readers allow; another writer's turn is respected."""
        writer = self.writer()
        self.lock.acquire(None)
        try:
            writer.set_busy_timeout(50)
            writer.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError):
            # A reader still needs the log; the next checkpoint gets further.
            return
        finally:
            writer.set_busy_timeout(BUSY_MILLIS)
            self.lock.release()

    def latest(self) -> int:
        """Return the last number committed by any process."""
        return self.read(lambda tx: tx.seq)

    def close(self) -> None:
        """Truncate the log and release the file."""
        if self._writer is not None:
            with self.translated():
                self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._writer.close()
            self._writer = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self.lock.close()
        self.is_open = False


def _time(*values: Any) -> Any:
    """Give a time out of JSON text the fixed width by which times compare."""
    (text,) = values
    return None if text is None else to_scalar(datetime.fromisoformat(text))


def _glob(*values: Any) -> bool:
    path, regex = values
    return isinstance(path, str) and regex_matches(regex, path)
