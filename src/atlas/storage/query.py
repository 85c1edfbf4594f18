"""A query: a small frozen value that means the same on every backend.

Conditions are two-valued: a comparison with an absent field is false, and `negate` of it true. Absent fields sort
first upwards and last downwards. Text compares by code point, numbers before text. Ties are broken by key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ..errors import InputError
from ..model.path import Pattern, parse_pattern
from .collection import Collection, to_scalar

R = TypeVar("R")

COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "in", "like", "glob", "contains", "exists", "match"})
_MOST = 2**63
AGGREGATES = frozenset({"count", "sum", "avg", "min", "max"})


class Compare(msgspec.Struct, frozen=True):
    """`field op value`; the field may be a path into JSON, `metadata.build.id`."""

    field: str
    op: str
    value: Any


class Both(msgspec.Struct, frozen=True):
    """Every part holds."""

    parts: tuple[Any, ...]


class Either(msgspec.Struct, frozen=True):
    """Some part holds."""

    parts: tuple[Any, ...]


class Negate(msgspec.Struct, frozen=True):
    """The part does not hold."""

    part: Any


Condition = Compare | Both | Either | Negate


def eq(field: str, value: Any) -> Condition:
    """Equal; None means absent."""
    return Compare(field, "eq", to_scalar(value))


def ne(field: str, value: Any) -> Condition:
    """Not equal, or absent."""
    return Compare(field, "ne", to_scalar(value))


def gt(field: str, value: Any) -> Condition:
    """Greater."""
    return Compare(field, "gt", to_scalar(value))


def ge(field: str, value: Any) -> Condition:
    """Greater or equal."""
    return Compare(field, "ge", to_scalar(value))


def lt(field: str, value: Any) -> Condition:
    """Less."""
    return Compare(field, "lt", to_scalar(value))


def le(field: str, value: Any) -> Condition:
    """Less or equal."""
    return Compare(field, "le", to_scalar(value))


def isin(field: str, values: Iterable[Any] | Query[Any]) -> Condition:
    """Be one of `values`, or of the single field that a query selects."""
    if isinstance(values, Query):
        return Compare(field, "in", values)
    return Compare(field, "in", tuple(to_scalar(value) for value in values))


def like(field: str, text: str) -> Condition:
    """Match with `%` for any characters and `_` for one; ASCII letters compare without case."""
    return Compare(field, "like", text)


def glob(field: str, pattern: str | Pattern) -> Condition:
    """Match a path pattern (`model.path`)."""
    return Compare(field, "glob", pattern if isinstance(pattern, Pattern) else parse_pattern(pattern))


def contains(field: str, value: str) -> Condition:
    """Hold `value` in a list of strings."""
    return Compare(field, "contains", value)


def exists(field: str) -> Condition:
    """Be there and not null."""
    return Compare(field, "exists", None)


def match(text: str) -> Condition:
    """Hold every word of `text` (each as the beginning of a word) in the collection's text fields."""
    return Compare("", "match", text)


def both(*parts: Condition) -> Condition:
    """Every part holds; of none, always."""
    return parts[0] if len(parts) == 1 else Both(parts)


def either(*parts: Condition) -> Condition:
    """Some part holds; of none, never."""
    return parts[0] if len(parts) == 1 else Either(parts)


def negate(part: Condition) -> Condition:
    """The part does not hold."""
    return Negate(part)


class Order(msgspec.Struct, frozen=True):
    """One field to sort by."""

    field: str
    descending: bool = False


class Aggregate(msgspec.Struct, frozen=True):
    """`count`, `sum`, `avg`, `min` or `max` of a field (count: of records), returned as `name`."""

    op: str
    field: str
    name: str


class Join(msgspec.Struct, frozen=True):
    """The records of another collection whose `key` is the value of `field`; their fields are `name.field`."""

    collection: Collection[Any]
    field: str
    key: str
    name: str
    kind: Literal["inner", "left", "right"]


class Trail(msgspec.Struct, frozen=True):
    """Where to begin, and the pairs of fields that lead on: from the value of the first to that of the second."""

    start: tuple[Any, ...]
    along: tuple[tuple[str, str], ...]


