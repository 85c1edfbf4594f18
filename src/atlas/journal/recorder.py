"""The recorder: every change of a journaled record becomes an event of the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from ..errors import IdempotencyError
from ..model.change import delta_between
from ..model.event import Event
from ..model.task import Once
from ..storage.collection import Collection, encode
from ..storage.expiring import remove_some
from ..storage.ids import new_id
from ..storage.protocol import DEFAULT_TIMEOUT, Store, Transaction
from ..storage.query import Query, eq
from .ledger import EVENTS, KEY_LIFETIME, ONCE

R = TypeVar("R")
T = TypeVar("T")

_EXPIRED_AT_ONCE = 20


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for a change, by which verb; `arguments` is what an idempotency key is held to."""

    action: str
    actor: str | None = None
    session: str | None = None
    source: str | None = None
    idempotency_key: str | None = None
    arguments: Any = None


class Written(msgspec.Struct, Generic[T], frozen=True):
    """What a write came to; `seq` is that of its last event, or the store's when it changed nothing."""

    value: T
    seq: int
    durability: str


class _Touched:
    __slots__ = ("before", "causation", "collection", "event_id")

    def __init__(self, collection: Collection[Any], before: Any, event_id: str, causation: str | None) -> None:
        self.collection = collection
        self.before = before
        self.event_id = event_id
        self.causation = causation


class Recording:
    """A transaction that remembers what each record was, and says at the end what became of it.

    One record gives at most one event, however often it was written.
    """

    def __init__(self, tx: Transaction, call: Call, correlation: str) -> None:
        self._tx = tx
        self._call = call
        self._correlation = correlation
        self._touched: dict[tuple[str, Any], _Touched] = {}
        self.now = tx.now
        self.seq = tx.seq
        self.actor = call.actor
        self.new_id = tx.new_id
        self.get = tx.get
        self.get_many = tx.get_many
        self.query = tx.query
        self.count = tx.count
        self.aggregate = tx.aggregate
        self.explain = tx.explain
        self.append = tx.append
        self.start_over = tx.start_over
        self.savepoint = tx.savepoint

    def put(
        self,
        collection: Collection[R],
        record: R,
        *,
        expected_version: int | None = None,
        cause: tuple[Collection[Any], Any] | None = None,
    ) -> None:
        """See Transaction. `cause` names the record whose change made this one: its event becomes the causation."""
        if collection.journaled:
            self._touch(collection, collection.key_of(record), cause)
        self._tx.put(collection, record, expected_version=expected_version)

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        for record in records:
            self.put(collection, record)

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        if collection.journaled:
            self._touch(collection, key, None)
        return self._tx.delete(collection, key)

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        return sum(self.delete(collection, key) for key in list(keys))

    def _touch(self, collection: Collection[Any], key: Any, cause: tuple[Collection[Any], Any] | None) -> None:
        place = (collection.name, key)
        known = self._touched.get(place)
        if known is not None:
            if cause is None:
                known.causation = None
            return
        origin = None if cause is None else self._touched.get((cause[0].name, cause[1]))
        before = self._tx.get(collection, key)
        self._touched[place] = _Touched(collection, before, new_id(), origin.event_id if origin else None)

    def changed_owners(self) -> set[Any]:
        """Return the owners of the records that differ now from before this transaction."""
        owners = set()
        for (_, key), touched in self._touched.items():
            before, after = touched.before, self._tx.get(touched.collection, key)
            if before is not after and before != after:
                owners.add(getattr(before if after is None else after, touched.collection.owner))
        return owners

    def finish(self) -> list[Event]:
        """Append an event for each record that differs from before, in the order of first change."""
        events = []
        for (_, key), touched in self._touched.items():
            after = self._tx.get(touched.collection, key)
            change = _change(touched.collection, touched.before, after)
            if change is not None:
                events.append(self._event(touched, key, after, change))
        for event in events:
            self._tx.append(EVENTS, event)
        return events

    def _event(self, touched: _Touched, key: Any, after: Any, change: dict[str, Any]) -> Event:
        collection, record = touched.collection, after if after is not None else touched.before
        call = self._call
        return Event(
            id=touched.event_id,
            time=self.now,
            type=f"{collection.name}.{_kind(change)}",
            action=call.action,
            collection=collection.name,
            key=str(key),
            subject=getattr(record, collection.owner),
            path=getattr(record, "path", None),
            actor=call.actor,
            session=call.session,
            source=call.source,
            correlation=self._correlation,
            causation=touched.causation,
            change=change,
        )


