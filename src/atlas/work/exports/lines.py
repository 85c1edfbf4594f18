"""Writes drafts as JSON lines, the format that loses nothing and that programs read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ..imports.atlas_lines import VERSION
from ..imports.draft import Draft


def write_lines(drafts: Iterable[Draft]) -> Iterator[str]:
    """Give the lines of the file, each with its line end: a header, then one for each draft in the order given.

    `atlas_lines.read` gives the same drafts back, provided that their dependencies are sources of the same file, ids
    or paths.
    """
    encoder = msgspec.json.Encoder()
    yield encoder.encode({"atlas": "tasks", "version": VERSION}).decode() + "\n"
    for draft in drafts:
        yield encoder.encode(draft).decode() + "\n"
