"""A store that remembers the records lately read and written, and never serves one that somebody has changed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast

import msgspec

from ...errors import ConfigError, InputError, StorageError
from ...model.path import parse_pattern
from ..collection import Collection
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Store, Transaction
from ..query import Query
from .around import StoreAround, is_faithful
from .freshness import Heard, Look, exact_look
from .reading import CacheReading, Change, Fill, FillingReading, MissError, NotingTransaction
from .recent import EVERYTHING, Place, Recent, kept, kept_anew

T = TypeVar("T")


class CacheFigures(msgspec.Struct, frozen=True):
    """What a cache did since it was made. Hits and misses count records asked for by key in reads."""

    hits: int
    misses: int
    evictions: int
    expirations: int
    invalidations: int
    entries: int
    bytes: int

    @property
    def hit_rate(self) -> float:
        """The part of all that was asked for which needed no store; 0 of nothing."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class CachedStore(StoreAround):
    """Answers reads that only get records by key from memory, when it holds all of them.

    - Transactions never see the cache: they read the store, and what they wrote is in the cache once it is committed.
    - Records of one read are of one moment, as in every read. A read that asks for anything else is the store's.
    - Every change made through this wrapper is seen at once. Of other processes' changes a read sees all that were
      committed before it, or, where a `staleness` is given, all that were longer ago than that. A store that cannot
      tell others' changes at once (`protocol.Versioned`) needs one, and then hits are bounded by it as well.
    - Records are shared by all who read them: what they hold must not be changed.
    - Whatever this process writes goes through the same wrapper: what goes past it is not noticed.

    Bounded by `entries` and by `most_bytes` of records as JSON; the longest unused leave first. A record is kept for
    `time_to_live` at most, and no longer than it has itself to live.
    """

    def __init__(
        self,
        inner: Store,
        *,
        entries: int = 10_000,
        most_bytes: int = 64 * 1024 * 1024,
        time_to_live: timedelta | None = None,
        staleness: timedelta = timedelta(0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        for field, given in (("entries", entries), ("most_bytes", most_bytes)):
            if given < 1:
                raise InputError(
                    f"a cache needs room, not {field}={given}", field=field, given=given, bound="1 or more"
                )
        self._staleness = staleness.total_seconds()
        self._life = math.inf if time_to_live is None else time_to_live.total_seconds()
        self._clock = clock
        look = exact_look(inner)
        if look is None and self._staleness <= 0:
            raise ConfigError(
                "this store cannot say at once that others changed it",
                field="staleness",
                hint="State for how long a read may show what was so before: staleness=timedelta(seconds=1).",
            )
        self._heard: Heard | None = None
        if look is None:
            self._heard = Heard(inner)
            look = self._heard.look
        self._look: Look = look
        self._recent = Recent(entries=entries, most_bytes=most_bytes)
        self._lock = threading.RLock()
        self._version: int | None = None
        self._looked = -math.inf
        self._turn = 0
        self._tickets = 0
        self._pending: dict[Place, int] = {}
        self._has_doubt = False
        self._active: set[int] = set()
        self._fills: set[Fill] = set()
        self._hits = self._misses = self._expirations = self._invalidations = 0

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        inside = self.inner.capabilities
        return msgspec.structs.replace(inside, staleness=inside.staleness + timedelta(seconds=self._staleness))

    async def open(self) -> None:
        """See Store."""
        await self.inner.open()
        self._forget()
        if self._heard is not None:
            self._heard.open()

    async def close(self) -> None:
        """See Store."""
        if self._heard is not None:
            self._heard.close()
        await self.inner.close()
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._recent.clear()
            self._version = None
            self._looked = -math.inf
            self._turn += 1
            self._fills.clear()

    def _current(self, now: float, *, is_sure: bool = False) -> int | None:
        """Return the version that the entries are of, having forgotten them if others wrote; None when it is unknown.

        Within `staleness` of the last look at the store it is believed, unless it has to be sure.
        """
        if not is_sure and self._heard is None and now < self._looked + self._staleness:
            return self._version
        try:
            found = self._look()
        except StorageError:
            # The call that needs to know says what is wrong; a commit that was made must not fail here.
            found = None
        if found is not None and found != self._version:
            with self._lock:
                self._recent.clear()
                self._turn += 1
                self._version = found
        self._looked = now if found is not None else -math.inf
        return found

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See Store."""
        now = self._clock()
        if self._current(now) is not None and EVERYTHING not in self._pending:
            turn, asked = self._turn, CacheReading(self._recent, now)
            try:
                value = work(cast("Transaction", asked))
            except MissError:
                return await self._read_through(work)
            except Exception:
                # An error that came of records of two moments is none.
                if not asked.is_missed and turn == self._turn:
                    raise
            else:
                if not asked.is_missed and turn == self._turn:
                    with self._lock:
                        self._hits += asked.hits
                    return value
        return await self._read_through(work)

    async def _read_through(self, work: Callable[[Transaction], T]) -> T:
        """Read from the store, and keep what was read by key."""
        return await self._fill(lambda tx, fill: work(FillingReading(tx, fill)))

    async def _fill(self, work: Callable[[Transaction, Fill], T]) -> T:
        now = self._clock()
        fill = Fill(self._current(now, is_sure=True), now)
        with self._lock:
            self._fills.add(fill)
        try:
            value = await self.inner.read(lambda tx: work(tx, fill.began()))
        except BaseException:
            with self._lock:
                self._fills.discard(fill)
            raise
        self._take(fill)
        return value

    def _take(self, fill: Fill) -> None:
        """Keep what a read found, unless somebody changed it since that read began."""
        now = self._clock()
        is_same = fill.version is not None and self._current(now, is_sure=True) == fill.version == self._version
        with self._lock:
            self._misses += fill.asked
            self._expirations += sum(self._recent.drop_ended(place, now) for place in fill.found)
            if fill not in self._fills:
                return
            self._fills.remove(fill)
            if not is_same or EVERYTHING in self._pending or EVERYTHING in fill.spoiled:
                return
            life = self._life_of_an_entry()
            for place, record in fill.found.items():
                if place not in self._pending and place not in fill.spoiled:
                    end = fill.begun + min(life, fill.lives.get(place, math.inf))
                    self._recent.put(place, kept(record, end=end, moment=self._moment(fill)))

    def _life_of_an_entry(self) -> float:
        return self._life if self._heard is None else min(self._life, self._staleness)

    def _moment(self, origin: object) -> object:
        """Return what entries have in common that are true together: with exact versions, all there are."""
        return None if self._heard is None else origin

    async def transact(self, work: Callable[[Transaction], T], *, timeout: timedelta = DEFAULT_TIMEOUT) -> Committed[T]:
        """See Store."""
        change = Change()

        def noting(tx: Transaction) -> T:
            change.begin()
            change.before = 0 if self._heard is None else tx.seq
            value = work(NotingTransaction(tx, change))
            if not is_faithful(self.inner):
                change.admit()
            self._announce(change)
            return value

        try:
            made = await self.inner.transact(noting, timeout=timeout)
        except BaseException:
            # Whether it was committed is not always known; what is not known is not served.
            with self._lock:
                self._active.discard(change.ticket)
                self._has_doubt = True
            raise
        self._settle(change, made.seq)
        return made

    def _announce(self, change: Change) -> None:
        """Serve nothing of what is about to be committed; called inside the transaction."""
        version = self._current(self._clock(), is_sure=True)
        with self._lock:
            # What an earlier run announced, and this one does not, has to be released as well.
            self._has_doubt = self._has_doubt or change.ticket > 0
            self._active.discard(change.ticket)
            self._tickets += 1
            self._active.add(self._tickets)
            self._turn += 1
            change.ticket, change.version, change.begun = self._tickets, version, self._clock()
            for place in change.written:
                self._pending[place] = change.ticket
                self._recent.drop(place)
            if EVERYTHING in change.written:
                self._recent.clear()

    def _settle(self, change: Change, seq: int) -> None:
        """Serve what was committed. All that was announced before is committed too, or never will be."""
        if self._heard is not None:
            self._heard.wrote(change.before, seq)
        version = self._current(self._clock(), is_sure=True)
        with self._lock:
            self._turn += 1
            self._active.discard(change.ticket)
            is_same = version is not None and version == change.version == self._version
            end, moment = change.begun + self._life_of_an_entry(), self._moment(change)
            for place, (collection, is_known, record) in change.written.items():
                if self._pending.get(place) != change.ticket:
                    continue
                self._release(place)
                if is_same and is_known and collection and not (record is None and collection.sequence):
                    self._recent.put(place, kept_anew(collection, record, end=end, moment=moment))
            if self._has_doubt:
                self._release_others(change.ticket)

    def _release_others(self, before: int) -> None:
        """Serve again what was announced before by calls that ended without telling how."""
        doubtful = [p for p, ticket in self._pending.items() if ticket < before and ticket not in self._active]
        for place in doubtful:
            self._release(place)
        self._has_doubt = bool(self._pending)

    def _release(self, place: Place) -> None:
        del self._pending[place]
        for fill in self._fills:
            fill.spoiled.add(place)

    def invalidate(self, collection: Collection[Any] | None = None, *, key: Any = None, pattern: str = "") -> int:
        """Forget entries: of one key, of the keys that match a path pattern, of a collection, or all; says how many.

        Needed only where something wrote past this wrapper.
        """
        if collection is None and (pattern or key is not None):
            raise InputError("a key or a pattern needs its collection", field="collection")
        matches = parse_pattern(pattern).matches if pattern else None

        def is_meant(place: Place) -> bool:
            name, held = place
            if collection is not None and name != collection.name:
                return False
            return (key is None or held == key) and (matches is None or matches(str(held)))

        with self._lock:
            self._turn += 1
            # A read that is under way may have seen what is to be forgotten.
            self._fills.clear()
            gone = self._recent.drop_all(is_meant)
            self._invalidations += gone
        return gone

    async def warm(self, query: Query[Any]) -> int:
        """Keep the records that a query finds; says how many were read."""
        if query.fields:
            raise InputError("only whole records can be kept", field="query", given=list(query.fields))
        collection = query.collection

        def work(tx: Transaction, fill: Fill) -> int:
            for record in tx.query(query):
                fill.note(tx, collection, collection.key_of(record), record)
            return len(fill.found)

        return await self._fill(work)

    def figures(self) -> CacheFigures:
        """Return what the cache did so far, and what it holds."""
        with self._lock:
            return CacheFigures(
                hits=self._hits,
                misses=self._misses,
                evictions=self._recent.evictions,
                expirations=self._expirations,
                invalidations=self._invalidations,
                entries=len(self._recent),
                bytes=self._recent.bytes,
            )

    async def statistics(self) -> Mapping[str, Any]:
        """See Store; `cache` holds the figures."""
        return {**await self.inner.statistics(), "cache": msgspec.to_builtins(self.figures())}
