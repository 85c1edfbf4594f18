"""The SQLite store: one file, any number of processes. The only importer of `apsw`; may import `storage` modules."""

from .settings import SqliteSettings
from .store import SqliteStore

__all__ = ["SqliteSettings", "SqliteStore"]
