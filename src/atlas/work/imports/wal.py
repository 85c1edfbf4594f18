"""Brings the bytes of an SQLite file up to date with those of its write-ahead log, without opening either."""

from __future__ import annotations

import struct

_HEADER = 32
_FRAME = 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_VERSIONS = slice(18, 20)


def merged(database: bytes, log: bytes = b"") -> bytes:
    """Return `database` with every committed page of `log`, marked as a file without a log.

    A memory database cannot have a log, so one that asks for it would not open. Frames are taken up to the last
    commit whose checksums hold, as SQLite itself does after a crash.
    """
    pages, size = _committed(log)
    made = bytearray(database)
    page_size = int.from_bytes(log[8:12], "big") if pages else 0
    if pages:
        made = made[: size * page_size].ljust(size * page_size, b"\0")
        for number, content in pages.items():
            if number <= size:
                made[(number - 1) * page_size : number * page_size] = content
    if len(made) >= _VERSIONS.stop:
        made[_VERSIONS] = b"\1\1"
    return bytes(made)


def _committed(log: bytes) -> tuple[dict[int, bytes], int]:
    """Return the newest committed content of each page in the log, and the size of the database in pages."""
    if len(log) < _HEADER or int.from_bytes(log[:4], "big") not in _MAGIC:
        return {}, 0
    order = _MAGIC[int.from_bytes(log[:4], "big")]
    page_size = int.from_bytes(log[8:12], "big")
    sums = _checksum(log[:24], (0, 0), order)
    done: dict[int, bytes] = {}
    open_pages: dict[int, bytes] = {}
    size = 0
    if sums != struct.unpack(">II", log[24:32]):
        return {}, 0
    for start in range(_HEADER, len(log) - _FRAME - page_size + 1, _FRAME + page_size):
        number, commit = struct.unpack(">II", log[start : start + 8])
        content = log[start + _FRAME : start + _FRAME + page_size]
        sums = _checksum(log[start : start + 8] + content, sums, order)
        is_whole = log[start + 8 : start + 16] == log[16:24]
        if not is_whole or sums != struct.unpack(">II", log[start + 16 : start + 24]):
            break
        open_pages[number] = content
        if commit:
            done.update(open_pages)
            open_pages, size = {}, commit
    return done, size


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second
