"""How a store and the servers under it are: rules over its figures, each with what is wrong and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..errors import AtlasError
from .protocol import Capabilities, Store

LOG_BYTES = 64 * 1024 * 1024
NEARLY_FULL = 0.9
SLOW_TURN_SECONDS = 0.1
SLOW_ANSWER_SECONDS = 1.0
FEW_HITS = 0.8
MANY_READS = 10_000
MANY_LOSSES = 3

Status = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and the way out where something is wrong."""

    name: str
    status: Status
    what: str
    what_to_do: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A store looked at once: `findings` of the store itself, its file, its pool and its server, and the figures.

    `seconds` is how long a small read took; a store that did not answer has one finding, and no figures.
    """

    url: str
    seconds: float
    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]

    @property
    def status(self) -> Status:
        """The worst of the findings."""
        found = {finding.status for finding in self.findings}
        return "error" if "error" in found else "warning" if "warning" in found else "ok"


async def health(store: Store) -> Health:
    """Look at an open store; raises nothing for what is wrong with it, but says so."""
    asked = time.perf_counter()
    slow = store.slow_queries.figures()
    try:
        seq = await store.read(lambda tx: tx.seq)
        seconds = time.perf_counter() - asked
        figures = {**await store.statistics(), "slow_queries": slow}
    except AtlasError as error:
        finding = Finding("store", "error", error.message, error.hint)
        return Health(url=store.url, seconds=time.perf_counter() - asked, findings=(finding,), figures={})
    return Health(
        url=store.url,
        seconds=seconds,
        findings=(
            Finding("store", "ok", f"{store.url} answered in {seconds * 1000:.1f} ms, seq {seq}"),
            *findings_of(figures, store.capabilities, seconds),
        ),
        figures=figures,
    )


def findings_of(figures: Mapping[str, Any], capabilities: Capabilities, seconds: float) -> Iterator[Finding]:
    """Judge the figures of a store that gave a small read in `seconds`: one finding at least for each part of it."""
    yield from _store(figures, capabilities, seconds)
    for part in _PARTS:
        held = figures.get(part.key)
        if held is not None:
            wrong = list(part.judge(held))
            yield from wrong or [Finding(part.name, "ok", part.said(held))]


def _store(figures: Mapping[str, Any], capabilities: Capabilities, seconds: float) -> Iterator[Finding]:
    if not capabilities.is_writable:
        hint = "To change anything, get write permission on the file and its folder, or name the primary server."
        yield Finding("writable", "warning", "the store can only be read", hint)
    if capabilities.durability != "disk":
        kept = figures.get("server", {}).get("persistence", "")
        what = kept or "what is acknowledged can be lost with the machine's power"
        yield Finding("durability", "warning", what, _durable(figures))
    if seconds > SLOW_ANSWER_SECONDS:
        hint = "Look at the load of the machine, or of the server and the way to it."
        yield Finding("answer", "warning", f"a small read took {seconds:.1f} s", hint)
    commits, waited = figures.get("commits", 0), figures.get("lock_wait_seconds", 0.0)
    if commits and waited / commits > SLOW_TURN_SECONDS:
        hint = "Other writers keep their turn for long: look for long transactions and imports."
        yield Finding("turns", "warning", f"a commit waited {waited / commits:.2f} s for its turn on average", hint)


def _durable(figures: Mapping[str, Any]) -> str:
    if "server" in figures:
        return "Have the server sync before it answers (docs/backends.md), if acknowledged work must survive a crash."
    return (
        "Remove ?synchronous=normal from the URL."
        if "log_bytes" in figures
        else ("Open a store in a file to keep the work.")
    )


def _log(size: int) -> Iterator[Finding]:
    if size > LOG_BYTES:
        hint = "Close programs that read for very long; the log is taken in when they end."
        yield Finding("log", "warning", f"the log has {shown(size)}", hint)


def _file(file: Mapping[str, Any]) -> Iterator[Finding]:
    reads, rate = file.get("cache_reads", 0), file.get("cache_hit_rate")
    if rate is not None and reads > MANY_READS and rate < FEW_HITS:
        hint = "Give it more memory: ?cache_size= in the URL (docs/backends.md)."
        yield Finding("cache", "warning", f"only {rate:.0%} of {reads} pages were found in the cache", hint)


def _pool(pool: Mapping[str, Any]) -> Iterator[Finding]:
    if pool.get("waiting", 0):
        hint = "Allow more connections (the store's URL, or resize), or end what reads for long."
        yield Finding("pool", "warning", f"{pool['waiting']} readers wait for a connection, {_used(pool)}", hint)
    if pool.get("lost", 0) >= MANY_LOSSES:
        hint = "See the server's log, and whether something between ends idle connections."
        yield Finding("pool", "warning", f"connections were lost {pool['lost']} times since the store was opened", hint)


def _used(pool: Mapping[str, Any]) -> str:
    return f"{pool.get('active', 0)} of {pool.get('size', pool.get('total', 0))} in use"


def _server(server: Mapping[str, Any]) -> Iterator[Finding]:
    for count, limit, name, status, hint in _BOUNDS:
        used, most = server.get(count) or 0, server.get(limit) or 0
        if most and used / most >= NEARLY_FULL:
            what = f"{used / most:.0%} of the server's {name} in use"
            yield Finding("server", status, what, hint)
    # The other policies take only keys that expire, and none of a store's does.
    eviction = str(server.get("eviction") or "")
    if eviction.startswith("allkeys") and server.get("memory_limit"):
        hint = "CONFIG SET maxmemory-policy noeviction: a full server must refuse, not forget."
        yield Finding("server", "error", f"the server throws records away when its memory is full ({eviction})", hint)
    if server.get("is_saving_failed"):
        hint = "See the server's log and the space on its disk."
        yield Finding("server", "error", "the server could not write what it holds to its disk", hint)


_BOUNDS: tuple[tuple[str, str, str, Status, str], ...] = (
    ("connections", "connections_limit", "connections", "warning", "Raise its limit, or share a pooler."),
    ("memory", "memory_limit", "memory", "error", "Raise maxmemory before writes are refused."),
)


def _slow(log: Mapping[str, Any]) -> Iterator[Finding]:
    if log.get("last"):
        worst = max(log["last"], key=lambda query: query["seconds"])
        what = f"{log['total']} queries took over {log['after_seconds']:g} s; {worst['collection']} {worst['shape']}"
        hint = "storage.explaining.explain shows how such a query is answered; an index on what it compares may help."
        yield Finding("queries", "warning", f"{what} took {worst['seconds']:.2f} s", hint)


def shown(size: float) -> str:
    """Return a number of bytes for reading."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


class _Part(NamedTuple):
    """A part of the figures: where they are, what judges them, and what is said when they are good."""

    key: str
    name: str
    judge: Callable[[Any], Iterator[Finding]]
    said: Callable[[Any], str]


_PARTS = (
    _Part("log_bytes", "log", _log, lambda size: f"the log has {shown(size)}"),
    _Part("file", "cache", _file, lambda file: f"{file.get('cache_hit_rate', 1.0):.0%} of pages came from the cache"),
    _Part("pool", "pool", _pool, lambda pool: f"{_used(pool)}, none waited for"),
    _Part("server", "server", _server, lambda server: f"version {server.get('version', 'unknown')}"),
    _Part("slow_queries", "queries", _slow, lambda log: f"none took over {log['after_seconds']:g} s"),
)
