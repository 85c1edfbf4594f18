"""A collection: what a store must know of a kind of record to keep, find and journal it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from ..errors import InputError

R = TypeVar("R")
Scalar = str | int | float | None

_STAMPS = ("version", "created_at", "updated_at")


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
    kinds = set(get_args(hint)) or {hint}
    return not all(isinstance(kind, type) and issubclass(kind, (str, int, float, NoneType)) for kind in kinds)


@lru_cache(maxsize=64)
def _stamp(value: datetime) -> str:
    """Return a time as text; cached, since all that one transaction writes has the same."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


_PLAIN = frozenset({str, int, float, type(None)})


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
