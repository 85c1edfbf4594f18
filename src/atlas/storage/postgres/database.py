"""One process's hold on a PostgreSQL server: a connection that writes, and a pool of those that read."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from psycopg import Connection

from ...errors import StorageError, StoreClosedError
from ..collection import Collection
from ..refusing import of_the_parent
from . import schema
from .address import Address
from .connecting import connect
from .failures import AGAIN, translated
from .pool import Pool, has_ended
from .reach import Reach

T = TypeVar("T")

PAUSE = 0.05


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
        self.reach = Reach(address.url)
        self.pool: Pool | None = None
        self._writer: Connection | None = None
        self._born = 0.0
        self._process = 0
        self._settling = threading.Lock()

    def open(self, given_up: threading.Event) -> None:
        """Look at the server, make the store where there is none, and have readers ready; raises StorageError.

        Nothing is kept where whoever asked has `given_up` meanwhile.
        """
        connection = self.connect()
        try:
            with translated(self.address, connection):
                self._look(connection)
                schema.prepare(connection, self.address, self.collections)
        except BaseException:
            connection.close()
            raise
        with self._settling:
            if given_up.is_set():
                connection.close()
                return
            self._writer, self._born = connection, time.monotonic()
            if not self._is_inline:
                self.pool = Pool(self.address, self.reach)
            self._process = os.getpid()
            self.is_open = True

    def give_up(self, given_up: threading.Event) -> None:
        """Have an opening that may still be under way on another thread keep nothing."""
        with self._settling:
            given_up.set()
            self.close()

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

    def connect(self) -> Connection:
        """Return a new connection; raises StoreUnreachableError where the server lets none in."""
        return connect(self.address, self.reach)

    @property
    def has_writer(self) -> bool:
        """Whether there is a connection that writes."""
        return self._writer is not None and not self._writer.closed

    def writer(self) -> Connection:
        """Return the one connection that writes, a new one where it was lost."""
        if self._writer is not None and not self._writer.closed and has_ended(self._writer):
            self.drop_writer("the server ended it")
        if self._writer is None or self._writer.closed:
            self._writer, self._born = self.connect(), time.monotonic()
        return self._writer

    def drop_writer(self, reason: object) -> None:
        """Let the next transaction begin on a new connection."""
        self.reach.lose(str(reason), born=self._born)
        if self._writer is not None:
            self._writer.close()

    @contextmanager
    def reader(self, wait: float) -> Iterator[Connection]:
        """Give a connection for one snapshot; raises StoreBusyError where none is free, or StoreUnreachableError."""
        if self._is_inline:
            yield self.writer()
            return
        if self.pool is None:
            raise StoreClosedError("the store is closed")
        with self.pool.reader(wait) as connection:
            yield connection

    def check_process(self) -> None:
        """Refuse a child that was forked: connections are its parent's."""
        if self.is_open and os.getpid() != self._process:
            raise of_the_parent()

    def close(self) -> None:
        """Release every connection."""
        self.is_open = False
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def insisting(run: Callable[[], T], until: float, *, is_wanted: Callable[[], bool]) -> T:
    """Run until it is not in vain, or the time is up: a server that restarts is away for a moment."""
    while True:
        try:
            return run()
        except AGAIN:
            if time.monotonic() + PAUSE >= until or not is_wanted():
                raise
            time.sleep(PAUSE)
