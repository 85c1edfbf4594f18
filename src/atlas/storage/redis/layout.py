"""How records lie in Redis: the names of the keys, and indexes as sorted sets whose members sort as their values do.

Everything of a store has one hash tag, its prefix in braces, and so lies in one slot of a cluster. A collection is a
hash from key to JSON text. A member of an index is the encoded values, the encoded key and the length of the latter.
Encoded values are prefix-free, and their bytes compare as `evaluate.rank_of` does.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints

import msgspec

from ..collection import Collection, Scalar, to_scalar
from ..words import words_of

NULL = b"\x00"
PRESENT = b"\x01"
"""Lies below every value that is there."""
TEXT = b"\x02"
_END = b"\x00\x00"
_KEY_LENGTH = 3
_NUMBER_LENGTH = 11
_FLIP = bytes(255 - byte for byte in range(256))


def encoded_text(text: str) -> bytes:
    """Return the beginning of the code of every text that begins with this one."""
    return TEXT + text.encode().replace(b"\x00", b"\x00\x01")


def encoded(value: Scalar) -> bytes:
    """Return bytes that compare as the values do: absent ones, numbers, text by code point."""
    if value is None:
        return NULL
    if isinstance(value, str):
        return encoded_text(value) + _END
    try:
        near = float(value) + 0.0
    except OverflowError:
        near = math.copysign(math.inf, value)
    # Whole numbers beyond 2**53 are told apart by how far they are from the nearest float.
    rest = int(value) - int(near) if isinstance(value, int) and math.isfinite(near) else 0
    (bits,) = struct.unpack(">Q", struct.pack(">d", near))
    bits = bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)
    return PRESENT + struct.pack(">QH", bits, min(max(rest, -32_768), 32_767) + 32_768)


def decoded(code: bytes) -> str | int:
    """Return the key that was encoded: text, or a whole number."""
    if code[:1] == TEXT:
        return code[1:-2].replace(b"\x00\x01", b"\x00").decode()
    bits, rest = struct.unpack(">QH", code[1:])
    bits = bits ^ (1 << 63 if bits >> 63 else 0xFFFF_FFFF_FFFF_FFFF)
    (near,) = struct.unpack(">d", struct.pack(">Q", bits))
    return int(near) + int(rest) - 32_768


def behind(code: bytes) -> bytes | None:
    """Return the least bytes above everything that begins with `code`; None where there are none."""
    kept = code.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def key_of_member(member: bytes) -> str | int:
    """Return the key at the end of an index's member."""
    length = int.from_bytes(member[-_KEY_LENGTH:], "big")
    return decoded(member[-_KEY_LENGTH - length : -_KEY_LENGTH])


class Field(msgspec.Struct, frozen=True):
    """One field of an index: `is_sparse` leaves records out that lack it."""

    name: str
    is_descending: bool = False
    is_sparse: bool = False

    def code(self, value: Scalar) -> bytes:
        """Return the value as this index sorts it."""
        made = encoded(value)
        return made.translate(_FLIP) if self.is_descending else made

    def between(self, low: bytes, high: bytes | None) -> tuple[bytes, bytes | None]:
        """Return the bounds of codes that lie at or above `low` and below `high`, as this index sorts them."""
        if not self.is_descending:
            return low, high
        # Codes are prefix-free: turned around, what begins with a bound lies on its other side.
        return b"" if high is None else high.translate(_FLIP), behind(low.translate(_FLIP))


class Index(msgspec.Struct, frozen=True):
    """One sorted set. Of a `lists` or `words` index, one record has as many members as values or words."""

    place: str
    fields: tuple[Field, ...]
    kind: str = "columns"

    def members(self, record: Any, suffix: bytes) -> list[bytes]:
        """Return a record's members."""
        if self.kind == "columns":
            code = b""
            for field in self.fields:
                value = to_scalar(getattr(record, field.name))
                if value is None and field.is_sparse:
                    return []
                code += field.code(value)
            return [code + suffix]
        held = (getattr(record, field.name) for field in self.fields)
        if self.kind == "lists":
            return [encoded(value) + suffix for values in held for value in dict.fromkeys(values or ())]
        texts = [text for text in map(to_scalar, held) if isinstance(text, str)]
        return [encoded(word) + suffix for word in {word for text in texts for word in words_of(text)}]


