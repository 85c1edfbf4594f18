"""The timeline service: what happened, read from the journal and told in paths."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from ..errors import InputError, TaskNotFoundError
from ..journal import EVENTS, Journal
from ..journal.ledger import timeline
from ..model import limits
from ..model.event import Event
from ..model.path import is_id, parse_path, parse_pattern
from ..storage.protocol import Transaction
from ..storage.query import Condition, Query, cursor_of, eq, glob
from ..verb import Effect, verb
from .arguments import Actor, Cursor, Limit, Tokens
from .collections import TASKS
from .paging import said, within

Place = Annotated[int | datetime, Meta(description="a seq, or an ISO 8601 time with zone")]
if TYPE_CHECKING:
    AnyPlace = int | datetime | str
else:
    AnyPlace = Place
Target = Annotated[
    str, Meta(description="path, pattern or id", extra_json_schema={"minLength": 1, "maxLength": limits.PATH})
]
Word = Annotated[str, Meta(min_length=1, max_length=limits.KEY)]


class Events(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of the timeline."""

    events: list[dict[str, Any]]
    next_cursor: str | None
    seq: int
    left_out: str | None = None


class Timeline:
    """Reads of the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @verb(Effect.READ)
    async def read(
        self,
        path: Target | None = None,
        *,
        collection: Word | None = None,
        key: Word | None = None,
        actor: Actor | None = None,
        type: Word | None = None,  # noqa: A002 - the field's name in the journal
        session: Word | None = None,
        since: AnyPlace | None = None,
        until: AnyPlace | None = None,
        limit: Limit = limits.PAGE,
        cursor: Cursor | None = None,
        max_tokens: Tokens | None = None,
    ) -> Events:
        """Tell what happened, newest first; with `since` (a seq or a time), what came after it, in order.

        `path` takes a path, a pattern, or the path of a task that was deleted or moved away.
        """
        first, last = _moment(since, "since"), _moment(until, "until")

        def work(tx: Transaction) -> Events:
            page, following = timeline(
                tx,
                subjects=None if path is None else _subjects(tx, path),
                collection=collection,
                key=key,
                actor=actor,
                type=type,
                session=session,
                since=first,
                until=last,
                limit=limit,
                cursor=cursor,
            )
            told = _Teller(tx)
            shown, left = within([told.tell(event) for event in page], max_tokens)
            if left:
                following = _cursor_behind(page[len(shown) - 1], is_upwards=since is not None)
            return Events(events=shown, next_cursor=following, seq=tx.seq, left_out=said(left, max_tokens))

        return await self._journal.read(work)


def _moment(place: AnyPlace | None, field: str) -> int | datetime | None:
    assert not isinstance(place, str), "`verb` has read texts as times"
    if isinstance(place, datetime) and place.tzinfo is None:
        raise InputError(f"{field} has no time zone", field=field, given=place.isoformat(), bound="ISO 8601 with zone")
    return place


def _cursor_behind(event: Event, *, is_upwards: bool) -> str:
    return cursor_of(Query(EVENTS).order_by("seq" if is_upwards else "-seq"), event)


def _subjects(tx: Transaction, given: str) -> Query[Any] | list[str]:
    """Return the ids that a path, pattern or id stands for, also of tasks that are no longer there."""
    if is_id(given):
        return [given]
    if "*" in given or "?" in given:
        return Query(TASKS).where(glob("path", parse_pattern(given, "path"))).select("id")
    path = parse_path(given)
    present = tx.query(Query(TASKS).where(eq("path", path)))
    if present:
        return [present[0].id]
    known = [*_once_there(tx, eq("type", "task.deleted"), eq("path", path)), *_moved_away(tx, path)]
    if not known:
        raise TaskNotFoundError(path)
    return known[:1]


def _once_there(tx: Transaction, *where: Condition) -> list[str]:
    rows = tx.query(Query(EVENTS).where(*where).order_by("-seq").limit(1).select("subject"))
    return [row[0] for row in rows]


def _moved_away(tx: Transaction, path: str) -> list[str]:
    moves = tx.query(Query(EVENTS).where(eq("type", "task.moved")).order_by("-seq"))
    return [event.subject for event in moves if event.change and event.change["fields"]["path"][0] == path][:1]


class _Teller:
    """Shows events in paths where the journal keeps ids."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._paths: dict[str, str] = {}

    def tell(self, event: Event) -> dict[str, Any]:
        subject = self._path(event.subject)
        data = {
            "seq": event.seq,
            "id": event.id,
            "time": msgspec.to_builtins(event.time),
            "type": event.type,
            "action": event.action,
            "target": {"collection": event.collection, "key": event.key},
            "path": event.path if subject == event.subject else subject,
            "actor": event.actor,
            "session": event.session,
            "source": event.source,
            "correlation": event.correlation,
            "causation": event.causation,
            "payload": event.payload,
            "change": None if event.change is None else self._told(event.change),
        }
        return {name: value for name, value in data.items() if value is not None or name in {"path", "actor"}}

    def _path(self, key: str) -> str:
        if key not in self._paths:
            task = self._tx.get(TASKS, key)
            self._paths[key] = key if task is None else task.path
        return self._paths[key]

    def _told(self, change: dict[str, Any]) -> dict[str, Any]:
        made = dict(change)
        for part in ("created", "deleted", "fields"):
            if part in made:
                made[part] = {
                    name: self._named(value) if name in {"dependencies", "parent"} else value
                    for name, value in made[part].items()
                }
        return made

    def _named(self, value: Any) -> Any:
        """Replace every id within a value by its path."""
        if isinstance(value, str):
            return self._path(value) if is_id(value) else value
        if isinstance(value, (list, tuple)):
            return [self._named(item) for item in value]
        if isinstance(value, dict):
            return {name: self._named(item) for name, item in value.items()}
        return value
