"""Reads Atlas's own JSON lines: a first line that names the format, then one draft on each line.

`source` is the id of the task where it has one. A dependency is the `source` (or the path) of another line, or an id
or a path that the store knows. A draft that keeps the rules comes back exactly as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...errors import ImportFormatError, PathError
from ...model import limits
from ...model.path import is_id, name_of, parse_path, project_of
from .decode import clean, decode, whole_bytes, whole_text
from .draft import Draft, Reading, Remark, Source
from .fit import fit, keep
from .links import Link, attach
from .tree import with_parents_first

LABEL = "atlas"
VERSION = 1
_FIELDS = frozenset(field.name for field in msgspec.structs.fields(Draft))
_TIMES = tuple(name for name in msgspec.structs.fields(Draft) if name.name.endswith("_at"))


def recognises(source: Source) -> bool:
    """Say whether the first line is the header of this format, or a draft."""
    if len(source.files) != 1:
        return False
    try:
        line = decode(source.name, whole_bytes(source)).lstrip().partition("\n")[0]
        value = msgspec.json.decode(line)
    except (ImportFormatError, msgspec.DecodeError, RecursionError):
        return False
    return isinstance(value, dict) and ("atlas" in value or {"path", "name"} <= value.keys())


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES_MOST) -> Reading:
    """Return the drafts as they were written; with `project`, as copies (without ids) below another first segment."""
    remarks: list[Remark] = []
    drafts = list(_drafts(source, remarks))
    _check_unique(drafts, source.name)
    drafts = [drafts[index] for index in with_parents_first(draft.path for draft in drafts)]
    if project is not None:
        drafts = rename(drafts, project, remarks)
    bare = [msgspec.structs.replace(draft, dependencies=()) if draft.dependencies else draft for draft in drafts]
    linked, told = attach(bare, links_of(drafts), LABEL, most)
    remarks += told
    fitted = [fit(draft, LABEL) for draft in linked]
    remarks += [remark for _, told in fitted for remark in told]
    return Reading(format=LABEL, drafts=tuple(draft for draft, _ in fitted), remarks=tuple(remarks))


def links_of(drafts: Sequence[Draft]) -> list[Link]:
    """Return the dependencies of the drafts as links; what the drafts do not hold may be outside."""
    sources = {draft.path: draft.source for draft in drafts}
    known = {draft.source for draft in drafts}
    made = []
    for draft in drafts:
        for told in draft.dependencies:
            on = told if told in known else sources.get(told, told)
            made.append(Link(draft.source, on, told, is_outside=is_id(on) or _is_path(on)))
    return made


def rename(drafts: Sequence[Draft], project: str, remarks: list[Remark]) -> list[Draft]:
    """Return the drafts as copies, without ids, in the project called `project`; of several projects, as they are."""
    olds = {project_of(draft.path) for draft in drafts}
    if olds == {project}:
        return list(drafts)
    if len(olds) > 1:
        message = f"the file holds {len(olds)} projects, which keep their names; {project!r} was not used"
        remarks.append(Remark(source=project, message=message))
        return list(drafts)
    sources = {draft.path: draft.source for draft in drafts}
    made = []
    for draft in drafts:
        below = draft.path.partition("/")[2]
        on = tuple(sources.get(told, told) for told in draft.dependencies)
        path = f"{project}/{below}" if below else project
        made.append(msgspec.structs.replace(draft, path=path, id=None, dependencies=on))
    return made


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except PathError:
        return False
    return True


def _drafts(source: Source, remarks: list[Remark]) -> Iterator[Draft]:
    is_first = True
    for number, line in enumerate(whole_text(source).split("\n"), 1):
        if not line.strip():
            continue
        value = _value(line, number, source.name)
        if is_first and "atlas" in value:
            _check_header(value, number, source.name)
        else:
            yield _draft(value, number, source.name, remarks)
        is_first = False


def _value(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _broken(number, name, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _broken(number, name, "is not a JSON object")
    cleaned, _ = clean(value)
    return dict(cleaned)


def _check_header(value: Mapping[str, Any], number: int, name: str) -> None:
    version = value.get("version")
    if value["atlas"] != "tasks" or not isinstance(version, int) or version > VERSION:
        raise ImportFormatError(
            f"line {number} of {name} is the header of another format",
            field="version",
            given=dict(value),
            bound={"atlas": "tasks", "version": VERSION},
            hint="Upgrade Atlas, or export again with this version.",
        )


def _draft(value: dict[str, Any], number: int, name: str, remarks: list[Remark]) -> Draft:
    unknown = {key: item for key, item in value.items() if key not in _FIELDS}
    told = {key: item for key, item in value.items() if key in _FIELDS}
    told.setdefault("source", told.get("id") or told.get("path"))
    told.setdefault("name", name_of(told["path"]) if isinstance(told.get("path"), str) else None)
    try:
        draft = _with_offsets(msgspec.convert(told, Draft))
        parse_path(draft.path)
    except (msgspec.ValidationError, PathError) as error:
        raise _broken(number, name, f"is no task: {error}") from error
    if unknown:
        message = f"{', '.join(sorted(unknown))}: no such field; kept in metadata.{LABEL}.unknown"
        remarks.append(Remark(source=draft.source, path=draft.path, message=message))
        draft = msgspec.structs.replace(draft, metadata=keep(draft.metadata, LABEL, {"unknown": unknown}))
    return draft


def _with_offsets(draft: Draft) -> Draft:
    changes = {}
    for field in _TIMES:
        moment = getattr(draft, field.name)
        if isinstance(moment, datetime) and moment.tzinfo is None:
            changes[field.name] = moment.replace(tzinfo=UTC)
    return msgspec.structs.replace(draft, **changes) if changes else draft


def _check_unique(drafts: Sequence[Draft], name: str) -> None:
    for field in ("path", "source"):
        seen: set[str] = set()
        for draft in drafts:
            value = getattr(draft, field)
            if value in seen:
                raise ImportFormatError(
                    f"{name} holds the {field} {value!r} twice", field=field, given=value, bound="unique"
                )
            seen.add(value)


def _broken(number: int, name: str, what: str) -> ImportFormatError:
    return ImportFormatError(
        f"line {number} of {name} {what}",
        field="file",
        given=f"line {number}",
        bound="one task as a JSON object on each line",
        hint="Correct that line; nothing was imported.",
        details={"line": number},
    )