class Shelf:
    """One collection's place: the hash of its records, and its indexes."""

    def __init__(self, collection: Collection[Any], tag: str) -> None:
        self.collection = collection
        self.records = f"{tag}:r:{collection.name}"
        self._is_numbered = get_type_hints(collection.record)[collection.key] is int
        start = f"{tag}:i:{collection.name}:"
        self.by_key = Index(f"{tag}:k:{collection.name}", ())
        declared = [tuple(map(_field, fields)) for fields in collection.indexes]
        named = [field for field in (*collection.unique, *collection.references) if field != collection.key]
        for name in dict.fromkeys(named):
            if not any(fields[0] == Field(name) for fields in declared):
                declared.append((Field(name),))
        self.columns = [Index(start + "+".join(map(_name, fields)), fields) for fields in dict.fromkeys(declared)]
        self.lists = {
            name: Index(f"{tag}:l:{collection.name}:{name}", (Field(name),), "lists") for name in collection.lists
        }
        words = Index(f"{tag}:w:{collection.name}", tuple(map(Field, collection.text)), "words")
        self.words = words if collection.text else None
        self.probe = f"{tag}:probe"
        self.indexes = [self.by_key, *self.columns, *self.lists.values(), *([words] if collection.text else [])]

    def holds(self, key: Any) -> bool:
        """Say whether a record may have this key: that another kind of key reads the same makes them no equals."""
        return isinstance(key, int if self._is_numbered else str)

    def key_from(self, text: str) -> Any:
        """Return the key that is the name of a record in its hash."""
        return int(text) if self._is_numbered else text

    def index_of(self, field: str) -> Index:
        """Return an index that every record with a value in this field is found by."""
        return next(index for index in self.columns if index.fields[0] == Field(field))

    def members(self, record: Any) -> dict[str, list[bytes]]:
        """Return all members of a record by the place of their index."""
        suffix = encoded(self.collection.key_of(record))
        suffix += len(suffix).to_bytes(_KEY_LENGTH, "big")
        return {index.place: index.members(record, suffix) for index in self.indexes}


def _field(text: str) -> Field:
    return Field(text.strip("-?"), text.startswith("-"), text.endswith("?"))


def _name(field: Field) -> str:
    return ("-" if field.is_descending else "") + field.name + ("?" if field.is_sparse else "")


class Layout:
    """All places of a store under one prefix."""

    def __init__(self, prefix: str, collections: Sequence[Collection[Any]]) -> None:
        tag = f"{{{prefix}}}"
        self.collections = tuple(collections)
        self.shelves = {collection.name: Shelf(collection, tag) for collection in collections}
        self.meta, self.images, self.weight, self.feed, self.line, self.alive, self.ticket, self.declared = (
            f"{tag}:{name}" for name in ("meta", "images", "weight", "feed", "line", "alive", "ticket", "declared")
        )
        self.probe = f"{tag}:probe"
        self.indexes = sorted(index.place for shelf in self.shelves.values() for index in shelf.indexes)
        self.digest = hashlib.sha256("\n".join(self.indexes).encode()).hexdigest()[:16]

    def referring(self, target: str) -> list[tuple[str, str]]:
        """Return the collections, with the field, whose records refer to those of `target`."""
        return [
            (name, field)
            for name, shelf in self.shelves.items()
            for field, other in shelf.collection.references.items()
            if other == target
        ]

    def places(self) -> Iterable[str]:
        """Return the names of all keys there may be."""
        yield from (self.meta, self.images, self.weight, self.feed, self.line, self.alive, self.ticket, self.declared)
        for shelf in self.shelves.values():
            yield shelf.records
            yield from (index.place for index in shelf.indexes)
