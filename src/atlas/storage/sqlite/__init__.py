"""The SQLite store: one file, any number of processes. The only importer of `apsw`; may import `storage` modules."""

from .store import SqliteStore

__all__ = ["SqliteStore"]
