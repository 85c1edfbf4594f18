"""What the stores that outlive their process have in common: commits over an engine, telling of them, and closing."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..errors import StoreClosedError
from .collection import Collection, check_alone
from .jobs import Job
from .listeners import Listeners
from .protocol import DEFAULT_TIMEOUT, Committed, Transaction
from .query import Query
from .slow import SlowQueries

if TYPE_CHECKING:
    import asyncio

    from .committing import Committer

T = TypeVar("T")


class Engine(Protocol):
    """What a durable store needs of its engine, besides what a CommitEngine does."""

    @property
    def is_open(self) -> bool:
        """See CommitEngine."""
        ...

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine."""
        ...

    @property
    def commits(self) -> int:
        """How many transactions were committed here."""
        ...

    @property
    def slow(self) -> SlowQueries:
        """The queries that took long."""
        ...

    def check_open(self) -> None:
        """Raise StoreClosedError where the store is closed, or was opened by a parent process."""
        ...

    def stop(self) -> None:
        """Take no new work."""
        ...

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """See CommitEngine; `wait` bounds the wait for other writers, in seconds (None: the callers give up)."""
        ...

    def run_short(self, job: Job) -> bool:
        """See CommitEngine."""
        ...

    def tidy(self) -> None:
        """See CommitEngine."""
        ...


E = TypeVar("E", bound=Engine)


class Watch(Protocol):
    """Looks for commits of others until it is stopped."""

    def stop(self) -> None:
        """Look no more."""
        ...

    async def ended(self) -> None:
        """Wait until nothing of it runs."""
        ...


class TaskWatch:
    """A watch that is a task of the event loop."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def stop(self) -> None:
        """See Watch."""
        self._task.cancel()

    async def ended(self) -> None:
        """See Watch."""
        import asyncio

        # The event loop of one that is done may have ended.
        if not self._task.done():
            await asyncio.wait([self._task])


class DurableStore(ABC, Generic[E]):
    """A store over an engine; a backend says how it reads, how it looks for others' commits, and what it releases.

    `is_inline` runs everything on the calling thread, without an event loop: for programs that do one thing and end.
    """

    def __init__(self, engine: E, collections: Sequence[Collection[Any]], *, is_inline: bool) -> None:
        check_alone(collections)
        self._engine = engine
        self._collections = tuple(collections)
        self._is_inline = is_inline
        self._committer: Committer | None = None
        self._making = threading.Lock()
        self._listeners = Listeners()
        self._watch: Watch | None = None
        self._seen = 0
        self._is_closing = False

    @property
    def slow_queries(self) -> SlowQueries:
        """See Store."""
        return self._engine.slow

    @property
    @abstractmethod
    def url(self) -> str:
        """See Store."""

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        self._engine.check_open()
        seconds = timeout.total_seconds()
        job = Job(work, time.monotonic() + seconds)
        if self._is_inline:
            self._engine.run([job], wait=seconds)
            self._tidy()
        else:
            await (self._committer or self._made_committer()).submit(job)
        if job.error is not None:
            raise job.error
        if self._is_inline:
            self._tell(job.seq)
        return Committed(job.value, job.seq)

    def _made_committer(self) -> Committer:
        """Return the one committer of all event loops."""
        from .committing import Committer

        with self._making:
            if self._committer is None:
                self._committer = Committer(self._engine, committed=self._tell)
            return self._committer

    def _tidy(self) -> None:
        """Tidy up; a failure is not the caller's, whose change is made."""
        try:
            self._engine.tidy()
        except Exception as error:  # noqa: BLE001 - said, and it comes up again at the next commit
            import logging

            logging.getLogger(__name__).warning("tidying up was put off: %s", error if str(error) else repr(error))

    @abstractmethod
    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""

    def subscribe(self, told: Callable[[int], None]) -> Callable[[], None]:
        """See Store."""
        if self._watch is None:
            self._watch = self._watching()
        stop_telling = self._listeners.add(told)

        def stop() -> None:
            stop_telling()
            if not self._listeners and self._watch is not None:
                self._watch.stop()
                self._watch = None

        return stop

    @abstractmethod
    def _watching(self) -> Watch:
        """Begin to call `_tell` with the newest number after each commit of others from now on."""

    def _tell(self, seq: int) -> None:
        if seq > self._seen:
            self._seen = seq
            self._listeners.tell(seq)

    async def statistics(self) -> Mapping[str, Any]:
        """See Store."""
        self._engine.check_open()
        counts, seq = await self.read(self._counts)
        return {
            "url": self.url,
            "records": counts,
            "seq": seq,
            "commits": self._engine.commits,
            "slow_queries": self.slow_queries.figures(),
            **await self._figures(),
        }

    def _counts(self, tx: Transaction) -> tuple[dict[str, int], int]:
        return {c.name: tx.count(Query(c)) for c in self._collections}, tx.seq

    @abstractmethod
    async def _figures(self) -> dict[str, Any]:
        """Return the figures that only this backend has, `bytes` among them."""

    async def close(self) -> None:
        """See Store. Should it fail or be given up, a later close goes on from there.

        A forked child only forgets the store: its connections and locks are its parent's.
        """
        if self._engine.is_open and self._is_of_parent():
            self._engine.stop()
            return
        if not (self._engine.is_open or self._is_closing):
            return
        self._is_closing = True
        watch = self._watch
        if watch is not None:
            watch.stop()
        self._engine.stop()
        if self._committer is not None:
            await self._committer.close()
            self._committer = None
        await self._release()
        if watch is not None:
            await watch.ended()
        self._watch = None
        self._listeners.close(self._seen)
        self._is_closing = False

    def _is_of_parent(self) -> bool:
        try:
            self._engine.check_open()
        except StoreClosedError:
            return True
        return False

    @abstractmethod
    async def _release(self) -> None:
        """Let go of threads, connections and files, once nothing is under way."""
