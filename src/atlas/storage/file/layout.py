"""What stands in the two files of a JSON file store, as text and as values.

The snapshot is one JSON object with a record on each line, for reading, comparing and editing. The log has one line
for its head and one for each commit: a checksum, a blank, and a JSON object. A checksum covers the one before it, so
that a line that is altered, missing or out of its place is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from ...errors import StoreFormatError, StoreNewerError
from ..collection import Collection, encode, to_scalar

FORMAT = "atlas-store"
LOG_FORMAT = "atlas-store-log"
VERSION = 1

_EDIT = "Mend it in an editor, put a copy in its place, or move it away to begin anew; it was not altered."
_LOG_EDIT = "Put a copy of the store in place, or cut the log before that line, which loses the commits from there on."
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SUM = b'  "checksum": "'


class Head(msgspec.Struct, frozen=True):
    """What a file says of itself: whose generation of which store it is, or belongs to."""

    format: str
    version: int
    store: str
    generation: int


class Change(NamedTuple):
    """One record after a commit (None: gone)."""

    collection: Collection[Any]
    key: Any
    record: Any


class Commit(NamedTuple):
    """What one line of the log says."""

    seq: int
    now: datetime
    changes: Sequence[Change]


class Whole(NamedTuple):
    """What a snapshot says. `is_edited`: not as Atlas wrote it, but sound."""

    head: Head
    seq: int
    now: datetime
    records: Sequence[Change]
    is_edited: bool


class _Kind(msgspec.Struct):
    format: str
    version: int


_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Snapshot(msgspec.Struct):
    store: str
    generation: int
    seq: int
    now: _Time
    collections: dict[str, list[msgspec.Raw]]


class _Line(msgspec.Struct, omit_defaults=True):
    seq: int
    now: _Time
    put: dict[str, list[Any]] = {}
    delete: dict[str, list[Any]] = {}


class _ReadLine(_Line):
    put: dict[str, list[msgspec.Raw]] = {}


_decode_line = msgspec.json.Decoder(_ReadLine).decode


def checksum(text: bytes, before: bytes = b"") -> bytes:
    """Return the checksum of a text that follows the one with the checksum `before`."""
    return blake2b(before + text, digest_size=8).hexdigest().encode()


def write_snapshot(head: Head, seq: int, now: datetime, tables: Mapping[str, Mapping[Any, Any]]) -> bytes:
    """Return the text of a snapshot; records in the order of their keys, so that two of them compare well."""
    lines = [b"{"]
    for name, value in (*msgspec.structs.asdict(head).items(), ("seq", seq), ("now", to_scalar(now))):
        lines.append(b'  "%s": %s,' % (name.encode(), encode(value)))
    lines.append(b'  "collections": {')
    for number, name in enumerate(sorted(tables), 1):
        rows = b",\n".join(b"      " + encode(record) for _, record in sorted(tables[name].items(), key=itemgetter(0)))
        end = b"" if number == len(tables) else b","
        lines.append(b"    %s: [%s]%s" % (encode(name), b"\n" + rows + b"\n    " if rows else b"", end))
    lines.append(b"  },\n")
    body = b"\n".join(lines)
    return body + _SUM + checksum(body) + b'"\n}\n'


def read_snapshot(data: bytes, path: Path, collections: Mapping[str, Collection[Any]]) -> Whole:
    """Return what a snapshot says; raises StoreFormatError that names the line, or StoreNewerError."""
    _check_text(data, path)
    try:
        kind = msgspec.json.decode(data, type=_Kind)
    except msgspec.ValidationError as error:
        raise StoreFormatError(f"{path} is JSON, but not of an Atlas store: {error}") from error
    except _UNREADABLE as error:
        raise StoreFormatError(f"{path}{_line_of(data, str(error))} is not sound JSON: {error}", hint=_EDIT) from error
    _check_kind(kind, FORMAT, path)
    try:
        said = msgspec.json.decode(data, type=_Snapshot)
    except _UNREADABLE as error:
        raise StoreFormatError(f"{path} is damaged: {error}", hint=_EDIT) from error
    body, _, end = data.rpartition(_SUM)
    is_edited = end != checksum(body) + b'"\n}\n'
    records = list(_records(said, data, path, collections, is_edited=is_edited))
    return Whole(Head(FORMAT, VERSION, said.store, said.generation), said.seq, said.now, records, is_edited)


def _check_text(data: bytes, path: Path) -> None:
    """Refuse bytes that no text has: a decoder passes over them in what it skips."""
    place = data.find(b"\0")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        place = error.start if place < 0 else min(place, error.start)
    if place >= 0:
        raise StoreFormatError(f"{path}, line {_line_at(data, place)}, is damaged: it is no text", hint=_EDIT)


def _check_kind(kind: _Kind | Head, expected: str, path: Path) -> None:
    if kind.format != expected:
        raise StoreFormatError(f"{path} is a file of the format {kind.format!r}, not {expected!r}")
    if kind.version > VERSION:
        raise StoreNewerError(f"{path} has format version {kind.version}, this Atlas knows {VERSION}")


def _line_of(data: bytes, text: str) -> str:
    """Return the line that a decoder's message means by its byte."""
    _, _, place = text.partition("(byte ")
    digits = place.rstrip(")")
    return f", line {_line_at(data, int(digits))}," if digits.isdigit() else ""


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _records(
    said: _Snapshot, data: bytes, path: Path, collections: Mapping[str, Collection[Any]], *, is_edited: bool
) -> Iterator[Change]:
    for name, rows in said.collections.items():
        collection = _known(name, collections, path)
        keys: set[Any] = set()
        for row in rows:
            try:
                record = collection.decode(row)
                key = collection.key_of(record)
                if is_edited:
                    _check_fields(collection, row)
                if key in keys:
                    raise msgspec.ValidationError(f"there is another one with the {collection.key} {key!r}")
            except _UNREADABLE as error:
                number = _line_at(data, data.find(bytes(row)))
                raise StoreFormatError(
                    f"{path}, line {number}, is no record of {name}: {error}",
                    hint=_EDIT,
                    details={"line": number, "collection": name},
                ) from error
            if collection.sequence and key > said.seq:
                raise StoreFormatError(f"{path} has {name} {key}, beyond its last number {said.seq}", hint=_EDIT)
            keys.add(key)
            yield Change(collection, key, record)


