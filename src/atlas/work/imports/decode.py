"""From the bytes of a foreign file to clean text and JSON, or an error that says where it is broken."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ...errors import ImportFormatError
from ...model import limits
from .draft import Remark, Source

_DIRTY = re.compile("[\0\ud800-\udfff]")
_LONGEST_INTEGER = 18


def whole_text(source: Source) -> str:
    """Return the text of the only file of `source`, without a byte order mark; line ends stay as they are."""
    return decode(source.name, whole_bytes(source))


def whole_bytes(source: Source) -> bytes:
    """Return the bytes of the first file of `source`, refusing what is empty or over the limit."""
    if not source.files:
        raise ImportFormatError(f"{source.name} holds no file", field="file", given=source.name, bound="a file")
    data = next(iter(source.files.values()))
    if len(data) > limits.IMPORT_BYTES:
        raise ImportFormatError(
            f"{source.name} has {len(data)} bytes",
            field="file",
            given=len(data),
            bound=limits.IMPORT_BYTES,
            hint="Split the file, and import the parts one after the other.",
        )
    if not data.strip():
        raise ImportFormatError(f"{source.name} is empty", field="file", given=len(data), bound="some content")
    return data


def decode(name: str, data: bytes) -> str:
    """Return `data` as text; anything but UTF-8 is refused with the line where it stops being that."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ImportFormatError(
            f"line {line} of {name} is not UTF-8",
            field="file",
            given=f"byte {data[error.start]:#04x} at offset {error.start}",
            bound="UTF-8",
            hint="Save the file as UTF-8 and import it again.",
            details={"line": line},
        ) from error


def clean(value: Any) -> tuple[Any, int]:
    """Return JSON data with every NUL and lone surrogate as U+FFFD, and how many texts held one."""
    if isinstance(value, str):
        return (_DIRTY.sub("\ufffd", value), 1) if _DIRTY.search(value) else (value, 0)
    if isinstance(value, dict):
        pairs = [(clean(key), clean(item)) for key, item in value.items()]
        count = sum(key[1] + item[1] for key, item in pairs)
        return ({key[0]: item[0] for key, item in pairs}, count) if count else (value, 0)
    if isinstance(value, list):
        items = [clean(item) for item in value]
        count = sum(item[1] for item in items)
        return ([item[0] for item in items], count) if count else (value, 0)
    return value, 0


def parse_json(text: str, *, source: str, line: int = 1) -> tuple[Any, list[Remark]]:
    """Return the JSON value of `text` as data that every store keeps, with remarks on what had to be changed.

    A key given twice keeps both values (the later one under `key (2)`); numbers that no store keeps become text.
    `line` is the line of the file where `text` begins. Raises ImportFormatError naming the line.
    """
    twice: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        return made if len(made) == len(pairs) else _keep_all(pairs, twice)

    try:
        value = json.loads(text, object_pairs_hook=build, parse_constant=str, parse_float=_float, parse_int=_integer)
        value, dirty = clean(value)
    except (ValueError, RecursionError) as error:
        raise _broken(error, source, line) from error
    remarks = [Remark(source=source, message=f"the key {key!r} is given twice; both values are kept") for key in twice]
    if dirty:
        remarks.append(Remark(source=source, message=f"{dirty} texts held NUL or half a surrogate pair, now U+FFFD"))
    return value, remarks


def _keep_all(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        name, number = key, 1
        while name in made:
            number += 1
            name = f"{key} ({number})"
        if number > 1:
            twice.append(key)
        made[name] = value
    return made


def _float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_INTEGER else text


def _broken(error: ValueError | RecursionError, source: str, line: int) -> ImportFormatError:
    if isinstance(error, json.JSONDecodeError):
        at = error.lineno + line - 1
        message, given = f"line {at} of {source} is not JSON: {error.msg}", f"line {at}, column {error.colno}"
    else:
        at, message, given = line, f"{source} is not JSON that can be read: nested too deeply", f"line {line}"
    return ImportFormatError(
        message,
        field="file",
        given=given,
        bound="valid JSON",
        hint="Correct that line; nothing was imported.",
        details={"line": at},
    )
