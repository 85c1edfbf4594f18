"""From a URL to a store: the one place that knows which backends there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote

from ..errors import ConfigError
from .collection import Collection
from .protocol import Store

_HINT = (
    "Use sqlite:///relative.db, sqlite:////absolute.db, file:plan.json, postgresql://host/database, redis://host/0 "
    "or memory:."
)
_EXTRAS = {"psycopg": "postgres", "psycopg_pool": "postgres", "redis": "redis"}

Opener = Callable[[str, Sequence[Collection[Any]], bool], Store]


def open_store(url: str, collections: Sequence[Collection[Any]], *, is_inline: bool = False) -> Store:
    """Return the store at `url`, not yet opened; raises ConfigError for an address it does not know.

    `is_inline` runs everything on the calling thread, without an event loop.
    """
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise ConfigError(f"{url!r} is not a store URL", field="store", given=url, hint=_HINT)
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise ConfigError(f"no backend for {scheme!r} stores", field="store", given=scheme, hint=_HINT)
    try:
        return opener(url, collections, is_inline)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigError(
            f"{scheme} stores need a driver that is not installed ({error.name})",
            field="store",
            given=scheme,
            hint=f"Install it: pip install 'atlas-memory[{extra}]'",
        ) from error


def _memory(_url: str, collections: Sequence[Collection[Any]], _is_inline: bool) -> Store:
    from .memory import MemoryStore

    return MemoryStore(collections)


def _sqlite(url: str, collections: Sequence[Collection[Any]], is_inline: bool) -> Store:
    from .sqlite import SqliteStore
    from .sqlite.settings import OPTIONS, settings_of

    address, options = _parted(url, {"synchronous": ("full", "normal"), "force": ("0", "1")}, OPTIONS)
    if not address.startswith("///") or len(address) < 4:
        raise ConfigError(f"{url!r} names no file", field="store", given=url, hint=_HINT)
    return SqliteStore(
        _path(url, address[3:]),
        collections,
        is_inline=is_inline,
        settings=settings_of({name: value for name, value in options.items() if name in OPTIONS}),
        synchronous=options.get("synchronous", "full").upper(),
        is_forced=options.get("force", "0") == "1",
    )


def _file(url: str, collections: Sequence[Collection[Any]], is_inline: bool) -> Store:
    from .file import FileStore

    address, options = _parted(url, {"force": ("0", "1")})
    # `file:plan.json` is relative, `file:/plan.json` and `file:///plan.json` are not.
    place = address.removeprefix("//")
    if not place or (address.startswith("//") and not place.startswith(("/", "~"))):
        raise ConfigError(f"{url!r} names no file", field="store", given=url, hint=_HINT)
    return FileStore(_path(url, place), collections, is_inline=is_inline, is_forced=options.get("force", "0") == "1")


def _postgres(url: str, collections: Sequence[Collection[Any]], is_inline: bool) -> Store:
    from .postgres import PostgresStore

    return PostgresStore(url, collections, is_inline=is_inline)


def _redis(url: str, collections: Sequence[Collection[Any]], is_inline: bool) -> Store:
    from .redis import RedisStore

    return RedisStore(url, collections, is_inline=is_inline)


_OPENERS: Mapping[str, Opener] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "file": _file,
    "postgresql": _postgres,
    "postgres": _postgres,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
}


def _parted(
    url: str, known: Mapping[str, Sequence[str]], bounded: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, dict[str, str]]:
    """Return what lies between the scheme and the options, and the options; raises ConfigError for unknown ones.

    `known` gives the values an option may have; those of `bounded` are checked by whoever takes them.
    """
    address, _, query = url.partition(":")[2].partition("?")
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name, value in options.items():
        if name not in bounded and value not in known.get(name, ()):
            raise ConfigError(
                f"the store URL has no option {name}={value}",
                field="store",
                given=f"{name}={value}",
                bound={option: list(values) for option, values in known.items()} | dict(bounded),
            )
    return address, options


def _path(url: str, place: str) -> Path:
    if "\0" in place:
        raise ConfigError(f"{url!r} names no file", field="store", given=url, hint=_HINT)
    try:
        path = Path(unquote(place)).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{url!r} names no file: {error}", field="store", given=url, hint=_HINT) from error
    # The file itself, wherever the program goes: SQLite lays its log there, not beside a link that leads to it.
    return Path(os.path.realpath(path))
