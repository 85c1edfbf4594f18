"""Tools as a client sees them: the verb table in a profile, each verb with the JSON Schema of its signature."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from ...verb import Effect
from ..verbs import Verb, shown_in

COMMON = frozenset({"idempotency_key", "expected_version", "fields", "cursor", "max_tokens", "since", "actor"})
"""Arguments that every profile accepts and `core` describes once, in the server's instructions."""

_ITS_OWN = {"get_timeline": frozenset({"since"})}

_REPEATABLE = frozenset(
    {"delete_task", "import_plan", "repair_relationships", "vacuum_database", "clear_all_tasks"},
)
_NOTHING: tuple[Any, ...] = (None, "", (), [], {}, False)


@cache
def tools(profile: str) -> tuple[dict[str, Any], ...]:
    """Return the tools of a profile as they go over the wire."""
    return tuple(_tool(verb, profile) for verb in shown_in(profile))


def _tool(verb: Verb, profile: str) -> dict[str, Any]:
    is_core = profile == "core"
    text = verb.spec.help
    made = {
        "name": verb.name,
        "title": verb.title,
        "description": (text.partition("\n\n")[0] if is_core else text).replace("\n", " ").replace("  ", " "),
        "inputSchema": input_schema(verb, is_core=is_core),
        "annotations": _annotations(verb),
    }
    if profile == "all":
        made["outputSchema"] = output_schema(verb)
    return made


def _annotations(verb: Verb) -> dict[str, bool]:
    if verb.effect is Effect.READ:
        return {"readOnlyHint": True}
    made = {"destructiveHint": verb.effect is Effect.DESTRUCTIVE}
    if verb.name in _REPEATABLE:
        made["idempotentHint"] = True
    return made


def input_schema(verb: Verb, *, is_core: bool = False) -> dict[str, Any]:
    """Return the schema of a verb's arguments, references written out.

    `is_core` leaves out the common arguments, and says nothing about others, since those are accepted all the same.
    """
    made = _compact(_schema(verb.spec.arguments), is_closed=not is_core)
    if is_core:
        hidden = COMMON - _ITS_OWN.get(verb.name, frozenset())
        made["properties"] = {k: v for k, v in made.get("properties", {}).items() if k not in hidden}
        made = _brief(made)
    return made


def output_schema(verb: Verb) -> dict[str, Any]:
    """Return the schema of what a verb answers."""
    answer = typing.get_type_hints(verb.spec.function, include_extras=True)["return"]
    return _compact(_schema(answer), is_closed=False, is_given=False)


def _schema(shape: Any) -> dict[str, Any]:
    """Return msgspec's schema with every reference replaced by what it names."""
    whole = msgspec.json.schema(shape)
    named = whole.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(item) for item in part]
        if not isinstance(part, Mapping):
            return part
        if "$ref" not in part:
            return {key: resolved(value) for key, value in part.items()}
        found = dict(named[part["$ref"].rpartition("/")[2]])
        # What a class says of itself is for its readers, not for those of every argument of its type.
        found.pop("description", None)
        return {**resolved(found), **{key: resolved(value) for key, value in part.items() if key != "$ref"}}

    return typing.cast("dict[str, Any]", resolved(whole))


def _compact(schema: dict[str, Any], *, is_closed: bool, is_given: bool = True) -> dict[str, Any]:
    """Return the schema without what a reader does not need: titles, empty defaults, null where it means absent.

    Null means absent only in what is given; an answer may hold it.
    """
    made = dict(schema)
    if "default" in made and (made["default"] in _NOTHING or not is_given):
        if made["default"] is None and is_given:
            made = _without_null(made)
        del made["default"]
    made.pop("title", None)
    if made.get("additionalProperties") is False and not is_closed:
        del made["additionalProperties"]
    if made.get("required") == []:
        del made["required"]

    def inner(part: Any) -> Any:
        return _compact(part, is_closed=is_closed, is_given=is_given) if isinstance(part, dict) else part

    if "properties" in made:
        made["properties"] = {name: inner(part) for name, part in made["properties"].items()}
    for key in {"items", "additionalProperties"} & made.keys():
        made[key] = inner(made[key])
    if "anyOf" in made:
        made["anyOf"] = [inner(part) for part in made["anyOf"]]
        made = _joined(made)
    return made


def _brief(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema for a small context: without `add_x` beside an `x`, and limits within lists.

    All that is left out holds all the same.
    """
    made = {key: value for key, value in schema.items() if key != "minLength"}
    if "properties" in made:
        known = made["properties"]
        made["properties"] = {
            name: _brief(part)
            for name, part in known.items()
            if not (name.startswith(("add_", "remove_")) and name.partition("_")[2] in known)
        }
    if isinstance(made.get("items"), dict):
        kinds = [part.get("type") for part in made["items"].get("anyOf", [])]
        made["items"] = {"type": kinds} if kinds else {"type": made["items"].get("type")}
    if "anyOf" in made:
        made["anyOf"] = [_brief(part) for part in made["anyOf"]]
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(parts) == 1:
        return {**parts[0], **rest}
    return {**rest, "anyOf": parts} if parts else rest


def _joined(schema: dict[str, Any]) -> dict[str, Any]:
    """Write `anyOf: [{type: string, …}, {type: null}]` as `type: [string, null]`."""
    parts = schema["anyOf"]
    plain = [part for part in parts if part != {"type": "null"}]
    if len(plain) == 1 and len(parts) == 2 and isinstance(plain[0].get("type"), str) and "enum" not in plain[0]:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**plain[0], "type": [plain[0]["type"], "null"], **rest}
    return schema
