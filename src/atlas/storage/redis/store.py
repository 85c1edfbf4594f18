"""The Redis store as the world sees it: group commit on one writer thread, reads on threads of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from ...errors import StorageError, StoreClosedError
from ..collection import Collection
from ..committing import Committer
from ..jobs import Job
from ..listeners import Listeners
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from ..query import Query
from . import upkeep
from .address import parse_url
from .engine import Engine
from .feed import Feed
from .layout import Layout
from .link import Link

T = TypeVar("T")

READERS = 4


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RedisStore:
    """A store on a Redis or Valkey server that any number of machines share (`protocol.Store` states the promise).

    Its durability is what the server is configured for, as found when it is opened: `disk` only where every write is
    synced before it is answered. `is_inline` runs everything on the calling thread, without an event loop.
    """

    def __init__(
        self,
        url: str,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = _utc_now,
        is_inline: bool = False,
    ) -> None:
        self._address = parse_url(url)
        self._layout = Layout(self._address.prefix, collections)
        self._link = Link(self._address)
        self._engine = Engine(self._link, self._layout, clock=clock)
        self._is_inline = is_inline
        self._persistence = upkeep.Persistence(durability="memory", text="The store was not opened yet.")
        self._committer: Committer | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._listeners = Listeners()
        self._feed: Feed | None = None
        self._seen = 0
        self._process = 0

    @property
    def url(self) -> str:
        """See Store."""
        return self._address.url

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return Capabilities(durability=self._persistence.durability, is_shared=True)

    async def open(self) -> None:
        """See Store."""
        self._link.open()
        try:
            self._persistence = await self._away(self._ready)
        except BaseException:
            await self._let_go()
            raise
        self._process = os.getpid()
        self._engine.closing.clear()
        self._engine.is_open = True

    def _ready(self) -> upkeep.Persistence:
        upkeep.fit(self._engine)
        return upkeep.persistence(self._link)

    async def _away(self, run: Callable[[], T]) -> T:
        """Run something that waits for the server where the event loop does not wait with it."""
        if self._is_inline:
            return run()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="atlas-reader")
        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _check_open(self) -> None:
        if not self._engine.is_open:
            raise StoreClosedError("the store is closed")
        if os.getpid() != self._process:
            raise StoreClosedError("the store was opened by the parent process", hint="Open it again in this one.")

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        self._check_open()
        job = Job(work, time.monotonic() + timeout.total_seconds())
        if self._is_inline:
            self._engine.run([job])
            self._tidy()
        else:
            if self._committer is None:
                self._committer = Committer(self._engine, committed=self._tell)
            await self._committer.submit(job)
        if job.error is not None:
            raise job.error
        if self._is_inline:
            self._tell(job.seq)
        return Committed(job.value, job.seq)

    def _tidy(self) -> None:
        """See Committer: what fails here ends by itself."""
        try:
            self._engine.tidy()
        except StorageError as error:
            import logging

            logging.getLogger(__name__).warning("tidying up was put off: %s", error)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        self._check_open()
        return await self._away(lambda: self._engine.read(work))

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """See Store."""
        if self._feed is None:
            self._seen = max(self._seen, self._engine.latest())
            self._feed = Feed(self._link, self._layout, self._tell)
        stop_telling = self._listeners.add(told)

        def stop() -> None:
            stop_telling()
            if not self._listeners and self._feed is not None:
                self._feed.stop()
                self._feed = None

        return stop

    def _tell(self, seq: int) -> None:
        if seq > self._seen:
            self._seen = seq
            self._listeners.tell(seq)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store. Only indexes that do not fit their records are made anew; the server gives back space itself."""
        self._check_open()
        return await self._away(lambda: upkeep.maintain(self._engine, analyze=analyze))

    async def verify(self) -> list[str]:
        """See Store."""
        self._check_open()
        return await self._away(lambda: upkeep.verify(self._engine))

    async def copy_to(self, target: Path) -> Path:
        """See Store; always refuses."""
        raise StorageError(
            f"a Redis store cannot be copied to {target}",
            hint="Export its records, or copy it into another store with `atlas store copy`.",
        )

    async def statistics(self) -> Mapping[str, Any]:
        """See Store. `persistence` says what the server does before it answers a write."""
        self._check_open()
        counts, seq = await self.read(self._counts)
        size = await self._away(lambda: upkeep.size(self._engine))
        self._persistence = await self._away(lambda: upkeep.persistence(self._link))
        return {
            "url": self.url,
            "bytes": size,
            "records": counts,
            "seq": seq,
            "commits": self._engine.commits,
            "reruns": self._engine.reruns,
            "turn_wait_seconds": round(self._engine.turn_waits, 6),
            "persistence": self._persistence.text,
            "connections_lost": self._link.lost,
            "pool": self._link.figures(),
        }

    def _counts(self, tx: Transaction) -> tuple[dict[str, int], int]:
        return {c.name: tx.count(Query(c)) for c in self._layout.collections}, tx.seq

    async def close(self) -> None:
        """See Store."""
        if not self._engine.is_open and self._committer is None:
            return
        self._engine.is_open = False
        self._engine.closing.set()
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.stop()
        if self._committer is not None:
            # Should that fail, a later close goes on from here.
            await self._committer.close()
            self._committer = None
        await self._let_go()
        if feed is not None:
            await asyncio.to_thread(feed.join)
        self._listeners.close(self._seen)

    async def _let_go(self) -> None:
        """End the threads that read, once they are done, and the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
        self._link.close()
