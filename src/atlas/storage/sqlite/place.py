"""The place of a database: is there a store of ours, and not of a newer Atlas."""

from __future__ import annotations

from pathlib import Path

from ...errors import StoreFormatError, StoreNewerError
from ..place import check_kind, storage_error

APPLICATION_ID = 0x41544C53  # "ATLS"
SCHEMA = 1

_MAGIC = b"SQLite format 3\0"


def check_header(path: Path) -> bool:
    """Say whether there is a store at `path` already; raises where the file is something else, without touching it."""
    try:
        check_kind(path, path.stat().st_mode)
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


def check_schema(found: int, path: Path) -> None:
    """Refuse a store that a newer Atlas has upgraded."""
    if found > SCHEMA:
        raise StoreNewerError(f"{path} has schema {found}, this Atlas knows {SCHEMA}")
