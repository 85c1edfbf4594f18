"""What a Redis or Valkey server says of itself: how it persists, who it is, and how full."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import StorageError
from .link import Link


class Persistence(msgspec.Struct, frozen=True):
    """What the server does with a write before it answers: the durability, and the same in words."""

    durability: str
    text: str


def persistence(link: Link) -> Persistence:
    """Ask how the server is configured; one that does not say promises nothing."""
    try:
        (appending,) = link.ask([("CONFIG", "GET", "appendonly")])
        (syncing,) = link.ask([("CONFIG", "GET", "appendfsync")])
    except StorageError as error:
        if error.retryable:
            raise
        return Persistence("memory", "The server does not say how it persists: what it answers may not be on disk.")
    is_appending, policy = appending[1:] == [b"yes"], b"".join(syncing[1:]).decode()
    if not is_appending:
        return Persistence("memory", "The server keeps no append-only file: a crash loses all since its last snapshot.")
    if policy == "always":
        return Persistence("disk", "The server syncs its append-only file before it answers a write.")
    lost = "about a second" if policy == "everysec" else "whatever its system had not written"
    return Persistence("memory", f"The server syncs its append-only file later ({policy}): a crash may lose {lost}.")


def server_figures(link: Link) -> dict[str, Any]:
    """Ask the server how it is; what it does not say to this user is left out."""
    try:
        (told,) = link.ask([("INFO",)])
    except StorageError as error:
        if error.retryable:
            raise
        return {}
    said = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
    kind = "valkey" if "valkey_version" in said else "redis"
    states = (said.get(name, "ok") for name in ("aof_last_write_status", "rdb_last_bgsave_status"))
    saved = _number(said, "rdb_last_save_time")
    now = _number(said, "server_time_usec") // 1_000_000
    return {
        "version": f"{kind} {said.get(f'{kind}_version', 'unknown')}",
        "is_replica": said.get("role") != "master",
        "connections": _number(said, "connected_clients"),
        "connections_limit": _number(said, "maxclients"),
        "memory": _number(said, "used_memory"),
        "memory_limit": _number(said, "maxmemory"),
        "eviction": said.get("maxmemory_policy", ""),
        "is_saving_failed": any(state != "ok" for state in states),
        "saved_seconds_ago": max(0, now - saved),
        "unsaved_changes": _number(said, "rdb_changes_since_last_save"),
    }


def _number(said: dict[str, str], name: str) -> int:
    return int(said.get(name, 0))
