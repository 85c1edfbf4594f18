"""One process's hold on a PostgreSQL server: a connection that writes, and a pool of those that read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ...errors import StorageError, StoreBusyError, StoreClosedError
from ..collection import Collection
from . import schema
from .address import Address
from .failures import AgainError, translated

T = TypeVar("T")

PAUSE = 0.05
_SLICE = 0.25


class Database:
    """Opens connections and gives them out; knows what the server promises.

    When `is_inline`, one thread does everything, and one connection is enough for it.
    """

    def __init__(self, address: Address, collections: Sequence[Collection[Any]], *, is_inline: bool = False) -> None:
        self.address = address
        self._is_inline = is_inline
        self.collections = tuple(collections)
        self.is_open = False
        self.is_writable = True
        self.is_durable = True
        self.losses = 0
        self._pool: ConnectionPool[Connection] | None = None
        self._writer: Connection | None = None
        self._process = 0

    def open(self) -> None:
        """Look at the server, make the store where there is none, and have readers ready; raises StorageError."""
        connection = self.connect()
        try:
            with translated(self.address, connection):
                self._look(connection)
                schema.prepare(connection, self.address, self.collections)
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        if not self._is_inline:
            self._pool = self._new_pool()
        self._process = os.getpid()
        self.is_open = True

    def _look(self, connection: Connection) -> None:
        row = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('fsync'),"
            " current_setting('synchronous_commit'), pg_is_in_recovery(),"
            " current_setting('default_transaction_read_only')"
        ).fetchone()
        assert row is not None
        encoding, sync, commit, is_replica, read_only = row
        if encoding != "UTF8":
            raise StorageError(
                f"the database of {self.address.url} keeps texts as {encoding}",
                hint="Make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
            )
        self.is_durable = sync == "on" and commit != "off"
        self.is_writable = not is_replica and read_only == "off"

    def _new_pool(self) -> ConnectionPool[Connection]:
        # A failed connection is not tried again behind the back of those who wait: they ask again themselves.
        return ConnectionPool(
            kwargs=self._how(),
            min_size=0,
            max_size=self.address.readers,
            configure=adapted,
            reconnect_timeout=0,
            open=True,
            name="atlas",
        )

    def _how(self) -> dict[str, Any]:
        return {**self.address.connection, "autocommit": True}

    def connect(self) -> Connection:
        """Return a new connection; raises AgainError where the server lets none in."""
        with translated(self.address):
            connection = psycopg.connect(**self._how())
        adapted(connection)
        return connection

    @property
    def has_writer(self) -> bool:
        """Whether there is a connection that writes."""
        return self._writer is not None and not self._writer.closed

    def writer(self) -> Connection:
        """Return the one connection that writes, a new one where it was lost."""
        if self._writer is None or self._writer.closed:
            self._writer = self.connect()
        return self._writer

    def drop_writer(self) -> None:
        """Let the next transaction begin on a new connection."""
        self.losses += 1
        if self._writer is not None:
            self._writer.close()

    @contextmanager
    def reader(self, wait: float) -> Iterator[Connection]:
        """Give a connection for one snapshot; raises StoreBusyError where none is free, AgainError where none works."""
        if self._is_inline:
            yield self.writer()
            return
        pool = self._pool
        if pool is None:
            raise StoreClosedError("the store is closed")
        connection = self._taken(pool, time.monotonic() + wait)
        try:
            yield connection
        finally:
            if connection.closed:
                # The others were likely lost with it.
                self.losses += 1
                pool.putconn(connection)
                pool.drain()
            else:
                pool.putconn(connection)

    def _taken(self, pool: ConnectionPool[Connection], until: float) -> Connection:
        while True:
            try:
                return pool.getconn(timeout=max(0.01, min(_SLICE, until - time.monotonic())))
            except PoolClosed as error:
                raise StoreClosedError("the store is closed") from error
            except PoolTimeout as error:
                if time.monotonic() >= until:
                    raise StoreBusyError(f"no connection to {self.address.url} became free in time") from error

    def check_process(self) -> None:
        """Refuse a child that was forked: connections are its parent's."""
        if self.is_open and os.getpid() != self._process:
            raise StoreClosedError("the store was opened by the parent process", hint="Open it again in this one.")

    def pool_figures(self) -> dict[str, int]:
        """Return how many reading connections there are, are idle, and are waited for."""
        found = self._pool.get_stats() if self._pool is not None else {}
        total, idle = found.get("pool_size", 0), found.get("pool_available", 0)
        return {"total": total, "active": total - idle, "idle": idle, "waiting": found.get("requests_waiting", 0)}

    def close(self) -> None:
        """Release every connection."""
        self.is_open = False
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def adapted(connection: Connection) -> None:
    """Send every number and text as one type, so that a statement is prepared once and compared in that type."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(str, StrDumper)


def insisting(run: Callable[[], T], until: float, *, is_wanted: Callable[[], bool]) -> T:
    """Run until it is not in vain, or the time is up: a server that restarts is away for a moment."""
    while True:
        try:
            return run()
        except AgainError:
            if time.monotonic() + PAUSE >= until or not is_wanted():
                raise
            time.sleep(PAUSE)
