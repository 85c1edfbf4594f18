"""One transaction on a Redis store, as the overlay asks for it; what it writes stays here until it is committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ...errors import ConflictError, InputError
from ..collection import Collection, encode, to_scalar
from ..overlay import Write
from ..refusing import refers_to_nothing
from .finding import Reader, ranged
from .layout import behind, encoded, key_of_member
from .snapshot import Local, Snapshot
from .turn import Batch

R = TypeVar("R")


class RedisSession(Reader):
    """The transactions of one group, one after the other, until their `batch` is applied; or one that only reads."""

    def __init__(self, snapshot: Snapshot, *, clock: Callable[[], datetime]) -> None:
        super().__init__(snapshot, clock=clock)
        self._last: int | None = None
        self._base: dict[tuple[str, Any], tuple[Collection[Any], Any]] = {}
        self._done: list[tuple[Local, Any, Any]] = []
        self._marks: dict[int, tuple[int, int]] = {}
        self._begun = 0

    @property
    def seq(self) -> int:
        """See Session."""
        if self._last is None:
            self._last = self.snapshot.moment.seq
        return self._last

    def begin(self) -> None:
        """Forget the marks of the transaction before."""
        self._marks.clear()
        self._begun = len(self._done)

    def write(self, writes: Sequence[Write]) -> None:
        """See Session."""
        for write in writes:
            self._put(write.collection, write.key, write.before, write.after)
        for write in writes:
            if write.after is not None:
                _check(write.collection, write.after)
        self._check_unique(writes)

    def append(self, collection: Collection[R], records: Sequence[R]) -> None:
        """See Session."""
        for record in records:
            self._last = number = self.seq + 1
            numbered = msgspec.structs.replace(record, **{collection.key: number})  # type: ignore[type-var]
            _check(collection, numbered)
            self._put(collection, number, None, numbered)

    def start_over(self) -> None:
        """See Session."""
        self._last = 0

    def _put(self, collection: Collection[Any], key: Any, before: Any, after: Any) -> None:
        local = self.snapshot.local(collection)
        if key not in local.hidden:
            local.hidden.add(key)
            self._base[collection.name, key] = collection, before
        self._done.append((local, key, before))
        local.table.put(key, after)

    def _check_unique(self, writes: Sequence[Write]) -> None:
        """Refuse a value that two records would hold, here or on the server."""
        taken = [
            (collection, field, value, key)
            for collection, key, before, after in writes
            if after is not None
            for field in collection.unique
            if (value := to_scalar(getattr(after, field))) is not None
            and (before is None or value != to_scalar(getattr(before, field)))
        ]
        if not taken:
            return
        commands = []
        for collection, field, value, _ in taken:
            code = encoded(value)
            index = self.snapshot.local(collection).shelf.index_of(field)
            commands.append(ranged(index.place, (code, behind(code)), "LIMIT", 0, 2))
        for (collection, field, value, key), members in zip(taken, self.snapshot.ask(commands), strict=True):
            local = self.snapshot.local(collection)
            holders = {other for other in map(key_of_member, members) if other not in local.hidden}
            if (holders | set(local.table.indexes[field].get(value, ()))) - {key}:
                raise ConflictError(
                    f"two {collection.name} cannot both have {value!r} as their {field}", field=field, given=value
                )

    def check_references(self) -> None:
        """Refuse what refers to nothing, now that the transaction is whole; raises ConflictError."""
        changed = {(local.shelf.collection.name, key): (local, key) for local, key, _ in self._done[self._begun :]}
        self._check_targets([(local, local.table.records.get(key)) for local, key in changed.values()])
        self._check_left(
            [(local.shelf.collection.name, key) for local, key in changed.values() if key not in local.table.records]
        )

    def _check_targets(self, written: Sequence[tuple[Local, Any]]) -> None:
        wanted: dict[tuple[str, Any], tuple[str, str]] = {}
        for local, record in written:
            for field, target in local.shelf.collection.references.items() if record is not None else ():
                key = to_scalar(getattr(record, field))
                if key is not None:
                    wanted.setdefault((target, key), (local.shelf.collection.name, field))
        unknown = []
        for (target, key), (name, field) in wanted.items():
            local = self.snapshot.local_of(target)
            if key in local.hidden:
                if key not in local.table.records:
                    raise refers_to_nothing(name, field, key)
            elif local.held.get(key) is None:
                unknown.append((local.shelf.records, name, field, key))
        if unknown:
            there = self.snapshot.ask([("HEXISTS", place, str(key)) for place, _, _, key in unknown])
            for is_there, (_, name, field, key) in zip(there, unknown, strict=True):
                if not is_there:
                    raise refers_to_nothing(name, field, key)

    def _check_left(self, gone: Sequence[tuple[str, Any]]) -> None:
        """Refuse to leave behind what refers to records that are gone."""
        asked = [
            (self.snapshot.local_of(name), field, key)
            for target, key in gone
            for name, field in self.snapshot.layout.referring(target)
        ]
        commands = []
        for local, field, key in asked:
            code = encoded(key)
            if key in local.table.indexes[field]:
                raise refers_to_nothing(local.shelf.collection.name, field, key)
            commands.append(ranged(local.shelf.index_of(field).place, (code, behind(code))))
        found = self.snapshot.ask(commands) if commands else []
        for (local, field, key), members in zip(asked, found, strict=True):
            if any(other not in local.hidden for other in map(key_of_member, members)):
                raise refers_to_nothing(local.shelf.collection.name, field, key)

    def savepoint(self, level: int) -> None:
        """See Session."""
        self._marks[level] = len(self._done), self.seq

    def rollback(self, level: int) -> None:
        """See Session."""
        kept, self._last = self._marks.pop(level)
        while len(self._done) > kept:
            local, key, before = self._done.pop()
            local.table.put(key, before)

    def release(self, level: int) -> None:
        """See Session."""
        del self._marks[level]

    def batch(self) -> Batch | None:
        """Return records and index members to put and to remove, None where nothing changed."""
        parts: dict[str, tuple[str, str, list[Any], list[Any]]] = {}
        members: dict[str, tuple[str, list[Any], list[Any]]] = {}
        for (name, key), (collection, before) in self._base.items():
            local = self.snapshot.local(collection)
            after = local.table.records.get(key)
            if after is before:
                continue
            part = parts.setdefault(name, (name, local.shelf.records, [], []))
            if after is None:
                part[3].append(str(key))
            else:
                part[2].extend((str(key), encode(after)))
            _add_members(members, local, before, after)
        return (list(parts.values()), list(members.values()), ()) if parts else None

    def learn(self, held: dict[str, dict[Any, Any]]) -> None:
        """Bring known records to what was committed; what was appended is seldom asked for again."""
        for (name, key), (collection, _) in self._base.items():
            known = held.setdefault(name, {})
            if collection.sequence:
                known.pop(key, None)
            else:
                known[key] = self.snapshot.local(collection).table.records.get(key)


def _add_members(members: dict[str, tuple[str, list[Any], list[Any]]], local: Local, before: Any, after: Any) -> None:
    if before is None:
        for place, come in local.shelf.members(after).items():
            if come:
                added = members.setdefault(place, (place, [], []))[1]
                for member in come:
                    added += (0, member)
        return
    old = local.shelf.members(before)
    new = {} if after is None else local.shelf.members(after)
    for index in local.shelf.indexes:
        was, is_now = set(old.get(index.place, ())), set(new.get(index.place, ()))
        if was != is_now:
            _, added, removed = members.setdefault(index.place, (index.place, [], []))
            for member in is_now - was:
                added.extend((0, member))
            removed.extend(was - is_now)


def _check(collection: Collection[Any], record: Any) -> None:
    """Refuse here, where it harms nobody else, what the batch of the whole group could not be made of."""
    encode(record)
    _check_values(collection, record)


def _check_values(collection: Collection[Any], record: Any) -> None:
    for field, allowed in collection.values.items():
        value = to_scalar(getattr(record, field))
        if value is not None and value not in allowed:
            raise InputError(
                f"{value!r} is no {field} of {collection.name}", field=field, given=value, bound=list(allowed)
            )
