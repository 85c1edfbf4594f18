"""The connections that read: as many as asked for, none given out dead, each with what it did."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from psycopg import Connection, Error, OperationalError
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ...errors import StorageError, StoreBusyError, StoreClosedError
from .address import Address
from .connecting import adapted, connect, how
from .reach import Reach

_SLICE = 0.25
_NEARLY = 0.9
"""The pool replaces connections a little before their time, not all of them at once."""
_TRAFFIC = struct.Struct("=QQ")
_TRAFFIC_AT = 120
"""Where `tcp_info` of Linux has the bytes that were acknowledged, and those received."""


class Reader(Connection):
    """A connection that counts what it is used for."""

    calls = 0
    errors = 0
    seconds = 0.0
    born = 0.0
    since = 0.0
    is_active = False

    def figures(self) -> dict[str, Any]:
        """Return what `Store.statistics` tells of one connection."""
        return {
            "state": "active" if self.is_active else "idle",
            "unused_seconds": 0.0 if self.is_active else round(time.monotonic() - self.since, 3),
            "calls": self.calls,
            "errors": self.errors,
            "bytes": traffic_of(self),
            "mean_seconds": round(self.seconds / self.calls, 6) if self.calls else 0.0,
        }


class Pool:
    """A pool of readers; a connection that the server ended meanwhile is replaced before anybody notices."""

    def __init__(self, address: Address, reach: Reach) -> None:
        self._address = address
        self._reach = reach
        self._recycled = 0
        self._readers: WeakSet[Reader] = WeakSet()
        self._lock = threading.Lock()
        self._pool = self._of(address.readers)

    def _of(self, size: int) -> ConnectionPool[Reader]:
        # A failed connection is not tried again behind the back of those who wait: they ask again themselves.
        return ConnectionPool(
            kwargs=how(self._address),
            connection_class=Reader,
            min_size=0,
            max_size=size,
            configure=self._made,
            max_lifetime=self._address.lifetime,
            reconnect_timeout=0,
            reconnect_failed=lambda _: self._reach.lose("no new connection could be made"),
            num_workers=1,
            open=True,
            name="atlas",
        )

    def _made(self, reader: Reader) -> None:
        adapted(reader)
        reader.since = reader.born = time.monotonic()
        # Made on the pool's own threads, while others may look at all of them.
        with self._lock:
            self._readers.add(reader)
        self._reach.regain()

    @contextmanager
    def reader(self, wait: float) -> Iterator[Reader]:
        """Give a connection for one snapshot; raises StoreBusyError where none is free, or StoreUnreachableError."""
        pool, reader = self._taken(time.monotonic() + wait)
        begun, reader.is_active = time.monotonic(), True
        try:
            yield reader
        except (Error, StorageError):
            reader.errors += 1
            raise
        finally:
            reader.calls, reader.since, reader.is_active = reader.calls + 1, time.monotonic(), False
            reader.seconds += reader.since - begun
            self._give_back(pool, reader)

    def _taken(self, until: float) -> tuple[ConnectionPool[Reader], Reader]:
        """Return a connection that works, as far as one can tell without asking the server, and where it is from."""
        while True:
            if self._reach.is_away:
                # Whoever waits tries by himself, and hears why it is in vain; the pool would only let him wait.
                connect(self._address, self._reach).close()
            pool = self._pool
            try:
                reader = pool.getconn(timeout=max(0.01, min(_SLICE, until - time.monotonic())))
            except PoolClosed as error:
                if pool is self._pool:
                    raise StoreClosedError("the store is closed") from error
            except PoolTimeout as error:
                if time.monotonic() >= until and not self._reach.is_away:
                    raise StoreBusyError(f"no connection to {self._address.url} became free in time") from error
            else:
                if not has_ended(reader):
                    return pool, reader
                reader.close()
                self._give_back(pool, reader)

    def _give_back(self, pool: ConnectionPool[Reader], reader: Reader) -> None:
        if reader.closed:
            self._reach.lose("the server ended it", born=reader.born)
            pool.putconn(reader)
            # The others were likely lost with it.
            pool.drain()
            return
        pool.putconn(reader)
        if reader.closed and time.monotonic() - reader.born > self._address.lifetime * _NEARLY:
            self._recycled += 1

    def resize(self, size: int) -> None:
        """Have so many connections at once from now on; what is under way ends where it is."""
        # The pool itself would only grow at once, and shrink by one connection in ten minutes.
        before, self._pool = self._pool, self._of(size)
        before.close()

    def figures(self, waiting: int) -> dict[str, Any]:
        """Return what `Store.statistics` tells of the pool."""
        found = self._pool.get_stats()
        with self._lock:
            readers = list(self._readers)
        total, idle = found.get("pool_size", 0), found.get("pool_available", 0)
        return {
            "size": self._pool.max_size,
            "total": total,
            "active": total - idle,
            "idle": idle,
            "waiting": waiting + found.get("requests_waiting", 0),
            "lost": self._reach.lost,
            "regained": self._reach.regained,
            "recycled": self._recycled,
            "each": [reader.figures() for reader in readers if not reader.closed],
        }

    def close(self) -> None:
        """Release every connection."""
        self._pool.close()


def has_ended(connection: Connection) -> bool:
    """Say whether the server ended a connection that nobody used; costs a look at the socket, no round trip."""
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    try:
        while look.poll(0):
            # Settings that changed, or the end.
            connection.pgconn.consume_input()
    except OperationalError:
        return True
    return False


def traffic_of(connection: Connection) -> int | None:
    """Return the bytes sent and received; None where the system does not count them."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            if line.family == socket.AF_UNIX:
                return None
            told = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRAFFIC_AT + _TRAFFIC.size)
    except (OSError, OperationalError):
        # Another thread closed it a moment ago.
        return None
    return sum(_TRAFFIC.unpack_from(told, _TRAFFIC_AT)) if len(told) == _TRAFFIC_AT + _TRAFFIC.size else None
