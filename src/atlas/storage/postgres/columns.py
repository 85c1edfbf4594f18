"""Which fields have a column, of which type, and which values such a column can be compared with."""

from __future__ import annotations

from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..collection import Collection, Scalar, encode, to_scalar

TEXT = "text"
WHOLE = "bigint"
REAL = "double precision"
MIXED = "mixed"
"""A column whose values are of several types: it holds JSON text, for people to read, and no query compares it."""

_LARGEST = 2**63


@lru_cache(maxsize=4096)
def kind_of(collection: Collection[Any], field: str) -> str | None:
    """Return the type of a field's column, None where there is none."""
    if field != collection.key and field not in collection.stored:
        return None
    kinds = _kinds(get_type_hints(collection.record, include_extras=True)[field])
    return next(iter(kinds)) if len(kinds) == 1 else MIXED


def _kinds(hint: Any) -> set[str]:
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return set().union(*(_kinds(part) for part in get_args(hint)))
    if origin is Annotated:
        return _kinds(get_args(hint)[0])
    if origin is Literal:
        return set().union(*(_kinds(type(value)) for value in get_args(hint)))
    hint = getattr(hint, "__supertype__", hint)
    if hint is Any:
        return {TEXT, WHOLE}
    if hint is NoneType:
        return set()
    if isinstance(hint, type) and issubclass(hint, (int, float)):
        return {WHOLE if issubclass(hint, int) else REAL}
    return {TEXT}


@lru_cache(maxsize=256)
def kinds_of(collection: Collection[Any]) -> tuple[str, ...]:
    """Return the types of the stored columns."""
    return tuple(str(kind_of(collection, field)) for field in collection.stored)


def beside(collection: Collection[Any]) -> tuple[str, ...]:
    """Return the fields whose values have a table of their own: lists, and what is unique across a sequence's parts."""
    return (*collection.lists, *(collection.unique if collection.sequence else ()))


def values_beside(collection: Collection[Any], record: Any, field: str) -> set[Scalar]:
    """Return what the table of such a field holds of a record."""
    value = None if record is None else getattr(record, field)
    if field in collection.lists:
        return set(value or ())
    return set() if value is None else {held(str(kind_of(collection, field)), value)}


def row_of(collection: Collection[Any], record: Any) -> tuple[Scalar, ...]:
    """Return the values of a record's stored columns."""
    return tuple(map(held, kinds_of(collection), collection.read(record)))


def held(kind: str, value: Any) -> Scalar:
    """Return what a column of this type holds for a value."""
    scalar = value if type(value) is str else to_scalar(value)
    return encode(scalar).decode() if kind == MIXED and scalar is not None else scalar


def fitting(kind: str | None, value: Any) -> Scalar:
    """Return the one value that a column of this type can hold and that equals `value`, None where there is none."""
    if kind == TEXT:
        return value if isinstance(value, str) and is_storable(value) else None
    if isinstance(value, str) or not isinstance(value, (int, float)) or kind not in {WHOLE, REAL}:
        return None
    try:
        near = int(value) if kind == WHOLE else float(value)
    except (OverflowError, ValueError):
        return None
    return near if near == value and (kind == REAL or -_LARGEST <= near < _LARGEST) else None


def is_storable(text: str) -> bool:
    """Say whether PostgreSQL can hold the text at all."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