class Query(msgspec.Struct, Generic[R], frozen=True):
    """What to read from one collection; built fluently, each step a new value."""

    collection: Collection[R]
    condition: Condition | None = None
    order: tuple[Order, ...] = ()
    most: int | None = None
    skip: int = 0
    start: tuple[Any, ...] | None = None
    fields: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    joins: tuple[Join, ...] = ()
    kept: Condition | None = None
    trail: Trail | None = None

    def where(self, *parts: Condition) -> Query[R]:
        """Narrow by every one of `parts`."""
        kept = ([self.condition] if self.condition is not None else []) + list(parts)
        return msgspec.structs.replace(self, condition=both(*kept)) if kept else self

    def order_by(self, *fields: str) -> Query[R]:
        """Sort by `fields`, `-field` downwards; the key breaks ties."""
        order = tuple(Order(field.lstrip("-"), field.startswith("-")) for field in fields)
        return msgspec.structs.replace(self, order=order)

    def limit(self, most: int | None) -> Query[R]:
        """Return at most so many."""
        return msgspec.structs.replace(self, most=most)

    def offset(self, skip: int) -> Query[R]:
        """Leave out the first ones."""
        return msgspec.structs.replace(self, skip=skip)

    def after(self, cursor: str | None) -> Query[R]:
        """Go on behind the row that `cursor_of` was made from; raises InputError for a cursor of another query."""
        return self if cursor is None else msgspec.structs.replace(self, start=_parse_cursor(cursor, self))

    def select(self, *fields: str) -> Query[R]:
        """Return tuples of these fields instead of records."""
        return msgspec.structs.replace(self, fields=fields)

    def group_by(self, *fields: str) -> Query[R]:
        """Aggregate by these fields; the groups come sorted by them."""
        return msgspec.structs.replace(self, groups=fields)

    def compute(self, **aggregates: str) -> Query[R]:
        """Name aggregates: `total="count"`, `hours="sum:estimated_hours"`."""
        made = []
        for name, text in aggregates.items():
            op, _, field = text.partition(":")
            made.append(Aggregate(op, field, name))
        return msgspec.structs.replace(self, aggregates=tuple(made))

    def join(
        self,
        collection: Collection[Any],
        *,
        on: tuple[str, str],
        name: str | None = None,
        kind: Literal["inner", "left", "right"] = "inner",
    ) -> Query[R]:
        """Add the records of another collection, which are spoken of by `name.field`.

        `on` names the field here (or that of an earlier join) and the one there that must be equal. Without `select` a
        row is a tuple of the record and those joined to it. `left` keeps records that have no partner, `right` partners
        that have no record; what is missing is None. Such a query has no cursor.
        """
        made = Join(collection, on[0], on[1], name or collection.name, kind)
        return msgspec.structs.replace(self, joins=(*self.joins, made))

    def having(self, *parts: Condition) -> Query[R]:
        """Keep the groups for which every one of `parts` holds, which speak of groups and of named aggregates."""
        known = [self.kept] if self.kept is not None else []
        return msgspec.structs.replace(self, kept=both(*known, *parts))

    def reach(self, start: Iterable[Any], *, along: Iterable[tuple[str, str]]) -> Query[R]:
        """Return the values that records lead to from those of `start`, these included, as tuples of one, sorted.

        A record leads from the value of the first field of each pair of `along` to that of the second, and so on from
        there, however long; circles end. With `limit` no more is looked for than that, the nearest first, but which of
        those equally near are found is left open. Such a query has neither order nor cursor, and joins nothing.
        """
        trail = Trail(tuple(dict.fromkeys(map(to_scalar, start))), tuple(along))
        return msgspec.structs.replace(self, trail=trail, fields=tuple(far for _, far in trail.along[:1]))

    @property
    def sorting(self) -> tuple[Order, ...]:
        """The full order, the key last."""
        keys = [self.collection.key, *(f"{join.name}.{join.collection.key}" for join in self.joins)]
        sorted_by = {order.field for order in self.order}
        return (*self.order, *(Order(key) for key in keys if key not in sorted_by))


def field_value(record: Any, field: str) -> Any:
    """Return a field's comparable value, or that at a path into JSON; None where there is none."""
    name, dot, rest = field.partition(".")
    value = getattr(record, name)
    if not dot:
        return to_scalar(value)
    for key in rest.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return to_scalar(value)


