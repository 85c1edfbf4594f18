"""The settings of a SQLite store: what may be fitted to a machine, within bounds, without changing any promise."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from ...errors import ConfigError

CHECKPOINT_PAGES = 1_000
READERS = 2
CACHE_LEAST = 2 * 2**20
CACHE_MOST = 16 * 2**20

_SHARE = 512
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_BOUNDS: Mapping[str, tuple[int, int, str]] = {
    "cache_size": (2**16, 2**36, "64K to 64G"),
    "mmap": (0, 2**40, "0 to 1024G"),
    "busy_wait": (0, 600, "0 to 600 seconds"),
    "checkpoint": (1, 1_000_000, "1 to 1000000 pages"),
    "soft_heap_limit": (0, 2**40, "0 to 1024G"),
    "readers": (1, 64, "1 to 64"),
}
_CHOICES: Mapping[str, tuple[int | str | None, ...]] = {
    "page_size": (None, *(2**power for power in range(9, 17))),
    "temp_store": ("memory", "file"),
}
OPTIONS: Mapping[str, str] = {name: bound for name, (_, _, bound) in _BOUNDS.items()} | {
    name: ", ".join(str(choice) for choice in choices if choice is not None) for name, choices in _CHOICES.items()
}
"""What a URL may set, each with its bound in words."""


def suitable_cache() -> int:
    """Return the bytes of cache that suit this machine, or the container this runs in: every connection has its own."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _LIMIT.read_text().strip() if _LIMIT.exists() else ""
    if limit.isdigit():
        memory = min(memory, int(limit))
    return min(max(memory // _SHARE, CACHE_LEAST), CACHE_MOST)


class SqliteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are bytes; docs/backends.md says what each is for. Raises ConfigError for a value out of its bounds.

    `page_size` holds for a new file and for copies; None leaves it to SQLite, and to the file there is.
    `soft_heap_limit` is SQLite's own and holds for the whole process; 0 leaves it as it is.
    """

    cache_size: int = msgspec.field(default_factory=suitable_cache)
    page_size: int | None = None
    mmap: int = 2**28
    busy_wait: timedelta = timedelta(seconds=5)
    checkpoint: int = CHECKPOINT_PAGES
    soft_heap_limit: int = 0
    temp_store: Literal["memory", "file"] = "memory"
    readers: int = READERS

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check(name, getattr(self, name))

    @property
    def busy_millis(self) -> int:
        """How long a statement waits for a program that does not take turns as Atlas does."""
        return round(self.busy_wait.total_seconds() * 1_000)


def check(name: str, value: Any) -> None:
    """Raise ConfigError where a value is out of the bounds of its setting."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if name in _CHOICES:
        is_good = value in _CHOICES[name]
    else:
        low, high, _ = _BOUNDS[name]
        is_good = low <= number <= high
    if not is_good:
        raise _refusal(name, number)


def settings_of(options: Mapping[str, str]) -> SqliteSettings:
    """Return what the options of a URL say, the rest as it is by default; raises ConfigError."""
    return SqliteSettings(**{name: _value(name, text) for name, text in options.items()})


def _value(name: str, text: str) -> Any:
    if name == "temp_store":
        return text
    pattern = r"(\d{1,9}(?:\.\d{1,6})?)()" if name == "busy_wait" else r"(\d{1,15})([KMG]?)"
    found = re.fullmatch(pattern, text, re.ASCII)
    if found is None or (found[2] and name in {"checkpoint", "readers"}):
        raise _refusal(name, text)
    if name == "busy_wait":
        return timedelta(seconds=float(found[1]))
    return int(found[1]) * _UNITS[found[2]]


def _refusal(name: str, given: object) -> ConfigError:
    return ConfigError(
        f"a SQLite store cannot have {name}={given}",
        field="store",
        given=f"{name}={given}",
        bound=OPTIONS[name],
        hint=f"Give {name} as one of {OPTIONS[name]}." if name in _CHOICES else f"Give {name} from {OPTIONS[name]}.",
    )
