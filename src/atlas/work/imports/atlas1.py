"""Reads the SQLite file of the earlier Atlas server (table `tasks`).

The source of a record is its path. Notes, reasoning and metadata keep their meaning; what has no field, and every
path that had to change, stays in `metadata.atlas1`. A write-ahead log given beside the file is taken into account.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ...errors import ImportFormatError, PathError
from ...model import limits
from ...model.path import parse_path
from ...model.task import Priority, Status, Type
from .decode import clean, parse_json, whole_bytes
from .draft import Draft, DraftNote, Reading, Remark, Source
from .finish import finish
from .fit import keep
from .links import Link
from .tree import Node, place, roots_of, segment_of
from .wal import merged
from .words import priority_of

LABEL = "atlas1"
LOG = "-wal"
_MAGIC = b"SQLite format 3\0"
_LISTS = ("notes", "dependencies", "subtasks")
_KNOWN = frozenset({"path", "name", "description", "type", "status", "notes", "reasoning", "metadata", "dependencies"})
_MOST_MILLISECONDS = 253_402_300_799_000


class _Row(msgspec.Struct):
    """A row with its JSON columns read; `key` is the path it had."""

    key: str
    values: dict[str, Any]
    above: str | None = None


def recognises(source: Source) -> bool:
    """Say whether the file is an SQLite database."""
    return bool(source.files) and next(iter(source.files.values()))[: len(_MAGIC)] == _MAGIC


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES) -> Reading:
    """Return the tasks by path; containers that the file lacks are made, so that every parent exists."""
    remarks: list[Remark] = []
    rows = {row.key: row for row in _rows(source, remarks)}
    _complete(rows, remarks)
    names = [key for key, row in rows.items() if row.above is None]
    roots, holder = roots_of({name: _segment(name) for name in names}, project)
    drafts = [] if holder is None else [Draft(source=":", path=holder, name=holder, type=Type.GROUP)]
    for name in names:
        drafts.append(_draft(rows[name], roots[name], remarks))
        own = [row for row in rows.values() if row.above is not None and _root(row, rows) == name]
        nodes = [Node(row.key, row.above if row.above != name else None, _segment(row.key)) for row in own]
        placed = place(roots[name], nodes)
        remarks += placed.remarks
        drafts += [_draft(rows[key], path, remarks) for key, path in placed.paths.items()]
    return finish(LABEL, drafts, _links(rows), remarks, most)


def _rows(source: Source, remarks: list[Remark]) -> list[_Row]:
    import apsw

    data = whole_bytes(source)
    log = next((content for name, content in source.files.items() if name.endswith(LOG)), b"")
    connection = apsw.Connection(":memory:")
    try:
        connection.deserialize("main", merged(data, log))
        cursor = connection.execute("select * from tasks order by created_at, path")
        columns = [column[0] for column in cursor.get_description()] if _has_rows(connection) else []
        return [_row(dict(zip(columns, row, strict=True)), remarks) for row in cursor]
    except (apsw.Error, UnicodeDecodeError) as error:
        raise ImportFormatError(
            f"{source.name} is no database of the earlier server: {error}",
            field="file",
            given=source.name,
            bound="an SQLite file with a table 'tasks'",
        ) from error
    finally:
        connection.close()


def _has_rows(connection: Any) -> bool:
    return bool(connection.execute("select exists (select 1 from tasks)").fetchall()[0][0])


def _row(values: dict[str, Any], remarks: list[Remark]) -> _Row:
    key = str(values.get("path") or f"row-{len(remarks)}")
    made: dict[str, Any] = {}
    for column, value in values.items():
        told = value.hex() if isinstance(value, bytes) else value
        if isinstance(told, str) and column in {*_LISTS, "metadata"}:
            told = _json_column(key, column, told, remarks)
        made[column], dirty = clean(told)
        if dirty:
            remarks.append(Remark(source=key, message=f"{column} held NUL, now U+FFFD"))
    return _Row(clean(key)[0], made)


def _json_column(key: str, column: str, text: str, remarks: list[Remark]) -> Any:
    """Return the value of a JSON column, or its text when it is broken."""
    if not text.strip():
        return None
    try:
        value, told = parse_json(text, source=key)
    except ImportFormatError:
        if column != "notes":
            remarks.append(Remark(source=key, message=f"{column} is not JSON; kept as text in metadata"))
        return text
    remarks += told
    return value


def _plain(key: str) -> str:
    """Return a path without stray slashes; the earlier server let them in."""
    return "/".join(part for part in key.split("/") if part) or "item"


def _complete(rows: dict[str, _Row], remarks: list[Remark]) -> None:
    """Give every row the row above it by path, making the containers that are missing."""
    keys: dict[str, str] = {}
    for key in rows:
        keys.setdefault(_plain(key), key)
    for key in list(rows):
        current = key
        while (path := _plain(current).rpartition("/")[0]) and rows[current].above is None:
            if path not in keys:
                keys[path] = path
                rows[path] = _Row(path, {"name": path.rpartition("/")[2], "type": "GROUP", "made": True})
                remarks.append(Remark(source=path, message="the file holds no such task; made as a GROUP"))
            rows[current].above = current = keys[path]
        told = rows[key].values.get("parent_path")
        if told and told != rows[key].above:
            remarks.append(Remark(source=key, message=f"its parent_path {told!r} is not above its path; by path it is"))


def _root(row: _Row, rows: dict[str, _Row]) -> str:
    while row.above is not None:
        row = rows[row.above]
    return row.key


def _segment(key: str) -> str:
    """Return the last segment as it is where it is valid, else its slug."""
    last = _plain(key).rpartition("/")[2]
    try:
        parse_path(f"p/{last}")
    except PathError:
        return segment_of(last)
    return last


def _links(rows: dict[str, _Row]) -> list[Link]:
    made = []
    for row in rows.values():
        told = row.values.get("dependencies")
        if isinstance(told, list):
            made += [Link(row.key, on if isinstance(on, str) and on in rows else None, on) for on in told]
    return made


def _draft(row: _Row, path: str, remarks: list[Remark]) -> Draft:
    values = row.values
    own = values.get("metadata")
    metadata: dict[str, Any] = dict(own) if isinstance(own, dict) else {}
    if LABEL in metadata:
        metadata[LABEL] = {"metadata": metadata[LABEL]}
    metadata = keep(metadata, LABEL, _rest(row, path))
    tags = metadata.get("tags")
    return Draft(
        source=row.key,
        path=path,
        name=_text(values, "name") or row.key,
        type=_type(row, remarks),
        status=_status(row, remarks),
        reason=_reason(row, metadata),
        description=_text(values, "description"),
        reasoning=_text(values, "reasoning"),
        notes=_notes(values.get("notes")),
        priority=_priority(row, metadata, remarks),
        assignee=_text(metadata, "assignee") or None,
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        metadata=metadata,
        created_at=_moment(values.get("created_at")),
        updated_at=_moment(values.get("updated_at")),
    )


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _rest(row: _Row, path: str) -> dict[str, Any]:
    """Return what the fields do not say: odd columns, the type and status as written, the old path if it changed."""
    kept = {name: value for name, value in row.values.items() if name not in _KNOWN and value not in (None, [], {})}
    for name in _KNOWN - {"path", "notes"}:
        value = row.values.get(name)
        is_taken = isinstance(value, {"metadata": dict, "dependencies": list}.get(name, str))
        if not is_taken and value is not None:
            kept[name] = value
    if row.values.get("dependencies"):
        kept["dependencies"] = row.values["dependencies"]
    for name in ("type", "status"):
        if name in row.values:
            kept[name] = row.values[name]
    return {**kept, "path": row.key} if path != row.key else kept


def _type(row: _Row, remarks: list[Remark]) -> Type:
    told = str(row.values.get("type", "TASK")).upper()
    if told in Type.__members__:
        return Type(told)
    remarks.append(Remark(source=row.key, message=f"the type {row.values.get('type')!r} is not known; taken as TASK"))
    return Type.TASK


def _status(row: _Row, remarks: list[Remark]) -> Status | None:
    if row.values.get("made"):
        return None
    told = str(row.values.get("status", "PENDING")).upper()
    if told in Status.__members__:
        return Status(told)
    message = f"the status {row.values.get('status')!r} is not known; taken as PENDING"
    remarks.append(Remark(source=row.key, message=message))
    return Status.PENDING


def _reason(row: _Row, metadata: dict[str, Any]) -> str | None:
    if str(row.values.get("status", "")).upper() != Status.BLOCKED:
        return None
    told = metadata.get("blockReason")
    return told if isinstance(told, str) and told else "blocked in the earlier server"


def _priority(row: _Row, metadata: dict[str, Any], remarks: list[Remark]) -> Priority:
    told = metadata.get("priority")
    known = priority_of(told) if isinstance(told, str) else None
    if told is not None and known is None:
        remarks.append(Remark(source=row.key, message=f"the priority {told!r} is not known; taken as medium"))
    return known or Priority.MEDIUM


def _notes(told: Any) -> tuple[DraftNote, ...]:
    if told is None or told == "":
        return ()
    texts = told if isinstance(told, list) else [told]
    return tuple(DraftNote(text=text if isinstance(text, str) else _json(text)) for text in texts)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _moment(told: Any) -> datetime | None:
    """Return milliseconds since 1970 as a time."""
    if not isinstance(told, (int, float)) or not 0 < told <= _MOST_MILLISECONDS:
        return None
    return datetime.fromtimestamp(told / 1000, UTC)
