"""The JSON file store as the world sees it: group commit on one writer thread, short reads where they are asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ...errors import StorageError
from ..clock import utc_now
from ..collection import Collection
from ..durable import DurableStore, TaskWatch
from ..expiring import remove_expired
from ..jobs import TooLongError
from ..place import storage_error, taken
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Transaction
from .engine import Engine

T = TypeVar("T")

POLL_SECONDS = 0.05


class FileStore(DurableStore[Engine]):
    """A store in one readable JSON file that any number of processes share (`protocol.Store` states the promise).

    Every process holds all records in memory. `is_inline` runs everything on the calling thread, without an event
    loop: for programs that do one thing and end.
    """

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = utc_now,
        is_inline: bool = False,
        is_forced: bool = False,
    ) -> None:
        self.path = Path(path)
        engine = Engine(self.path, collections, clock=clock, is_inline=is_inline, is_forced=is_forced)
        super().__init__(engine, collections, is_inline=is_inline)

    @property
    def url(self) -> str:
        """See Store."""
        return f"file://{self.path}" if self.path.is_absolute() else f"file:{self.path}"

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return Capabilities(
            durability="disk",
            is_shared=True,
            is_writable=self._engine.content.is_writable,
            is_inline=self._is_inline,
        )

    async def open(self) -> None:
        """See Store."""
        self._engine.open()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        self._engine.check_open()
        if self._is_inline:
            return self._engine.read(work)
        try:
            return self._engine.read(work, is_short=True)
        except TooLongError:
            import asyncio

            return await asyncio.to_thread(self._engine.read, work)

    def others_version(self) -> int | None:
        """See Versioned."""
        self._engine.check_open()
        with self._engine.translated():
            return self._engine.content.others_version()

    def _watching(self) -> TaskWatch:
        import asyncio

        self._seen = max(self._seen, self._engine.latest())
        return TaskWatch(asyncio.get_running_loop().create_task(self._watch_others()))

    async def _watch_others(self) -> None:
        """Look for other processes' commits: at the size of the log every 50 ms, while somebody listens."""
        import asyncio

        failed = ""
        while True:
            try:
                self._tell(await self.read(lambda tx: tx.seq))
                failed = ""
            except StorageError as error:
                # Made up for by a later look; said once, not twenty times a second.
                if str(error) != failed:
                    failed = str(error)
                    logging.getLogger(__name__).warning("cannot look for changes of %s: %s", self.path, error)
            await asyncio.sleep(POLL_SECONDS)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store: writes one file of everything."""

        def run() -> dict[str, Any]:
            self._engine.check_writable()
            before = sum(self._engine.content.size)
            self._engine.compact(DEFAULT_TIMEOUT.total_seconds())
            return {"before": before, "after": sum(self._engine.content.size), "analyzed": analyze}

        expired = await remove_expired(self, self._collections)
        return {**(await self._apart(run)), "expired": expired}

    async def verify(self) -> list[str]:
        """See Store: reads the files once more."""
        return await self._apart(self._engine.faults)

    async def copy_to(self, target: Path) -> Path:
        """See Store: the copy is one file, and a store of its own."""

        def run() -> Path:
            if target.exists():
                raise taken(target)
            try:
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._engine.content.copy_to(target)
            except OSError as error:
                raise storage_error(error, target) from error
            return target

        return await self._apart(run)

    async def _apart(self, run: Callable[[], T]) -> T:
        """Run something slow off the event loop."""
        self._engine.check_open()
        if self._is_inline:
            return run()
        import asyncio

        return await asyncio.to_thread(run)

    async def _figures(self) -> dict[str, Any]:
        snapshot, log = self._engine.content.size
        return {"bytes": snapshot, "log_bytes": log, "lock_wait_seconds": round(self._engine.lock_waits, 6)}

    async def _release(self) -> None:
        self._engine.close()
