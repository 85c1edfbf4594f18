"""The SQLite store as the world sees it: group commit on one writer thread, short reads where they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from ...errors import StorageError, StoreClosedError
from ..clock import utc_now
from ..collection import Collection
from ..durable import DurableStore, TaskWatch
from ..expiring import remove_expired
from ..migration import Migration
from ..protocol import Capabilities, Transaction
from . import upkeep
from .database import Database
from .engine import SHORT_SECONDS, Engine
from .settings import SqliteSettings

if TYPE_CHECKING:
    from .pool import ReaderPool

T = TypeVar("T")

POLL_SECONDS = 0.05


class SqliteStore(DurableStore[Engine]):
    """A store in one file that any number of processes share (`protocol.Store` states the promise).

    `is_inline` runs everything on the calling thread, without an event loop: for programs that do one thing and end.
    """

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = utc_now,
        is_inline: bool = False,
        settings: SqliteSettings | None = None,
        synchronous: str = "FULL",
        is_forced: bool = False,
        migrations: Sequence[Migration] = (),
        vfs: str = "",
    ) -> None:
        self.path = Path(path)
        self._database = Database(
            self.path,
            collections,
            migrations=migrations,
            settings=settings,
            synchronous=synchronous,
            is_forced=is_forced,
            vfs=vfs,
        )
        super().__init__(Engine(self._database, clock=clock), collections, is_inline=is_inline)
        self._synchronous = synchronous
        self._pool: ReaderPool | None = None

    @property
    def url(self) -> str:
        """See Store."""
        return f"sqlite:///{self.path}"

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        durability = "disk" if self._synchronous == "FULL" else "memory"
        return Capabilities(
            durability=durability,
            is_shared=True,
            is_writable=self._database.is_writable,
            is_inline=self._is_inline,
        )

    @property
    def settings(self) -> SqliteSettings:
        """What the store was made with."""
        return self._database.settings

    @property
    def pool(self) -> ReaderPool:
        """The connections of reads that prove long; raises StoreClosedError where the store is closed or inline."""
        if self._pool is None:
            raise StoreClosedError("the store has no readers' pool: it is closed or inline")
        return self._pool

    async def open(self) -> None:
        """See Store."""
        self._database.open()
        if not self._is_inline:
            from .pool import ReaderPool

            self._pool = ReaderPool(self._engine, size=self.settings.readers)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        self._engine.check_open()
        if self._is_inline:
            return self._engine.read(work)
        try:
            return self._engine.read(work, seconds=SHORT_SECONDS)
        except apsw.InterruptError:
            return await self._read_long(work)

    async def _read_long(self, work: Callable[[Transaction], T]) -> T:
        """Run a read that proved long on a thread, so that the event loop stays free."""
        import asyncio

        return await asyncio.wrap_future(self.pool.submit(work))

    def _watching(self) -> TaskWatch:
        import asyncio

        self._seen = max(self._seen, self._engine.latest())
        return TaskWatch(asyncio.get_running_loop().create_task(self._watch_others()))

    async def _watch_others(self) -> None:
        """Look for other processes' commits: one pragma every 50 ms, while somebody listens."""
        import asyncio
        import logging

        connection: apsw.Connection | None = None
        version: object = None
        failed = ""
        try:
            while True:
                try:
                    with self._database.translated():
                        connection = connection or self._database.connect()
                        version = self._look_for_others(connection, version)
                    failed = ""
                except StorageError as error:
                    # Made up for by a later look; said once, not twenty times a second.
                    if str(error) != failed:
                        failed = str(error)
                        logging.getLogger(__name__).warning("cannot look for changes of %s: %s", self.path, error)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if connection is not None:
                connection.close()

    def _look_for_others(self, connection: apsw.Connection, version: object) -> object:
        """Tell of what was committed since `version`."""
        found = connection.execute("PRAGMA data_version").get
        if found != version:
            self._tell(self._engine.latest())
        return found

    def others_version(self) -> int | None:
        """See Versioned. A program that writes to the file past Atlas, without its lock, may be taken for this one."""
        self._engine.check_open()
        return self._engine.others_version()

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store."""
        expired = await remove_expired(self, self._collections)
        return {**(await self._apart(lambda: upkeep.maintain(self._database, analyze=analyze))), "expired": expired}

    async def verify(self) -> list[str]:
        """See Store."""
        return await self._apart(lambda: upkeep.verify(self._database))

    async def copy_to(self, target: Path) -> Path:
        """See Store."""
        return await self._apart(lambda: upkeep.copy_to(self._database, target))

    async def _apart(self, run: Callable[[], T]) -> T:
        """Run something slow off the event loop, its driver errors translated."""
        self._engine.check_open()

        def translated() -> T:
            with self._database.translated():
                return run()

        if self._is_inline:
            return translated()
        import asyncio

        return await asyncio.to_thread(translated)

    async def _figures(self) -> dict[str, Any]:
        file = self._engine.file_figures()
        return {
            "schema": 1 + len(self._database.migrations),
            "bytes": self.path.stat().st_size,
            "log_bytes": file["log_bytes"],
            "lock_wait_seconds": file["lock_wait_seconds"],
            "file": file,
            **({} if self._pool is None else {"pool": self._pool.figures()}),
        }

    async def _release(self) -> None:
        if self._pool is not None:
            import asyncio

            await asyncio.to_thread(self._pool.close)
            self._pool = None
        self._engine.forget_others()
        self._database.close()
