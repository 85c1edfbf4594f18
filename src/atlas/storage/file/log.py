"""The log beside a JSON file store: commits since the snapshot, appended one line each and synced before any answer."""

from __future__ import annotations

import contextlib
import os
from enum import Enum
from pathlib import Path

from ..collection import encode
from ..place import made_beside
from .layout import LOG_FORMAT, VERSION, Head, is_followed, read_lines, read_log_head, write_line

# What a program says after reading must be as lasting as what the writer says after writing.
_sync = getattr(os, "fdatasync", os.fsync)


class Seen(Enum):
    """What may become of a log. `NEW`: there was none. `LOST`: it is gone, or another file has its name."""

    SAME = "same"
    NEW = "new"
    SHRUNK = "shrunk"
    LOST = "lost"


class Log:
    """One process's place in the log: `offset` is the end of what it has read, on whole lines.

    `is_distrusted`: a sync failed, so nobody knows what of the file is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.lines = 0
        self.is_distrusted = False
        self._handle: int | None = None
        self._ignored: int | None = None
        self._checksum = b""

    def close(self) -> None:
        """Forget the log; the next `open` reads it anew."""
        for handle in (self._handle, self._ignored):
            if handle is not None:
                os.close(handle)
        self._handle = self._ignored = None
        self.offset = self.lines = 0
        self._checksum = b""

    @property
    def is_there(self) -> bool:
        """Whether there is a log that goes on from the snapshot."""
        return self._handle is not None

    def open(self, snapshot: Head, *, is_writable: bool) -> list[bytes]:
        """Take the log that goes on from a snapshot, if there is one; returns the texts of its commits."""
        self.close()
        flags = os.O_CLOEXEC | (os.O_RDWR if is_writable else os.O_RDONLY)
        with contextlib.suppress(FileNotFoundError):
            self._handle = os.open(self.path, flags)
        texts = self.read_on()
        if texts and is_followed(snapshot, read_log_head(texts[0], self.path), self.path):
            return texts[1:]
        # Left by a crash: it has no head yet, or the snapshot made after it has it all.
        ignored, self._handle = self._handle, None
        self.close()
        self._ignored = ignored
        return []

    def look(self) -> Seen:
        """Say what has become of the file since it was opened."""
        known = self._ignored if self._handle is None else self._handle
        try:
            found = os.stat(self.path)  # noqa: PTH116 - Path.stat costs twice as much, at every read
        except FileNotFoundError:
            return Seen.SAME if self._handle is None else Seen.LOST
        own = None if known is None else os.fstat(known)
        if own is None or not os.path.samestat(own, found):
            return Seen.NEW if self._handle is None else Seen.LOST
        return Seen.SHRUNK if own.st_size < self.offset else Seen.SAME

    def unread(self) -> int:
        """Return how many bytes there are behind what was read."""
        return 0 if self._handle is None else os.fstat(self._handle).st_size - self.offset

    def read_on(self) -> list[bytes]:
        """Return the texts of the lines that were appended since, once they are on the disk."""
        if self._handle is None or not self.unread():
            return []
        data = _read(self._handle, self.offset)
        read = read_lines(data, self.path, before=self._checksum, number=self.lines + 1)
        if read.texts:
            _sync(self._handle)
        self.offset += read.size
        self.lines += len(read.texts)
        self._checksum = read.checksum
        return read.texts

    def append(self, text: bytes, snapshot: Head) -> None:
        """Write a line and sync it; raises OSError, with nothing of it left. The caller has the turn to write."""
        if self._handle is None:
            self._make(snapshot)
        assert self._handle is not None
        line, checksum = write_line(text, self._checksum)
        if self.unread():
            self._cut_torn()
        try:
            _write(self._handle, line, self.offset)
            self._sync_or_distrust()
        except BaseException:
            self._cut()
            raise
        self.offset += len(line)
        self.lines += 1
        self._checksum = checksum

    def _sync_or_distrust(self) -> None:
        assert self._handle is not None
        try:
            _sync(self._handle)
        except OSError:
            self.is_distrusted = True
            raise

    def _cut_torn(self) -> None:
        import logging

        logging.getLogger(__name__).warning(
            "%s ended in %d bytes of a commit that was never finished nor acknowledged", self.path, self.unread()
        )
        self._cut()

    def _cut(self) -> None:
        """Take away what lies behind the last whole line: nobody was told that it is there."""
        assert self._handle is not None
        try:
            os.ftruncate(self._handle, self.offset)
        except OSError:
            self.is_distrusted = True
            raise

    def _make(self, snapshot: Head) -> None:
        head = Head(LOG_FORMAT, VERSION, snapshot.store, snapshot.generation)
        line, checksum = write_line(encode(head), b"")
        with made_beside(self.path) as beside:
            beside.write_bytes(line)
        self.close()
        self._handle = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.offset, self.lines, self._checksum = len(line), 1, checksum

    def remove(self) -> None:
        """Take the log away, once there is a snapshot that has it all."""
        self.path.unlink(missing_ok=True)
        self.close()
        self.is_distrusted = False


def _read(handle: int, start: int) -> bytes:
    parts = []
    while part := os.pread(handle, 1 << 24, start):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _write(handle: int, data: bytes, start: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle, rest, start)
        rest, start = rest[written:], start + written
