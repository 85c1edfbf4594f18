"""Reads a Markdown page as an outline: headings, list items, rows of tables, and the text and fields of each.

It is made for plans, and more lenient than CommonMark where people are: any deeper indentation nests a list item.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

FIELDS = {
    "dependencies": "depends on|depends|dependencies|dependency|blocked by|prerequisites",
    "priority": "priority|prio",
    "estimate": "estimate|estimated|estimation|estimated effort|estimated time|time estimate|effort|duration",
    "due": "due|due date|due by|deadline",
    "assignee": "assignee|assigned to|assigned|owner",
    "tags": "tags|tag|labels|label",
    "status": "status|state",
    "acceptance": "acceptance criteria|acceptance",
}
TITLES = frozenset(
    {"task", "tasks", "title", "name", "item", "todo", "action", "work item", "feature", "story", "step"}
)
NUMBERS = frozenset({"id", "#", "no", "no.", "nr", "nr.", "key", "number"})
_FIELD_OF = {word: field for field, words in FIELDS.items() for word in words.split("|")}
_NAMES = "|".join(sorted(_FIELD_OF, key=len, reverse=True))
_FIELD = re.compile(rf"([*_]{{0,2}})({_NAMES})[*_]{{0,2}}[ \t]*:[ \t]*[*_]{{0,2}}[ \t]*(.*)\Z", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*)|)\Z")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])([ \t]+|\Z)(.*)\Z")
_CHECK = re.compile(r"\[([ xX~/!>.✓✔-])\](?:[ \t]+(.*)|)\Z")
_RULE = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}\Z")
_FENCE = re.compile(r"(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"(=+|-{2,})[ \t]*\Z")
_DELIMITER = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\Z")
_CELL = re.compile(r"(?<!\\)\|")
_COMMENT = re.compile(r"<!-- atlas: (\{.*\}) -->[ \t]*\Z")
_TITLE_ENDS = (".", ":", ";", "!", "?", "**", "__")
_TAB = 4


class Block(msgspec.Struct):
    """A heading, list item, field or row; `mark` is the character in its checkbox, `number` what the list calls it."""

    kind: str
    text: str = ""
    level: int = 0
    indent: int = -1
    content: int = 0
    mark: str | None = None
    number: str = ""
    lines: list[str] = []
    children: list[Block] = []
    fields: list[tuple[str, Block]] = []
    columns: dict[str, str] = {}
    comment: dict[str, Any] | None = None

    def description(self) -> str:
        """Return the text below the title, without the blank lines around it."""
        lines = list(self.lines)
        while lines and not lines[-1].strip():
            lines.pop()
        while lines and not lines[0].strip():
            lines.pop(0)
        return "\n".join(lines)

    def values(self, field: str) -> list[str]:
        """Return what the page says of a field: the text behind the colon, and the items or lines below it."""
        found = []
        for name, block in self.fields:
            if name == field:
                found += [block.text, *block.lines, *(child.text for child in block.children)]
        return [value.strip() for value in found if value.strip()]


def field_of(line: str) -> tuple[str, str] | None:
    """Return the field that a line names and its value, None when it names none."""
    match = _FIELD.match(line.strip())
    if match is None:
        return None
    value = match[3].strip()
    if match[1] and value.endswith(match[1]):
        value = value[: -len(match[1])].rstrip()
    return _FIELD_OF[match[2].lower()], value


def is_plain(line: str) -> bool:
    """Say whether a line of text stays text wherever it stands."""
    if not line:
        return True
    if line[0].isspace() or line[0] in "#>|<" or "|" in line or field_of(line) or _ITEM.match(line):
        return False
    return not (_RULE.match(line) or _FENCE.match(line) or _UNDERLINE.match(line) or _CHECK.match(line))


def is_title(text: str) -> bool:
    """Say whether a text is read as a title where it stands alone behind a hash or a hyphen."""
    return not (_CHECK.match(text) or field_of(text) or _RULE.match(f"- {text}"))


def parse_outline(text: str) -> Block:
    """Return the page as a block that holds the others."""
    reader = _Reader(text.replace("\r\n", "\n").split("\n"))
    while reader.at < len(reader.lines):
        reader.step()
    return reader.root


def _indent_of(line: str) -> int:
    column = 0
    for character in line:
        if character == "\t":
            column += _TAB - column % _TAB
        elif character == " ":
            column += 1
        else:
            break
    return column


def _without_closing(title: str) -> str:
    """Return a heading without the hashes that may close it."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


def _dedent(line: str, columns: int) -> str:
    """Take up to `columns` columns of white space off the front."""
    column = 0
    for index, character in enumerate(line):
        if column >= columns or character not in " \t":
            return line[index:]
        column += _TAB - column % _TAB if character == "\t" else 1
    return ""


