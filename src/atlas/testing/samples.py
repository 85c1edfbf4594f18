"""The records that the contract suite keeps, chosen so that every promise about records has one to break it on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ..storage.collection import Collection
from ..storage.protocol import Store
from ..storage.query import Condition, Query


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record with a field of every kind. `seen_at` and `note` have no column, `code` is unique where it is there."""

    id: str
    path: str
    name: str = ""
    kind: str = "plain"
    code: str | None = None
    size: int | None = None
    weight: float | None = None
    parent: str | None = None
    is_open: bool = False
    made_at: datetime | None = None
    seen_at: datetime | None = None
    note: str = "none"
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    version: int = 1


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """The least record there is."""

    id: str
    value: int = 0


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that is gone a while after `since`; without that time it stays."""

    id: str
    part: str | None = None
    since: datetime | None = None
    version: int = 1


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a sequence; the store gives it its number."""

    number: int = 0
    text: str
    by: str | None = None
    tags: tuple[str, ...] = ()


KINDS = ("plain", "odd", "rare")
PARTS = Collection(
    "parts",
    Part,
    columns=("path", "kind", "code", "size", "weight", "parent", "is_open", "made_at"),
    indexes=(("kind", "size"), ("parent",), ("-size",)),
    unique=("path", "code"),
    lists=("tags",),
    text=("name", "note"),
    references={"parent": "parts"},
    values={"kind": KINDS},
)
COUNTERS = Collection("counters", Counter)
MARKERS = ("me", "you")
MARKS = Collection(
    "marks", Mark, key="number", columns=("by",), indexes=(("by",),), values={"by": MARKERS}, sequence=True
)
ECHOES = Collection("echoes", Mark, key="number", lists=("tags",), text=("text",), sequence=True)
LEASES = Collection(
    "leases",
    Lease,
    columns=("part", "since"),
    indexes=(("since",), ("part",)),
    journaled=False,
    ttl=timedelta(hours=1),
    ttl_from="since",
)
COLLECTIONS: Sequence[Collection[Any]] = (PARTS, COUNTERS, MARKS, ECHOES, LEASES)

_DAY = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
_PATHS = (
    *("a", "a/b", "a/b/c", "a/b.c", "a/b-c", "a/bb", "a/b/c/d", "a.b", "a-b", "ab", "A", "A/B", "b", "b/a/b"),
    *("c/x1", "c/x10", "c/x2", "c/x.y", "c/deep/er/still/x1", "z_z", "z_z/x", "zz/x"),
)
_NAMES = (
    "",
    "Ünïcode straße",
    "STRASSE",
    "café au lait",
    "100% _done_",
    "cafe",
    "日本語 text",
    "😀 and ￿",
    "a b",
    "A B",
    "\uffee last",
)
_SIZES = (None, 0, 1, -1, 2, 10, 9_007_199_254_740_993, 2**63 - 1, -(2**63), 3, None, 3)
_WEIGHTS = (None, 0.5, 1.0, -2.25, 1e300, 5e-324, 3.0, None)
_TAGS: Sequence[tuple[str, ...]] = ((), ("red",), ("red", "blue"), ("redder",), ("Red", "größe"), ("red,blue",))
_BUILDS: Sequence[dict[str, Any]] = (
    {},
    {"build": {"id": 7, "ok": True}},
    {"build": {"id": "7", "ok": False}},
    {"build": {"id": 7.5}, "labels": ["red", "x"]},
    {"build": {"id": None}, "labels": "red"},
    {"build": {"id": [1, "two", None]}, "labels": {"red": "red"}},
    {"build": {"id": {"deep": 'é\n"q"'}}, "labels": []},
    {"build": "id", "other": 1},
    {"build": [{"id": 7}], "labels": [["red"], 1]},
    {"build": {"id": ""}},
    {"build": {"id": "RED"}},
)


def varied() -> list[Part]:
    """Return parts that differ in every way a query may ask about; every second is below the one before."""
    made: list[Part] = []
    for i, path in enumerate(_PATHS):
        made.append(
            Part(
                id=f"p{(i * 7) % len(_PATHS):02d}",
                path=path,
                name=_NAMES[i % len(_NAMES)],
                kind=KINDS[i % 3],
                code=f"c{i}" if i % 4 == 1 else None,
                size=_SIZES[i % len(_SIZES)],
                weight=_WEIGHTS[i % len(_WEIGHTS)],
                parent=made[-1].id if i % 2 else None,
                is_open=i % 5 == 0,
                made_at=None if i % 6 == 5 else _DAY + timedelta(microseconds=i % 4),
                seen_at=None if i % 3 else _DAY.replace(microsecond=0) + timedelta(days=i),
                note=("none", "", "a red note", "Notes: red-handed")[i % 4],
                tags=_TAGS[i % len(_TAGS)],
                metadata=_BUILDS[i % len(_BUILDS)],
                version=i + 1,
            )
        )
    return made


def part(id: str, **fields: Any) -> Part:  # noqa: A002 - the field's own name
    """Return a part whose path is its id, unless told otherwise."""
    return Part(**{"id": id, "path": id, **fields})


async def fill(store: Store, parts: Iterable[Part]) -> None:
    """Keep parts, in one transaction."""
    kept = list(parts)
    await store.transact(lambda tx: tx.put_many(PARTS, kept))


async def rows(store: Store, query: Query[Any]) -> list[Any]:
    """Return what a query finds."""
    return await store.read(lambda tx: tx.query(query))


async def count(store: Store, query: Query[Any]) -> int:
    """Count what a query's condition holds for."""
    return await store.read(lambda tx: tx.count(query))


async def summary(store: Store, query: Query[Any]) -> list[dict[str, Any]]:
    """Return a query's groups and aggregates."""
    return await store.read(lambda tx: tx.aggregate(query))


async def ids(store: Store, *conditions: Condition) -> list[str]:
    """Return the ids of the parts for which the conditions hold, in order."""
    return [row.id for row in await rows(store, Query(PARTS).where(*conditions))]


async def marks(store: Store, *texts: str) -> int:
    """Append marks in one transaction; returns the last number."""

    def work(tx: Any) -> None:
        for text in texts:
            tx.append(MARKS, Mark(text=text))

    return (await store.transact(work)).seq


async def numbered(store: Store) -> list[tuple[int, str]]:
    """Return number and text of all marks."""
    return await rows(store, Query(MARKS).select("number", "text"))
