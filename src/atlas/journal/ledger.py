"""Reading the journal: what happened to a record, by whom, when; and the state it adds up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..errors import InputError
from ..model.change import apply
from ..model.event import Event
from ..model.task import Once
from ..storage.collection import Collection
from ..storage.protocol import Transaction
from ..storage.query import Condition, Query, cursor_of, eq, ge, gt, isin, le

EVENTS: Collection[Event] = Collection(
    "event",
    Event,
    key="seq",
    columns=("time", "type", "actor", "session", "collection", "subject", "path", "correlation"),
    indexes=(("subject",), ("type",), ("session?",), ("correlation?",)),
    journaled=False,
    sequence=True,
    alike={"subject": 10, "type": 300_000, "session": 1_000, "correlation": 3},
)

KEY_LIFETIME = timedelta(days=1)
ONCE: Collection[Once] = Collection(
    "once", Once, key="key", columns=("at",), indexes=(("at",),), journaled=False, ttl=KEY_LIFETIME, ttl_from="at"
)


def timeline(
    tx: Transaction,
    *,
    subjects: Iterable[str] | Query[Any] | None = None,
    collection: str | None = None,
    key: str | None = None,
    actor: str | None = None,
    type: str | None = None,  # noqa: A002 - the field's name in the journal
    session: str | None = None,
    since: int | datetime | None = None,
    until: int | datetime | None = None,
    limit: int,
    cursor: str | None = None,
) -> tuple[list[Event], str | None]:
    """Return a page of events and the cursor of the next: newest first, or in order of `seq` when `since` is given.

    `since` and `until` are a seq or a time; `since` is left out itself, `until` is included.
    """
    conditions: list[Condition] = [
        eq(field, value)
        for field, value in (("collection", collection), ("actor", actor), ("type", type), ("session", session))
        if value is not None
    ]
    if subjects is not None:
        conditions.append(isin("subject", subjects))
    if key is not None:
        conditions.append(eq("key", key))
    if since is not None:
        conditions.append(gt("seq", seq_at(tx, since)))
    if until is not None:
        conditions.append(le("seq", seq_at(tx, until)))
    query = Query(EVENTS).where(*conditions).order_by("seq" if since is not None else "-seq").after(cursor)
    found = tx.query(query.limit(limit + 1))
    page = found[:limit]
    return page, cursor_of(query, page[-1]) if len(found) > limit else None


def seq_at(tx: Transaction, place: int | datetime) -> int:
    """Return the seq that a place in time means: that of the last event not after it.

    Times never decrease with seq, so the place is found by halving, without an index on time.
    """
    if isinstance(place, int):
        if place < 0:
            raise InputError("a seq is not negative", field="since", given=place, bound=0)
        return place
    low, high = 0, tx.seq
    while low < high:
        middle = (low + high + 1) // 2
        at = tx.query(Query(EVENTS).where(ge("seq", middle)).limit(1))
        if at and at[0].time <= place:
            low = middle
        else:
            high = middle - 1
    return low


def replay(events: Iterable[Event]) -> Mapping[str, Mapping[str, Any]]:
    """Return the state that events from the beginning add up to: collection → key → record as JSON data."""
    state: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.change is None:
            continue
        records = state.setdefault(event.collection, {})
        made = apply(records.get(event.key), event.change)
        if made is None:
            records.pop(event.key, None)
        else:
            records[event.key] = made
    return state
