"""What the driver and the server report, in the words of Atlas's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Connection, Error, errors

from ...errors import (
    AtlasError,
    InputError,
    StorageError,
    StoreBusyError,
    StoreFormatError,
    StoreFullError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from .address import Address


class MetError(StoreBusyError):
    """The transaction met another one, or a limit of the server."""

    hint = "Retry; if it lasts, see what else runs on the server, and whether it lets more connections in."


AGAIN = (StoreUnreachableError, MetError)
"""The transaction came to nothing through no fault of its own; run again as a whole, it may succeed."""


class UnguardedError(BaseException):
    """The server refused something of a group that runs unguarded: whose it was shows when each is guarded.

    Not an error that the work itself may catch.
    """


_HINTS: dict[type[AtlasError], str] = {
    InputError: "Correct the value and call again; nothing was changed.",
    StoreReadOnlyError: "Name the primary server, and a user with the rights to write there.",
    StoreFormatError: "Restore a copy of the schema, or name another one in the URL.",
}
_KINDS: tuple[tuple[tuple[type[Error], ...], type[AtlasError], str], ...] = (
    ((errors.QueryCanceled,), StoreTimeoutError, "a statement took longer than its deadline"),
    ((errors.LockNotAvailable,), StoreBusyError, "another program holds what the transaction needs"),
    ((errors.SerializationFailure, errors.DeadlockDetected), MetError, "the transaction met another one"),
    ((errors.DiskFull,), StoreFullError, "the server's disk is full"),
    ((errors.TooManyConnections, errors.OutOfMemory), MetError, "the server is at its limits"),
    ((errors.ReadOnlySqlTransaction,), StoreReadOnlyError, "the server can only be read"),
    ((errors.InsufficientPrivilege,), StoreReadOnlyError, "the database user may not do this"),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName),
        StoreFormatError,
        "not a store of Atlas",
    ),
    ((errors.DataError,), InputError, "PostgreSQL cannot hold a value"),
)


_GONE = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)


def failure(error: Error, address: Address, connection: Connection | None = None) -> AtlasError:
    """Return the error of the tree that stands for one of the driver."""
    told = address.masked(str(error.diag.message_primary or error)).strip()
    for kinds, made, text in _KINDS:
        if isinstance(error, kinds):
            return made(f"{text}: {address.url}", hint=_HINTS.get(made), details={"driver": told})
    if is_lost(error, connection):
        what = "there is no connection to" if connection is None else "the connection was lost to"
        return StoreUnreachableError(f"{what} {address.url}: {told}")
    return StorageError(f"{address.url}: {told}")


def is_lost(error: Error, connection: Connection | None) -> bool:
    """Say whether the server went away, or never answered; what was asked last may have been done all the same."""
    if isinstance(error, errors.PipelineAborted):
        return False
    if isinstance(error, _GONE) or (connection is not None and connection.closed):
        return True
    return isinstance(error, (errors.OperationalError, errors.InterfaceError)) and error.sqlstate is None


@contextmanager
def translated(address: Address, connection: Connection | None = None) -> Iterator[None]:
    """Turn the driver's errors into those of the tree."""
    try:
        yield
    except Error as error:
        raise failure(error, address, connection) from error
