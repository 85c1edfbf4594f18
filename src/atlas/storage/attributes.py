"""An index from attributes to values to entities, kept in a collection of any store.

Values are JSON. Two are the same when their JSON is, whatever the order of keys; `1`, `1.0` and `true` are three.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import InputError, StorageError, StoreFormatError
from .collection import Collection
from .protocol import Store, Transaction
from .query import Query, contains

Operator = Literal["equals", "contains", "starts_with", "exists"]
VERSION = "1.0.0"
_NAMES = {"equals": "equals", "contains": "contains", "startsWith": "starts_with", "exists": "exists"}


class Entity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entity with its attributes: for each name the canonical JSON of its values. `pairs` is what is looked up."""

    id: str
    attributes: dict[str, tuple[str, ...]] = {}
    names: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()


ENTITIES: Collection[Entity] = Collection("entity", Entity, lists=("names", "pairs"), journaled=False)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One condition. `value` is needed by every operator but `exists`."""

    name: str
    operator: Operator = "equals"
    value: Any = msgspec.UNSET


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How much an index holds; `values` counts each value of each attribute once."""

    entities: int
    attributes: int
    values: int
    per_entity: float


class AttributeIndex:
    """Finds entities by their attributes. The store must know the collection, ENTITIES unless another one is given."""

    def __init__(self, store: Store, collection: Collection[Entity] = ENTITIES) -> None:
        self._store = store
        self._collection = collection

    async def add(self, entity: str, name: str, value: Any) -> None:
        """Give an entity a value of an attribute; one that it has already stays one."""
        await self.add_many([(entity, name, value)])

    async def add_many(self, items: Iterable[tuple[str, str, Any]]) -> None:
        """Add entity, attribute and value many times, all or nothing; raises InputError."""
        wanted: dict[str, dict[str, list[str]]] = {}
        for entity, name, value in items:
            _check_text(entity, "entity")
            _check_text(name, "name")
            wanted.setdefault(entity, {}).setdefault(name, []).append(canonical(value))

        def work(tx: Transaction) -> None:
            known = tx.get_many(self._collection, wanted)
            for entity, added in wanted.items():
                present = known[entity].attributes if entity in known else {}
                merged = {**present, **{name: _merged(present.get(name, ()), more) for name, more in added.items()}}
                tx.put(self._collection, _entity(entity, merged))

        await self._store.transact(work)

    async def add_entities(self, entities: Iterable[Mapping[str, Any]]) -> None:
        """Index `{id, type, name, metadata}`: the type, the name, and every key of the metadata."""
        items: list[tuple[str, str, Any]] = []
        for entity in entities:
            key = entity.get("id")
            _check_text(key, "id")
            items += [(str(key), name, entity[name]) for name in ("type", "name") if name in entity]
            items += [(str(key), name, value) for name, value in (entity.get("metadata") or {}).items()]
        await self.add_many(items)

    async def remove(self, entity: str, name: str | None = None, value: Any = msgspec.UNSET) -> bool:
        """Remove one value, or a whole attribute, or a whole entity; says whether there was anything to remove."""
        text = None if value is msgspec.UNSET else canonical(value)

        def work(tx: Transaction) -> bool:
            known = tx.get(self._collection, entity)
            if known is None:
                return False
            left = _without(known.attributes, name, text)
            if left == known.attributes:
                return False
            if left:
                tx.put(self._collection, _entity(entity, left))
            else:
                tx.delete(self._collection, entity)
            return True

        return (await self._store.transact(work)).value

    async def find(self, name: str, value: Any = msgspec.UNSET, operator: Operator | None = None) -> set[str]:
        """Return the entities with that attribute; with a value, those that have it so.

        `equals` compares JSON; `contains` looks into a text, or for a member of a list; `starts_with` is for texts.
        Both heed the case of letters.
        """
        chosen = operator or ("exists" if value is msgspec.UNSET else "equals")
        return await self.find_all([Wanted(name=name, operator=chosen, value=value)])

    async def find_all(self, wanted: Sequence[Wanted], *, combine: Literal["and", "or"] = "and") -> set[str]:
        """Return the entities for which every condition holds, or any of them (`or`); of no condition, none."""
        if combine not in {"and", "or"}:
            raise InputError(f"no combination {combine!r}", field="combine", given=combine, bound=["and", "or"])
        for each in wanted:
            _check_wanted(each)
        found = await self._store.read(lambda tx: [self._matching(tx, each) for each in wanted])
        if not found:
            return set()
        return set.union(*found) if combine == "or" else set.intersection(*sorted(found, key=len))

    def _matching(self, tx: Transaction, wanted: Wanted) -> set[str]:
        query = Query(self._collection)
        if wanted.operator == "equals":
            query = query.where(contains("pairs", _pair(wanted.name, canonical(wanted.value))))
            return {row[0] for row in tx.query(query.select("id"))}
        query = query.where(contains("names", wanted.name))
        if wanted.operator == "exists":
            return {row[0] for row in tx.query(query.select("id"))}
        holds = _HOLDS[wanted.operator]
        judged: dict[str, bool] = {}
        found = set()
        for entity in tx.query(query):
            for text in entity.attributes[wanted.name]:
                if text not in judged:
                    judged[text] = holds(msgspec.json.decode(text), wanted.value)
                if judged[text]:
                    found.add(entity.id)
        return found

    async def names(self) -> set[str]:
        """Return all attributes."""
        return {name for entity in await self._all() for name in entity.names}

    async def values_of(self, name: str) -> list[Any]:
        """Return the values of an attribute, each once, in the order of their JSON."""
        query = Query(self._collection).where(contains("names", name))
        rows = await self._store.read(lambda tx: tx.query(query))
        return [msgspec.json.decode(text) for text in sorted({t for e in rows for t in e.attributes[name]})]

    async def attributes_of(self, entity: str) -> dict[str, list[Any]]:
        """Return the attributes of an entity with their values, nothing for one that is not there."""
        known = await self._store.read(lambda tx: tx.get(self._collection, entity))
        held = {} if known is None else known.attributes
        return {name: [msgspec.json.decode(text) for text in texts] for name, texts in held.items()}

    async def statistics(self) -> Figures:
        """Count what the index holds."""
        entities = await self._all()
        pairs = {(name, text) for e in entities for name, texts in e.attributes.items() for text in texts}
        held = sum(len(texts) for e in entities for texts in e.attributes.values())
        return Figures(
            entities=len(entities),
            attributes=len({name for name, _ in pairs}),
            values=len(pairs),
            per_entity=held / len(entities) if entities else 0.0,
        )

    async def _all(self) -> list[Entity]:
        return await self._store.read(lambda tx: tx.query(Query(self._collection)))

    async def save(self, path: Path) -> None:
        """Write the index to a file of version 1.0.0, whole or not at all; a file there keeps its time of making."""
        entities = await self._all()
        index: dict[str, dict[str, list[str]]] = {}
        for entity in entities:
            for name, texts in entity.attributes.items():
                for text in texts:
                    index.setdefault(name, {}).setdefault(text, []).append(entity.id)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        data = {
            "version": VERSION,
            "index": index,
            "entityAttributes": {e.id: [f"{n}:{t}" for n, ts in e.attributes.items() for t in ts] for e in entities},
            "metadata": {"createdAt": _made_at(path) or now, "lastModified": now, "entityCount": len(entities)},
        }
        _write_whole(path, msgspec.json.format(msgspec.json.encode(data), indent=2))

    async def load(self, path: Path) -> None:
        """Replace the index by that of a file; one that cannot be read raises StoreFormatError and changes nothing."""
        attributes = _read_file(path)
        entities = [_entity(key, held) for key, held in attributes.items()]

        def work(tx: Transaction) -> None:
            tx.delete_many(self._collection, [row[0] for row in tx.query(Query(self._collection).select("id"))])
            tx.put_many(self._collection, entities)

        await self._store.transact(work)


