"""The upkeep service: figures of the work and the store, mending, giving back space, and starting anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ..errors import ConflictError, InputError
from ..journal import Call, Journal, Recording, Written
from ..model import limits
from ..model.limits import Limits
from ..storage.collection import Collection
from ..storage.protocol import Transaction
from ..storage.query import Query
from ..verb import Effect, verb
from .arguments import Actor, Key, Pattern, Receipt
from .collections import NOTES, ORIGINS, READY, TALLIES, TASKS
from .figures import figures
from .repair import Findings, Issue, mend

A = TypeVar("A", "Repaired", "Cleared", "Vacuumed")

LONG = timedelta(minutes=10)
_PAGE = 5_000
_TRIES = 3

Confirm = Annotated[bool, Meta(description="must be true")]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of tasks that are not archived, progress counted in leaves, and figures of the store."""

    total: int
    archived: int
    by_status: dict[str, int]
    by_type: dict[str, int]
    by_priority: dict[str, int]
    progress: dict[str, int]
    projects: list[dict[str, Any]]
    projects_total: int
    store: dict[str, Any]
    seq: int


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, the first 200 of it in full, and how many of them were mended."""

    issues: list[Issue]
    issues_total: int
    fixed: int
    dry_run: bool
    receipt: Receipt


class Vacuumed(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes."""

    before: int
    after: int
    freed: int
    analyzed: bool
    receipt: Receipt


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks went, and the file that still has them (null for a store without one)."""

    deleted: int
    copy: str | None
    receipt: Receipt


class Upkeep:
    """What keeps a store well; none of it belongs to a single task."""

    def __init__(self, journal: Journal, *, bounds: Limits, actor: str | None) -> None:
        self._journal = journal
        self._limits = bounds
        self._actor = actor

    @verb(Effect.READ)
    async def statistics(self, *, pattern: Pattern = "**") -> Statistics:
        """Count tasks by status, type and priority, show the progress of each project, and the store's figures."""
        counts, seq = await self._journal.read(lambda tx: (figures(tx, pattern), tx.seq))
        store = await self._journal.store.statistics()
        # What a store tells of each connection and query is for the doctor; here it would flood a model's context.
        told = {name: value for name, value in store.items() if name == "records" or not isinstance(value, dict)}
        return Statistics(**counts, store=told, seq=seq)

    @verb(Effect.WRITE)
    async def repair(
        self,
        *,
        dry_run: bool = True,
        pattern: Pattern = "**",
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Repaired:
        """Find records that disagree with the rules (missing parents, circles, wrong blocks and counts).

        Only shows them, unless dry_run=false: then all are mended in one transaction that the journal can tell.
        """
        if dry_run:
            return await self._journal.read(
                lambda tx: _report(Findings(tx, pattern), is_fixed=False, receipt=Receipt(seq=tx.seq))
            )

        def work(tx: Recording) -> Repaired:
            found = Findings(tx, pattern)
            mend(tx, found)
            return _report(found, is_fixed=True, receipt=Receipt(seq=0))

        return await self._run(work, self._call("repair_relationships", idempotency_key, actor, [pattern]), Repaired)

    @verb(Effect.WRITE)
    async def vacuum(
        self, *, analyze: bool = True, idempotency_key: Key | None = None, actor: Actor | None = None
    ) -> Vacuumed:
        """Give the store's unused space back, and refresh what its planner knows (analyze)."""
        call = self._call("vacuum_database", idempotency_key, actor, [analyze])
        known = await self._journal.answered(call, Vacuumed)
        if known is not None:
            return _received(known)
        made = await self._journal.store.maintain(analyze=analyze)
        before, after = int(made["before"]), int(made["after"])
        report = Vacuumed(
            before=before,
            after=after,
            freed=max(0, before - after),
            analyzed=bool(made["analyzed"]),
            receipt=Receipt(seq=0),
        )
        return await self._run(lambda _: report, call, Vacuumed)

    @verb(Effect.DESTRUCTIVE)
    async def clear(
        self, *, confirm: Confirm, idempotency_key: Key | None = None, actor: Actor | None = None
    ) -> Cleared:
        """Delete every task and note. A copy of the store is taken first and named; the journal keeps what was."""
        if not confirm:
            raise InputError(
                "clearing deletes every task",
                field="confirm",
                given=confirm,
                bound=True,
                hint="Pass confirm=true; a copy of the store is taken first.",
            )
        call = self._call("clear_all_tasks", idempotency_key, actor, [confirm])
        known = await self._journal.answered(call, Cleared)
        if known is not None:
            return _received(known)
        for _ in range(_TRIES):
            copy, seq = await self._copy()

            def work(tx: Recording, copy: FilePath | None = copy, seq: int = seq) -> Cleared:
                if copy is not None and tx.seq != seq:
                    raise _OutdatedError
                deleted = _delete_all(tx)
                return Cleared(deleted=deleted, copy=None if copy is None else str(copy), receipt=Receipt(seq=0))

            try:
                return await self._run(work, call, Cleared)
            except _OutdatedError:
                # Somebody wrote between the copy and the deletion: what they wrote would be in neither.
                if copy is not None:
                    copy.unlink(missing_ok=True)
        raise ConflictError("others keep writing to the store", hint="Stop the other writers, and clear again.")

    async def _copy(self) -> tuple[FilePath | None, int]:
        """Copy the store's file beside it; returns the copy, if there is anything to keep, and its seq."""

        def look(tx: Transaction) -> tuple[bool, int, str]:
            return tx.count(Query(TASKS)) > 0, tx.seq, f"{tx.now:%Y%m%dT%H%M%S%f}Z"

        is_needed, seq, stamp = await self._journal.read(look)
        store = self._journal.store
        # Only stores in a file have a path to put a copy beside.
        path = getattr(store, "path", None)
        if not is_needed or path is None:
            return None, seq
        target = FilePath(path).with_name(f"{FilePath(path).name}.before-clear-{stamp}{FilePath(path).suffix}")
        return await store.copy_to(target), seq

    def _call(self, action: str, key: str | None, actor: str | None, arguments: Any) -> Call:
        return Call(action=action, actor=actor or self._actor, idempotency_key=key, arguments=arguments)

    async def _run(self, work: Callable[[Recording], A], call: Call, answer: type[A]) -> A:
        return _received(await self._journal.write(work, call=call, answer=answer, timeout=LONG))


def _received(written: Written[A]) -> A:
    receipt = msgspec.structs.replace(written.value.receipt, seq=written.seq, durability=written.durability)
    return msgspec.structs.replace(written.value, receipt=receipt)


class _OutdatedError(Exception):
    """The copy is not of the state that would be deleted."""


def _report(found: Findings, *, is_fixed: bool, receipt: Receipt) -> Repaired:
    return Repaired(
        issues=found.issues[: limits.AFFECTED],
        issues_total=len(found.issues),
        fixed=len(found.issues) if is_fixed else 0,
        dry_run=not is_fixed,
        receipt=receipt,
    )


def _delete_all(tx: Recording) -> int:
    """Delete all work, what lies deepest first, so that the journal never shows a child without its parent."""
    tx.delete_many(NOTES, [row[0] for row in tx.query(Query(NOTES).select("id"))])
    keys = [row[0] for row in tx.query(Query(TASKS).select("id", "path").order_by("-path"))]
    for start in range(0, len(keys), _PAGE):
        page = keys[start : start + _PAGE]
        tx.get_many(TASKS, page)
        tx.delete_many(TASKS, page)
    beside: tuple[Collection[Any], ...] = (TALLIES, READY, ORIGINS)
    for derived in beside:
        found = [row[0] for row in tx.query(Query(derived).select("id"))]
        tx.get_many(derived, found)
        tx.delete_many(derived, found)
    return len(keys)
