"""From a URL to a store: the one place that knows which backends there are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from ..errors import ConfigError
from .collection import Collection
from .protocol import Store

_HINT = "Use sqlite:///relative.db, sqlite:////absolute.db or memory:."


def open_store(url: str, collections: Sequence[Collection[Any]], *, is_inline: bool = False) -> Store:
    """Return the store at `url`, not yet opened; raises ConfigError for an address it does not know."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise ConfigError(f"{url!r} is not a store URL", field="store", given=url, hint=_HINT)
    if scheme == "memory":
        from .memory import MemoryStore

        return MemoryStore(collections)
    if scheme == "sqlite":
        from .sqlite import SqliteStore

        path, options = sqlite_place(url, rest)
        return SqliteStore(
            path,
            collections,
            is_inline=is_inline,
            synchronous=options.get("synchronous", "full").upper(),
            is_forced=options.get("force", "0") == "1",
        )
    raise ConfigError(f"no backend for {scheme!r} stores", field="store", given=scheme, hint=_HINT)


_OPTIONS = {"synchronous": ("full", "normal"), "force": ("0", "1")}


def sqlite_place(url: str, rest: str) -> tuple[Path, dict[str, str]]:
    """Return the file that a SQLite URL names, and its options; raises ConfigError."""
    address, _, query = rest.partition("?")
    if not address.startswith("///") or len(address) < 4 or "\0" in address:
        raise ConfigError(f"{url!r} names no file", field="store", given=url, hint=_HINT)
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name, value in options.items():
        if value not in _OPTIONS.get(name, ()):
            raise ConfigError(
                f"the store URL has no option {name}={value}",
                field="store",
                given=f"{name}={value}",
                bound={known: list(values) for known, values in _OPTIONS.items()},
            )
    try:
        path = Path(unquote(address[3:])).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{url!r} names no file: {error}", field="store", given=url, hint=_HINT) from error
    # The file itself, wherever the program goes: SQLite lays its log there, not beside a link that leads to it.
    return Path(os.path.realpath(path)), options
