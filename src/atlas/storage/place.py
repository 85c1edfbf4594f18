"""A place in the file system where a store may lie: is it trusted, may it be written, and how is something made there.

Backends that keep files share it, so that all of them refuse the same places and make files in the same way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import (
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreFullError,
    StoreLocationError,
    StoreReadOnlyError,
)

MOUNTS = Path("/proc/self/mounts")

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


def check_kind(path: Path, mode: int, *, example: str = "atlas.db") -> None:
    """Refuse what is no file before it is opened: a pipe would never answer, a device would be replaced."""
    if stat.S_ISDIR(mode):
        raise StoreFormatError(f"{path} is a folder", hint=f"Name a file in it: {path}/{example}")
    if not stat.S_ISREG(mode):
        raise StoreFormatError(f"{path} is a device, a pipe or a socket")


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
