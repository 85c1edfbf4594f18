"""A store that tells what happens in it, and lets others have a say before it does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from ...errors import AtlasError, InputError
from ..protocol import DEFAULT_TIMEOUT, Committed, Store, Transaction
from .around import StoreAround
from .handlers import Line, LoopLine, ThreadLine
from .operation import KINDS, Operation, OperationTransaction, Run, perform

T = TypeVar("T")

NAMES = frozenset({f"{when}_{kind}" for when in ("before", "after") for kind in (*KINDS, "open", "close")} | {"error"})
"""What can be subscribed to; `error` comes in place of the `after_…` of what failed."""

Middleware = Callable[[Operation, Run], Any]
"""Called with an operation and the function that does it: `return go_on(operation)` leaves everything as it is.

It may hand on another operation, change what it came to, or raise: then the operation is refused, and nothing of the
transaction remains unless the work catches that error. It runs inside the transaction, so it touches nothing else.
"""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler is told: `name` of `NAMES`, and of an operation what was asked.

    `transaction` is the same for all notices of one call of the store. `seconds` and `count` (of records found, written
    or removed) come after, `seq` after a commit, `error` with `error`.
    """

    name: str
    transaction: int = 0
    operation: Operation | None = None
    seconds: float = 0.0
    count: int = 0
    seq: int = 0
    error: BaseException | None = None

    @property
    def code(self) -> str | None:
        """The error's code, its type's name where it has none; None of no error."""
        if self.error is None:
            return None
        return self.error.code if isinstance(self.error, AtlasError) else type(self.error).__name__


class ObservedStore(StoreAround):
    """Tells handlers what the store inside does, and asks middleware first.

    Handlers are told off the path, in order, once the call of the store is over; of work that had to run again, only of
    its last run. One that fails or hangs harms nobody: its failure is logged, and what does not fit into its line is
    dropped and counted.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lines: tuple[Line[Notice], ...] = ()
        self._middleware: tuple[Middleware, ...] = ()
        self._wanted: frozenset[str] = frozenset()
        self._calls = 0

    def on(self, names: str | Iterable[str], handler: Callable[[Notice], Any], *, most: int = 1_000) -> Subscription:
        """Have `handler` told of `names`; at most `most` notices wait for it.

        A plain function is called on a thread of its own, an asynchronous one on the running event loop.
        """
        wanted = frozenset([names] if isinstance(names, str) else names)
        if not wanted <= NAMES:
            raise InputError("no such notice", field="names", given=sorted(wanted - NAMES), bound=sorted(NAMES))
        is_asynchronous = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
        line = (LoopLine if is_asynchronous else ThreadLine)(handler, wanted, most)
        self._keep((*self._lines, line))
        return Subscription(line, lambda: self._keep(tuple(other for other in self._lines if other is not line)))

    def _keep(self, lines: tuple[Line[Notice], ...]) -> None:
        self._lines = lines
        self._wanted = frozenset().union(*(line.wanted for line in lines))

    def use(self, middleware: Middleware) -> Callable[[], None]:
        """Ask `middleware` before every operation, inside what was given before; returns how to stop it."""
        # One that is used twice is there twice, and each can be stopped alone.
        entry = partial(middleware)
        self._middleware += (entry,)

        def stop() -> None:
            self._middleware = tuple(other for other in self._middleware if other is not entry)

        return stop

    async def drained(self, timeout: timedelta = timedelta(seconds=5)) -> bool:
        """Wait until all handlers were told everything so far; says whether that came true in time."""
        end = time.monotonic() + timeout.total_seconds()
        for line in self._lines:
            if not await asyncio.to_thread(line.wait, max(0.0, end - time.monotonic())):
                return False
        return True

    def _tell(self, notices: list[Notice]) -> None:
        for line in self._lines:
            wanted = [notice for notice in notices if notice.name in line.wanted]
            if wanted:
                line.put(wanted)

    @property
    def is_faithful(self) -> bool:
        """See StoreAround: middleware may write other things than it is asked to."""
        return not self._middleware

    async def open(self) -> None:
        """See Store."""
        await self._lived("open", self.inner.open)

    async def close(self) -> None:
        """See Store. Handlers stay subscribed."""
        await self._lived("close", self.inner.close)

    async def _lived(self, name: str, call: Callable[[], Any]) -> None:
        begun = time.perf_counter()
        self._tell([Notice(name=f"before_{name}")])
        try:
            await call()
        except BaseException as error:
            self._tell([Notice(name="error", error=error)])
            raise
        self._tell([Notice(name=f"after_{name}", seconds=time.perf_counter() - begun)])

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        if not (self._lines or self._middleware):
            return await self.inner.read(work)
        call = self._call()
        try:
            return await self.inner.read(lambda tx: work(call.began(tx)))
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            self._tell(call.notices)

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        if not (self._lines or self._middleware):
            return await self.inner.transact(work, timeout=timeout)
        call = self._call()

        def observed(tx: Transaction) -> T:
            value = work(call.began(tx))
            call.commit()
            return value

        try:
            made = await self.inner.transact(observed, timeout=timeout)
            call.committed(made.seq)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            self._tell(call.notices)
        return made

    def _call(self) -> _Call:
        self._calls += 1
        return _Call(self._calls, self._wanted, self._middleware)


class Subscription:
    """A handler's place; calling it ends the telling, and then the store holds nothing of the handler any more."""

    def __init__(self, line: Line[Notice], leave: Callable[[], None]) -> None:
        self._line = line
        self._leave = leave

    def __call__(self) -> None:
        """End the telling; a second call does nothing."""
        self._leave()
        self._line.stop()

    @property
    def dropped(self) -> int:
        """How many notices did not fit into the line."""
        return self._line.dropped

    @property
    def failed(self) -> int:
        """How often the handler raised an error."""
        return self._line.failed


