"""Reading a Redis store: queries answered from what the server has at one moment, with local records on top."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ..collection import Collection
from ..evaluate import aggregate_rows, count_rows, select_rows
from ..explaining import Step, looked_at
from ..query import Both, Compare, Either, Negate, Query
from .layout import key_of_member
from .snapshot import Local, Snapshot
from .ways import Range, Way, exact_way, facts_of, ways_of

R = TypeVar("R")

_LEAST, _MOST = 64, 4_096
"""How many members of an index are read at once."""


class Reader:
    """Answers what reading asks of a session (`overlay.Session` states the promise)."""

    def __init__(self, snapshot: Snapshot, *, clock: Callable[[], datetime]) -> None:
        self.snapshot = snapshot
        self._clock = clock
        self._now: datetime | None = None

    @property
    def now(self) -> datetime:
        """See Session."""
        if self._now is None:
            self._now = max(self._clock(), self.snapshot.moment.now)
        return self._now

    def get_many(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """See Session."""
        held = self.snapshot.records(collection, keys)
        local = self.snapshot.local(collection)
        if local.hidden:
            mine = local.table.records
            held = {key: held.get(key) if key not in local.hidden else mine.get(key) for key in keys}
        return {key: record for key, record in held.items() if record is not None}

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Session."""
        return self.get_many(collection, (key,)).get(key)

    def find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        """See Session."""
        found = self.query(Query(collection, Compare(field, "eq", value)))
        return found[0] if found else None

    def query(self, query: Query[R]) -> list[Any]:
        """See Session."""
        return select_rows(self._resolved(query), self._candidates)

    def explain(self, query: Query[Any]) -> tuple[Step, ...]:
        """See Session."""
        asked, local = self._resolved(query), self.snapshot.local(query.collection)
        key_fact = facts_of(asked.condition).get(query.collection.key)
        total = self._count_all(query.collection)
        if key_fact is not None and key_fact.values is not None:
            return looked_at(query, total, query.collection.key, len(key_fact.values))
        way = self._way(asked, local)
        steps = looked_at(query, total, way.index.place, self._sizes([way])[id(way)] if way.is_narrow else None)
        return tuple(step for step in steps if step.kind != "sort" or way.order is None)

    def count(self, query: Query[Any]) -> int:
        """See Session."""
        if query.condition is None:
            return self._count_all(query.collection)
        whole = self._whole(query)
        number = self._counted(whole)
        return count_rows(whole, self._candidates) if number is None else number

    def _counted(self, query: Query[Any]) -> int | None:
        """Return what an index alone counts; None where it cannot, or where records here differ from the server's."""
        local = self.snapshot.local(query.collection)
        way = exact_way(query, local.shelf)
        if way is None or local.hidden:
            return None
        number = self._sizes([way])[id(way)]
        return None if local.hidden else number

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Session."""
        return aggregate_rows(self._whole(query), self._candidates)

    def _whole(self, query: Query[Any]) -> Query[Any]:
        """Return the query without what counts and aggregates do not heed."""
        return msgspec.structs.replace(self._resolved(query), most=None, skip=0, start=None, order=())

    def _resolved(self, query: Query[R]) -> Query[R]:
        """Return the query with the values that inner queries select in their place."""
        if query.condition is None:
            return query
        return msgspec.structs.replace(query, condition=self._resolve(query.condition))

    def _resolve(self, part: Any) -> Any:
        if isinstance(part, Compare):
            if not isinstance(part.value, Query):
                return part
            selected = {row[0] for row in self.query(part.value)} - {None}
            return Compare(part.field, part.op, tuple(selected))
        if isinstance(part, Negate):
            return Negate(self._resolve(part.part))
        made = tuple(map(self._resolve, part.parts))
        return Both(made) if isinstance(part, Both) else Either(made)

    def _candidates(self, query: Query[Any]) -> Iterable[Any]:
        """Return the records that a query has to look at: in its order the first ones, or all."""
        local = self.snapshot.local(query.collection)
        remote = self._remote(query, local)
        # Only now: what is hidden grows with every question.
        mine = local.table.among(query.condition)
        records = local.table.records
        return [
            *(record for key, record in remote.items() if key not in local.hidden),
            *(records.values() if mine is None else [records[key] for key in mine]),
        ]

    def _remote(self, query: Query[Any], local: Local) -> dict[Any, Any]:
        key_fact = facts_of(query.condition).get(query.collection.key)
        if key_fact is not None and key_fact.values is not None:
            return self.snapshot.records(query.collection, [key for key in key_fact.values if key is not None])
        way = self._way(query, local)
        if way.order is not None and query.most is not None:
            return self._scan(query, way, query.most + query.skip)
        if not way.is_narrow:
            return self._scan(query, way, None)
        found = self.snapshot.ask([ranged(way.index.place, bounds) for bounds in way.ranges])
        return self.snapshot.records(query.collection, [key_of_member(m) for members in found for m in members])

    def _way(self, query: Query[Any], local: Local) -> Way:
        """Choose by how many records each way leads to."""
        ways = ways_of(query, local.shelf)
        ordered = [way for way in ways if way.order is not None] if query.most is not None else []
        narrow = [way for way in ways if way.is_narrow and way not in ordered]
        if not narrow:
            plain = [way for way in ways if way.index is local.shelf.by_key]
            return next((way for way in ordered if way.is_narrow), (ordered or plain)[0])
        if len(narrow) == 1 and not ordered:
            return narrow[0]
        sizes = self._sizes([*narrow, *ordered])
        best = min(narrow, key=lambda way: sizes[id(way)])
        if not ordered:
            return best
        assert query.most is not None
        quick = min(ordered, key=lambda way: sizes[id(way)])
        # Looking in order finds one of what is wanted among so many.
        expected = (query.most + query.skip + _LEAST) * sizes[id(quick)] / max(1, sizes[id(best)])
        return quick if min(expected, sizes[id(quick)]) < sizes[id(best)] else best

    def _sizes(self, ways: Sequence[Way]) -> dict[int, int]:
        commands = [("ZLEXCOUNT", way.index.place, *bounded(bounds)) for way in ways for bounds in way.ranges]
        counts = iter(self.snapshot.ask(commands))
        return {id(way): sum(next(counts) for _ in way.ranges) for way in ways}

    def _scan(self, query: Query[Any], way: Way, needed: int | None) -> dict[Any, Any]:
        """Look along an index until the `needed` first records of the condition are found; None: all of them."""
        collection, local = query.collection, self.snapshot.local(query.collection)
        plain = msgspec.structs.replace(query, most=None, skip=0, fields=())
        found: dict[Any, Any] = {}
        first, last = bounded(way.ranges[0])
        size = _MOST if needed is None else max(_LEAST, min(needed + 1, _MOST))
        while needed is None or sum(key not in local.hidden for key in found) < needed:
            limits = ("LIMIT", 0, size)
            if way.order == "reverse":
                command = ("ZREVRANGEBYLEX", way.index.place, last, first, *limits)
            else:
                command = ("ZRANGEBYLEX", way.index.place, first, last, *limits)
            (members,) = self.snapshot.ask([command])
            records = self.snapshot.records(collection, map(key_of_member, members))
            seen = [record for key, record in records.items() if key not in local.hidden]
            for record in select_rows(plain, lambda _, seen=seen: seen):  # type: ignore[misc]
                found[collection.key_of(record)] = record
            if len(members) < size:
                break
            edge = b"(" + members[-1]
            first, last = (first, edge) if way.order == "reverse" else (edge, last)
            size = min(2 * size, _MOST)
        return found

    def _count_all(self, collection: Collection[Any]) -> int:
        local = self.snapshot.local(collection)
        place = local.shelf.records
        while True:
            hidden = list(local.hidden)
            size, *there = self.snapshot.ask([("HLEN", place), *(("HEXISTS", place, str(key)) for key in hidden)])
            if len(hidden) == len(local.hidden):
                return int(size) - sum(map(int, there)) + len(local.table.records)


def bounded(bounds: Range) -> tuple[bytes, bytes]:
    """Return a range in the server's words."""
    low, high = bounds
    return b"[" + low if low else b"-", b"+" if high is None else b"(" + high


def ranged(place: str, bounds: Range, *limits: Any) -> tuple[Any, ...]:
    """Return the command for the members in a range."""
    return ("ZRANGEBYLEX", place, *bounded(bounds), *limits)
