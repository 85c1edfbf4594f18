"""The JSON file store: a readable file, a log beside it, any number of processes. May import `storage` modules."""

from .store import FileStore

__all__ = ["FileStore"]