def check_query(query: Query[Any]) -> None:
    """Refuse fields the collection does not have, and what no backend could answer; raises InputError."""
    _check_aggregates(query)
    wanted = [*query.fields, *query.groups, *(o.field for o in query.order)]
    wanted += [a.field for a in query.aggregates if a.field]
    waiting = [query.condition]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Compare):
            if part.op not in COMPARISONS:
                raise InputError(f"no comparison {part.op!r}", field="query", given=part.op, bound=sorted(COMPARISONS))
            wanted += [part.field] if part.field else []
            if isinstance(part.value, Query):
                _check_inner(part.value)
        elif isinstance(part, (Both, Either)):
            waiting.extend(part.parts)
        elif isinstance(part, Negate):
            waiting.append(part.part)
    joined = {join.name: join.collection for join in query.joins}
    wanted += [join.field for join in query.joins]
    for field in wanted:
        name, _, rest = field.partition(".")
        if name in joined:
            _check_field(joined[name], rest)
        else:
            _check_field(query.collection, field)
    _check_joins(query)
    if query.trail is not None:
        _check_trail(query, query.trail)
    if query.kept is not None:
        _check_kept(query)


def _check_aggregates(query: Query[Any]) -> None:
    for wish in query.aggregates:
        if wish.op not in AGGREGATES or not (wish.field or wish.op == "count"):
            raise InputError(f"no aggregate {wish.op!r} of {wish.field!r}", field="query", bound=sorted(AGGREGATES))


def _check_field(collection: Collection[Any], field: str) -> None:
    known = collection.fields
    if field.partition(".")[0] not in known or '"' in field or "\0" in field:
        raise InputError(f"{collection.name} has no field {field!r}", field="query", given=field, bound=sorted(known))


def _check_joins(query: Query[Any]) -> None:
    names = [join.name for join in query.joins]
    for join in query.joins:
        _check_field(join.collection, join.key)
        if join.name in query.collection.fields or names.count(join.name) > 1:
            raise InputError(
                f"the name {join.name!r} is taken", field="query", given=join.name, bound="a name of its own"
            )
    if query.joins and query.start is not None:
        raise InputError("a query with joins has no cursor", field="cursor", hint="Page it by limit and offset.")


def _check_trail(query: Query[Any], trail: Trail) -> None:
    for field in (field for pair in trail.along for field in pair):
        _check_field(query.collection, field)
    has_more = query.joins or query.order or query.skip or query.start is not None or len(query.fields) != 1
    if has_more or not trail.along or None in trail.start:
        raise InputError(
            "what is reached has a start, fields to go along, and neither order, offset, cursor nor joins",
            field="query",
        )


def _check_kept(query: Query[Any]) -> None:
    known = {*query.groups, *(aggregate.name for aggregate in query.aggregates)}
    waiting = [query.kept]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (Both, Either)):
            waiting.extend(part.parts)
        elif isinstance(part, Negate):
            waiting.append(part.part)
        elif isinstance(part, Compare) and part.field not in known:
            raise InputError(
                f"no group and no aggregate is named {part.field!r}",
                field="query",
                given=part.field,
                bound=sorted(known),
            )


def _check_inner(query: Query[Any]) -> None:
    if len(query.fields) != 1:
        raise InputError("a query to be in selects one field", field="query", given=list(query.fields), bound=1)
    check_query(query)


def cursor_of(query: Query[Any], record: Any) -> str:
    """Return the place right behind `record` in the query's order."""
    place = _signed(query), [field_value(record, o.field) for o in query.sorting]
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _signed(query: Query[Any]) -> list[str]:
    return [("-" if order.descending else "") + order.field for order in query.sorting]


def _parse_cursor(cursor: str, query: Query[Any]) -> tuple[Any, ...]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        fields, values = msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=tuple[list[str], list[Any]]
        )
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor(cursor) from error
    if fields != _signed(query) or len(values) != len(fields) or not all(map(_is_bindable, values)):
        raise _bad_cursor(cursor)
    return tuple(values)


def _is_bindable(value: Any) -> bool:
    return value is None or isinstance(value, (str, float)) or (isinstance(value, int) and -_MOST <= value < _MOST)


def _bad_cursor(cursor: str) -> InputError:
    return InputError(
        "the cursor does not belong to this list",
        field="cursor",
        given=cursor,
        bound="a next_cursor of the same call",
        hint="Leave cursor out to start from the first page.",
    )
