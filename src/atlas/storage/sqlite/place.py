"""The place of a database: may it be used, is it ours, and who writes next."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import (
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreFullError,
    StoreLocationError,
    StoreNewerError,
    StoreReadOnlyError,
)

APPLICATION_ID = 0x41544C53  # "ATLS"
SCHEMA = 1
MOUNTS = Path("/proc/self/mounts")

_MAGIC = b"SQLite format 3\0"
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.rclone"}
)
_SYNCED = (
    *("Dropbox", "OneDrive", "Google Drive", "GoogleDrive", "iCloud Drive", "Nextcloud"),
    *("Mobile Documents", "CloudStorage"),  # macOS: iCloud, and all others
)


def real(path: Path) -> Path:
    """Return the file itself, absolute: SQLite lays its log beside that, and not beside a link that leads to it."""
    return Path(os.path.realpath(path))


def check_location(path: Path, *, is_forced: bool) -> None:
    """Refuse network file systems, whose locks lie, and synced folders, which copy half-written files."""
    if is_forced:
        return
    for folder in (*path.absolute().parents, *real(path).parents):
        if folder.name in _SYNCED or folder.name.startswith("OneDrive -"):
            raise StoreLocationError(
                f"{path} lies in a synced folder ({folder.name})",
                hint="Keep the store on a local disk and use `atlas export` to share it, or add ?force=1 to the URL.",
            )
    kind = _file_system(path)
    if kind in _NETWORK:
        raise StoreLocationError(
            f"{path} lies on a network file system ({kind})",
            hint="Keep the store on a local disk, or add ?force=1 to the URL if no other machine writes to it.",
        )


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, or nothing where the system does not tell."""
    if not MOUNTS.exists():
        return ""
    wanted, best, kind = str(real(path).parent), "", ""
    for line in MOUNTS.read_text().splitlines():
        parts = line.split(" ")
        point = parts[1].replace("\\040", " ")
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind


def check_header(path: Path) -> bool:
    """Say whether there is a store at `path` already; raises where the file is something else, without touching it."""
    try:
        _check_kind(path, path.stat().st_mode)
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, path) from error
    if not header:
        return False
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreFormatError(f"{path} is not an Atlas store: it is not a SQLite database")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreFormatError(
            f"{path} is a SQLite database of another program",
            hint="Point --store at another file; if this is an earlier Atlas server's file, `atlas import` reads it.",
        )
    check_schema(int.from_bytes(header[60:64], "big"), path)
    return True


def _check_kind(path: Path, mode: int) -> None:
    """Refuse what is no file before it is opened: a pipe would never answer, a device would be replaced."""
    if stat.S_ISDIR(mode):
        raise StoreFormatError(f"{path} is a folder", hint=f"Name a file in it: {path}/atlas.db")
    if not stat.S_ISREG(mode):
        raise StoreFormatError(f"{path} is a device, a pipe or a socket")


def check_schema(found: int, path: Path) -> None:
    """Refuse a store that a newer Atlas has upgraded."""
    if found > SCHEMA:
        raise StoreNewerError(f"{path} has schema {found}, this Atlas knows {SCHEMA}")


def is_writable(path: Path) -> bool:
    """Say whether the file may be written; one without write bits may not, not even by root, who could."""
    if path.exists():
        return os.access(path, os.W_OK) and bool(path.stat().st_mode & 0o222) and os.access(path.parent, os.W_OK)
    return True


def prepare_folder(path: Path) -> None:
    """Make the folder of a new store, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreFormatError(f"{path.parent} is not a folder", hint="Choose another place for the store.") from error
    except OSError as error:
        raise storage_error(error, path) from error


def create_private(path: Path) -> None:
    """Make an empty file of mode 0600 unless there is one."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise storage_error(error, path) from error


@contextmanager
def made_beside(path: Path, *, is_new: bool = False) -> Iterator[Path]:
    """Yield a place to make a store at; it takes its own place whole and synced, or not at all.

    Made in place, a store cut short by the power could be told neither from an empty file nor from another program's.
    If it `is_new`, it takes nobody's place: what stands there at the end stays, and raises StorageError.
    """
    target = real(path)
    beside = target.with_name(target.name + "-unfinished")
    with _claimed(beside):
        try:
            yield beside
            _sync(beside)
            if is_new:
                os.link(beside, target)
                beside.unlink()
            else:
                beside.replace(target)
        except FileExistsError as error:
            _remove(beside)
            raise taken(target) from error
        except BaseException:
            _remove(beside)
            raise
        _sync(target.parent)


def taken(path: Path) -> StorageError:
    """Return the error of a path where something is already."""
    return StorageError(f"{path} exists already", hint="Name a path that does not exist yet.")


@contextmanager
def _claimed(beside: Path) -> Iterator[None]:
    """Have an empty private file for the block, whatever a killed program left there; raises StoreBusyError."""
    create_private(beside)
    handle = os.open(beside, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not _is_ours(handle, beside):
            raise StoreBusyError(f"another program is making {beside.name}")
        os.ftruncate(handle, 0)
        for part in ("-journal", "-wal", "-shm"):
            beside.with_name(beside.name + part).unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _is_ours(handle: int, path: Path) -> bool:
    """Lock a file, unless it is another's, or was until now and has a name of its own since."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _remove(path: Path) -> None:
    """Remove what is left of a store that was never finished."""
    for part in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the error of the tree that an operating system's error comes to."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFullError(f"no space left for {path}")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StoreReadOnlyError(f"{path} cannot be written: {error.strerror}")
    return StorageError(f"{path}: {error.strerror}", hint="Check that the folder exists and is yours.")


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
