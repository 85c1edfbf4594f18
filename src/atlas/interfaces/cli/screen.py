"""Text for people: tables, marks and colours, as wide as the terminal; plain where the output goes elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import TextIO

MARKS = {
    "PENDING": "[ ]",
    "IN_PROGRESS": "[/]",
    "COMPLETED": "[x]",
    "FAILED": "[F]",
    "BLOCKED": "[!]",
    "CANCELLED": "[-]",
}
"""How a status looks in a tree; the Markdown that Atlas exports and imports uses the same marks."""

_PAINTS = {
    "IN_PROGRESS": "36",
    "COMPLETED": "32",
    "FAILED": "31",
    "BLOCKED": "35",
    "CANCELLED": "2",
    "critical": "31;1",
    "high": "33",
    "low": "2",
    "dim": "2",
    "bold": "1",
}
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
_NARROWEST = 8
_GAP = 2


class Screen:
    """Where answers are written; only a terminal has a width and colours."""

    def __init__(self, stream: TextIO, *, has_color: bool) -> None:
        self.is_watched = stream.isatty()
        self.has_color = has_color and self.is_watched
        self.width = _width_of(stream) if self.is_watched else None
        self.is_unicode = (stream.encoding or "").lower().startswith("utf")

    def paint(self, text: str, kind: str) -> str:
        """Return the text in the colour of a status, a priority, `dim` or `bold`."""
        code = _PAINTS.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_color and code else text

    def mark(self, status: str) -> str:
        """Return the mark of a status."""
        return self.paint(MARKS.get(status, "[ ]"), status)

    def fit(self, text: str, used: int = 0) -> str:
        """Return as much of a text as fits on the rest of the line."""
        return text if self.width is None else cut(text, max(_NARROWEST, self.width - used))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, whole: str = "") -> Iterator[str]:
        """Yield the lines of a table; a cell that is a status or a priority takes its colour.

        The column with the head `whole` is never cut: its cells are there to be copied.
        """
        cells = [[clean(cell, is_line=True) for cell in row] for row in rows]
        widths = [max([columns(head), *(columns(row[i]) for row in cells)]) for i, head in enumerate(heads)]
        if self.width is not None:
            _narrow(widths, self.width, heads.index(whole) if whole in heads else None)
        yield self.paint(_line(heads, widths), "dim")
        for row in cells:
            yield _line([cut(cell, width) for cell, width in zip(row, widths, strict=True)], widths, self)


def _line(cells: Sequence[str], widths: Sequence[int], screen: Screen | None = None) -> str:
    made = ""
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        shown = cell if screen is None else screen.paint(cell, cell)
        is_last = index == len(cells) - 1
        made += shown if is_last else shown + " " * (width - columns(cell) + _GAP)
    return made.rstrip()


def _narrow(widths: list[int], most: int, whole: int | None) -> None:
    """Take from the widest column until the line fits, or nothing can be taken any more; `whole` stays as it is."""
    can_give = [index for index in range(len(widths)) if index != whole]
    while sum(widths) + _GAP * (len(widths) - 1) > most and can_give:
        widest = max(can_give, key=lambda index: widths[index])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _width_of(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def clean(text: str, *, is_line: bool = False) -> str:
    """Return the text without what would steer the terminal; `is_line` also keeps it on one line.

    Names and notes come from agents; none may move the cursor, recolour the screen or turn the reading direction.
    """
    if is_line:
        text = " ".join(text.split()) if not text.isprintable() else text
    if text.isprintable():
        return text
    return re.sub(_CONTROL, "\N{REPLACEMENT CHARACTER}", text)


def columns(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    import unicodedata

    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Return at most `width` columns of a text, ending in … where something was cut."""
    if columns(text) <= width:
        return text
    made, room = "", width - 1
    for character in text:
        room -= _columns_of(character)
        if room < 0:
            break
        made += character
    return made + "…"
