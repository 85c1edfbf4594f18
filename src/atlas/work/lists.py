"""The lists service: which tasks there are, which come next, and waiting for one of them to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from ..errors import InputError
from ..journal import EVENTS, Journal, Recording
from ..model import limits
from ..model.path import ancestors_of, is_id, parse_pattern
from ..model.task import Ready, Task
from ..storage.protocol import Transaction
from ..storage.query import Condition, Query, contains, cursor_of, either, eq, glob, gt, isin, match
from ..verb import Effect, verb
from .arguments import (
    AnyCapabilities,
    AnyFields,
    AnyStatus,
    AnyType,
    Cursor,
    Limit,
    Order,
    Page,
    Path,
    Pattern,
    Seq,
    Text,
    Tokens,
)
from .board import Reading
from .collections import NOTES, READY, TASKS
from .paging import said, within
from .views import BRIEF_COLUMNS, briefs, check_fields, view

Seconds = Annotated[float, Meta(ge=0, le=50, description="seconds to wait")]
Tag = Annotated[str, Meta(min_length=1, max_length=limits.TAG)]
Someone = Annotated[str, Meta(min_length=1, max_length=limits.ASSIGNEE)]
Depth = Annotated[int, Meta(ge=1, le=limits.DEPTH)]
TreeLimit = Annotated[int, Meta(ge=1, le=100_000)]


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """What changed while waiting: the tasks as they are now, and paths that are gone."""

    tasks: list[dict[str, Any]]
    removed: list[str]
    timed_out: bool
    seq: int


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks depth first in the order of siblings, each with its `depth` (the root of the pattern has 0)."""

    tasks: list[dict[str, Any]]
    total: int
    left_out: str | None
    seq: int


