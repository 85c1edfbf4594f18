"""The proof of the journal: replayed from the beginning it gives the present records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..model.event import Event
from ..storage.collection import Collection
from ..storage.protocol import Transaction
from ..storage.query import Query, gt
from .ledger import EVENTS, replay

_PAGE = 2_000


def events_of(tx: Transaction) -> Iterator[Event]:
    """Yield every event from the first, reading a page at a time."""
    place = 0
    while page := tx.query(Query(EVENTS).where(gt("seq", place)).order_by("seq").limit(_PAGE)):
        yield from page
        place = page[-1].seq


def disagreements(tx: Transaction, collections: Iterable[Collection[Any]]) -> list[str]:
    """Return a line for each record of the journaled collections that is not as the journal says."""
    try:
        state = replay(events_of(tx))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        return [f"an event does not fit the state before it: {error}"]
    found = []
    for collection in collections:
        if not collection.journaled:
            continue
        told = dict(state.get(collection.name, {}))
        for record in _records(tx, collection):
            key = str(collection.key_of(record))
            data = told.pop(key, None)
            if data is None:
                found.append(f"{collection.name} {key} is not in the journal")
                continue
            try:
                kept = msgspec.convert(data, collection.record)
            except msgspec.ValidationError as error:
                found.append(f"{collection.name} {key} is no record in the journal: {error}")
                continue
            if _canonical(collection, kept) != _canonical(collection, record):
                found.append(f"{collection.name} {key} is not as the journal says")
        found += [f"{collection.name} {key} is in the journal alone" for key in told]
    return found


def _records(tx: Transaction, collection: Collection[Any]) -> Iterator[Any]:
    key = collection.key
    page = tx.query(Query(collection).order_by(key).limit(_PAGE))
    while page:
        yield from page
        page = tx.query(Query(collection).where(gt(key, getattr(page[-1], key))).order_by(key).limit(_PAGE))


def _canonical(collection: Collection[Any], record: Any) -> bytes:
    """Return the journaled fields of a record, so that equal JSON is equal bytes."""
    data = msgspec.to_builtins(record)
    return msgspec.json.encode({k: v for k, v in data.items() if k not in collection.derived}, order="deterministic")
