"""Reads the small part of YAML that Backlog.md writes: keys with texts, lists of texts, and folded or literal blocks.

Every value is text or a list of texts, as written: `1.0` stays `1.0`.
"""

from __future__ import annotations

import json
import re

_KEY = re.compile(r"([A-Za-z_][\w.-]*):(?:\s+(.*))?\Z")
_ITEM = re.compile(r"\s*-(?:\s+(.*))?\Z")
_BLOCK = re.compile(r"([|>])([+-]?)\d*\s*\Z")
_COMMENT = re.compile(r"\s#.*\Z")
_FLOW_ITEM = re.compile(r"""\s*('(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|[^,]*?)\s*(?:,|\Z)""")
_EDGE = re.compile(r"---[ \t]*\n")

Value = str | list[str] | None


def split(text: str) -> tuple[str | None, str]:
    """Return the front matter of a page, None when it has none, and the rest of it; lines end in LF."""
    opening = _EDGE.match(text)
    if opening is None:
        return None, text
    closing = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE).search(text, opening.end())
    if closing is None:
        return None, text
    return text[opening.end() : closing.start()], text[closing.end() :]


def parse(text: str) -> tuple[dict[str, Value], list[str]]:
    """Return the values by key, and the lines that are beyond this subset."""
    reader = _Reader(text.split("\n"))
    values: dict[str, Value] = {}
    while reader.has_more():
        line = reader.take()
        match = _KEY.match(line)
        if match and match[1] not in values:
            values[match[1]] = reader.value(match[2] or "")
        elif line.strip() and not line.lstrip().startswith("#"):
            reader.unread.append(line)
    return values, reader.unread


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines, self.at = lines, 0
        self.unread: list[str] = []

    def has_more(self) -> bool:
        return self.at < len(self.lines)

    def take(self) -> str:
        self.at += 1
        return self.lines[self.at - 1]

    def value(self, told: str) -> Value:
        """Return the value that begins with `told` on the line of its key."""
        told = told.strip()
        if told.startswith("["):
            return _flow(self._until_closed(told))
        if told and not told.startswith("#"):
            return self._scalar(told, 0)
        items = []
        while self.has_more() and (match := _ITEM.match(self.lines[self.at])):
            indent = len(self.lines[self.at]) - len(self.lines[self.at].lstrip())
            self.at += 1
            items.append(self._scalar((match[1] or "").strip(), indent))
        return items or None

    def _until_closed(self, told: str) -> str:
        while not re.search(r"\]\s*(#.*)?\Z", told) and self.has_more() and not _KEY.match(self.lines[self.at]):
            told += " " + self.take().strip()
        return told

    def _scalar(self, told: str, indent: int) -> str:
        block = _BLOCK.match(told)
        more = self._deeper(indent)
        if block:
            return _joined(more, is_folded=block[1] == ">", chomp=block[2])
        whole = " ".join([told, *(line.strip() for line in more if line.strip())])
        return _plain(whole)

    def _deeper(self, indent: int) -> list[str]:
        """Take the lines that are indented more than `indent`, or blank between such lines."""
        start = self.at
        end = start
        while self.has_more():
            line = self.lines[self.at]
            if line.strip() and (len(line) - len(line.lstrip()) <= indent or (indent == 0 and _ITEM.match(line))):
                break
            self.at += 1
            end = self.at if line.strip() else end
        self.at = end
        return self.lines[start:end]


def _joined(lines: list[str], *, is_folded: bool, chomp: str) -> str:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    bare = [line[margin:] for line in lines]
    if not is_folded:
        return "\n".join(bare) + ("" if chomp == "-" else "\n")
    text = ""
    for index, line in enumerate(bare):
        if index == 0:
            text = line
        elif not line:
            text += "\n"
        else:
            text += line if text.endswith("\n") else f" {line}"
    return text + ("" if chomp == "-" else "\n")


def _flow(told: str) -> list[str]:
    inner = _COMMENT.sub("", told).strip()
    inner = inner[1:-1] if inner.endswith("]") else inner[1:]
    items = []
    at = 0
    while at < len(inner):
        match = _FLOW_ITEM.match(inner, at)
        if match is None:
            break
        items.append(_plain(match[1]))
        at = max(match.end(), at + 1)
    return [item for item in items if item]


def _plain(told: str) -> str:
    """Return a scalar without its quotes, or without the comment behind it."""
    if len(told) > 1 and told[0] == told[-1] == "'":
        return told[1:-1].replace("''", "'")
    if len(told) > 1 and told[0] == told[-1] == '"':
        try:
            return str(json.loads(told))
        except ValueError:
            return told[1:-1]
    return _COMMENT.sub("", told).strip() if told[:1] not in {"'", '"'} else told
