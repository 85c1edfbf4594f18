"""The data migrations of Atlas's own records, and the journal as the place that tells which a store went through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from ..journal import EVENTS, Call, Recording
from ..model.event import Event
from ..storage.data_migration import Applied, DataMigration
from ..storage.protocol import Transaction
from ..storage.query import Query, isin

MIGRATIONS: tuple[DataMigration, ...] = ()
"""In their order. One that was released is never altered, nor taken out."""

_TYPES: Mapping[bool, str] = {True: "store.migrated", False: "store.migrated_back"}
_ACTION = "migrate"


class InJournal:
    """Keeps the notes as events, and records what a step changes, so that the journal still tells every record.

    Thus no store needs another table for them, and a copy takes them along.
    """

    def __init__(self, *, actor: str | None, source: str | None) -> None:
        self._actor = actor
        self._source = source
        self._correlation = ""

    def applied(self, tx: Transaction) -> list[Applied]:
        """See Kept."""
        notes: dict[int, Applied] = {}
        for event in tx.query(Query(EVENTS).where(isin("type", tuple(_TYPES.values()))).order_by("seq")):
            note = msgspec.convert(event.payload, Applied)
            if event.type == _TYPES[True]:
                notes[note.number] = note
            else:
                notes.pop(note.number, None)
        return [notes[number] for number in sorted(notes)]

    @contextmanager
    def changing(self, tx: Transaction) -> Iterator[Transaction]:
        """See Kept."""
        self._correlation = tx.new_id()
        call = Call(action=_ACTION, actor=self._actor, source=self._source)
        recording = Recording(tx, call, self._correlation)
        yield recording
        recording.finish()

    def keep(self, tx: Transaction, note: Applied, *, is_up: bool) -> None:
        """See Kept."""
        payload: dict[str, Any] = msgspec.to_builtins(note)
        event = Event(
            id=tx.new_id(),
            time=tx.now,
            type=_TYPES[is_up],
            action=_ACTION,
            collection="store",
            key=f"{note.number} {note.name}",
            subject="",
            actor=self._actor,
            source=self._source,
            correlation=self._correlation,
            payload=payload,
        )
        tx.append(EVENTS, event)
