"""A bounded log of the queries that took long: their shape without their values, which may be secrets."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any

import msgspec

from .clock import utc_now
from .query import Both, Compare, Condition, Either, Negate, Query

SLOW = timedelta(milliseconds=100)
KEPT = 100


class SlowQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One query that took `seconds`: `shape` names what it compares, never with what; `rows` is what it gave."""

    at: datetime
    seconds: float
    collection: str
    shape: str
    rows: int


class SlowQueries:
    """The last queries that took longer than `after` (which may be set at any time), and how many there were."""

    def __init__(self, *, after: timedelta = SLOW, kept: int = KEPT) -> None:
        self.after = after
        self.total = 0
        self._last: deque[SlowQuery] = deque(maxlen=kept)

    @property
    def last(self) -> tuple[SlowQuery, ...]:
        """What is kept, the newest last."""
        return tuple(self._last)

    def saw(self, query: Query[Any], seconds: float, rows: int) -> None:
        """Keep a query that took too long."""
        if seconds > self.after.total_seconds():
            self.total += 1
            self._last.append(
                SlowQuery(
                    at=utc_now(),
                    seconds=round(seconds, 6),
                    collection=query.collection.name,
                    shape=shape_of(query),
                    rows=rows,
                )
            )

    def figures(self) -> dict[str, Any]:
        """Return what `Store.statistics` tells of it: how many, beyond how many seconds, and the last ones."""
        return {
            "total": self.total,
            "after_seconds": self.after.total_seconds(),
            "last": [msgspec.to_builtins(query) for query in self.last],
        }

    def clear(self) -> None:
        """Forget what is kept."""
        self._last.clear()
        self.total = 0


def shape_of(query: Query[Any]) -> str:
    """Return a query in words, a `?` in place of each value."""
    parts = [f"where {_condition(query.condition)}"] if query.condition is not None else []
    parts += [f"reach along {', '.join(map('-'.join, query.trail.along))}"] if query.trail is not None else []
    parts += [f"{join.kind} join {join.collection.name} on {join.field} = {join.key}" for join in query.joins]
    parts += [f"group by {', '.join(query.groups)}"] if query.groups else []
    parts += [f"having {_condition(query.kept)}"] if query.kept is not None else []
    orders = [f"-{order.field}" if order.descending else order.field for order in query.order]
    parts += [f"order by {', '.join(orders)}"] if orders else []
    parts += [f"limit {query.most}"] if query.most is not None else []
    return " ".join(parts) or "everything"


def _condition(condition: Condition | None) -> str:
    match condition:
        case Compare(field=field, op=op, value=Query() as inner):
            return f"{field} {op} ({inner.collection.name} {shape_of(inner)})"
        case Compare(field=field, op=op):
            return f"{field} {op} ?"
        case Both(parts=parts):
            return f"({' and '.join(_condition(part) for part in parts)})"
        case Either(parts=parts):
            return f"({' or '.join(_condition(part) for part in parts)})"
        case Negate(part=part):
            return f"not {_condition(part)}"
        case _:
            return "?"
