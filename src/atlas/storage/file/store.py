"""The JSON file store as the world sees it: group commit on one writer thread, short reads where they are asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import StorageError
from ..collection import Collection
from ..jobs import Job, TooLongError
from ..listeners import Listeners
from ..place import storage_error, taken
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from ..query import Query
from .engine import Engine

if TYPE_CHECKING:
    import asyncio

    from ..committing import Committer

T = TypeVar("T")

POLL_SECONDS = 0.05


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FileStore:
    """A store in one readable JSON file that any number of processes share (`protocol.Store` states the promise).

    Every process holds all records in memory. `is_inline` runs everything on the calling thread, without an event
    loop: for programs that do one thing and end.
    """

    def __init__(
        self,
        path: Path,
        collections: Sequence[Collection[Any]],
        *,
        clock: Callable[[], datetime] = _utc_now,
        is_inline: bool = False,
        is_forced: bool = False,
    ) -> None:
        self.path = Path(path)
        self._collections = tuple(collections)
        self._engine = Engine(self.path, collections, clock=clock, is_inline=is_inline, is_forced=is_forced)
        self._is_inline = is_inline
        self._committer: Committer | None = None
        self._listeners = Listeners()
        self._watch: asyncio.Task[None] | None = None
        self._seen = 0

    @property
    def url(self) -> str:
        """See Store."""
        return f"file://{self.path}" if self.path.is_absolute() else f"file:{self.path}"

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return Capabilities(durability="disk", is_shared=True, is_writable=self._engine.content.is_writable)

    async def open(self) -> None:
        """See Store."""
        self._engine.open()

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        self._engine.check_open()
        seconds = timeout.total_seconds()
        job = Job(work, time.monotonic() + seconds)
        if self._is_inline:
            self._engine.run([job], wait=seconds)
        else:
            if self._committer is None:
                from ..committing import Committer

                self._committer = Committer(self._engine, committed=self._tell)
            await self._committer.submit(job)
        if job.error is not None:
            raise job.error
        if self._is_inline:
            self._tell(job.seq)
            self._tidy()
        return Committed(job.value, job.seq)

    def _tidy(self) -> None:
        """Tidy up; a failure is not the caller's, whose change is made."""
        try:
            self._engine.tidy()
        except StorageError as error:
            logging.getLogger(__name__).warning("tidying up was put off: %s", error)

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

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """See Store."""
        import asyncio

        stop_telling = self._listeners.add(told)
        if self._watch is None:
            self._seen = max(self._seen, self._engine.latest())
            self._watch = asyncio.get_running_loop().create_task(self._watch_others())

        def stop() -> None:
            stop_telling()
            if not self._listeners and self._watch is not None:
                self._watch.cancel()
                self._watch = None

        return stop

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

    def _tell(self, seq: int) -> None:
        if seq > self._seen:
            self._seen = seq
            self._listeners.tell(seq)

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:
        """See Store: writes one file of everything."""

        def run() -> dict[str, Any]:
            self._engine.check_writable()
            before = sum(self._engine.content.size)
            self._engine.compact(DEFAULT_TIMEOUT.total_seconds())
            return {"before": before, "after": sum(self._engine.content.size), "analyzed": analyze}

        return await self._apart(run)

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

    async def statistics(self) -> Mapping[str, Any]:
        """See Store."""
        counts, seq = await self.read(self._counts)
        snapshot, log = self._engine.content.size
        return {
            "url": self.url,
            "bytes": snapshot,
            "log_bytes": log,
            "records": counts,
            "seq": seq,
            "commits": self._engine.commits,
            "lock_wait_seconds": round(self._engine.lock_waits, 6),
        }

    def _counts(self, tx: Transaction) -> tuple[dict[str, int], int]:
        return {c.name: tx.count(Query(c)) for c in self._collections}, tx.seq

    async def close(self) -> None:
        """See Store."""
        if not self._engine.is_open and self._committer is None:
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._engine.is_open = False
        if self._committer is not None:
            # Should that fail, a later close goes on from here.
            await self._committer.close()
            self._committer = None
        self._engine.close()
        self._listeners.close(self._seen)
