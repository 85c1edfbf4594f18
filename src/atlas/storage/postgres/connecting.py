"""How a connection is made, and adapted to what Atlas sends."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from .address import Address
from .failures import translated
from .reach import Reach


def how(address: Address) -> dict[str, Any]:
    """Return what the driver connects with."""
    return {**address.connection, "autocommit": True}


def connect(address: Address, reach: Reach) -> Connection:
    """Return a new connection; raises StoreUnreachableError where the server lets none in."""
    with translated(address):
        connection = psycopg.connect(**how(address))
    adapted(connection)
    reach.regain()
    return connection


def adapted(connection: Connection) -> None:
    """Send every number and text as one type, so that a statement is prepared once and compared in that type."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(str, StrDumper)
