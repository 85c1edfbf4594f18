"""One moment of a Redis store, read piece by piece while others go on writing.

Each piece comes with the commit number it was read at. What was committed since the moment is made up for by the
images that each commit leaves of what its records were before; where these are gone, the moment is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ...errors import StoreFormatError, StoreNewerError
from ..collection import Collection
from ..memory_session import Table
from .layout import Layout, Shelf
from .link import Link

FORMAT = 1
_FETCHED = 1_000

Command = Sequence[Any]


class MovedError(BaseException):
    """Others committed what this moment does not show: all begins anew. Not an error that work itself may catch."""


class Moment(NamedTuple):
    """Where the store stands: the last commit by number and by name, the last number appended, the last time.

    The name tells commits of one number apart, when a server that lost some gives their numbers again.
    """

    commit: int
    last: str
    seq: int
    now: datetime


META = ("commit", "last", "seq", "now", "format", "indexes")


def moment_of(fields: Sequence[bytes | None], digest: str | None) -> Moment:
    """Return the moment that the fields of `META` tell of; refuses another format, or indexes of another `digest`."""
    commit, last, seq, now, written, indexes = fields
    if written is not None and int(written) > FORMAT:
        raise StoreNewerError(f"the store has format {int(written)}; this Atlas knows up to {FORMAT}")
    if digest is not None and indexes is not None and indexes.decode() != digest:
        raise StoreNewerError(
            "another program has given the store other indexes while it was open",
            hint="Open the store again, and use the same Atlas everywhere.",
        )
    time = datetime.fromisoformat(now.decode()).astimezone(UTC) if now else datetime.min.replace(tzinfo=UTC)
    return Moment(int(commit or 0), (last or b"").decode(), int(seq or 0), time)


class Local:
    """Records of one collection that are not as the server has them: those under `hidden` keys."""

    def __init__(self, shelf: Shelf, held: dict[Any, Any]) -> None:
        self.shelf = shelf
        self.table = Table(shelf.collection)
        self.hidden: set[Any] = set()
        self.held = held


class Snapshot:
    """Reads records as they are at one moment: `at`, or that of the first question.

    Given a moment, it takes no images: it is for a writer, to whom every commit of others is one too many. `held` are
    records of that moment that are known already, by collection; those that are read are added.
    """

    def __init__(
        self,
        link: Link,
        layout: Layout,
        *,
        at: Moment | None = None,
        kept: Callable[[], None] | None = None,
        held: dict[str, dict[Any, Any]] | None = None,
    ) -> None:
        self._link = link
        self.layout = layout
        self._moment = at
        self._through = at
        self._is_strict = at is not None
        self._kept = kept
        self._held = {} if held is None else held
        self._locals: dict[str, Local] = {}

    @property
    def moment(self) -> Moment:
        """The moment that is shown."""
        if self._moment is None:
            self.ask([])
        assert self._moment is not None
        return self._moment

    def local(self, collection: Collection[Any]) -> Local:
        """Return what is known of a collection here."""
        return self.local_of(collection.name)

    def local_of(self, name: str) -> Local:
        """Return what is known of the collection of this name."""
        local = self._locals.get(name)
        if local is None:
            local = self._locals[name] = Local(self.layout.shelves[name], self._held.setdefault(name, {}))
        return local

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies; records changed since the moment are `hidden` afterwards. Raises MovedError."""
        if self._kept is not None:
            self._kept()
        meta = ("HMGET", self.layout.meta, *META)
        if self._through is None or self._is_strict:
            found, *replies = self._link.ask([meta, *commands], is_atomic=True)
            self._begin(moment_of(found, self.layout.digest))
            return replies
        images = ("ZRANGEBYSCORE", self.layout.images, f"({self._through.commit}", "+inf")
        found, made, *replies = self._link.ask([meta, images, *commands], is_atomic=True)
        self._go_on(moment_of(found, self.layout.digest), made)
        return replies

    def _begin(self, moment: Moment) -> None:
        if self._through is None:
            self._moment = self._through = moment
        elif moment.last != self._through.last:
            raise MovedError

    def _go_on(self, moment: Moment, made: Sequence[bytes]) -> None:
        """Put back what the commits since the last question changed."""
        assert self._through is not None
        last = self._through.last
        for image in made:
            before, after, changes = msgspec.msgpack.decode(image)
            if before != last:
                raise MovedError
            last = after
            for name, key, text in changes:
                if name in self.layout.shelves:
                    self._put_back(self.layout.shelves[name].collection, key, text)
        if last != moment.last:
            raise MovedError
        self._through = moment

    def _put_back(self, collection: Collection[Any], key: str, text: Any) -> None:
        local = self.local(collection)
        place = local.shelf.key_from(key)
        if place not in local.hidden:
            local.hidden.add(place)
            local.table.put(place, None if text is False else record_of(collection, text))

    def records(self, collection: Collection[Any], keys: Iterable[Any]) -> dict[Any, Any]:
        """Return those of the records that the server has; hidden ones are right in their `Local` only."""
        local = self.local(collection)
        wanted = list(dict.fromkeys(keys))
        unknown = [k for k in wanted if k not in local.held and k not in local.hidden and local.shelf.holds(k)]
        parts = [unknown[i : i + _FETCHED] for i in range(0, len(unknown), _FETCHED)]
        if parts:
            replies = self.ask([("HMGET", local.shelf.records, *map(str, part)) for part in parts])
            for part, reply in zip(parts, replies, strict=True):
                for key, text in zip(part, reply, strict=True):
                    local.held[key] = None if text is None else record_of(collection, text)
        return {key: held for key in wanted if (held := local.held.get(key)) is not None}


def record_of(collection: Collection[Any], text: str | bytes) -> Any:
    """Return the record that was stored as `text`."""
    try:
        return collection.decode(text)
    except msgspec.DecodeError as error:
        raise StoreFormatError(
            f"a {collection.name} in the store cannot be read: {error}",
            hint="Run `atlas doctor`; a record was changed by another program.",
        ) from error