def _check_fields(collection: Collection[Any], row: msgspec.Raw) -> None:
    """Refuse a field that a person misspelt: it would be gone without a word in the next snapshot."""
    for name in msgspec.json.decode(row):
        if name not in collection.fields:
            raise msgspec.ValidationError(f"there is no field {name!r}")


def _known(name: str, collections: Mapping[str, Collection[Any]], path: Path) -> Collection[Any]:
    if name not in collections:
        raise StoreNewerError(f"{path} has records of a kind that this Atlas does not know: {name}")
    return collections[name]


def write_line(text: bytes, before: bytes) -> tuple[bytes, bytes]:
    """Return a line of the log and its checksum, which the next one needs."""
    made = checksum(text, before)
    return made + b" " + text + b"\n", made


def write_commit(commit: Commit) -> bytes:
    """Return the text of a commit's line."""
    line = _Line(commit.seq, commit.now)
    for collection, key, record in commit.changes:
        if record is None:
            line.delete.setdefault(collection.name, []).append(key)
        else:
            line.put.setdefault(collection.name, []).append(record)
    return encode(line)


def read_commit(text: bytes, collections: Mapping[str, Collection[Any]], path: Path) -> Commit:
    """Return what a line of the log says, of which the checksum is right."""
    try:
        line = _decode_line(text)
        changes = [Change(_known(n, collections, path), key, None) for n, keys in line.delete.items() for key in keys]
        for name, rows in line.put.items():
            collection = _known(name, collections, path)
            for row in rows:
                record = collection.decode(row)
                changes.append(Change(collection, collection.key_of(record), record))
    except _UNREADABLE as error:
        raise StoreFormatError(f"{path} has a commit that cannot be read: {error}", hint=_LOG_EDIT) from error
    return Commit(line.seq, line.now, changes)


class Lines(NamedTuple):
    """The whole lines of a part of the log: their texts, the bytes they take, and the last checksum."""

    texts: list[bytes]
    size: int
    checksum: bytes


def read_lines(data: bytes, path: Path, *, before: bytes, number: int) -> Lines:
    """Return the whole lines in `data`, of which the first is line `number` of the log.

    What a crash left of a write ends the log: a line without its end, or a last one with a hole where the disk never
    got the bytes. Whatever else is wrong is damage, and raises StoreFormatError that names the line.
    """
    texts: list[bytes] = []
    start = 0
    while True:
        end = data.find(b"\n", start)
        if end < 0:
            return Lines(texts, start, before)
        line = data[start:end]
        said, text = line[:16], line[17:]
        if line[16:17] != b" " or said != checksum(text, before):
            if end + 1 == len(data) and b"\0" in line:
                return Lines(texts, start, before)
            place = number + len(texts)
            raise StoreFormatError(
                f"{path}, line {place}, is damaged: its checksum is wrong", hint=_LOG_EDIT, details={"line": place}
            )
        texts.append(text)
        before = said
        start = end + 1


def read_log_head(text: bytes, path: Path) -> Head:
    """Return what the log's first line says; raises StoreFormatError or StoreNewerError."""
    try:
        _check_kind(msgspec.json.decode(text, type=_Kind), LOG_FORMAT, path)
        return msgspec.json.decode(text, type=Head)
    except _UNREADABLE as error:
        raise StoreFormatError(f"{path} is damaged: {error}", hint=_LOG_EDIT) from error


def is_followed(snapshot: Head, log: Head, path: Path) -> bool:
    """Say whether the log goes on from the snapshot; not when the snapshot has it all. Raises where neither holds."""
    if log.store != snapshot.store:
        raise StoreFormatError(
            f"{path} belongs to another store than the file it lies beside",
            hint=f"Move {path.name} away if that file was meant to replace the store; else put the right one back.",
        )
    if log.generation > snapshot.generation:
        raise StoreFormatError(
            f"{path} is newer than the file it lies beside, which was put back from an earlier time",
            hint=f"Put the newer file back, or move {path.name} away to go on from the earlier time.",
        )
    return log.generation == snapshot.generation
