"""Disks that fail on purpose, as SQLite file systems: one loses power, one runs out of space, one fails once."""

from __future__ import annotations

import random
from pathlib import Path

import apsw

SECTOR = 512


class CutDisk(apsw.VFS):
    """A disk that loses power at its `at`th operation; what was not synced by then may be gone, whole or in part.

    The program goes on undisturbed and does not notice; `survivors` tells what a restarted machine would find.
    """

    def __init__(self, name: str, *, at: int) -> None:
        super().__init__(name, "unix")
        self.name = name
        self.operations = 0
        self.is_cut = False
        self._at = at
        self._files: dict[str, _Kept] = {}

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's word
        """See apsw.VFS."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or flags[0] & (apsw.SQLITE_OPEN_TEMP_DB | apsw.SQLITE_OPEN_TRANSIENT_DB):
            return apsw.VFSFile("unix", name, flags)
        if path not in self._files:
            place = Path(path)
            self._files[path] = _Kept(place.read_bytes() if place.exists() else None)
        return _CutFile(self, self._files[path], name, flags)

    def xDelete(self, path: str, is_synced: bool) -> None:  # noqa: N802 - SQLite's word
        """See apsw.VFS."""
        super().xDelete(path, is_synced)
        if not self.has_ended() and path in self._files:
            del self._files[path]

    def has_ended(self) -> bool:
        """Count an operation; say whether it comes after the cut."""
        self.operations += 1
        self.is_cut = self.is_cut or self.operations >= self._at
        return self.is_cut

    def survivors(self, folder: Path, dice: random.Random | None) -> Path:
        """Write what the cut left to `folder`: the synced alone, or with dice any part of the rest too."""
        folder.mkdir(parents=True)
        for path, kept in self._files.items():
            content = kept.after_cut(dice)
            if content is not None:
                (folder / Path(path).name).write_bytes(content)
        return folder


class _Kept:
    """What a file held at its last sync (None: it was not there), and what was written since."""

    def __init__(self, synced: bytes | None) -> None:
        self.synced = synced
        self.pending: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        """Have everything on disk."""
        self.synced = _applied(self.synced or b"", self.pending)
        self.pending = []

    def after_cut(self, dice: random.Random | None) -> bytes | None:
        """Return the content that is left."""
        if dice is None:
            return self.synced
        survived: list[tuple[int, bytes | None]] = []
        for place, data in self.pending:
            if data is None:
                survived += [(place, data)] if dice.random() < 0.5 else []
                continue
            # A disk writes sectors, in any order.
            for start in range(0, len(data), SECTOR):
                if dice.random() < 0.5:
                    survived.append((place + start, data[start : start + SECTOR]))
        return self.synced if self.synced is None and not survived else _applied(self.synced or b"", survived)


def _applied(content: bytes, writes: list[tuple[int, bytes | None]]) -> bytes:
    """Return content after writes; a write of None is a truncation."""
    made = bytearray(content)
    for place, data in writes:
        if data is None:
            del made[place:]
            continue
        if len(made) < place:
            made.extend(bytes(place - len(made)))
        made[place : place + len(data)] = data
    return bytes(made)


class _CutFile(apsw.VFSFile):
    def __init__(self, disk: CutDisk, kept: _Kept, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        self._kept = kept

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's word
        super().xWrite(data, offset)
        if not self._disk.has_ended():
            self._kept.pending.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's word
        super().xTruncate(size)
        if not self._disk.has_ended():
            self._kept.pending.append((size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's word
        super().xSync(flags)
        if not self._disk.has_ended():
            self._kept.sync()


class FullDisk(apsw.VFS):
    """A disk with `room` bytes left for files to grow by; None for plenty."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "unix")
        self.name = name
        self.room: int | None = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's word
        """See apsw.VFS."""
        return _FullFile(self, name, flags)


class _FullFile(apsw.VFSFile):
    def __init__(self, disk: FullDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's word
        if self._disk.room is not None:
            growth = max(0, offset + len(data) - self.xFileSize())
            if growth > self._disk.room:
                raise apsw.FullError("no space left on device")
            self._disk.room -= growth
        super().xWrite(data, offset)


class FailingDisk(apsw.VFS):
    """A disk of which one operation fails: the `at`th write or sync from the moment `at` is set; 0 for none."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "unix")
        self.name = name
        self.at = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's word
        """See apsw.VFS."""
        return _FailingFile(self, name, flags)

    def count(self) -> None:
        """Count an operation; fail it when its turn has come."""
        self.at -= 1
        if self.at == 0:
            raise apsw.IOError("input/output error")


class _FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.count()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.count()
        super().xSync(flags)
