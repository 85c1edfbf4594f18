"""The Redis store: one server, any number of machines. The only importer of `redis`; may import `storage` modules."""

from .store import RedisStore

__all__ = ["RedisStore"]