def _kind(change: dict[str, Any]) -> str:
    if "created" in change:
        return "created"
    if "deleted" in change:
        return "deleted"
    return "moved" if "path" in change["fields"] else "updated"


@lru_cache(maxsize=256)
def _journaled(collection: Collection[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of the fields that the journal keeps, and the function from a record to their values."""
    names = tuple(f.name for f in msgspec.structs.fields(collection.record) if f.name not in collection.derived)
    return names, attrgetter(*names) if len(names) > 1 else lambda record: (getattr(record, names[0]),)


def journaled_data(collection: Collection[R], record: R) -> dict[str, Any]:
    """Return the fields of a record that the journal keeps, defaults left out, as JSON data."""
    made: dict[str, Any] = msgspec.to_builtins(record)
    for name in collection.derived:
        made.pop(name, None)
    return made


def _change(collection: Collection[Any], before: Any, after: Any) -> dict[str, Any] | None:
    if before is after:
        return None
    if before is None:
        return {"created": journaled_data(collection, after)}
    if after is None:
        return {"deleted": journaled_data(collection, before)}
    names, read = _journaled(collection)
    fields = {}
    for name, old, new in zip(names, read(before), read(after), strict=True):
        # These may be equal to Python and different as JSON: 1 and True in an object, 0.0 and -0.0.
        if old is new or (old == new and (type(old) not in {dict, float} or encode(old) == encode(new))):
            continue
        delta = delta_between(msgspec.to_builtins(old), msgspec.to_builtins(new))
        if delta is not None:
            fields[name] = delta
    return {"fields": fields} if fields else None


class Journal:
    """The only way to change a store: one function, one transaction, its events with it."""

    def __init__(self, store: Store, *, source: str | None = None) -> None:
        self.store = store
        self.source = source

    async def write(
        self,
        work: Callable[[Recording], T],
        *,
        call: Call,
        answer: type[T],
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Written[T]:
        """Run `work` in a transaction and record what it changed.

        With an idempotency key used before within a day, nothing runs: the first answer is returned, or
        IdempotencyError raised when verb or arguments differ. What `work` raises is raised, nothing kept.
        """
        correlation = new_id()
        call = call if call.source is not None else msgspec.structs.replace(call, source=self.source)

        def run(tx: Transaction) -> tuple[T, int | None]:
            known = _known(tx, call)
            if known is not None:
                return _repeated(tx, known, call, answer)
            recording = Recording(tx, call, correlation)
            value = work(recording)
            recording.finish()
            if call.idempotency_key is not None:
                _remember(tx, call, call.idempotency_key, correlation, value)
            return value, None

        committed = await self.store.transact(run, timeout=timeout)
        value, seq = committed.value
        durability = self.store.capabilities.durability
        return Written(value, committed.seq if seq is None else seq, durability)

    async def answered(self, call: Call, answer: type[T]) -> Written[T] | None:
        """Return the answer to an earlier call with the same key, as `write` would; None where there was none."""

        def look(tx: Transaction) -> tuple[T, int] | None:
            known = _known(tx, call)
            return None if known is None else _repeated(tx, known, call, answer)

        found = await self.store.read(look)
        return None if found is None else Written(*found, self.store.capabilities.durability)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a snapshot."""
        return await self.store.read(work)


def _digest(call: Call) -> str:
    import hashlib

    canonical = msgspec.json.encode([call.action, msgspec.to_builtins(call.arguments)], order="deterministic")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _known(tx: Transaction, call: Call) -> Once | None:
    return None if call.idempotency_key is None else tx.get(ONCE, call.idempotency_key)


def _repeated(tx: Transaction, known: Once, call: Call, answer: type[T]) -> tuple[T, int]:
    if known.verb != call.action or known.arguments != _digest(call):
        raise IdempotencyError(
            f"the key {known.key!r} was used for another call of {known.verb}",
            field="idempotency_key",
            given=known.key,
            bound=f"the same arguments until {known.at + KEY_LIFETIME:%Y-%m-%d %H:%M:%S} UTC",
        )
    last = tx.aggregate(Query(EVENTS).where(eq("correlation", known.correlation)).compute(seq="max:seq"))
    return msgspec.json.decode(known.answer, type=answer), last[0]["seq"] or known.seq


def _remember(tx: Transaction, call: Call, key: str, correlation: str, value: Any) -> None:
    remove_some(tx, ONCE, _EXPIRED_AT_ONCE)
    made = Once(
        key=key,
        verb=call.action,
        arguments=_digest(call),
        correlation=correlation,
        answer=msgspec.Raw(encode(value)),
        seq=tx.seq,
        at=tx.now,
    )
    tx.put(ONCE, made)
