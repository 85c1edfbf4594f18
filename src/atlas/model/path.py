"""The grammar of paths, and the one matcher of patterns (RULES, paths and order)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NewType

import msgspec

from ..errors import PathError
from . import limits

TaskPath = NewType("TaskPath", str)

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+\Z")
_PATTERN_SEGMENT = re.compile(r"[A-Za-z0-9_.*?-]+\Z")
_ID = re.compile(r"[0-9][0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
_NOT_SLUG = re.compile(r"[^a-z0-9._]+")


def parse_path(text: str, field: str = "path") -> TaskPath:
    """Return `text` as a path, or raise PathError saying which rule it breaks and what would be right."""
    if not text:
        raise PathError("the path is empty", field=field, given=text, bound="1 to 1000 characters")
    if len(text) > limits.PATH:
        raise PathError(f"the path has {len(text)} characters", field=field, given=text, bound=limits.PATH)
    segments = text.split("/")
    if "" in segments:
        right = "/".join(part for part in segments if part)
        hint = f"Write it as {right!r}." if right else "Write it as project/area/task."
        raise PathError("the path has a stray slash", field=field, given=text, bound="no empty segment", hint=hint)
    if len(segments) > limits.DEPTH:
        raise PathError(f"the path has {len(segments)} segments", field=field, given=text, bound=limits.DEPTH)
    for segment in segments:
        _check_segment(segment, text, field)
    first = text[0]
    if not (first.isascii() and first.isalpha()):
        raise PathError("the first segment must begin with a letter", field=field, given=text, bound="A-Z or a-z")
    return TaskPath(text)


def _check_segment(segment: str, text: str, field: str) -> None:
    if segment in {".", ".."}:
        raise PathError(f"{segment!r} is not a segment", field=field, given=text, bound="no '.' or '..'")
    if len(segment) > limits.SEGMENT:
        raise PathError(
            f"the segment {segment[:20]!r}… has {len(segment)} characters",
            field=field,
            given=text,
            bound=limits.SEGMENT,
        )
    if not _SEGMENT.match(segment):
        wrong = next(c for c in segment if not _SEGMENT.match(c))
        raise PathError(
            f"{wrong!r} cannot stand in a path",
            field=field,
            given=text.encode("utf-8", "backslashreplace").decode(),
            bound="letters, digits, '-', '_', '.'",
            hint=f"Write the segment as {slug(segment)!r}; keep the full wording in `name`.",
        )


def slug(text: str, fallback: str = "item") -> str:
    """Return `text` as a valid segment: lower case without accents, other characters as '-', at most 100."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() if not text.isascii() else text
    made = _NOT_SLUG.sub("-", plain.lower()).strip("-")[: limits.SEGMENT].strip("-")
    return fallback if made in {"", ".", ".."} else made


def is_id(text: str) -> bool:
    """Say whether `text` is a task id (a UUIDv7); no path can be one, since paths begin with a letter."""
    return _ID.match(text) is not None


def parent_of(path: str) -> TaskPath | None:
    """Return the path without its last segment, None for a root."""
    head, slash, _ = path.rpartition("/")
    return TaskPath(head) if slash else None


def name_of(path: str) -> str:
    """Return the last segment."""
    return path.rpartition("/")[2]


def project_of(path: str) -> str:
    """Return the first segment."""
    return path.partition("/")[0]


def depth_of(path: str) -> int:
    """Count the segments."""
    return path.count("/") + 1


def ancestors_of(path: str) -> list[TaskPath]:
    """Return every path above, the nearest first."""
    found: list[TaskPath] = []
    above = parent_of(path)
    while above is not None:
        found.append(above)
        above = parent_of(above)
    return found


def is_below(path: str, root: str) -> bool:
    """Say whether `path` lies strictly below `root`."""
    return path.startswith(root) and path[len(root) : len(root) + 1] == "/"


def is_within(path: str, root: str) -> bool:
    """Say whether `path` is `root` or lies below it."""
    return path == root or is_below(path, root)


