"""The transaction that all backends share: buffered writes that reads see through, over a backend's session."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from ..errors import ConflictError, StoreReadOnlyError, StoreTimeoutError, VersionError
from .collection import Collection, to_scalar
from .expiring import Living, collections_of, is_gone
from .ids import new_id
from .query import Compare, Query, check_query
from .refusing import not_text

if TYPE_CHECKING:
    from .explaining import Plan, Step
    from .slow import SlowQueries

R = TypeVar("R")

HELD_MOST = 10_000
"""So many records that were read or written are kept at hand in one transaction."""


class Write(NamedTuple):
    """One record changed: `before` is what the session holds now, `after` what it shall hold (None: nothing)."""

    collection: Collection[Any]
    key: Any
    before: Any
    after: Any


class Asked(Protocol):
    """What answers queries of one collection, about what was flushed."""

    def query(self, query: Query[R]) -> list[Any]:
        """Run a query."""
        ...

    def count(self, query: Query[Any]) -> int:
        """Count the records of its condition."""
        ...

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """Aggregate the records of its condition."""
        ...

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """Return the steps by which the query would be answered."""
        ...


class Session(Asked, Protocol):
    """What a backend does for one transaction; everything is undone together unless the backend commits it."""

    @property
    def now(self) -> datetime:
        """The transaction's time."""
        ...

    @property
    def seq(self) -> int:
        """The last number appended, own appends included."""
        ...

    def get_many(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """Return those of the records that exist."""
        ...

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """Return the record, None where there is none."""
        ...

    def find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        """Return the record that holds this value in a unique field, None where there is none."""
        ...

    def write(self, writes: Sequence[Write]) -> None:
        """Take the writes in; a unique value may move from one record to another within them."""
        ...

    def append(self, collection: Collection[R], records: Sequence[R]) -> None:
        """Number the records and take them in."""
        ...

    def start_over(self) -> None:
        """Go back to the number 0."""
        ...

    def savepoint(self, level: int) -> None:
        """Mark the present state as that of `level`."""
        ...

    def rollback(self, level: int) -> None:
        """Go back to the state of `level` and forget the mark."""
        ...

    def release(self, level: int) -> None:
        """Forget the mark of `level`, keeping what came after."""
        ...


class _Layer:
    """The writes since one savepoint that the session does not know yet."""

    __slots__ = ("appends", "is_marked", "named", "writes")

    def __init__(self) -> None:
        self.writes: dict[tuple[str, Any], tuple[Collection[Any], Any, Any]] = {}
        self.appends: list[tuple[Collection[Any], Any]] = []
        self.named: dict[tuple[str, str, Any], Any] = {}
        self.is_marked = False


class Overlay:
    """A transaction over a session (`storage.protocol.Transaction` states the promise)."""

    def __init__(
        self,
        session: Session,
        *,
        is_writable: bool = True,
        deadline: float | None = None,
        late: type[BaseException] = StoreTimeoutError,
        slow: SlowQueries | None = None,
    ) -> None:
        self._session = session
        self._is_writable = is_writable
        self._deadline = deadline
        self._late = late
        self._slow = slow
        self._spoiled: tuple[int, Exception] | None = None
        self._layers = [_Layer()]
        self._held: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
        self._found: dict[tuple[str, str, Any], Any] = {}
        # A session that writes counts on; one that reads has to look, which most reads do not need.
        self._seq = session.seq if is_writable else None

    @property
    def now(self) -> datetime:
        """See Transaction."""
        return self._session.now

    @property
    def seq(self) -> int:
        """See Transaction."""
        if self._seq is None:
            self._seq = self._session.seq
        return self._seq

    def new_id(self) -> str:
        """See Transaction."""
        return new_id()

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Transaction."""
        if collection.ttl is not None:
            kept = self.get(collection.timeless, key)
            return None if kept is None or is_gone(collection, kept, self.now) else kept
        self._check_time()
        place = (collection.name, key)
        found: R | None
        for layer in reversed(self._layers):
            if place in layer.writes:
                found = layer.writes[place][2]
                return found
        held = self._held[collection.name]
        if key not in held:
            try:
                held[key] = self._session.get(collection, key)
            except UnicodeEncodeError as error:
                raise not_text(error) from error
        found = held[key]
        return found

    def get_many(self, collection: Collection[R], keys: Iterable[Any]) -> dict[Any, R]:
        """See Transaction."""
        if collection.ttl is not None:
            kept = self.get_many(collection.timeless, keys)
            return {key: record for key, record in kept.items() if not is_gone(collection, record, self.now)}
        self._check_time()
        if not self._is_writable:
            return self._base(collection, list(keys))
        found: dict[Any, R | None] = {}
        missing = []
        for key in keys:
            place = (collection.name, key)
            for layer in reversed(self._layers):
                if place in layer.writes:
                    found[key] = layer.writes[place][2]
                    break
            else:
                missing.append(key)
        if missing:
            found.update(self._base(collection, missing))
        return {key: record for key, record in found.items() if record is not None}

    def _base(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """Read what the session holds, once per record."""
        held = self._held[collection.name]
        unknown = [key for key in keys if key not in held] if held else keys
        if unknown:
            try:
                read = self._session.get_many(collection, unknown)
            except UnicodeEncodeError as error:
                raise not_text(error) from error
            held.update(read)
            if len(read) == len(keys):
                return read
            held.update((key, None) for key in unknown if key not in read)
        return {key: held[key] for key in keys if held[key] is not None}

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """See Transaction."""
        key = collection.key_of(record)
        if expected_version is not None:
            present = self.get(collection, key)
            current = getattr(present, "version", 0)
            if current != expected_version:
                raise VersionError(f"{collection.name} {key}", expected_version, current)
        self._write(collection, key, record)

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        for record in records:
            self._write(collection, collection.key_of(record), record)

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        if self.get(collection, key) is None:
            return False
        self._write(collection, key, None)
        return True

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        wanted = list(keys)
        # One question for all: a server is as far away for each.
        self.get_many(collection, wanted)
        return sum(self.delete(collection, key) for key in wanted)

    def append(self, collection: Collection[R], record: R) -> None:
        """See Transaction."""
        self._check_writable()
        self._layers[-1].appends.append((collection, record))

    def start_over(self) -> None:
        """See Transaction."""
        self._check_writable()
        self.flush()
        self._mark(len(self._layers) - 1)
        self._session.start_over()

    def _write(self, collection: Collection[Any], key: Any, record: Any) -> None:
        self._check_writable()
        layer = self._layers[-1]
        layer.writes[collection.name, key] = (collection, key, record)
        if record is not None:
            for field in collection.unique:
                layer.named[collection.name, field, to_scalar(getattr(record, field))] = key

    def _check_writable(self) -> None:
        if not self._is_writable:
            raise StoreReadOnlyError("a read cannot write", hint="Write inside transact().")
        self._check_time()

    def _check_time(self) -> None:
        if self._spoiled is not None:
            raise ConflictError(
                f"the transaction was refused before: {self._spoiled[1]}",
                hint="Let the error leave the savepoint, or the transaction, in which it was raised.",
            ) from self._spoiled[1]
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise self._late("the work took longer than its deadline")

    def query(self, query: Query[R]) -> list[Any]:
        """See Transaction."""
        self._check_time()
        named = self._by_name(query)
        if named is not None:
            return named
        session = self._prepare(query)
        asked = time.perf_counter()
        try:
            rows = _joining().select(query, session.query) if query.joins else session.query(query)
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        self._note(query, asked, len(rows))
        return rows

    def count(self, query: Query[Any]) -> int:
        """See Transaction."""
        session = self._prepare(query)
        asked = time.perf_counter()
        try:
            number = _joining().count(query, session.query) if query.joins else session.count(query)
        except UnicodeEncodeError as error:
            raise not_text(error) from error
        self._note(query, asked, 1)
        return number

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Transaction."""
        session = self._prepare(query)
        asked = time.perf_counter()
        if query.joins or query.kept is not None:
            rows: list[dict[str, Any]] = _joining().aggregate(query, session)
        else:
            rows = session.aggregate(query)
        self._note(query, asked, len(rows))
        return rows

    def explain(self, query: Query[Any]) -> Plan:
        """See Transaction."""
        from .explaining import planned

        return planned(query, self._prepare(query).explain)

    def _note(self, query: Query[Any], asked: float, rows: int) -> None:
        if self._slow is not None:
            self._slow.saw(query, time.perf_counter() - asked, rows)

    def _by_name(self, query: Query[R]) -> list[R] | None:
        """Answer a plain look-up of one unique value without flushing; None for every other query."""
        asked = query.condition
        if not isinstance(asked, Compare) or asked.op != "eq" or asked.field not in query.collection.unique:
            return None
        if asked.value is None or query.fields or query.start or query.skip or query.most == 0 or query.joins:
            return None
        collection, field, value = query.collection, asked.field, asked.value
        place = (collection.name, field, value)
        for layer in reversed(self._layers):
            if place in layer.named:
                record = self.get(collection, layer.named[place])
                if record is not None and to_scalar(getattr(record, field)) == value:
                    return [record]
                # The record moved on, and another one buffered before it may hold the value.
                return None
        return self._base_named(collection, field, value)

    def _find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        try:
            return self._session.find(collection, field, value)
        except UnicodeEncodeError as error:
            raise not_text(error) from error

    def _base_named(self, collection: Collection[R], field: str, value: Any) -> list[R]:
        if not self._is_writable:
            read = self._find(collection, field, value)
            return [] if read is None else [read]
        place = (collection.name, field, value)
        if place not in self._found:
            read = self._find(collection, field, value)
            self._found[place] = None if read is None else collection.key_of(read)
            if read is not None:
                self._held[collection.name].setdefault(collection.key_of(read), read)
        key = self._found[place]
        record = None if key is None else self.get(collection, key)
        return [record] if record is not None and to_scalar(getattr(record, field)) == value else []

    def _prepare(self, query: Query[Any]) -> Asked:
        """Check the query and bring the session up to date where it will look; returns what to ask."""
        check_query(query)
        self._check_time()
        names = {collection.name: collection.ttl for collection in collections_of(query)}
        pending = any(
            any(name in names for name, _ in layer.writes) or any(c.name in names for c, _ in layer.appends)
            for layer in self._layers
        )
        if pending:
            self.flush()
            # The session knows all of it now: work that goes through a large collection must not keep it here as well.
            if sum(map(len, self._held.values())) > HELD_MOST:
                self._held.clear()
        return Living(self._session, self.now) if any(names.values()) else self._session

    def flush(self) -> None:
        """Hand all buffered writes to the session, each layer above its own mark."""
        for level, layer in enumerate(self._layers):
            if not (layer.writes or layer.appends):
                continue
            self._mark(level)
            try:
                self._hand_over(layer)
            except Exception as error:
                # What the session took of it stays until the savepoint is undone: going on would commit a part.
                self._spoiled = (level, error)
                if isinstance(error, UnicodeEncodeError):
                    raise not_text(error) from error
                raise

    def _mark(self, level: int) -> None:
        for below, layer in enumerate(self._layers[: level + 1]):
            if not layer.is_marked:
                self._session.savepoint(below)
                layer.is_marked = True

    def _hand_over(self, layer: _Layer) -> None:
        by_collection: dict[str, tuple[Collection[Any], list[Any]]] = {}
        for collection, key, _ in layer.writes.values():
            if key not in self._held[collection.name]:
                by_collection.setdefault(collection.name, (collection, []))[1].append(key)
        for collection, keys in by_collection.values():
            self._base(collection, keys)
        writes = [
            Write(collection, key, self._held[collection.name][key], after)
            for collection, key, after in layer.writes.values()
            if after is not self._held[collection.name][key]
        ]
        if writes:
            self._session.write(writes)
        for write in writes:
            self._held[write.collection.name][write.key] = write.after
        for collection, records in _grouped(layer.appends):
            self._session.append(collection, records)
        layer.writes.clear()
        layer.appends.clear()
        layer.named.clear()
        self._found.clear()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """See Transaction."""
        level = len(self._layers)
        layer = _Layer()
        self._layers.append(layer)
        try:
            yield
        except BaseException:
            del self._layers[level:]
            if self._spoiled is not None and self._spoiled[0] >= level:
                self._spoiled = None
            if layer.is_marked:
                self._session.rollback(level)
                self._held.clear()
                self._found.clear()
            raise
        self._layers.pop()
        if layer.is_marked:
            self._session.release(level)
        parent = self._layers[-1]
        parent.writes.update(layer.writes)
        parent.appends.extend(layer.appends)
        parent.named.update(layer.named)

    def finish(self, check: Callable[[], None] | None = None) -> None:
        """Hand over what is left; the session then holds the whole transaction. `check` may still refuse it."""
        self._check_time()
        self.flush()
        if self._layers[0].is_marked:
            if check is not None:
                check()
            self._session.release(0)

    def abandon(self) -> None:
        """Undo whatever was handed over."""
        if self._layers[0].is_marked:
            self._session.rollback(0)
        self._layers = [_Layer()]


def _joining() -> ModuleType:
    """Return the module for what few queries ask, so that the others do not wait for it to be loaded."""
    from . import joining

    return joining


def _grouped(appends: list[tuple[Collection[Any], Any]]) -> Iterator[tuple[Collection[Any], list[Any]]]:
    start = 0
    while start < len(appends):
        collection = appends[start][0]
        end = start
        while end < len(appends) and appends[end][0] is collection:
            end += 1
        yield collection, [record for _, record in appends[start:end]]
        start = end
