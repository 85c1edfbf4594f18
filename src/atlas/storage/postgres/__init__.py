"""The PostgreSQL store: a schema in a database. The only importer of `psycopg`; may import `storage` modules."""

from .store import PostgresStore

__all__ = ["PostgresStore"]
