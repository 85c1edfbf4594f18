"""Keeping an answer within the tokens its reader has."""

from __future__ import annotations

from typing import Any

from ..storage.collection import encode

_BYTES_PER_TOKEN = 4
_ENVELOPE_BYTES = 120


def within(views: list[dict[str, Any]], max_tokens: int | None) -> tuple[list[dict[str, Any]], int]:
    """Return as many as fit into the tokens (4 bytes of JSON each), at least one, and how many were cut."""
    if max_tokens is None:
        return views, 0
    room = max_tokens * _BYTES_PER_TOKEN - _ENVELOPE_BYTES
    kept: list[dict[str, Any]] = []
    for made in views:
        room -= len(encode(made)) + 1
        if room < 0 and kept:
            break
        kept.append(made)
    return kept, len(views) - len(kept)


def said(left: int, max_tokens: int | None) -> str | None:
    """Return the sentence about what was cut, None when nothing was."""
    return f"{left} of this page, to keep to {max_tokens} tokens; pass cursor=next_cursor for them" if left else None