class Lists:
    """Reads over many tasks. Archived subtrees are left out unless asked for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @verb(Effect.READ)
    async def by_status(
        self,
        status: AnyStatus,
        *,
        pattern: Pattern = "**",
        limit: Limit = limits.PAGE,
        cursor: Cursor | None = None,
        fields: AnyFields = "brief",
        max_tokens: Tokens | None = None,
        since: Seq | None = None,
    ) -> Page:
        """List the tasks of one status, by path."""
        where = [glob("path", pattern), eq("status", status), eq("hidden", False)]
        return await self._page(where, "path", limit, cursor, fields, max_tokens, since, parse_pattern(pattern).matches)

    @verb(Effect.READ)
    async def by_path(
        self,
        pattern: Pattern = "**",
        *,
        status: AnyStatus | None = None,
        type: AnyType | None = None,  # noqa: A002 - the field's name on every interface
        tag: Tag | None = None,
        assignee: Someone | None = None,
        text: Text | None = None,
        archived: bool = False,
        order_by: Order = "path",
        limit: Limit = limits.PAGE,
        cursor: Cursor | None = None,
        fields: AnyFields = "brief",
        max_tokens: Tokens | None = None,
        since: Seq | None = None,
    ) -> Page:
        """List the tasks that match a path pattern, narrowed by status, type, tag, assignee and words.

        `text` finds tasks whose name, description or notes hold every word (as the beginning of a word).
        """
        where: list[Condition] = [glob("path", pattern)]
        if not archived:
            where.append(eq("hidden", False))
        for field, value in (("status", status), ("type", type), ("assignee", assignee)):
            if value is not None:
                where.append(eq(field, value))
        if tag is not None:
            where.append(contains("tags", tag))
        if text is not None:
            where.append(either(match(text), isin("id", Query(NOTES).where(match(text)).select("task"))))
        return await self._page(
            where, order_by, limit, cursor, fields, max_tokens, since, parse_pattern(pattern).matches
        )

    @verb(Effect.READ)
    async def children(
        self,
        path: Path,
        *,
        limit: Limit = limits.PAGE,
        cursor: Cursor | None = None,
        fields: AnyFields = "brief",
        max_tokens: Tokens | None = None,
        since: Seq | None = None,
    ) -> Page:
        """List the direct children of a task, in their order."""
        parent = await self._journal.read(lambda tx: Reading(tx).find(path))
        where = [eq("parent", parent.id), eq("hidden", parent.hidden)]
        matches = parse_pattern(f"{parent.path}/*").matches
        return await self._page(where, "position", limit, cursor, fields, max_tokens, since, matches)

    async def _page(
        self,
        where: Sequence[Condition],
        order: str,
        limit: int,
        cursor: str | None,
        fields: AnyFields,
        max_tokens: int | None,
        since: int | None,
        belongs: Callable[[str], bool],
    ) -> Page:
        check_fields(fields)

        def work(tx: Transaction) -> Page:
            query = Query(TASKS).where(*where).order_by(order)
            removed = None
            if since is not None:
                changed = _changed(tx, since)
                query = query.where(isin("id", changed))
                present = {row[0] for row in tx.query(query.select("path"))}
                removed = [path for path in _removed(tx, changed, since, belongs) if path not in present]
            ids, views = _found(Reading(tx), query.after(cursor).limit(limit + 1), fields)
            shown, left = within(views[:limit], max_tokens)
            has_more = len(ids) > len(shown)
            last = tx.get(TASKS, ids[len(shown) - 1]) if has_more and shown else None
            return Page(
                tasks=shown,
                total=tx.count(query),
                next_cursor=None if last is None else cursor_of(query, last),
                seq=tx.seq,
                removed=removed,
                left_out=said(left, max_tokens),
            )

        return await self._journal.read(work)

    @verb(Effect.READ)
    async def next(
        self,
        *,
        pattern: Pattern = "**",
        requires: AnyCapabilities | None = None,
        limit: Limit = 1,
        cursor: Cursor | None = None,
        fields: AnyFields = "brief",
        max_tokens: Tokens | None = None,
    ) -> Page:
        """List ready work, best first, each with `why`: by priority, how many wait for it, due date, then order.

        `requires` are the caller's capabilities: tasks that need others are left out.
        """
        check_fields(fields)
        where = glob("path", pattern)

        def work(tx: Transaction) -> Page:
            query = Query(READY).where(where).order_by("rank", "-dependents", "due_at", "position")
            if requires is None:
                found = tx.query(query.after(cursor).limit(limit + 1))
                total = tx.count(query)
            else:
                able = [entry for entry in tx.query(query) if set(entry.requires) <= set(requires)]
                total = len(able)
                behind = {entry.id for entry in tx.query(query.after(cursor))} if cursor else None
                found = [entry for entry in able if behind is None or entry.id in behind][: limit + 1]
            tasks = _by_id(Reading(tx), [entry.id for entry in found[:limit]], fields)
            views = [{**tasks[entry.id], "why": _why(entry)} for entry in found[:limit]]
            shown, left = within(views, max_tokens)
            last = cursor_of(query, found[len(shown) - 1]) if shown and len(found) > len(shown) else None
            return Page(tasks=shown, total=total, next_cursor=last, seq=tx.seq, left_out=said(left, max_tokens))

        return await self._journal.read(work)

    @verb(Effect.READ)
    async def tree(
        self,
        pattern: Pattern = "**",
        *,
        depth: Depth = limits.DEPTH,
        archived: bool = False,
        limit: TreeLimit = 1_000,
        fields: AnyFields = "brief",
    ) -> Tree:
        """List tasks as a tree: depth first, siblings in their order."""
        check_fields(fields)
        where = [glob("path", pattern)] + ([] if archived else [eq("hidden", False)])

        def work(tx: Transaction) -> Tree:
            rows = tx.query(Query(TASKS).where(*where).select(*Place._fields))
            ordered = depth_first([Place(*row) for row in rows])
            shown = [(place.id, level) for place, level in ordered if level < depth]
            kept = shown[:limit]
            tasks = _by_id(Reading(tx), [key for key, _ in kept], fields)
            return Tree(
                tasks=[{**tasks[key], "depth": level} for key, level in kept],
                total=len(ordered),
                left_out=f"{len(shown) - limit} more; narrow the pattern or raise limit" if shown[limit:] else None,
                seq=tx.seq,
            )

        return await self._journal.read(work)

    @verb(Effect.READ)
    async def wait_for(
        self,
        path: Path | None = None,
        *,
        pattern: Pattern | None = None,
        status: AnyStatus | None = None,
        timeout: Seconds = 25.0,
        since: Seq | None = None,
        fields: AnyFields = "brief",
    ) -> Waited:
        """Wait until a task (or one that matches a pattern) has a status, or changes at all; then say what changed.

        Without `since`, changes from now on count. A status reached already answers at once.
        """
        from time import monotonic

        from ..journal.feed import wait_beyond

        check_fields(fields)
        where, belongs = await self._awaited(path, pattern)
        end = monotonic() + timeout
        place = since if since is not None else await self._journal.read(lambda tx: tx.seq)
        start = place
        while True:
            found = await self._journal.read(lambda tx: _news(tx, where, belongs, status, start, fields))
            if found.tasks or found.removed:
                return found
            if not await wait_beyond(self._journal.store, max(place, found.seq), seconds=end - monotonic()):
                return msgspec.structs.replace(found, timed_out=True)
            place = found.seq

    async def _awaited(self, path: str | None, pattern: str | None) -> tuple[Condition, Callable[[str], bool]]:
        if (path is None) == (pattern is None):
            raise InputError(
                "pass either path or pattern", field="path", given=path, bound="exactly one of path and pattern"
            )
        if path is None:
            compiled = parse_pattern(pattern or "**")
            return glob("path", compiled), compiled.matches
        task = await self._journal.read(lambda tx: Reading(tx).find(path))
        return eq("id", task.id), lambda gone: gone == task.path or is_id(gone)


def _found(reading: Reading, query: Query[Task], fields: AnyFields) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the ids of the tasks that a query finds, and the tasks as they are shown."""
    if fields == "brief":
        rows = reading.tx.query(query.select(*BRIEF_COLUMNS))
        return [row[0] for row in rows], briefs(reading, rows)
    tasks = reading.tx.query(query)
    return [task.id for task in tasks], [view(reading, task, fields) for task in tasks]


