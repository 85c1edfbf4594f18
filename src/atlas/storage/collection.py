"""A collection: what a store must know of a kind of record to keep, find and journal it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from ..errors import InputError

R = TypeVar("R")
Scalar = str | int | float | None

_STAMPS = ("version", "created_at", "updated_at")
_TTL_MOST = timedelta(days=36_500)


class Collection(Generic[R]):
    """The declaration of one kind of record.

    `key` names the field that identifies a record. `columns` are the fields that queries compare and sort by; each
    index of `indexes` speeds one order over them (`-field`: downwards; `field?`: leaves absent ones out). `unique`
    fields hold no value twice. `lists` are fields that hold several strings, found by `contains`. `text` fields are
    searched by words. `references` says which field holds keys of which collection. `values` lists the only values a
    column may have. `owner` names the field with the record's subject in the journal. Records of a collection that
    is not `journaled` can be rebuilt from others, and so can the `derived` fields of one that is. A `sequence`
    collection is appended to: its key is the number that the store gives at commit. `alike` says of how many records in
    a million a field typically has the same value, for planners that have not seen the data yet; unnamed, it is one.

    A record with a time to live is gone once `ttl` has passed since the time in its column `ttl_from`, for whoever
    looks; one without that time stays. Only records that stand alone go so: not journaled, not numbered, without
    `unique` fields and `references`, and nothing refers to them.
    """

    def __init__(
        self,
        name: str,
        record: type[R],
        *,
        key: str = "id",
        columns: tuple[str, ...] = (),
        indexes: tuple[tuple[str, ...], ...] = (),
        unique: tuple[str, ...] = (),
        lists: tuple[str, ...] = (),
        text: tuple[str, ...] = (),
        references: Mapping[str, str] | None = None,
        values: Mapping[str, tuple[str, ...]] | None = None,
        owner: str | None = None,
        journaled: bool = True,
        derived: frozenset[str] = frozenset(),
        sequence: bool = False,
        alike: Mapping[str, int] | None = None,
        ttl: timedelta | None = None,
        ttl_from: str = "updated_at",
    ) -> None:
        self.name = name
        self.record = record
        self.key = key
        self.columns = columns
        self.indexes = indexes
        self.unique = unique
        self.lists = lists
        self.text = text
        self.references = dict(references or {})
        self.values = dict(values or {})
        self.owner = owner or key
        self.journaled = journaled
        self.derived = derived
        self.sequence = sequence
        self.alike = dict(alike or {})
        self.ttl = ttl
        self.is_timeless = False
        self.ttl_from = ttl_from
        if ttl is not None:
            _check_ttl(self, ttl)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of the record's fields."""
        return frozenset(self.record.__struct_fields__)  # type: ignore[attr-defined]

    @cached_property
    def stored(self) -> tuple[str, ...]:
        """The fields that SQL backends give a column of their own, beside `key` and `value`."""
        stamps = tuple(name for name in _STAMPS if name in self.fields and name != self.key)
        return (*stamps, *(c for c in self.columns if c not in stamps and c != self.key))

    @cached_property
    def read(self) -> Callable[[R], tuple[Any, ...]]:
        """The function from a record to its stored fields as they are."""
        if not self.stored:
            return lambda _record: ()
        return attrgetter(*self.stored) if len(self.stored) > 1 else _single(self.stored[0])

    @cached_property
    def row(self) -> Callable[[R], tuple[Scalar, ...]]:
        """The function from a record to the values of its stored columns.

        Only times and containers need converting: drivers take texts, numbers, enumerations and booleans as they are.
        """
        hints = get_type_hints(self.record)
        converted = [i for i, name in enumerate(self.stored) if _needs_converting(hints[name])]
        read = self.read
        if not converted:
            return read

        def made(record: R) -> tuple[Scalar, ...]:
            row = [*read(record)]
            for index in converted:
                row[index] = to_scalar(row[index])
            return tuple(row)

        return made

    @cached_property
    def decode(self) -> Any:
        """The function from JSON text to a record."""
        return msgspec.json.Decoder(self.record).decode

    @cached_property
    def timeless(self) -> Collection[R]:
        """The same records, those whose time is over among them: for what looks after them, and copies them."""
        if self.ttl is None:
            return self
        made = copy(self)
        made.ttl, made.is_timeless = None, True
        return made

    def field(self, of: Callable[[R], Any]) -> str:
        """Return the name of the field that `of` reads, for a query: `PARTS.field(lambda part: part.size)` is "size".

        A type checker refuses a field that the record does not have, where a name in quotes is refused only when the
        query runs. Items become paths into JSON: `part.data["build"]["id"]` is "data.build.id". Raises InputError.
        """
        read = of(_Named(()))  # type: ignore[arg-type]
        path = read.path if isinstance(read, _Named) else ()
        if not path or path[0] not in self.fields:
            raise InputError(
                f"{self.name} has no such field", field="field", given=".".join(path), bound=sorted(self.fields)
            )
        return ".".join(path)

    def key_of(self, record: R) -> Any:
        """Return the record's key."""
        return getattr(record, self.key)

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"


def _check_ttl(collection: Collection[Any], ttl: timedelta) -> None:
    if not timedelta(0) < ttl <= _TTL_MOST:
        raise InputError("a time to live is none", field="ttl", given=str(ttl), bound=f"above 0, up to {_TTL_MOST}")
    if collection.journaled or collection.sequence or collection.unique or collection.references:
        raise InputError(
            f"{collection.name} cannot have a time to live",
            field="ttl",
            hint="Only records that are not journaled, not numbered, not unique in a field and refer to nothing can.",
        )
    given = collection.ttl_from
    if given not in collection.stored or not set(_kinds(get_type_hints(collection.record)[given])) <= _TIMES:
        raise InputError(f"{collection.name} has no time in a column {given!r}", field="ttl_from", given=given)


def check_alone(collections: Sequence[Collection[Any]]) -> None:
    """Refuse references to collections with a time to live: what is referred to must stay; raises InputError."""
    going = {collection.name for collection in collections if collection.ttl is not None}
    for collection in collections:
        for field, target in collection.references.items():
            if target in going:
                raise InputError(
                    f"{collection.name} cannot refer to {target}, whose records go with time", field=field, given=target
                )


class _Named:
    """Stands for a record, and remembers what is read of it."""

    __slots__ = ("path",)

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path

    def __getattr__(self, name: str) -> _Named:
        return _Named((*self.path, name))

    __getitem__ = __getattr__


encode = msgspec.json.Encoder().encode


def to_data(record: Any) -> dict[str, Any]:
    """Return a record as the JSON data it is stored as."""
    data: dict[str, Any] = msgspec.to_builtins(record)
    return data


def _single(name: str) -> Callable[[Any], tuple[Any, ...]]:
    read = attrgetter(name)
    return lambda record: (read(record),)


def _needs_converting(hint: Any) -> bool:
    return not all(isinstance(kind, type) and issubclass(kind, (str, int, float, NoneType)) for kind in _kinds(hint))


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)


@lru_cache(maxsize=64)
def _stamp(value: datetime) -> str:
    """Return a time as text; cached, since all that one transaction writes has the same."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


_PLAIN = frozenset({str, int, float, NoneType})
_TIMES = frozenset({datetime, NoneType})


def to_scalar(value: Any) -> Scalar:
    """Return a field's value as what is compared and sorted: times as fixed-width UTC text, so that order holds."""
    if type(value) in _PLAIN:
        plain: Scalar = value
        return plain
    if isinstance(value, datetime):
        return _stamp(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return str(value)
    return encode(value).decode()