def canonical(value: Any) -> str:
    """Return a value as JSON whose keys are sorted; raises InputError for what JSON has no place for."""
    text, is_kept = "", False
    try:
        text = msgspec.json.encode(value, order="deterministic").decode()
        is_kept = bool(msgspec.json.decode(text) == value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass
    if not is_kept:
        # NaN would come back as null, a number as a key would come back as text.
        raise InputError(
            "the value is no JSON, or would come back as something else",
            field="value",
            given=type(value).__name__,
            bound="JSON",
        )
    return text


def _check_text(value: Any, field: str) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"{field} must be a text with something in it", field=field, given=str(value), bound="text")


def _check_wanted(wanted: Wanted) -> None:
    if wanted.operator not in _NAMES.values():
        raise InputError(
            f"no operator {wanted.operator!r}", field="operator", given=wanted.operator, bound=sorted(_NAMES.values())
        )
    if wanted.operator != "exists" and wanted.value is msgspec.UNSET:
        raise InputError(f"{wanted.operator} needs a value", field="value", bound="a JSON value")
    if wanted.operator == "starts_with" and not isinstance(wanted.value, str):
        raise InputError("starts_with needs a text", field="value", given=canonical(wanted.value), bound="text")


def _contains(held: Any, wanted: Any) -> bool:
    if isinstance(held, str):
        return isinstance(wanted, str) and wanted in held
    return isinstance(held, list) and canonical(wanted) in [canonical(item) for item in held]


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "contains": _contains,
    "starts_with": lambda held, wanted: isinstance(held, str) and held.startswith(wanted),
}


def _merged(present: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*present, *more]))


def _without(held: dict[str, tuple[str, ...]], name: str | None, text: str | None) -> dict[str, tuple[str, ...]]:
    if name is None:
        return {}
    kept = () if text is None else tuple(other for other in held.get(name, ()) if other != text)
    return {other: kept if other == name else texts for other, texts in held.items() if other != name or kept}


def _entity(key: str, attributes: Mapping[str, tuple[str, ...]]) -> Entity:
    pairs = tuple(_pair(name, text) for name, texts in attributes.items() for text in texts)
    return Entity(id=key, attributes=dict(attributes), names=tuple(attributes), pairs=pairs)


def _pair(name: str, text: str) -> str:
    # The name as JSON ends at its quote, whatever stands in it.
    return f"{msgspec.json.encode(name).decode()}:{text}"


class _File(msgspec.Struct):
    version: str
    index: dict[str, dict[str, list[str]]]


def _read_file(path: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StoreFormatError(
            f"{path} is no index of attributes: {error}", hint="Name a file that save() made."
        ) from error
    if found.version != VERSION:
        raise StoreFormatError(f"{path} has version {found.version}, not {VERSION}")
    held: dict[str, dict[str, list[str]]] = {}
    for name, values in found.index.items():
        for text, keys in values.items():
            for key in keys:
                held.setdefault(key, {}).setdefault(name, []).append(_reread(path, text))
    return {key: {name: tuple(dict.fromkeys(texts)) for name, texts in own.items()} for key, own in held.items()}


def _reread(path: Path, text: str) -> str:
    try:
        return canonical(msgspec.json.decode(text))
    except msgspec.DecodeError as error:
        raise StoreFormatError(f"{path} holds a value that is no JSON: {text[:80]!r}") from error


def _made_at(path: Path) -> str | None:
    try:
        made = msgspec.json.decode(path.read_bytes())["metadata"]["createdAt"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None
    return made if isinstance(made, str) else None


def _write_whole(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}-unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(f"{path}: {error.strerror}") from error
