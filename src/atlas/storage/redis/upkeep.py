"""Looking after a Redis store: its size, and indexes that fit their records."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ...errors import StoreBusyError, StoreFullError, StoreReadOnlyError
from ..collection import to_scalar
from ..protocol import DEFAULT_TIMEOUT
from .engine import Engine
from .layout import Shelf
from .scripts import PROBE
from .snapshot import META, MovedError, moment_of, record_of
from .turn import Batch


def size(engine: Engine) -> int:
    """Return the bytes of memory that the store takes, as the server estimates them."""
    return sum(int(found or 0) for found in engine.link.ask([("MEMORY", "USAGE", p) for p in engine.layout.places()]))


def verify(engine: Engine) -> list[str]:
    """Compare indexes, unique values, references and numbers with the records; returns what is wrong."""
    found: list[str] = []
    for shelf in engine.layout.shelves.values():
        found += _Check(engine, shelf).faults()
    return found


class _Check:
    """One collection and what it refers to, as they are at one moment."""

    def __init__(self, engine: Engine, shelf: Shelf) -> None:
        self._shelf = shelf
        references = shelf.collection.references
        commands: list[tuple[Any, ...]] = [("HMGET", engine.layout.meta, *META), ("HGETALL", shelf.records)]
        commands += [("ZRANGE", index.place, 0, -1) for index in shelf.indexes]
        commands += [("HKEYS", engine.layout.shelves[target].records) for target in references.values()]
        meta, pairs, *rest = engine.link.ask(commands, is_atomic=True)
        self.moment = moment_of(meta, None)
        texts = iter(pairs)
        self.records = {
            shelf.key_from(key.decode()): record_of(shelf.collection, text)
            for key, text in zip(texts, texts, strict=True)
        }
        self._members = {index.place: set(m) for index, m in zip(shelf.indexes, rest, strict=False)}
        keys = rest[len(shelf.indexes) :]
        self._targets = {field: {key.decode() for key in there} for field, there in zip(references, keys, strict=True)}

    def wrong(self) -> dict[str, tuple[set[bytes], set[bytes]]]:
        """Return, by index, the members that are missing and those that are too many."""
        right: dict[str, set[bytes]] = {index.place: set() for index in self._shelf.indexes}
        for record in self.records.values():
            for place, members in self._shelf.members(record).items():
                right[place].update(members)
        pairs = {place: (right[place] - held, held - right[place]) for place, held in self._members.items()}
        return {place: pair for place, pair in pairs.items() if any(pair)}

    def faults(self) -> list[str]:
        collection = self._shelf.collection
        found = [
            f"the index {place} lacks {len(missing)} and has {len(extra)} too many"
            for place, (missing, extra) in self.wrong().items()
        ]
        for key, record in self.records.items():
            if collection.key_of(record) != key:
                found.append(f"{collection.name} {key} holds a record of another key")
            for field, keys in self._targets.items():
                target = to_scalar(getattr(record, field))
                if target is not None and str(target) not in keys:
                    found.append(f"{collection.name} {key} refers to a missing {target} in {field}")
        for field in collection.unique:
            values = Counter(to_scalar(getattr(record, field)) for record in self.records.values())
            found += [
                f"several {collection.name} hold {value!r} as their {field}"
                for value, number in values.items()
                if number > 1 and value is not None
            ]
        if collection.sequence and any(key > self.moment.seq for key in self.records):
            found.append(f"{collection.name} goes beyond the last number {self.moment.seq}")
        return found


def fit(engine: Engine) -> None:
    """Have the store keep the indexes that the collections declare, where it keeps others, or is new."""
    (found,) = engine.link.ask([("HMGET", engine.layout.meta, *META)])
    moment_of(found, None)
    with contextlib.suppress(StoreReadOnlyError, StoreFullError):  # what cannot be written can still be read
        engine.link.run(PROBE, (engine.layout.probe,), ())
    if found[-1] is None or found[-1].decode() != engine.layout.digest:
        _mend(engine)


def maintain(engine: Engine, *, analyze: bool) -> dict[str, Any]:
    """Mend indexes that do not fit their records; returns sizes before and after in bytes."""
    before = size(engine)
    if any(_Check(engine, shelf).wrong() for shelf in engine.layout.shelves.values()):
        _mend(engine)
    return {"before": before, "after": size(engine), "analyzed": analyze}


def _mend(engine: Engine) -> None:
    """Bring all indexes to what the records say, in one commit."""
    turn, end = engine.turn(), time.monotonic() + DEFAULT_TIMEOUT.total_seconds()
    try:
        while True:
            moment = turn.wait(end, is_checked=False)
            if moment is None:
                raise StoreBusyError("other writers held the store while its indexes were to be mended")
            try:
                turn.commit(_mending(engine), seq=moment.seq, now=moment.now, until=end)
            except MovedError:
                turn.lengthen()
            else:
                return
    finally:
        if turn.is_in_line:
            turn.leave()


def _mending(engine: Engine) -> Batch:
    layout = engine.layout
    (declared,) = engine.link.ask([("ZRANGE", layout.declared, 0, -1)])
    stale = sorted({place.decode() for place in declared} - set(layout.indexes))
    members: list[Any] = [(layout.declared, _scored(layout.indexes), stale)]
    for shelf in layout.shelves.values():
        for place, (missing, extra) in _Check(engine, shelf).wrong().items():
            members.append((place, _scored(missing), list(extra)))
    return [], members, stale


def _scored(members: Iterable[Any]) -> list[Any]:
    return [part for member in members for part in (0, member)]
