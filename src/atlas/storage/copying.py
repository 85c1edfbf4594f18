"""From one store to another, of any kind: every record and the whole journal, compared one by one at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from ..errors import ConflictError, StorageError
from .collection import Collection, encode
from .protocol import Store, Transaction
from .query import Query, cursor_of, eq, isin

BATCH = 1_000

Tell = Callable[[int, int, str], None]
"""Is told how many records are done, of how many, and of which collection."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy holds: records by collection, the last number of its journal, and the digest of all of it."""

    records: dict[str, int]
    seq: int
    digest: str
    is_resumed: bool


async def copy_store(
    source: Store, target: Store, collections: Sequence[Collection[Any]], *, tell: Tell | None = None
) -> Copied:
    """Copy all records of open stores; the target then goes on at the source's next number.

    The target must be empty, or hold what an earlier copy from this source got done: then the copy goes on there.
    Raises ConflictError when the target holds anything else, or somebody writes to the source meanwhile. Whatever stops
    the copy before it begins with the journal leaves an empty target empty.
    """
    copy = _Copy(source, target, collections, tell)
    is_resumed = await copy.check_target()
    seq = await source.read(lambda tx: tx.seq)
    try:
        for collection in copy.plain:
            await copy.records(collection)
    except BaseException:
        if not is_resumed:
            await copy.undo()
        raise
    for collection in copy.sequences:
        await copy.sequence(collection)
    if await source.read(lambda tx: tx.seq) != seq:
        raise ConflictError(
            "the source was written to while it was copied",
            hint="Stop its writers and run the copy again; it goes on from here.",
        )
    return Copied(records=copy.counts, seq=seq, digest=await copy.verified(), is_resumed=is_resumed)


class _Copy:
    def __init__(self, source: Store, target: Store, collections: Sequence[Collection[Any]], tell: Tell | None) -> None:
        self.source, self.target = source, target
        self.plain = _referred_first([c for c in collections if not c.sequence])
        self.sequences = [c for c in collections if c.sequence]
        self.counts: dict[str, int] = {}
        self._tell = tell or (lambda _done, _total, _what: None)

    async def check_target(self) -> bool:
        """Say whether the target holds a part of the source already; raises ConflictError if it holds anything else."""
        is_begun = False
        for collection in (*self.plain, *self.sequences):
            async for page in pages(self.target, collection):
                is_begun = True
                keys = [collection.key_of(record) for record in page]
                known = await self.source.read(lambda tx, c=collection, keys=keys: tx.get_many(c, keys))  # type: ignore[misc]
                for key, record in zip(keys, page, strict=True):
                    if key not in known or encode(known[key]) != encode(record):
                        raise ConflictError(
                            f"the target holds a {collection.name} {key} that the source does not hold so",
                            hint="Copy into a new, empty store.",
                        )
        return is_begun

    async def records(self, collection: Collection[Any]) -> None:
        """Copy a collection, records before those that refer to them."""
        total = await self.source.read(lambda tx: tx.count(Query(collection)))
        done = 0
        async for page in _levels(self.source, collection):
            await self.target.transact(lambda tx, page=page: tx.put_many(collection, page))  # type: ignore[misc]
            done += len(page)
            self._tell(done, total, collection.name)
        self.counts[collection.name] = done

    async def sequence(self, collection: Collection[Any]) -> None:
        """Copy a sequence in its order, so that the target gives the same numbers."""
        total = await self.source.read(lambda tx: tx.count(Query(collection)))
        done = await self.target.read(lambda tx: tx.count(Query(collection)))
        last = await self.target.read(lambda tx: tx.seq)
        query = Query(collection).order_by(collection.key)
        start = await self.source.read(lambda tx: tx.get(collection, last)) if last else None
        async for page in pages(self.source, collection, after=None if start is None else cursor_of(query, start)):
            if [collection.key_of(record) for record in page] != list(range(last + 1, last + 1 + len(page))):
                raise StorageError(
                    f"the {collection.name} of the source have gaps after {last}; a copy would number them anew",
                    hint="Export and import the tasks instead, which begins a new journal.",
                )
            committed = await self.target.transact(lambda tx, page=page: _append(tx, collection, page))  # type: ignore[misc]
            last = committed.seq
            done += len(page)
            self._tell(done, total, collection.name)
        self.counts[collection.name] = done

    async def undo(self) -> None:
        """Empty a target that was empty."""
        for collection in reversed(self.plain):
            async for page in _levels(self.target, collection, is_upwards=True):
                keys = [collection.key_of(record) for record in page]
                await self.target.transact(lambda tx, c=collection, keys=keys: tx.delete_many(c, keys))  # type: ignore[misc]

    async def verified(self) -> str:
        """Compare all records; returns the digest that both sides have. Raises StorageError at the first difference."""
        import hashlib

        digest = hashlib.blake2b(digest_size=16)
        for collection in (*self.plain, *self.sequences):
            theirs = pages(self.target, collection)
            async for mine in pages(self.source, collection):
                copied: list[Any] = await anext(theirs, [])
                for record, other in zip(mine, [*copied, *[None] * (len(mine) - len(copied))], strict=False):
                    text = encode(record)
                    if other is None or encode(other) != text:
                        raise StorageError(f"{collection.name} {collection.key_of(record)} was not copied as it is")
                    digest.update(collection.name.encode() + b"\0" + text)
            if await anext(theirs, None):
                raise StorageError(f"the target holds {collection.name} that the source does not hold")
        return digest.hexdigest()


def _append(tx: Transaction, collection: Collection[Any], records: Sequence[Any]) -> None:
    for record in records:
        tx.append(collection, record)


async def pages(
    store: Store, collection: Collection[Any], *, after: str | None = None, size: int = BATCH
) -> AsyncIterator[list[Any]]:
    """Yield all records of a collection in the order of their keys, each page from a snapshot of its own."""
    query = Query(collection).order_by(collection.key).limit(size)
    while True:
        found = await store.read(lambda tx, after=after: tx.query(query.after(after)))  # type: ignore[misc]
        if found:
            yield found
        if len(found) < size:
            return
        after = cursor_of(query, found[-1])


async def _levels(store: Store, collection: Collection[Any], *, is_upwards: bool = False) -> AsyncIterator[list[Any]]:
    """Yield all records, each after what it refers to in its own collection; or before it (`is_upwards`)."""
    own = next((field for field, target in collection.references.items() if target == collection.name), None)
    if own is None:
        async for page in pages(store, collection):
            yield page
        return
    levels: list[list[Any]] = []
    level = await store.read(lambda tx: tx.query(Query(collection).where(eq(own, None))))
    while level:
        levels.append(level)
        keys = [collection.key_of(record) for record in level]
        level = []
        for part in _parts(keys):
            level += await store.read(lambda tx, part=part: tx.query(Query(collection).where(isin(own, part))))  # type: ignore[misc]
    for each in reversed(levels) if is_upwards else levels:
        for part in _parts(each):
            yield part


def _parts(items: Sequence[Any]) -> list[list[Any]]:
    return [list(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def _referred_first(collections: Sequence[Collection[Any]]) -> list[Collection[Any]]:
    """Order collections so that one comes after those that its references lead to."""
    names = {collection.name for collection in collections}
    ordered: list[Collection[Any]] = []
    waiting = list(collections)
    while waiting:
        done = {collection.name for collection in ordered}
        ready = [c for c in waiting if not {t for t in c.references.values() if t in names} - done - {c.name}]
        if not ready:
            raise StorageError(f"{', '.join(c.name for c in waiting)} refer to each other in a circle")
        ordered += ready
        waiting = [c for c in waiting if c not in ready]
    return ordered
