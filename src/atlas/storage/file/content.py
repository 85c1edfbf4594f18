"""What the files of a store hold, in memory: loaded, kept in step with other processes, written as a new snapshot."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ...errors import StorageError, StoreBusyError, StoreClosedError, StoreFormatError
from ..collection import Collection
from ..ids import new_id
from ..jobs import TooLongError
from ..memory_session import State
from ..place import check_kind, made_beside, real, storage_error
from .layout import (
    FORMAT,
    VERSION,
    Change,
    Commit,
    Head,
    Whole,
    read_commit,
    read_snapshot,
    write_commit,
    write_snapshot,
)
from .log import Log, Seen

NEAR_BYTES = 64 * 1024
"""So much of other processes' commits is read where a caller waits on an event loop; more, on a thread."""

_TRIES = 100
_Stamp = tuple[int, int, int]


class Content:
    """The records of a store in this process.

    `committed` is what readers see; whoever looks at it or changes it holds `mutex`. A writer works on a copy of its
    own, so that readers need not wait for it, unless `is_inline`: then there is nobody to wait.
    """

    def __init__(self, path: Path, collections: Sequence[Collection[Any]], *, is_inline: bool) -> None:
        self.path = real(path)
        self.log = Log(self.path.with_name(self.path.name + "-log"))
        self.mutex = threading.Lock()
        self.is_writable = True
        self.is_edited = False
        self._collections = {collection.name: collection for collection in collections}
        self._is_inline = is_inline
        self.committed = State(collections)
        self._working: State | None = None
        self._is_writing = False
        self._head = Head(FORMAT, VERSION, "", 0)
        self._stamp: _Stamp | None = None
        self._is_sure = True
        self._others = 0
        self.is_open = False

    def exists(self) -> bool:
        """Say whether there is a store; raises where there is something else, or a log without its snapshot."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise storage_error(error, self.path) from error
        if found is not None:
            check_kind(self.path, found.st_mode, example="plan.json")
            if found.st_size:
                return True
        if self.log.path.exists():
            raise StoreFormatError(
                f"{self.path} is {'gone' if found is None else 'empty'}, and {self.log.path.name} beside it is not",
                hint=f"Put a copy of {self.path.name} back, or move {self.log.path.name} away to begin anew.",
            )
        return False

    def create(self) -> None:
        """Make an empty store; the caller has the turn to write."""
        if not self.exists():
            self._write(Head(FORMAT, VERSION, new_id(), 1), self.path)

    def open(self) -> None:
        """Read the files that are there; raises OSError or StorageError."""
        with self.mutex:
            self.load()
            self.is_open = True

    def close(self) -> None:
        """Let go of the files, once nobody reads."""
        with self.mutex:
            self.is_open = False
            self.log.close()
            self._working = self._stamp = None
            self._head = Head(FORMAT, VERSION, "", 0)

    def _present(self) -> _Stamp:
        found = os.stat(self.path)  # noqa: PTH116 - Path.stat costs twice as much, at every read
        return found.st_ino, found.st_mtime_ns, found.st_size

    def load(self) -> None:
        """Read both files whole. The caller holds `mutex`."""
        self._is_sure = False
        for _ in range(_TRIES):
            stamp = self._present()
            try:
                whole = read_snapshot(self.path.read_bytes(), self.path, self._collections)
                commits = self._commits(self.log.open(whole.head, is_writable=self.is_writable))
            except StorageError:
                # Between the two files, another process may have written both anew.
                if self._present() == stamp:
                    raise
            else:
                if self._present() == stamp:
                    return self._take(whole, commits, stamp)
        raise StoreBusyError(f"{self.path} is written anew all the time")

    def _take(self, whole: Whole, commits: Sequence[Commit], stamp: _Stamp) -> None:
        """Hold what was read in place of what was held."""
        state = State(list(self._collections.values()))
        _apply(state, Commit(whole.seq, whole.now, whole.records))
        for commit in commits:
            _apply(state, commit)
        if self._is_earlier(whole.head, state.seq, is_same=stamp == self._stamp):
            raise _replaced(self.path)
        if whole.head.generation != self._head.generation:
            self.log.is_distrusted = False
        state.now = max(state.now, self.committed.now)
        self.committed, self._working = state, None
        self._head, self._stamp, self.is_edited = whole.head, stamp, whole.is_edited
        self._is_sure = True
        self._others += 1

    def _is_earlier(self, head: Head, seq: int, *, is_same: bool) -> bool:
        """Say whether somebody put other files there; a commit may be gone from the same, if the disk refused it."""
        known = self._head
        if not known.store:
            return False
        if head.store != known.store or head.generation < known.generation:
            return True
        return head.generation == known.generation and seq < self.committed.seq and not is_same

    def catch_up(self, *, is_to_write: bool = False, is_hurried: bool = False) -> None:
        """Read what other processes wrote since the last time; raises StorageError. The caller holds `mutex`.

        If it `is_hurried`, it raises TooLongError where there is much to read.
        """
        if not self.is_open:
            raise StoreClosedError("the store is closed")
        if self._is_writing:
            # This process has the turn: nobody else can have written.
            return
        try:
            is_current = self._is_sure and self._present() == self._stamp
            seen = self.log.look()
            if is_current and seen is Seen.LOST:
                # Who writes both anew removes the log last.
                is_current = self._present() == self._stamp
        except FileNotFoundError:
            if is_to_write:
                raise _replaced(self.path) from None
            return
        if is_current and seen in {Seen.SAME, Seen.NEW}:
            self._read_on(is_new=seen is Seen.NEW, is_hurried=is_hurried)
        elif is_current and seen is Seen.LOST:
            if is_to_write:
                raise _replaced(self.log.path)
        elif is_hurried:
            raise TooLongError
        else:
            self.load()

    def _read_on(self, *, is_new: bool, is_hurried: bool) -> None:
        if is_hurried and (is_new or self.log.unread() > NEAR_BYTES):
            raise TooLongError
        try:
            texts = self.log.open(self._head, is_writable=self.is_writable) if is_new else self.log.read_on()
            commits = self._commits(texts)
        except StorageError:
            # A line that was read may have been taken back, because the disk did not keep it.
            self.load()
            return
        self._others += bool(commits)
        for commit in commits:
            _apply(self.committed, commit)
            if self._working is not None and self._working is not self.committed:
                _apply(self._working, commit)

    def others_version(self) -> int | None:
        """See Versioned: how often something was read that this process did not write; None while others look."""
        if not self.mutex.acquire(blocking=False):
            return None
        try:
            self.catch_up(is_hurried=True)
        except TooLongError:
            return None
        else:
            return self._others
        finally:
            self.mutex.release()

    def _commits(self, texts: Iterable[bytes]) -> list[Commit]:
        return [read_commit(text, self._collections, self.log.path) for text in texts]

    @contextmanager
    def writing(self, *, is_hurried: bool = False) -> Iterator[State]:
        """Have the records to change, with all that was ever committed; the caller has the turn to write."""
        with self.mutex:
            self.catch_up(is_to_write=True, is_hurried=is_hurried)
            if self._working is None:
                if is_hurried:
                    raise TooLongError
                self._working = self.committed if self._is_inline else copied(self.committed)
            self._is_writing = True
        try:
            yield self._working
        finally:
            self._is_writing = False

    def commit(self, changes: Sequence[Change], seq: int, now: datetime) -> None:
        """Write what was changed, inside `writing`; raises OSError, and then nothing of it is there."""
        commit = Commit(seq, now, changes)
        try:
            self.log.append(write_commit(commit), self._head)
            if not self._is_inline:
                with self.mutex:
                    _apply(self.committed, commit)
        except BaseException:
            # Interrupted anywhere in there, memory and file may differ: read it anew.
            self._is_sure = False
            raise

    @property
    def size(self) -> tuple[int, int]:
        """The bytes of the snapshot and of the log."""
        return (0 if self._stamp is None else self._stamp[2]), self.log.offset

    def compact(self) -> None:
        """Write a snapshot of everything and begin a new log; the caller has the turn to write."""
        with self.writing():
            head = msgspec.structs.replace(self._head, generation=self._head.generation + 1)
            mode = self.path.stat().st_mode & 0o777
            try:
                self._write(head, self.path, mode=mode)
                self.log.remove()
                with self.mutex:
                    self._head, self._stamp, self.is_edited = head, self._present(), False
            except BaseException:
                # Whichever of the two was done: read it anew.
                self._is_sure = False
                raise

    def copy_to(self, target: Path) -> None:
        """Write a snapshot that is a store of its own; raises OSError or StorageError."""
        with self.mutex:
            self.catch_up()
        self._write(Head(FORMAT, VERSION, new_id(), 1), target, is_new=True)

    def _write(self, head: Head, path: Path, *, mode: int = 0o600, is_new: bool = False) -> None:
        with self.mutex:
            tables = {name: dict(table.records) for name, table in self.committed.tables.items()}
            seq, now = self.committed.seq, self.committed.now
        text = write_snapshot(head, seq, now, tables)
        with made_beside(path, is_new=is_new) as beside:
            beside.write_bytes(text)
            beside.chmod(mode)

    def faults(self) -> list[str]:
        """Read the files once more and compare; returns what is wrong. The caller keeps writers away."""
        fresh = Content(self.path, list(self._collections.values()), is_inline=True)
        fresh.is_writable = self.is_writable
        with self.mutex:
            self.catch_up()
            try:
                fresh.open()
                return [*self._told(), *fresh.committed.faults(), *self._differences(fresh.committed)]
            except StorageError as error:
                return [error.message]
            finally:
                fresh.close()

    def _told(self) -> Iterator[str]:
        if self.is_edited:
            yield f"{self.path.name} was changed by another program since Atlas wrote it"
        if self.log.unread():
            yield f"{self.log.path.name} ends in a commit that was never finished"

    def _differences(self, fresh: State) -> Iterator[str]:
        for name, table in fresh.tables.items():
            if table.records != self.committed.tables[name].records:
                yield f"{name} in memory are not as they are in the file"


def _replaced(path: Path) -> StorageError:
    return StorageError(
        f"{path} was removed or replaced while it was open", hint="Open the store again; the change was not made."
    )


def _apply(state: State, commit: Commit) -> None:
    for change in commit.changes:
        state.tables[change.collection.name].put(change.key, change.record)
    state.seq = commit.seq
    state.now = max(state.now, commit.now)


def copied(state: State) -> State:
    """Return a state of the same records that can be changed by itself."""
    made = State([table.collection for table in state.tables.values()])
    for name, table in state.tables.items():
        copy = made.tables[name]
        copy.records = dict(table.records)
        copy.indexes = {f: {v: dict(keys) for v, keys in index.items()} for f, index in table.indexes.items()}
    made.seq, made.now = state.seq, state.now
    return made