def _by_id(reading: Reading, ids: Sequence[str], fields: AnyFields) -> dict[str, dict[str, Any]]:
    return dict(zip(*_found(reading, Query(TASKS).where(isin("id", ids)), fields), strict=True))


def _changed(tx: Transaction, since: int) -> list[str]:
    """Return the ids of tasks that events after `since` touched, and of the containers above, whose progress moved."""
    rows = tx.query(Query(EVENTS).where(gt("seq", since)).order_by("seq").select("subject", "path"))
    ids = dict.fromkeys(subject for subject, _ in rows)
    above = {holder for _, path in rows if path for holder in ancestors_of(path)}
    held = tx.query(Query(TASKS).where(isin("path", above)).select("id"))
    return [*ids, *(row[0] for row in held if row[0] not in ids)]


def _removed(tx: Transaction, keys: Iterable[str], since: int, belongs: Callable[[str], bool]) -> list[str]:
    """Return the paths under which tasks that no longer belong to the list were known at `since` or after."""
    keys = list(keys)
    rows = tx.query(Query(EVENTS).where(gt("seq", since), isin("subject", keys)).order_by("seq"))
    paths: dict[str, None] = {}
    for event in rows:
        moved = (event.change or {}).get("fields", {}).get("path")
        for path in (moved[0] if moved else None, event.path):
            if path is not None and belongs(path):
                paths[path] = None
    return list(paths)


def _why(entry: Ready) -> str:
    parts = [f"{('critical', 'high', 'medium', 'low')[entry.rank]} priority"]
    if entry.dependents:
        parts.append(f"{entry.dependents} waiting for it")
    if entry.due_at != "~":
        parts.append(f"due {entry.due_at[:10]}")
    return ", ".join(parts)


class Place(NamedTuple):
    """What of a task decides its place in the tree."""

    id: str
    parent: str | None
    position: float
    path: str


P = TypeVar("P", Task, Place)


def depth_first(tasks: Sequence[P]) -> list[tuple[P, int]]:
    """Order tasks as a tree, siblings by position; a task whose parent is not among them is a root."""
    known = {task.id for task in tasks}
    below: dict[str | None, list[P]] = {}
    for task in sorted(tasks, key=lambda t: (t.position, t.id), reverse=True):
        below.setdefault(task.parent if task.parent in known else None, []).append(task)
    roots = sorted(below.get(None, []), key=lambda t: (t.path.count("/"), t.position, t.id), reverse=True)
    waiting = [(task, 0) for task in roots]
    ordered = []
    while waiting:
        task, level = waiting.pop()
        ordered.append((task, level))
        waiting += [(child, level + 1) for child in below.get(task.id, [])]
    return ordered


def _news(
    tx: Transaction | Recording,
    where: Condition,
    belongs: Callable[[str], bool],
    status: AnyStatus | None,
    since: int,
    fields: AnyFields,
) -> Waited:
    changed = [row[0] for row in tx.query(Query(EVENTS).where(gt("seq", since)).order_by("seq").select("subject"))]
    query = Query(TASKS).where(where)
    query = query.where(eq("status", status)) if status is not None else query.where(isin("id", set(changed)))
    _, tasks = _found(Reading(tx), query.order_by("path").limit(limits.PAGE_MOST), fields)
    gone = [key for key in dict.fromkeys(changed) if tx.get(TASKS, key) is None]
    return Waited(
        tasks=tasks,
        removed=_removed(tx, gone, since, belongs) if gone else [],
        timed_out=False,
        seq=tx.seq,
    )