class _Reader:
    """Goes through the lines; `items` are the open list items, the innermost last."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.at = lines, 0
        self.root = Block("root")
        self.headings = [self.root]
        self.items: list[Block] = []
        self.latest = self.root
        self.until: re.Pattern[str] | None = None
        self.is_after_text = False

    def step(self) -> None:
        """Read one line, or one table."""
        line = self.lines[self.at]
        self.at += 1
        stripped = line.strip()
        if self.until is not None:
            self._verbatim(line, stripped)
        elif not stripped:
            self._owner().lines.append("")
            self.is_after_text = False
        else:
            self._line(line, stripped, _indent_of(line))

    def _line(self, line: str, stripped: str, indent: int) -> None:
        comment = _COMMENT.match(stripped)
        if comment and self._comment(comment[1]):
            self.is_after_text = False
        elif (heading := _HEADING.match(stripped)) and (indent == 0 or (indent < _TAB and not self.items)):
            self._heading(len(heading[1]), _without_closing(heading[2] or ""))
        elif (underline := _UNDERLINE.match(stripped)) and self._is_title_above():
            above = self.headings[-1].lines.pop().strip()
            self._heading(1 if underline[1][0] == "=" else 2, above)
        elif _RULE.match(stripped):
            self._text(line, indent)
        elif (item := _ITEM.match(stripped)) and (indent < _TAB or self.items):
            self._item(indent, item)
        elif not self._table(line, indent):
            self._text(line, indent)

    def _comment(self, told: str) -> bool:
        try:
            value = msgspec.json.decode(told)
        except (msgspec.DecodeError, RecursionError):
            return False
        if self.latest.comment is not None:
            return False
        self.latest.comment = value
        return True

    def _is_title_above(self) -> bool:
        lines = self.headings[-1].lines
        return not self.items and self.is_after_text and (len(lines) < 2 or not lines[-2].strip())

    def _heading(self, level: int, text: str) -> None:
        while self.headings[-1].level >= level:
            self.headings.pop()
        self.items = []
        self._add(self.headings[-1], Block("heading", level=level), text)
        self.headings.append(self.latest)

    def _item(self, indent: int, match: re.Match[str]) -> None:
        while self.items and self.items[-1].indent >= indent:
            self.items.pop()
        gap = len(match[2].expandtabs(_TAB)) if match[3] else 1
        block = Block("item", indent=indent, content=indent + len(match[1]) + min(gap, _TAB))
        block.number = match[1][:-1]
        named = field_of(match[3])
        owner = self._owner()
        if named and owner.kind != "field":
            block.kind, block.text = "field", named[1]
            owner.fields.append((named[0], block))
            self.latest = block
        else:
            self._add(owner, block, match[3])
        self.items.append(self.latest)
        self.is_after_text = True

    def _add(self, owner: Block, block: Block, text: str) -> None:
        check = _CHECK.match(text.strip())
        block.mark = check[1] if check else None
        block.text = (check[2] or "" if check else text).strip()
        owner.children.append(block)
        self.latest = block
        self.is_after_text = False

    def _owner(self) -> Block:
        return self.items[-1] if self.items else self.headings[-1]

    def _close(self, indent: int) -> Block:
        """Close the items that a line of this indentation does not belong to, and return the one it does."""
        while self.items and indent <= self.items[-1].indent and not self.is_after_text:
            self.items.pop()
        return self._owner()

    def _text(self, line: str, indent: int) -> None:
        owner = self._close(indent)
        stripped = line.strip()
        named = None if stripped[0] in "><" else field_of(stripped)
        if named and owner.kind != "field":
            owner.fields.append((named[0], Block("field", named[1])))
        elif self.is_after_text and owner.kind != "heading" and self._continues(owner, stripped):
            owner.text = f"{owner.text} {stripped}"
        else:
            owner.lines.append(_dedent(line, owner.content))
        fence = _FENCE.match(stripped)
        if fence:
            self.until = re.compile(rf"{re.escape(fence[1])}{re.escape(fence[1][0])}*\Z")
        elif stripped.startswith("<!--") and "-->" not in stripped:
            self.until = re.compile(r".*-->")
        self.is_after_text = True

    def _continues(self, owner: Block, text: str) -> bool:
        """Say whether a line goes on with the title above it, as in a page that was wrapped by hand."""
        is_open = owner is self.latest and owner.kind == "item" and not owner.lines and not owner.fields
        return is_open and text[0].islower() and bool(owner.text) and not owner.text.endswith(_TITLE_ENDS)

    def _verbatim(self, line: str, stripped: str) -> None:
        owner = self._owner()
        owner.lines.append(_dedent(line, owner.content))
        if self.until is not None and self.until.match(stripped):
            self.until = None

    def _table(self, line: str, indent: int) -> bool:
        """Read a table that has a column of titles; any other table is text."""
        if "|" not in line or self.at >= len(self.lines):
            return False
        below = self.lines[self.at].strip()
        names = _cells(line)
        if not (_DELIMITER.match(below) and ("|" in below)) or not TITLES & {name.lower() for name in names}:
            return False
        self.is_after_text = False
        owner = self._close(indent)
        self.at += 1
        while self.at < len(self.lines) and "|" in self.lines[self.at]:
            self._row(owner, names, _cells(self.lines[self.at]))
            self.at += 1
        return True

    def _row(self, owner: Block, names: list[str], cells: list[str]) -> None:
        block = Block("row")
        title = ""
        for index, cell in enumerate(cells):
            name = names[index] if index < len(names) else f"column {index + 1}"
            if name.lower() in TITLES and not title:
                title = cell
            elif name.lower() in _FIELD_OF and cell:
                block.fields.append((_FIELD_OF[name.lower()], Block("field", cell)))
            elif name.lower() in NUMBERS and not block.number:
                block.number = cell
            elif cell:
                block.columns[name] = cell
        if title:
            self._add(owner, block, title)
            self.latest = owner


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    cells = _CELL.split(inner)
    if cells and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]
