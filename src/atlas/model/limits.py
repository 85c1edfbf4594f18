"""Every limit, once: what a field may hold, how deep a tree may grow, how long a list may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import InputError

SEGMENT = 100
PATH = 1_000
DEPTH = 8
NAME = 200
DESCRIPTION = 32_768
REASONING = 8_192
NOTE = 32_768
NOTES = 100
TAG = 100
TAGS = 100
CRITERION = 1_000
CRITERIA = 100
CAPABILITY = 100
CAPABILITIES = 100
ASSIGNEE = 200
ACTOR = 200
REASON = 8_192
ESTIMATE_HOURS = 100_000.0
METADATA_BYTES = 65_536
METADATA_DEPTH = 8
DEPENDENCIES = 50
DEPENDENCIES_MOST = 1_000
CHILDREN = 10_000
BULK = 1_000
PAGE = 50
PAGE_MOST = 500
AFFECTED = 200
PATTERN = 1_000
TEXT = 1_000
KEY = 200
IMPORT_BYTES = 64 * 1024 * 1024
IMPORT_RECORDS = 10_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits an operator may set; the constants above are fixed."""

    dependencies: int = DEPENDENCIES
    children: int = CHILDREN


def check_clean(value: Any, field: str) -> None:
    """Refuse NUL, lone surrogates, NaN and infinities anywhere in `value`: no backend keeps them all alike.

    Raises InputError naming the field.
    """
    if isinstance(value, str):
        _check_text(value, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{field} is not a finite number", field=field, given=str(value), bound="finite")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(str(key), field)
            check_clean(item, f"{field}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_clean(item, f"{field}[{index}]")


def _check_text(value: str, field: str) -> None:
    if value.isascii():
        if "\0" in value:
            raise InputError(f"{field} holds a NUL character", field=field, given=value, bound="no NUL")
        return
    if "\0" in value:
        raise InputError(f"{field} holds a NUL character", field=field, given=value, bound="no NUL")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        shown = value.encode("utf-8", "backslashreplace").decode()
        raise InputError(f"{field} holds a lone surrogate", field=field, given=shown, bound="valid Unicode") from error


def check_metadata(metadata: Mapping[str, Any], field: str = "metadata") -> None:
    """Refuse metadata over 64 KiB of JSON (UTF-8 bytes) or deeper than 8 levels."""
    depth = _depth(metadata)
    if depth > METADATA_DEPTH:
        raise InputError(f"{field} is {depth} levels deep", field=field, given=depth, bound=METADATA_DEPTH)
    try:
        size = len(msgspec.json.encode(metadata))
    except (TypeError, OverflowError, ValueError) as error:
        raise InputError(f"{field} is not JSON: {error}", field=field, bound="JSON values") from error
    if size > METADATA_BYTES:
        raise InputError(
            f"{field} takes {size} bytes of JSON",
            field=field,
            given=size,
            bound=METADATA_BYTES,
            hint="Keep large texts in the description or in files, and a link to them here.",
        )


def _depth(value: Any) -> int:
    """Levels of containers in `value`, counted level by level so that hostile nesting cannot exhaust the stack."""
    level, current = 0, [value]
    while current:
        containers = [item for item in current if isinstance(item, (Mapping, list, tuple))]
        if not containers:
            return level
        level += 1
        if level > METADATA_DEPTH * 4:
            return level
        current = [inner for item in containers for inner in (item.values() if isinstance(item, Mapping) else item)]
    return level


def check_unique(values: tuple[str, ...] | list[str], field: str) -> None:
    """Refuse a list that names the same thing twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{field} names {value!r} twice", field=field, given=value, bound="unique")
        seen.add(value)
