"""Telling of commits: LISTEN on a connection of its own, or looking at times, behind a pooler or on a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from psycopg import AsyncConnection, Error

from .address import Address
from .reach import Reach

POLL_SECONDS = 0.2
_LOOK_SECONDS = 10.0
_AGAIN_SECONDS = 0.2


async def follow(address: Address, tell: Callable[[int], None], reach: Reach) -> None:
    """Call `tell` with each newest number until cancelled; a lost connection is replaced, and nothing missed."""
    while True:
        try:
            await _listen(address, tell, reach)
        except (Error, OSError) as error:
            reach.lose(address.masked(str(error)))
            await asyncio.sleep(_AGAIN_SECONDS)


async def _listen(address: Address, tell: Callable[[int], None], reach: Reach) -> None:
    connection = await AsyncConnection.connect(**address.connection, autocommit=True)
    try:
        reach.regain()
        is_listening = address.feed == "listen" and not await _is_replica(connection)
        if is_listening:
            await connection.execute(f'LISTEN "{address.channel}"')
        while True:
            # Also what was committed while nobody listened.
            tell(await _latest(connection, address))
            if not is_listening:
                await asyncio.sleep(POLL_SECONDS)
                continue
            async for notice in connection.notifies(timeout=_LOOK_SECONDS):
                if notice.payload.isdigit():
                    tell(int(notice.payload))
    finally:
        await connection.close()


async def _is_replica(connection: AsyncConnection) -> bool:
    """Say whether the server only follows another one: it refuses LISTEN."""
    row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    return row is not None and row[0]


async def _latest(connection: AsyncConnection, address: Address) -> int:
    found = await connection.execute(f'SELECT "seq" FROM {address.quoted_schema}."meta"')
    row = await found.fetchone()
    return int(row[0]) if row else 0
