"""Makes a draft fit the limits of Atlas without losing a character: what is cut is kept whole beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ...errors import InputError
from ...model import limits
from ...model.path import name_of
from ...model.task import Criterion
from .draft import Draft, DraftNote, Remark

CUTS = (
    ("name", limits.NAME),
    ("description", limits.DESCRIPTION),
    ("reasoning", limits.REASONING),
    ("reason", limits.REASON),
    ("assignee", limits.ASSIGNEE),
)
WORD_LISTS = (("tags", limits.TAG, limits.TAGS), ("requires", limits.CAPABILITY, limits.CAPABILITIES))
_HEADER_ROOM = 256


def cut(text: str, limit: int) -> str:
    """Return `text` within `limit` characters, ending in `…` when some are missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def keep(metadata: Mapping[str, Any], label: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metadata` with more of what the source said, below `label`; what is there already stays."""
    own = metadata.get(label, {})
    return {**metadata, label: {**values, **(own if isinstance(own, Mapping) else {"value": own})}}


def fit(draft: Draft, label: str) -> tuple[Draft, list[Remark]]:
    """Return `draft` within every limit, with a remark for each thing that had to be cut.

    A cut value is whole in `metadata.<label>.whole.<field>`; what metadata cannot hold becomes notes, in parts.
    """
    whole: dict[str, Any] = {}
    changes = {**_texts(draft, whole), **_words(draft, whole), **_acceptance(draft, whole), **_hours(draft, whole)}
    said = [f"{field} was cut to its limit; whole in metadata.{label}.whole.{field}" for field in whole]
    if not draft.name.strip():
        changes["name"] = name_of(draft.path)
        said.append("no name; called by its place")
    metadata: Mapping[str, Any] = draft.metadata
    if whole:
        metadata = keep(metadata, label, {"whole": whole})
    metadata, moved, told = _metadata(metadata, label)
    said += told
    notes = tuple(part for note in (*draft.notes, *moved) for part in _note(note))
    if notes != draft.notes:
        changes["notes"] = notes
    if metadata is not draft.metadata:
        changes["metadata"] = metadata
    remarks = [Remark(source=draft.source, path=draft.path, message=message) for message in said]
    return (msgspec.structs.replace(draft, **changes) if changes else draft), remarks


def _texts(draft: Draft, whole: dict[str, Any]) -> dict[str, Any]:
    made = {}
    for field, limit in CUTS:
        text = getattr(draft, field)
        if text is not None and len(text) > limit:
            whole[field] = text
            made[field] = cut(text, limit)
    return made


def _words(draft: Draft, whole: dict[str, Any]) -> dict[str, Any]:
    made = {}
    for field, longest, most in WORD_LISTS:
        words: tuple[str, ...] = getattr(draft, field)
        kept = tuple(dict.fromkeys(word for word in words if word.strip() and len(word) <= longest))[:most]
        if kept != words:
            whole[field] = list(words)
            made[field] = kept
    return made


def _acceptance(draft: Draft, whole: dict[str, Any]) -> dict[str, Any]:
    fits = all(len(item.text) <= limits.CRITERION for item in draft.acceptance)
    if fits and len(draft.acceptance) <= limits.CRITERIA:
        return {}
    whole["acceptance"] = [{"text": item.text, "done": item.done} for item in draft.acceptance]
    kept = draft.acceptance[: limits.CRITERIA]
    return {"acceptance": tuple(Criterion(cut(item.text, limits.CRITERION), item.done) for item in kept)}


def _hours(draft: Draft, whole: dict[str, Any]) -> dict[str, Any]:
    hours = draft.estimated_hours
    if hours is None or (math.isfinite(hours) and 0 <= hours <= limits.ESTIMATE_HOURS):
        return {}
    whole["estimated_hours"] = hours if math.isfinite(hours) else str(hours)
    return {"estimated_hours": None}


def _note(note: DraftNote) -> Iterator[DraftNote]:
    by = cut(note.by, limits.ACTOR) if note.by is not None else None
    if len(note.text) <= limits.NOTE and by == note.by:
        yield note
        return
    text = note.text if by == note.by else f"{note.by}:\n{note.text}"
    for start in range(0, len(text), limits.NOTE):
        yield msgspec.structs.replace(note, text=text[start : start + limits.NOTE], by=by)


def _metadata(metadata: Mapping[str, Any], label: str) -> tuple[Mapping[str, Any], list[DraftNote], list[str]]:
    """Return metadata within its bounds, what had to leave it as notes, and what to say of it."""
    notes: list[DraftNote] = []
    said: list[str] = []
    while True:
        try:
            limits.check_metadata(metadata)
        except InputError as error:
            name, value, metadata = _worst(metadata, label, by_depth=error.bound == limits.METADATA_DEPTH)
            if error.bound == limits.METADATA_DEPTH:
                metadata = _put(metadata, name, _json(value))
                said.append(f"metadata {'.'.join(name)} is nested too deeply; kept as JSON text")
            else:
                parts = list(_parts(".".join(name), value))
                notes += parts
                said.append(f"metadata {'.'.join(name)} is too long; kept in {len(parts)} notes")
        else:
            return metadata, notes, said


def _worst(metadata: Mapping[str, Any], label: str, *, by_depth: bool) -> tuple[tuple[str, ...], Any, dict[str, Any]]:
    """Take the entry that goes first out of `metadata`: the longest, or the first of the most deeply nested."""
    entries = list(_entries(metadata, label))
    name, value = max(entries, key=lambda entry: _levels(entry[1]) if by_depth else len(_json(entry[1])))
    return name, value, _without(metadata, name)


def _entries(metadata: Mapping[str, Any], label: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in metadata.items():
        if key != label or not isinstance(value, Mapping):
            yield (key,), value
            continue
        for inner, item in value.items():
            if inner == "whole" and isinstance(item, Mapping):
                yield from (((key, inner, field), text) for field, text in item.items())
            else:
                yield (key, inner), item


def _without(metadata: Mapping[str, Any], name: tuple[str, ...]) -> dict[str, Any]:
    made = dict(metadata)
    if len(name) == 1:
        del made[name[0]]
    else:
        made[name[0]] = _without(made[name[0]], name[1:])
    return made


def _put(metadata: Mapping[str, Any], name: tuple[str, ...], value: Any) -> dict[str, Any]:
    inner = value if len(name) == 1 else _put(metadata.get(name[0], {}), name[1:], value)
    return {**metadata, name[0]: inner}


def _levels(value: Any) -> int:
    level, current = 0, [value]
    while current:
        level += 1
        lists = [item for item in current if isinstance(item, (list, tuple))]
        maps = [item for item in current if isinstance(item, Mapping)]
        current = [inner for item in lists for inner in item] + [inner for item in maps for inner in item.values()]
    return level


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _parts(name: str, value: Any) -> Iterator[DraftNote]:
    """Give a long value as notes; the texts after their first lines, one after the other, are the value."""
    text = value if isinstance(value, str) else _json(value)
    name = cut(name, _HEADER_ROOM // 2)
    room = limits.NOTE - _HEADER_ROOM
    count = -(-len(text) // room)
    for index in range(count):
        header = f"{name}, part {index + 1} of {count}:\n"
        yield DraftNote(text=header + text[index * room : (index + 1) * room])