class Pattern(msgspec.Struct, frozen=True):
    """A compiled glob: `*` one or more characters of a segment, `?` one, `**` any number of segments, also none.

    Every match lies in `low <= path < high` (byte order); `subtree` names the root when the pattern is exactly
    `root/**`, so that a range alone decides. `regex` decides all others.
    """

    text: str
    regex: str
    low: str
    high: str | None
    subtree: str | None

    def matches(self, path: str) -> bool:
        """Say whether `path` matches; the one matcher, also behind the SQL form."""
        return _compiled(self.regex).match(path) is not None


@lru_cache(maxsize=512)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def regex_matches(regex: str, path: str) -> bool:
    """Match `path` against the `regex` of a Pattern: the function that SQL backends register."""
    return _compiled(regex).match(path) is not None


@lru_cache(maxsize=512)
def parse_pattern(text: str, field: str = "pattern") -> Pattern:
    """Return the compiled pattern, or raise PathError."""
    if not text:
        raise PathError("the pattern is empty", field=field, given=text, hint="Use '**' for everything.")
    if len(text) > limits.PATTERN:
        raise PathError(f"the pattern has {len(text)} characters", field=field, given=text, bound=limits.PATTERN)
    segments = text.split("/")
    for segment in segments:
        _check_pattern_segment(segment, text, field)
    literal = [s for s in segments if "*" not in s and "?" not in s]
    kept = [s for i, s in enumerate(segments) if not (s == "**" and i and segments[i - 1] == "**")]
    if len([s for s in kept if s != "**"]) > limits.DEPTH:
        raise PathError(f"the pattern has {len(kept)} segments", field=field, given=text, bound=limits.DEPTH)
    regex = _regex(kept)
    if literal == kept:
        return Pattern(text=text, regex=regex, low=text, high=text + "\0", subtree=None)
    if kept[-1] == "**" and literal == kept[:-1] and literal:
        root = "/".join(literal)
        return Pattern(text=text, regex=regex, low=root, high=root + "0", subtree=root)
    prefix = re.split(r"[*?]", "/".join(kept), maxsplit=1)[0]
    if kept[prefix.count("/")] == "**":
        prefix = prefix.rstrip("/")
    high = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
    return Pattern(text=text, regex=regex, low=prefix, high=high, subtree=None)


def _check_pattern_segment(segment: str, text: str, field: str) -> None:
    if not segment:
        right = "/".join(part for part in text.split("/") if part) or "**"
        raise PathError("the pattern has a stray slash", field=field, given=text, hint=f"Write it as {right!r}.")
    if not _PATTERN_SEGMENT.match(segment) or segment in {".", ".."}:
        raise PathError(
            f"{segment[:100]!r} cannot stand in a pattern".encode("utf-8", "backslashreplace").decode(),
            field=field,
            given=text.encode("utf-8", "backslashreplace").decode(),
            bound="letters, digits, '-', '_', '.', '*', '?', '**'",
        )
    if "**" in segment and segment != "**":
        raise PathError(
            "'**' must be a whole segment",
            field=field,
            given=text,
            hint="Write 'area/**' for everything below area, '*' for part of a segment.",
        )


def _regex(segments: list[str]) -> str:
    made, slash = "", False
    for index, segment in enumerate(segments):
        if segment != "**":
            made += ("/" if slash else "") + _segment_regex(segment)
            slash = True
        elif index < len(segments) - 1:
            made += ("/" if slash else "") + r"(?:[^/]+/)*"
            slash = False
        else:
            made += r"(?:/[^/]+)*" if slash else r"[^/]+(?:/[^/]+)*"
    return made + r"\Z"


def _segment_regex(segment: str) -> str:
    """Translate one segment; every star but the last is atomic, so that matching takes linear time."""
    chunks = [re.escape(chunk).replace(r"\?", "[^/]") for chunk in segment.split("*")]
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>[^/]+?{chunk})" for chunk in chunks[1:-1])
    return f"{chunks[0]}{middle}[^/]+{chunks[-1]}"
