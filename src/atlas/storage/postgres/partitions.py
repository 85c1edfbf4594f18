"""Sequences in parts: which numbers lie in which partition, and the next one made before it is needed.

A sequence's table is partitioned by ranges of its numbers; each part is a table of its own (`event__from_2000000`).
Reading a range touches only the parts it lies in, and the server vacuums part by part. For retention, an old part can
be taken out as a whole with `ALTER TABLE … DETACH PARTITION`, which costs nothing however many rows it has; until Atlas
does that itself, `verify` names the numbers that are gone, and the store is not opened without them. No default
partition: rows that went there unnoticed would keep the part they belong to from ever being made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from ..collection import Collection
from ..sql import quoted

SPAN = 1_000_000
"""How many numbers a part holds, from a multiple of it on; even. Changed only together with the parts there are."""

_BOUNDS = re.compile(r"FROM \('(\d+)'\) TO \('(\d+)'\)")
_PARTS = """SELECT s.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class s
JOIN pg_inherits i ON i.inhparent = s.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE s.relnamespace = to_regnamespace(%s) AND s.relkind = 'p'"""


def is_due(before: int, after: int) -> bool:
    """Say whether numbers given from `before` to `after` are an occasion to make room: twice in each part."""
    return before // (SPAN // 2) != after // (SPAN // 2)


def make_room(connection: Connection, schema: str, collections: Sequence[Collection[Any]], seq: int) -> None:
    """Have parts for all numbers until, after `seq`, `is_due` says so again. Needs the turn, and an open transaction.

    A part is attached, not made in its place, which would wait for everyone who reads the sequence.
    """
    wanted, parts = seq + SPAN // 2, _parts(connection, schema)
    for collection in collections:
        if collection.sequence:
            end = max((high for _, high in parts.get(collection.name, ())), default=0)
            while end <= wanted:
                low, end = end, (end // SPAN + 1) * SPAN
                for text in _part(schema, collection.name, low, end):
                    connection.execute(text, prepare=False)


def missing(connection: Connection, schema: str, collections: Sequence[Collection[Any]], last: int) -> list[str]:
    """Return a line for every range of numbers, from 0 to `last`, that has no part."""
    wrong, parts = [], _parts(connection, schema)
    for collection in collections:
        if collection.sequence:
            place = 0
            for low, high in (*sorted(parts.get(collection.name, ())), (last + 1, last + 1)):
                if place < min(low, last + 1):
                    wrong.append(f"{collection.name} has no partition from {place} to {low - 1}")
                place = max(place, high)
    return wrong


def _parts(connection: Connection, schema: str) -> dict[str, list[tuple[int, int]]]:
    """Return of each sequence from which number to which (left out) its parts go."""
    parts: dict[str, list[tuple[int, int]]] = {}
    for name, text in connection.execute(_PARTS, (schema,), prepare=False).fetchall():
        bounds = _BOUNDS.search(text)
        if bounds is not None:
            parts.setdefault(name, []).append((int(bounds[1]), int(bounds[2])))
    return parts


def _part(schema: str, name: str, low: int, high: int) -> list[str]:
    table, part = f"{schema}.{quoted(name)}", f"{schema}.{quoted(f'{name}__from_{low}')}"
    return [
        f"CREATE TABLE {part} (LIKE {table} INCLUDING ALL)",
        f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({low}) TO ({high})",
    ]
