"""Text search means the same on every backend because all of them search these words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, without case and accents."""
    if text.isascii():
        return _WORD.findall(text.lower())
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFC", text)):
        found += [word.lower()] if word.isascii() else _folded(word)
    return found


@lru_cache(maxsize=4096)
def _folded(word: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", word.casefold())
    return _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)).casefold())


def matches_words(asked: list[str], words: set[str]) -> bool:
    """Say whether every asked word begins one of the words; of no asked word, never."""
    return bool(asked) and all(any(word.startswith(prefix) for word in words) for prefix in asked)