class _Call:
    """One call of the store: what happened in the last run of its work."""

    def __init__(self, number: int, wanted: frozenset[str], middleware: tuple[Middleware, ...]) -> None:
        self.notices: list[Notice] = []
        self._number = number
        self._wanted = wanted
        self._middleware = middleware
        self._told_of: BaseException | None = None
        self._begin()

    def _begin(self) -> None:
        self.notices = []
        self._written: dict[tuple[str, Any], None] = {}
        self._begun = time.perf_counter()
        self._commit: Operation | None = None

    def began(self, tx: Transaction) -> Transaction:
        """Return the transaction to run the work in; what an earlier run told is forgotten."""
        self._begin()

        def run(operation: Operation) -> Any:
            return self._run(operation, lambda last: perform(tx, last))

        return _Observed(tx, run, self._written)

    def _note(self, name: str, **facts: Any) -> None:
        if name in self._wanted:
            self.notices.append(Notice(name=name, transaction=self._number, **facts))

    def _run(self, operation: Operation, last: Run) -> Any:
        done = operation

        def do(asked: Operation) -> Any:
            nonlocal done
            done = asked
            return last(asked)

        begun = time.perf_counter()
        self._note(f"before_{operation.kind}", operation=operation)
        try:
            value = self._asked(0, operation, do)
        except BaseException as error:
            self._told_of = error
            self._note("error", operation=operation, error=error)
            raise
        if done.kind in {"set", "delete"} and done.collection is not None:
            self._written.update(((done.collection.name, key), None) for key in done.touched)
        if done.kind != "commit":
            seconds = time.perf_counter() - begun
            self._note(f"after_{done.kind}", operation=done, seconds=seconds, count=_count(done, value))
        return value

    def _asked(self, index: int, operation: Operation, last: Run) -> Any:
        if index == len(self._middleware):
            return last(operation)
        return self._middleware[index](operation, lambda changed: self._asked(index + 1, changed, last))

    def commit(self) -> None:
        """Ask whether what was written may be committed."""
        self._commit = Operation(kind="commit", keys=tuple(self._written))
        self._run(self._commit, lambda _: None)

    def committed(self, seq: int) -> None:
        """Tell of the commit."""
        seconds = time.perf_counter() - self._begun
        self._note("after_commit", operation=self._commit, seconds=seconds, count=len(self._written), seq=seq)

    def failed(self, error: BaseException) -> None:
        """Tell of the error that ended the call, unless an operation has told of it."""
        if error is not self._told_of:
            self._note("error", operation=self._commit, error=error)


class _Observed(OperationTransaction):
    """A transaction of which is known what it wrote, but for what a savepoint took back."""

    def __init__(self, inner: Transaction, run: Run, written: dict[tuple[str, Any], None]) -> None:
        super().__init__(inner, run)
        self._written = written

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """See Transaction."""
        before = len(self._written)
        try:
            with self.inner.savepoint():
                yield
        except BaseException:
            while len(self._written) > before:
                self._written.popitem()
            raise


def _count(operation: Operation, value: Any) -> int:
    if operation.kind in {"set", "append"}:
        return len(operation.records)
    return value if isinstance(value, int) else len(value)
