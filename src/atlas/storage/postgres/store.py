"""The PostgreSQL store as the world sees it: group commit on one writer thread, snapshots on reader threads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from psycopg import Connection

from ...errors import StorageError
from ..clock import utc_now
from ..collection import Collection
from ..durable import DurableStore, TaskWatch
from ..expiring import remove_expired
from ..jobs import Job
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Transaction
from . import upkeep
from .address import checked_readers, parse_address
from .database import Database, insisting
from .engine import Engine
from .failures import translated
from .feed import follow
from .readers import Answer, Readers
from .server import server_figures
from .upgrading import latest

T = TypeVar("T")


class PostgresStore(DurableStore[Engine]):
    """A store in one schema of a PostgreSQL database, shared by any number of processes (see `protocol.Store`).

    A server that is away is waited for: by a write until its timeout, by a read for `patience`. `is_inline` runs
    everything on the calling thread, without an event loop.
    """

    def __init__(
        self,
        url: str,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = utc_now,
        patience: timedelta = DEFAULT_TIMEOUT,
        is_inline: bool = False,
    ) -> None:
        self._address = parse_address(url)
        self._database = Database(self._address, collections, is_inline=is_inline)
        super().__init__(Engine(self._database, clock=clock), collections, is_inline=is_inline)
        self._patience = patience.total_seconds()
        self._readers: Readers | None = None

    @property
    def url(self) -> str:
        """See Store."""
        return self._address.url

    @property
    def capabilities(self) -> Capabilities:
        """See Store; the durability is what the server is set to."""
        durability = "disk" if self._database.is_durable else "memory"
        return Capabilities(
            durability=durability,
            is_shared=True,
            is_writable=self._database.is_writable,
            is_inline=self._is_inline,
        )

    async def open(self) -> None:
        """See Store."""
        if self._database.is_open:
            return
        given_up = threading.Event()
        try:
            await self._aside(lambda: self._database.open(given_up))
        except asyncio.CancelledError:
            self._database.give_up(given_up)
            raise
        if not self._is_inline:
            self._readers = Readers(self._read_there, self._address.readers)
        try:
            self._seen = await self.read(lambda tx: tx.seq)
        except BaseException:
            await self.close()
            raise

    async def _aside(self, run: Callable[[], T]) -> T:
        """Run what waits for the server where it holds nobody up."""
        return run() if self._is_inline else await asyncio.to_thread(run)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store. Raises StoreBusyError when no connection could be had for all of `patience`."""
        self._engine.check_open()
        until = time.monotonic() + self._patience
        if self._readers is None:
            return self._engine.read(work, until)
        job = Job(work, until)
        await self._readers.run(job)
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def _read_there(self, job: Job, answer: Answer) -> None:
        answer(self._engine.read(job.work, job.deadline, answered=answer))

    async def resize(self, readers: int) -> None:
        """Have so many connections for reads at most from now on; reads under way end where they are."""
        self._engine.check_open()
        checked_readers(readers)
        if self._readers is not None and self._database.pool is not None:
            self._readers.resize(readers)
            await asyncio.to_thread(self._database.pool.resize, readers)

    def _watching(self) -> TaskWatch:
        return TaskWatch(
            asyncio.get_running_loop().create_task(follow(self._address, self._tell, self._database.reach))
        )

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store."""
        expired = await remove_expired(self, self._collections)
        return {
            **(await self._apart(lambda connection: upkeep.maintain(connection, self._database, analyze=analyze))),
            "expired": expired,
        }

    async def verify(self) -> list[str]:
        """See Store."""
        return await self._apart(lambda connection: upkeep.verify(connection, self._database))

    async def copy_to(self, target: Path) -> Path:
        """See Store; always refuses."""
        raise StorageError(
            f"a PostgreSQL store cannot be copied to {target}",
            hint="Use pg_dump for a copy of the schema, or copy it into a store in a file.",
        )

    async def _apart(self, run: Callable[[Connection], T]) -> T:
        """Run something slow on a connection of its own, again where that is lost."""
        self._engine.check_open()
        until = time.monotonic() + self._patience

        def attempt() -> T:
            with self._database.connect() as connection, translated(self._address, connection):
                return run(connection)

        return await self._aside(lambda: insisting(attempt, until, is_wanted=lambda: self._database.is_open))

    async def _figures(self) -> dict[str, Any]:
        def look(connection: Connection) -> dict[str, Any]:
            return {"bytes": upkeep.size_of(connection, self._address), "server": server_figures(connection)}

        figures = await self._apart(look)
        if self._database.pool is not None and self._readers is not None:
            figures["pool"] = self._database.pool.figures(self._readers.waiting)
        return {"schema": latest(), **figures, "lock_wait_seconds": round(self._engine.lock_waits, 6)}

    async def _release(self) -> None:
        if self._readers is not None:
            await asyncio.to_thread(self._readers.close)
            self._readers = None
        await self._aside(self._let_go)

    def _let_go(self) -> None:
        try:
            self._engine.forget()
        except StorageError as error:
            logging.getLogger(__name__).warning("%s is left as it is: %s", self.url, error)
        finally:
            self._database.close()
