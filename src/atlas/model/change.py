"""What changed between two states of a record: small enough for the journal, exact enough to replay and to take back.

A change is plain JSON data, of one of three forms:

- `{"created": record}` and `{"deleted": record}` hold the whole record;
- `{"fields": {name: delta}}` holds one delta for each field that differs.

A delta is `[before, after]` for a value; `{"added": after}` or `{"removed": before}` for a field that was or is not
there; `{"splice": [at, removed, added]}` for a list or a long text; and `{"keys": {pointer: delta}, "gained":
{pointer: value}, "lost": {pointer: value}}` for an object, with JSON Pointers (RFC 6901) as keys.
`apply(a, diff(a, b)) == b` and `apply(b, invert(diff(a, b))) == a` hold for all JSON objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Data = Mapping[str, Any]

LONG_TEXT = 200
_OPPOSITE = {"added": "removed", "removed": "added", "gained": "lost", "lost": "gained"}


class _Absent:
    """Stands for a key that is not there; None is a value."""


ABSENT = _Absent()


def diff(before: Data | None, after: Data | None) -> dict[str, Any] | None:
    """Return the change from `before` to `after` (None: no record), or None when nothing differs."""
    if before is None:
        return None if after is None else {"created": after}
    if after is None:
        return {"deleted": before}
    fields = {}
    for name in [*before, *(key for key in after if key not in before)]:
        delta = delta_between(before.get(name, ABSENT), after.get(name, ABSENT))
        if delta is not None:
            fields[name] = delta
    return {"fields": fields} if fields else None


def delta_between(old: Any, new: Any) -> Any:
    """Return the delta from one JSON value to another, or None when they are the same."""
    return None if _same(old, new) else _delta(old, new)


def _same(old: Any, new: Any) -> bool:
    """Compare as JSON does: 1 and True and 1.0 are three different values, and 0.0 and -0.0 are two."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(_same, old, new))
    return type(old) is type(new) and bool(old == new) and (type(old) is not float or repr(old) == repr(new))


def _delta(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return _object_delta(old, new)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return {"splice": _splice(list(old), list(new))}
    if isinstance(old, str) and isinstance(new, str) and len(old) > LONG_TEXT and len(new) > LONG_TEXT:
        return {"splice": _splice(old, new)}
    if old is ABSENT:
        return {"added": new}
    if new is ABSENT:
        return {"removed": old}
    return [old, new]


def _splice(old: Any, new: Any) -> list[Any]:
    most = min(len(old), len(new))
    at = 0
    while at < most and _same(old[at], new[at]):
        at += 1
    end = 0
    while end < most - at and _same(old[-1 - end], new[-1 - end]):
        end += 1
    return [at, old[at : len(old) - end], new[at : len(new) - end]]


def _object_delta(old: Data, new: Data) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    gained: dict[str, Any] = {}
    lost: dict[str, Any] = {}
    waiting: list[tuple[str, Data, Data]] = [("", old, new)]
    while waiting:
        prefix, was, now = waiting.pop()
        for key in [*was, *(key for key in now if key not in was)]:
            pointer = f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in now:
                lost[pointer] = was[key]
            elif key not in was:
                gained[pointer] = now[key]
            elif isinstance(was[key], dict) and isinstance(now[key], dict):
                waiting.append((pointer, was[key], now[key]))
            elif not _same(was[key], now[key]):
                keys[pointer] = _delta(was[key], now[key])
    made = {"keys": keys, "gained": gained, "lost": lost}
    return {name: part for name, part in made.items() if part}


def apply(record: Data | None, change: Data) -> dict[str, Any] | None:
    """Return `record` after `change`; raises ValueError when the record is not the one the change was made from.

    Records in the journal leave their defaults out, so a list or an object that is not there stands for an empty one.
    """
    if "created" in change:
        return dict(change["created"])
    if "deleted" in change:
        return None
    if record is None:
        raise ValueError("a change of fields needs a record")
    made = dict(record)
    for name, delta in change["fields"].items():
        _put(made, name, _applied(made.get(name, ABSENT), delta))
    return made


def _put(into: dict[str, Any], key: str, value: Any) -> None:
    if value is ABSENT:
        into.pop(key, None)
    else:
        into[key] = value


def _applied(value: Any, delta: Any) -> Any:
    if isinstance(delta, (list, tuple)):
        return delta[1]
    if "added" in delta or "removed" in delta:
        return delta.get("added", ABSENT)
    if "splice" in delta:
        at, removed, added = delta["splice"]
        if isinstance(value, str):
            return value[:at] + added + value[at + len(removed) :]
        present = [] if value is ABSENT else value
        return [*present[:at], *added, *present[at + len(removed) :]]
    return _object_applied({} if value is ABSENT else value, delta)


def _object_applied(value: Data, delta: Data) -> dict[str, Any]:
    made = dict(value)
    for pointer in delta.get("lost", ()):
        holder, key = _holder(made, pointer)
        del holder[key]
    for pointer, item in delta.get("gained", {}).items():
        holder, key = _holder(made, pointer)
        holder[key] = item
    for pointer, inner in delta.get("keys", {}).items():
        holder, key = _holder(made, pointer)
        holder[key] = _applied(holder[key], inner)
    return made


def _holder(root: dict[str, Any], pointer: str) -> tuple[dict[str, Any], str]:
    """Return the object that holds `pointer`, copied on the way so that the record given stays as it was."""
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    holder = root
    for key in above:
        holder[key] = dict(holder[key])
        holder = holder[key]
    return holder, last


def invert(change: Data) -> dict[str, Any]:
    """Return the change that takes `change` back."""
    if "created" in change:
        return {"deleted": change["created"]}
    if "deleted" in change:
        return {"created": change["deleted"]}
    return {"fields": {name: _inverted(delta) for name, delta in change["fields"].items()}}


def _inverted(delta: Any) -> Any:
    if isinstance(delta, (list, tuple)):
        return [delta[1], delta[0]]
    if "splice" in delta:
        at, removed, added = delta["splice"]
        return {"splice": [at, added, removed]}
    made = {_OPPOSITE[name]: part for name, part in delta.items() if name in _OPPOSITE}
    if "keys" in delta:
        made["keys"] = {pointer: _inverted(inner) for pointer, inner in delta["keys"].items()}
    return made
