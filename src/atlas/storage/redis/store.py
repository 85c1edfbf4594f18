"""The Redis store as the world sees it: group commit on one writer thread, reads on threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ...errors import ConfigError, StorageError
from ..clock import utc_now
from ..collection import Collection
from ..durable import DurableStore
from ..expiring import remove_expired
from ..jobs import TooLongError
from ..protocol import Capabilities, Transaction
from . import upkeep
from .address import MOST_READERS, parse_url
from .engine import Engine
from .feed import Feed
from .layout import Layout
from .link import Link
from .server import Persistence, persistence, server_figures

T = TypeVar("T")


class RedisStore(DurableStore[Engine]):
    """A store on a Redis or Valkey server that any number of machines share (`protocol.Store` states the promise).

    Its durability is what the server is configured for, as found when it is opened: `disk` only where every write is
    synced before it is answered. `is_inline` runs everything on the calling thread, without an event loop.
    """

    def __init__(
        self,
        url: str,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = utc_now,
        is_inline: bool = False,
    ) -> None:
        self._address = parse_url(url)
        self._layout = Layout(self._address.prefix, collections)
        self._link = Link(self._address)
        super().__init__(
            Engine(self._link, self._layout, clock=clock, is_near=self._address.is_near),
            collections,
            is_inline=is_inline,
        )
        self._persistence = Persistence(durability="memory", text="The store was not opened yet.")
        self._threads: ThreadPoolExecutor | None = None
        self._retired: list[ThreadPoolExecutor] = []
        self._sizing = threading.Lock()
        self._readers = self._address.readers
        self._queued: set[object] = set()

    @property
    def url(self) -> str:
        """See Store."""
        return self._address.url

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return Capabilities(durability=self._persistence.durability, is_shared=True, is_inline=self._is_inline)

    async def open(self) -> None:
        """See Store."""
        self._link.pool.open()
        try:
            self._persistence = await self._away(self._ready)
        except BaseException:
            await self._release()
            raise
        self._engine.start()

    def _ready(self) -> Persistence:
        upkeep.fit(self._engine)
        return persistence(self._link)

    async def _away(self, run: Callable[[], T]) -> T:
        """Run something that waits for the server where the event loop does not wait with it."""
        if self._is_inline:
            return run()
        place = object()
        self._queued.add(place)

        def begin() -> T:
            self._queued.discard(place)
            return run()

        try:
            with self._sizing:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(self._readers, thread_name_prefix="atlas-reader")
                asked = self._threads.submit(begin)
            return await asyncio.wrap_future(asked)
        finally:
            self._queued.discard(place)

    async def resize(self, readers: int) -> None:
        """Have so many connections for reads at most from now on; reads under way end where they are."""
        self._engine.check_open()
        if not 1 <= readers <= MOST_READERS:
            raise ConfigError(
                "readers is the number of connections for reads",
                field="readers",
                given=readers,
                bound=f"1 to {MOST_READERS}",
            )
        with self._sizing:
            self._readers = readers
            self._link.pool.resize(readers + 1)
            if self._threads is not None:
                self._threads.shutdown(wait=False)
                self._retired.append(self._threads)
                self._threads = None

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        self._engine.check_open()
        if not self._is_inline:
            with contextlib.suppress(TooLongError):
                return self._engine.read_short(work)
        return await self._away(lambda: self._engine.read(work))

    def _watching(self) -> Feed:
        self._seen = max(self._seen, self._engine.latest())
        return Feed(self._link, self._layout, self._tell)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store. Only indexes that do not fit their records are made anew; the server gives back space itself."""
        self._engine.check_open()
        expired = await remove_expired(self, self._collections)
        return {**(await self._away(lambda: upkeep.maintain(self._engine, analyze=analyze))), "expired": expired}

    async def verify(self) -> list[str]:
        """See Store."""
        self._engine.check_open()
        return await self._away(lambda: upkeep.verify(self._engine))

    async def copy_to(self, target: Path) -> Path:
        """See Store; always refuses."""
        raise StorageError(
            f"a Redis store cannot be copied to {target}",
            hint="Export its records, or copy it into another store with `atlas store copy`.",
        )

    async def _figures(self) -> dict[str, Any]:
        self._persistence = await self._away(lambda: persistence(self._link))
        return {
            "bytes": await self._away(lambda: upkeep.size(self._engine)),
            "reruns": self._engine.reruns,
            "lock_wait_seconds": round(self._engine.lock_waits, 6),
            "pool": {**self._link.figures(), "waiting": len(self._queued)},
            "server": {
                "persistence": self._persistence.text,
                **await self._away(lambda: server_figures(self._link)),
            },
        }

    async def _release(self) -> None:
        """End the threads that read, once they are done, and the connections."""
        for threads in (*self._retired, self._threads):
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)
        self._threads = None
        self._retired.clear()
        self._link.pool.close()
