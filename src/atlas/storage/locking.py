"""Who writes next: the turn to write, among the processes and threads that share a file."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StorageError, StoreBusyError
from .place import real, storage_error


class WriterLock:
    """The turn to write, among all processes on one file: an advisory lock on a file beside it."""

    def __init__(self, path: Path) -> None:
        beside = real(path)
        self.path = beside.with_name(beside.name + "-lock")
        self._handle: int | None = None
        # The file's lock is the process's: it would let in every thread of it.
        self._thread = threading.Lock()

    def acquire(self, timeout: float | None) -> None:
        """Wait for the turn; `timeout` in seconds, None for no end. Raises StoreBusyError."""
        if not self._thread.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
            raise StoreBusyError(f"another thread has been writing for {timeout:g} s")
        try:
            self._lock_file(timeout)
        except BaseException:
            self._thread.release()
            raise

    def _lock_file(self, timeout: float | None) -> None:
        handle = self._opened()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(handle, timeout)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def try_acquire(self) -> bool:
        """Take the turn if it is free at this moment."""
        if not self._thread.acquire(blocking=False):
            return False
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, StorageError):
            # Whatever is wrong, a proper `acquire` waits for it or says it.
            self._thread.release()
            return False
        return True

    def _opened(self) -> int:
        if self._handle is None:
            try:
                self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise storage_error(error, self.path) from error
        return self._handle

    def _wait(self, handle: int, timeout: float | None) -> None:
        if timeout is None:
            # The kernel wakes waiters in turn, which polling would not.
            fcntl.flock(handle, fcntl.LOCK_EX)
            return
        end = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise StoreBusyError(f"another process has been writing for {timeout:g} s") from error
                time.sleep(0.002)
            else:
                return

    def release(self) -> None:
        """End the turn."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_UN)
        self._thread.release()

    @contextmanager
    def held(self, timeout: float | None) -> Iterator[None]:
        """Hold the turn for the block; see `acquire`."""
        self.acquire(timeout)
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        """Give the lock file back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
