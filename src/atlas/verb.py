"""The mark of a public verb: its signature becomes the JSON Schema and the validation on every interface."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

import msgspec

from .errors import InputError
from .model.limits import check_clean

Progress = Callable[[int, int, str], None]

PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Who wants to hear how far long work is: called with done, total and what is done, maybe from another thread."""

P = ParamSpec("P")
R = TypeVar("R")

_PLACE = re.compile(r"(?P<what>.*) - at `(?P<place>[^`]*)`\Z", re.DOTALL)
_NUMBER = re.compile(r"[<>]=? (-?[0-9.]+)\Z")
_EXPECTED = re.compile(r"Expected (.*?)(, got .*)?\Z")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_INT_MOST = 2**63 - 1
_INSTANT = "ISO 8601, date and time with zone"


class Effect(StrEnum):
    """What calling a verb does, and so whether it asks first."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class Spec:
    """What is known of a verb: its effect, its help, and the shape of its arguments."""

    def __init__(self, function: Callable[..., Any], effect: Effect) -> None:
        self.function = function
        self.effect = effect
        self.help = inspect.cleandoc(function.__doc__ or "")

    @functools.cached_property
    def names(self) -> list[str]:
        """The arguments in order, without the service itself."""
        return list(inspect.signature(self.function).parameters)[1:]

    @functools.cached_property
    def positional(self) -> list[str]:
        """The arguments that may be given by place."""
        found = inspect.signature(self.function).parameters.values()
        return [p.name for p in found if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]

    @functools.cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """The arguments as a record that refuses unknown names."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        fields: list[Any] = []
        for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]:
            if parameter.default is inspect.Parameter.empty:
                fields.append((name, hints[name]))
            else:
                fields.append((name, hints[name], msgspec.field(default=parameter.default)))
        return msgspec.defstruct(self.function.__name__, fields, kw_only=True, forbid_unknown_fields=True, frozen=True)

    def check(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments in their types; raises InputError with field, bound and what was given.

        The first argument that is wrong is reported, with the number of the others.
        """
        check_arguments(given)
        try:
            made = msgspec.convert(given, self.arguments)
        except msgspec.ValidationError as error:
            refusal = explained(error, given, self.arguments)
            refusal.details["others"] = max(0, self._wrong(given) - 1)
            raise refusal from None
        return {name: getattr(made, name) for name in self.names}

    def _wrong(self, given: dict[str, Any]) -> int:
        """Count the arguments that are wrong, each looked at alone."""
        fields = {field.name: field for field in msgspec.structs.fields(self.arguments)}
        wrong = sum(name not in fields for name in given)
        wrong += sum(field.required and name not in given for name, field in fields.items())
        for name in given.keys() & fields.keys():
            try:
                msgspec.convert(given[name], fields[name].type)
            except msgspec.ValidationError:
                wrong += 1
        return wrong


def check_arguments(given: dict[str, Any]) -> None:
    """Refuse what no store keeps alike (NUL, lone surrogates, NaN) in any argument, and in its name.

    A whole number that SQLite has no place for is one too.
    """
    for name, value in given.items():
        check_clean(name, "arguments")
        check_clean(value, name)
        if isinstance(value, int) and not -_INT_MOST <= value <= _INT_MOST:
            raise InputError(
                f"{name} is too large", field=name, given=value, bound=_INT_MOST, hint=f"Pass at most {_INT_MOST}."
            )


def explained(error: msgspec.ValidationError, given: Any, shape: Any) -> InputError:
    """Return the error that names the field, its bound and what was given; `shape` is what it was held against."""
    text = str(error)
    found = _PLACE.match(text)
    what, place = (found["what"], found["place"]) if found else (text, "$")
    missing, unknown = _MISSING.match(what), _UNKNOWN.match(what)
    hint: str | None
    if missing:
        field = _joined(place, missing["field"])
        return InputError(f"{field} is required", field=field, bound="required", hint=f"Pass {field}.")
    if unknown:
        known = sorted(_schema_at(shape, place).get("properties", {}))
        field = _joined(place, unknown["field"])
        hint = _within(shape, place, unknown["field"])
        hint = hint or _nearest(unknown["field"], known) or f"Known: {', '.join(known)}."
        return InputError(f"{field} is not an argument", field=field, given=field, bound=known, hint=hint)
    value, bound = _at(given, place), _bound(what, _schema_at(shape, place))
    hint = _way_out(what, value, bound)
    return InputError(
        f"{_joined(place, '') or 'arguments'}: {what}", field=_joined(place, ""), given=value, bound=bound, hint=hint
    )


def _within(shape: Any, place: str, name: str) -> str | None:
    """Say which of the arguments takes a name that does not stand beside them, as `updates` takes `status`."""
    for argument in _schema_at(shape, place).get("properties", {}):
        if name in _schema_at(shape, f"{place}.{argument}").get("properties", {}):
            return f'Pass it within {argument}: {{"{argument}": {{"{name}": …}}}}.'
    return None


def _joined(place: str, name: str) -> str:
    return ".".join(part for part in (place.removeprefix("$").lstrip("."), name) if part)


def _parts(place: str) -> list[str]:
    return re.findall(r"[^.\[\]$]+|\.\.\.", place)


def _at(given: Any, place: str) -> Any:
    """Return what stands at a place like `$.tags[3].name`; the innermost that can be named."""
    value = given
    for part in _parts(place):
        try:
            value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return value
    return value


def _schema_at(shape: Any, place: str) -> dict[str, Any]:
    """Return the JSON Schema of what belongs at a place, alternatives merged."""
    (schema,), known = msgspec.json.schema_components([shape], ref_template="{name}")
    node = _merged(schema, known)
    for part in _parts(place):
        inner = node.get("properties", {}).get(part) or node.get("items") or {}
        node = _merged(inner, known)
    return node


def _merged(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for node in schema.get("anyOf", [schema]):
        made.update(known[node["$ref"]] if "$ref" in node else node)
    return made


def _bound(what: str, schema: dict[str, Any]) -> Any:
    """Return the bound that a message of msgspec speaks of: the allowed values, the number, or the type."""
    if "enum" in schema and " of length " not in what:
        return [*schema["enum"], *(["a list"] if "items" in schema else [])]
    number = _NUMBER.search(what)
    if number:
        return float(number[1]) if "." in number[1] else int(number[1])
    if "datetime" in what:
        return _INSTANT
    wanted = _EXPECTED.match(what)
    if not wanted:
        return what
    kinds = [kind for kind in wanted[1].strip("`").split(" | ") if kind != "null"]
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds)


def _way_out(what: str, value: Any, bound: Any) -> str:
    if isinstance(bound, list):
        return _nearest(value, bound) or f"Use one of {', '.join(bound)}."
    if bound == _INSTANT:
        return "Write it like 2026-12-31T17:00:00Z."
    if isinstance(bound, (int, float)):
        of_what = " of them" if "array" in what else " characters" if "str" in what else ""
        return f"Pass {'at most' if '<' in what else 'at least'} {bound:g}{of_what}."
    return f"Pass {bound}."


def _nearest(given: Any, known: list[str]) -> str | None:
    from difflib import get_close_matches

    for candidate in (str(given), str(given).upper(), str(given).lower()):
        close = get_close_matches(candidate, known, n=1, cutoff=0.6)
        if close:
            return f"Did you mean {close[0]!r}?"
    return None


def verb(effect: Effect) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Mark an async method as a verb: every call, from wherever, is validated against its signature first."""

    def marked(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        spec = Spec(function, effect)

        @functools.wraps(function)
        async def called(*args: P.args, **kwargs: P.kwargs) -> R:
            service, *rest = args
            named = dict(zip(spec.positional, rest, strict=False))
            if len(rest) > len(named) or named.keys() & kwargs.keys():
                raise TypeError(f"{function.__name__} takes {', '.join(spec.positional)} and keywords")
            checked = spec.check({**named, **kwargs})
            return await function(service, **checked)  # type: ignore[arg-type]

        called.spec = spec  # type: ignore[attr-defined]
        return called

    return marked


def spec_of(method: Any) -> Spec:
    """Return what is known of a verb; raises TypeError for anything else."""
    function = method.__func__ if isinstance(method, types.MethodType) else method
    spec = getattr(function, "spec", None)
    if not isinstance(spec, Spec):
        raise TypeError(f"{method!r} is not a verb")
    return spec
