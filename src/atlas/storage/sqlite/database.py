"""The file of a SQLite store: opened, made or upgraded, held by connections, and its log moved into it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw

from ...errors import (
    AtlasError,
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoreFormatError,
    StoreFullError,
    StoreReadOnlyError,
)
from ...model.path import regex_matches
from .. import place
from ..collection import Collection, to_scalar
from ..locking import WriterLock
from ..migration import Migration
from ..refusing import of_the_parent
from . import schema
from .place import check_header
from .settings import SqliteSettings

TRUNCATE_BYTES = 10 * 1024 * 1024
CHECKPOINT_WAIT = 1.0

_PAGE = 4_096

_ERRORS: tuple[tuple[type[Exception], type[StorageError], str], ...] = (
    (apsw.FullError, StoreFullError, "the disk is full"),
    (apsw.ReadOnlyError, StoreReadOnlyError, "the store cannot be written"),
    (apsw.PermissionsError, StoreReadOnlyError, "the store cannot be written"),
    (apsw.NotADBError, StoreFormatError, "not a SQLite database"),
    (apsw.CorruptError, StoreFormatError, "the database is damaged"),
    (apsw.BusyError, StoreBusyError, "another program holds the database"),
    (apsw.LockedError, StoreBusyError, "another program holds the database"),
)


class Database:
    """One process's hold on a database file: one connection that writes, one for short reads, more on demand.

    No statement of the writer runs past `statement_end`, a time of the monotonic clock.
    """

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        migrations: Sequence[Migration] = (),
        settings: SqliteSettings | None = None,
        synchronous: str = "FULL",
        is_forced: bool = False,
        vfs: str = "",
    ) -> None:
        self.path = path
        self.settings = settings or SqliteSettings()
        self.collections = tuple(collections)
        self.migrations = tuple(migrations)
        self.is_open = False
        self.is_writable = True
        self.checkpoints = 0
        self.statement_end = math.inf
        self.lock = WriterLock(path)
        self._synchronous = synchronous
        self._is_forced = is_forced
        self._vfs = vfs
        self._reader: apsw.Connection | None = None
        self._writer: apsw.Connection | None = None
        self._wal_pages = 0
        self._untidy_at = self.settings.checkpoint
        self._file: tuple[int, int] | None = None
        self._process = 0
        self._still: tuple[int, int] | None = None
        self._log = path.with_name(path.name + "-wal")

    def open(self) -> None:
        """Check the file, make it where there is none, upgrade it where it is old; raises StorageError."""
        place.check_location(self.path, is_forced=self._is_forced)
        exists = check_header(self.path)
        self.is_writable = place.is_writable(self.path)
        if self.settings.soft_heap_limit:
            apsw.soft_heap_limit(self.settings.soft_heap_limit)
        try:
            with self.translated():
                self._ready(exists=exists)
        except BaseException:
            self._let_go()
            raise
        self._process = os.getpid()
        self.is_open = True

    def _ready(self, *, exists: bool) -> None:
        if not exists:
            self._create()
        self._file = self._present()
        self._reader = self.connect()
        if schema.version_of(self._reader) != 1 + len(self.migrations):
            self._upgrade()
        if self.is_writable and self._reader.execute("PRAGMA journal_mode").get != "wal":
            # A copy that was put in the store's place: in its mode readers would hold writers up.
            with self.lock.held(self.settings.busy_wait.total_seconds()):
                self.writer().execute("PRAGMA journal_mode = WAL").fetchall()
        different = schema.differences(self._reader, self.collections)
        if different:
            raise StoreFormatError(
                f"the schema of {self.path} is not as Atlas made it: {'; '.join(different[:5])}",
                hint="Restore a copy, or export what can be read into a new store.",
                details={"differences": different},
            )

    def _present(self) -> tuple[int, int]:
        found = os.stat(self.path)  # noqa: PTH116 - Path.stat costs twice as much, at every commit
        return found.st_dev, found.st_ino

    def check_file(self) -> None:
        """Refuse a file that was removed or replaced since it was opened: what is written there, nobody will find."""
        try:
            is_there = self._present() == self._file
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise StorageError(
                f"{self.path} was removed or replaced while it was open",
                hint="Open the store again; nothing was changed.",
            )

    def check_process(self) -> None:
        """Refuse a child that was forked: SQLite's connections and locks are its parent's."""
        if self.is_open and os.getpid() != self._process:
            raise of_the_parent()

    def _create(self) -> None:
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} is empty and cannot be written")
        place.prepare_folder(self.path)
        place.create_private(self.path)
        with self.lock.held(self.settings.busy_wait.total_seconds()):
            if not check_header(self.path):
                with place.made_beside(self.path) as beside:
                    connection = self._connection(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, beside)
                    if self.settings.page_size:
                        connection.execute(f"PRAGMA page_size = {self.settings.page_size:d}")
                    schema.create(connection, self.collections, self.migrations)
                    connection.close()

    def _upgrade(self) -> None:
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} has an older schema and cannot be written")
        with self.lock.held(self.settings.busy_wait.total_seconds()):
            schema.upgrade(self.writer(), self.migrations, self.path)

    def _connection(self, flags: int, path: Path | None = None) -> apsw.Connection:
        name = str(path or self.path)
        if not self.is_writable:
            # Without a log and the right to make one, SQLite reads only what it is told will not change.
            self._still = None if self._has_log() else self._stamp()
            name = f"{self.path.absolute().as_uri()}?mode=ro" + ("" if self._still is None else "&immutable=1")
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(name, flags=flags, vfs=self._vfs or None)
        connection.set_busy_timeout(self.settings.busy_millis)
        connection.execute(
            f"PRAGMA cache_size = {-(self.settings.cache_size // 1024):d}; PRAGMA mmap_size = {self.settings.mmap:d};"
            f"PRAGMA temp_store = {self.settings.temp_store}; "
            "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON"
        ).fetchall()  # a pragma that answers with a row would otherwise end the script there
        connection.create_scalar_function("atlas_glob", _glob, 2, deterministic=True)
        connection.create_scalar_function("atlas_time", _time, 1, deterministic=True)
        connection.wal_autocheckpoint(0)
        return connection

    def connect(self) -> apsw.Connection:
        """Return a new connection that can only read.

        Never to another file: it would be read through the old one's log, which at the end would be moved into it.
        """
        self.check_file()
        connection = self._connection(apsw.SQLITE_OPEN_READWRITE)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def reader(self) -> apsw.Connection:
        """Return the connection for short reads."""
        if self._reader is None:
            raise StoreClosedError("the store is closed")
        if self._still is not None and (self._has_log() or self._still != self._stamp()):
            # Its owner writes again.
            self._reader.close()
            self._reader = self.connect()
        return self._reader

    def _has_log(self) -> bool:
        return self._log.exists()

    def log_bytes(self) -> int:
        """Return the size of the log beside the file."""
        return self._log.stat().st_size if self._log.exists() else 0

    def _stamp(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size

    def check_writable(self) -> None:
        """Raise StoreReadOnlyError for a file that cannot be written."""
        if not self.is_writable:
            raise StoreReadOnlyError(f"{self.path} cannot be written")

    @property
    def made_writer(self) -> apsw.Connection | None:
        """The connection that writes, if anything was written yet."""
        return self._writer

    def writer(self) -> apsw.Connection:
        """Return the one connection that writes."""
        self.check_writable()
        if self._writer is None:
            connection = self._connection(apsw.SQLITE_OPEN_READWRITE)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.set_wal_hook(self._count_pages)
            connection.set_progress_handler(lambda: time.monotonic() > self.statement_end, 1_000)
            self._writer = connection
        return self._writer

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._wal_pages:
            self._untidy_at = self.settings.checkpoint
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
            raise self.storage_error(error) from error
        except OSError as error:
            raise place.storage_error(error, self.path) from error

    def storage_error(self, error: apsw.Error) -> AtlasError:
        """Return the error of the tree that stands for one of the driver."""
        for kind, made, text in _ERRORS:
            if isinstance(error, kind):
                return made(f"{text}: {self.path}", details={"driver": str(error)})
        return StorageError(f"{self.path}: {error}")

    @property
    def is_untidy(self) -> bool:
        """Whether the log has grown so long that `tidy` has something to do."""
        return self._wal_pages >= self._untidy_at

    def tidy(self) -> None:
        """Move the log into the database when it has grown, after the callers were answered."""
        if not self.is_untidy or self._writer is None:
            return
        is_large = self.log_bytes() > max(TRUNCATE_BYTES, 2 * self.settings.checkpoint * _PAGE)
        self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE if is_large else apsw.SQLITE_CHECKPOINT_PASSIVE)
        # A reader that stays would otherwise have every commit try again.
        self._untidy_at = self._wal_pages + self.settings.checkpoint

    def checkpoint(self, mode: int) -> None:
        """Move the log into the database as far as readers allow, unless another writer keeps its turn."""
        writer = self.writer()
        try:
            self.lock.acquire(CHECKPOINT_WAIT)
        except StoreBusyError:
            return
        try:
            writer.set_busy_timeout(50)
            writer.wal_checkpoint(mode=mode)
            self.checkpoints += 1
        except (apsw.BusyError, apsw.LockedError):
            # A reader still needs the log; the next checkpoint gets further.
            return
        finally:
            writer.set_busy_timeout(self.settings.busy_millis)
            self.lock.release()

    def close(self) -> None:
        """Truncate the log and release the file; what cannot be moved now stays in the log, as safe as before."""
        try:
            if self._writer is not None:
                with self.translated():
                    self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except StorageError as error:
            import logging

            logging.getLogger(__name__).warning("the log of %s stays: %s", self.path, error)
            for connection in (self._writer, self._reader):
                if connection is not None:
                    # The last one to close would try once more, and fail once more.
                    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = None
        self.lock.close()
        self.is_open = False


def _time(*values: Any) -> Any:
    """Give a time out of JSON text the fixed width by which times compare."""
    (text,) = values
    return None if text is None else to_scalar(datetime.fromisoformat(text))


def _glob(*values: Any) -> bool:
    path, regex = values
    return isinstance(path, str) and regex_matches(regex, path)
