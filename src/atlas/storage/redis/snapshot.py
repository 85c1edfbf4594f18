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
    """Where the store stands: the number of the last commit, the last number appended, the last time."""

    commit: int
    seq: int
    now: datetime


def moment_of(fields: Sequence[bytes | None]) -> Moment:
    """Return the moment that the fields commit, seq, now and format tell of; refuses a newer format."""
    commit, seq, now, written = fields
    if written is not None and int(written) > FORMAT:
        raise StoreNewerError(f"the store has format {int(written)}; this Atlas knows up to {FORMAT}")
    time = datetime.fromisoformat(now.decode()).astimezone(UTC) if now else datetime.min.replace(tzinfo=UTC)
    return Moment(int(commit or 0), int(seq or 0), time)


class Local:
    """Records of one collection that are not as the server has them: those under `hidden` keys."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.table = Table(shelf.collection)
        self.hidden: set[Any] = set()
        self.held: dict[Any, Any] = {}


class Snapshot:
    """Reads records as they are at one moment: `at`, or that of the first question.

    A `strict` one takes no images: it is for a writer, to whom every commit of others is one too many.
    """

    def __init__(
        self, link: Link, layout: Layout, *, at: Moment | None = None, kept: Callable[[], None] | None = None
    ) -> None:
        self._link = link
        self.layout = layout
        self._moment = at
        self._through = at.commit if at else 0
        self._is_strict = at is not None
        self._kept = kept
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
            local = self._locals[name] = Local(self.layout.shelves[name])
        return local

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies; records changed since the moment are `hidden` afterwards. Raises MovedError."""
        if self._kept is not None:
            self._kept()
        meta = ("HMGET", self.layout.meta, "commit", "seq", "now", "format")
        if self._moment is None or self._is_strict:
            found, *replies = self._link.ask([meta, *commands], is_atomic=True)
            self._begin(found)
            return replies
        images = ("ZRANGEBYSCORE", self.layout.images, f"({self._through}", "+inf")
        found, made, *replies = self._link.ask([meta, images, *commands], is_atomic=True)
        self._go_on(moment_of(found).commit, made)
        return replies

    def _begin(self, found: Sequence[bytes | None]) -> None:
        moment = moment_of(found)
        if self._moment is None:
            self._moment, self._through = moment, moment.commit
        elif moment.commit != self._through:
            raise MovedError

    def _go_on(self, commit: int, made: Sequence[bytes]) -> None:
        """Put back what the commits since the last question changed."""
        if commit == self._through:
            return
        images = [msgspec.msgpack.decode(image) for image in made]
        if [int(number) for number, _ in images] != list(range(self._through + 1, commit + 1)):
            raise MovedError
        for _, changes in images:
            for name, key, text in changes:
                if name in self.layout.shelves:
                    self._put_back(self.layout.shelves[name].collection, key, text)
        self._through = commit

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
        unknown = [key for key in wanted if key not in local.held and key not in local.hidden]
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
