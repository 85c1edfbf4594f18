"""From one store to another, of any kind: the whole journal and every record, compared one by one at the end.

The journal goes first: from its first page on it says whose copy a target is, so that a copy that was cut short can go
on, or be taken back, whatever became of the source meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from ..errors import ConflictError, StorageError
from .collection import Collection, encode
from .protocol import Store, Transaction
from .query import Query, cursor_of, gt, isin, le

BATCH = 1_000

Tell = Callable[[int, int, str], None]
"""Is told how many records are done, of how many, and of which collection."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy holds: records by collection, the last number of its journal, and the digest of all of it."""

    records: dict[str, int]
    seq: int
    digest: str
    is_resumed: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy has to do: records by collection in the source, and those that the target has already."""

    records: dict[str, int]
    present: dict[str, int]
    seq: int
    present_seq: int

    @property
    def is_begun(self) -> bool:
        """Say whether the target has a part already."""
        return bool(self.present_seq or any(self.present.values()))

    @property
    def is_whole(self) -> bool:
        """Say whether the target has as much as the source; then they may be one store under two addresses."""
        return (self.present, self.present_seq) == (self.records, self.seq)


async def plan_copy(source: Store, target: Store, collections: Sequence[Collection[Any]]) -> Plan:
    """Look at both stores and change nothing; raises ConflictError when the target holds what is not this source's.

    So it does when the journal of the source has gaps: the target could not give the same numbers.
    """
    return await _Copy(source, target, collections, None).plan()


async def copy_store(
    source: Store, target: Store, collections: Sequence[Collection[Any]], *, tell: Tell | None = None
) -> Copied:
    """Copy all records of open stores; the target then goes on at the source's next number.

    The target must be empty, or hold what an earlier copy from this source got done: then the copy goes on there, and
    what the source does not hold any more gives way. What stops it leaves such a part. Raises ConflictError when the
    target holds anything else, having changed nothing, or when somebody writes to the source meanwhile.
    """
    copy = _Copy(source, target, collections, tell)
    plan = await copy.plan()
    await copy.journal()
    if 0 < plan.present_seq < plan.seq and await copy.foreign(copy.plain) is not None:
        await copy.clear()
    for collection in copy.plain:
        await copy.records(collection)
    seq, digest = await copy.compare()
    return Copied(records=copy.counts, seq=seq, digest=digest, is_resumed=plan.is_begun)


async def discard_copy(
    source: Store, target: Store, collections: Sequence[Collection[Any]], *, tell: Tell | None = None
) -> Plan:
    """Empty a target of the part of a copy that it holds: it is as it was before, and its numbers begin at 1 again.

    Returns what was there. Raises ConflictError, having changed nothing, when it holds anything else than a part of
    this source, or all of it: a whole copy is a store of its own.
    """
    copy = _Copy(source, target, collections, tell)
    plan = await copy.plan(is_kept=False)
    if plan.is_begun and plan.is_whole:
        raise ConflictError("the target is a whole copy, a store of its own", hint="Remove it as you would any store.")
    await copy.clear()
    await copy.clear_journal()
    return plan


class _Copy:
    def __init__(self, source: Store, target: Store, collections: Sequence[Collection[Any]], tell: Tell | None) -> None:
        self.source, self.target = source, target
        # Copied and compared as they lie there: what is gone by the clock would differ from one look to the next.
        collections = [collection.timeless for collection in collections]
        self.plain = _referred_first([c for c in collections if not c.sequence])
        self.sequences = [c for c in collections if c.sequence]
        self.counts: dict[str, int] = {}
        self._tell = tell or (lambda _done, _total, _what: None)

    async def plan(self, *, is_kept: bool = True) -> Plan:
        """See plan_copy; unless it `is_kept`, the target may lack the beginning of its journal."""
        records, seq = await self.source.read(self._counted)
        present, present_seq = await self.target.read(self._counted)
        if await self.source.read(self._counted) != (records, seq):
            raise _written("the source is being written to")
        plan = Plan(records=records, present=present, seq=seq, present_seq=present_seq)
        if sum(records[c.name] for c in self.sequences) != seq:
            raise ConflictError(
                "the journal of the source has gaps; a copy would number it anew",
                hint="Export and import the tasks instead, which begins a new journal.",
            )
        if present_seq > seq:
            raise ConflictError(f"the target has gone on to {present_seq}, the source ends at {seq}", hint=_EMPTY)
        if present_seq:
            await self._check_origin(present_seq)
            if is_kept and sum(present[c.name] for c in self.sequences) != present_seq:
                raise ConflictError("the target holds a part of a copy that was being discarded", hint=_DISCARD)
        # What the source held before it went on may be in the target; as long as it did not, nothing else may be.
        if present_seq in {0, seq} and (foreign := await self.foreign(self.plain)) is not None:
            raise ConflictError(f"the target holds a {foreign} that the source does not hold so", hint=_EMPTY)
        return plan

    def _counted(self, tx: Transaction) -> tuple[dict[str, int], int]:
        return {c.name: tx.count(Query(c)) for c in (*self.plain, *self.sequences)}, tx.seq

    async def _check_origin(self, seq: int) -> None:
        """Refuse a target whose journal is not the beginning of the source's."""

        def last(tx: Transaction) -> list[bytes]:
            found = ((c.name, tx.get(c, seq)) for c in self.sequences)
            return [name.encode() + encode(record) for name, record in found if record is not None]

        theirs = await self.target.read(last)
        if not theirs or theirs != await self.source.read(last) or await self.foreign(self.sequences) is not None:
            raise ConflictError(f"the journal of the target, at {seq}, is not that of the source", hint=_EMPTY)

    async def foreign(self, collections: Sequence[Collection[Any]]) -> str | None:
        """Name a record of the target that the source does not hold so; None where there is none."""
        for collection in collections:
            async for page in pages(self.target, collection):
                keys = [collection.key_of(record) for record in page]
                known = await self.source.read(lambda tx, c=collection, keys=keys: tx.get_many(c, keys))  # type: ignore[misc]
                for key, record in zip(keys, page, strict=True):
                    if key not in known or encode(known[key]) != encode(record):
                        return f"{collection.name} {key}"
        return None

    async def journal(self) -> None:
        """Copy the sequences in the one order of their numbers, so that the target gives the same."""
        total = await self.source.read(lambda tx: tx.seq)
        last = await self.target.read(lambda tx: tx.seq)
        while last < total:
            page = await self.source.read(lambda tx, last=last: _numbered(tx, self.sequences, last))  # type: ignore[misc]
            if not page or page[0][0] != last + 1:
                raise _written("the source has changed its journal")
            committed = await self.target.transact(lambda tx, page=page: _append(tx, page))  # type: ignore[misc]
            last = committed.seq
            self._tell(last, max(last, total), self.sequences[-1].name)

    async def records(self, collection: Collection[Any]) -> None:
        """Copy what the target lacks of a collection, records after those that they refer to.

        Those that come before what they refer to wait, by their keys alone, for the next round.
        """
        total = await self.source.read(lambda tx: tx.count(Query(collection)))
        done, waiting = 0, []
        async for page in pages(self.source, collection):
            early = await self._put(collection, page)
            waiting += early
            done += len(page) - len(early)
            self._tell(done, total, collection.name)
        while waiting:
            still: list[Any] = []
            for part in _parts(waiting):
                found = await self.source.read(lambda tx, part=part: tx.get_many(collection, part))  # type: ignore[misc]
                still += await self._put(collection, list(found.values()))
            if len(still) == len(waiting):
                raise StorageError(f"{len(still)} {collection.name} of the source refer to each other, or to nothing")
            done += len(waiting) - len(still)
            waiting = still
            self._tell(done, total, collection.name)

    async def _put(self, collection: Collection[Any], page: Sequence[Any]) -> list[Any]:
        """Have the target hold these records; returns the keys of those that it cannot hold yet."""
        own = _own(collection)

        def work(tx: Transaction) -> list[Any]:
            here = tx.get_many(collection, [collection.key_of(record) for record in page])
            new = [record for record in page if collection.key_of(record) not in here]
            if not own:
                tx.put_many(collection, new)
                return []
            wanted = {getattr(record, field) for record in new for field in own} - {None}
            ready, early = _ready(collection, new, {None, *here, *tx.get_many(collection, wanted)})
            tx.put_many(collection, ready)
            return early

        return (await self.target.transact(work)).value

    async def clear(self) -> None:
        """Take the records out of the target, those first to which nothing refers any more."""
        for collection in reversed(self.plain):
            total = left = await self.target.read(lambda tx, c=collection: tx.count(Query(c)))  # type: ignore[misc]
            while left:
                before = left
                async for page in pages(self.target, collection, is_downwards=True):
                    left -= await self._delete(collection, page)
                    self._tell(total - left, total, f"discarded {collection.name}")
                if left == before:
                    raise StorageError(f"{left} {collection.name} of the target refer to each other")

    async def _delete(self, collection: Collection[Any], page: Sequence[Any]) -> int:
        keys = [collection.key_of(record) for record in page]

        def work(tx: Transaction) -> int:
            held: set[Any] = set()
            for field in _own(collection):
                held |= {row[0] for row in tx.query(Query(collection).where(isin(field, keys)).select(field))}
            return tx.delete_many(collection, [key for key in keys if key not in held])

        return (await self.target.transact(work)).value

    async def clear_journal(self) -> None:
        """Take the journal out of the target from its beginning; its end says whose it is until it is gone too."""
        total = await self.target.read(lambda tx: tx.seq)
        for last in range(0, total, BATCH):

            def work(tx: Transaction, last: int = last) -> None:
                for _, collection, record in _numbered(tx, self.sequences, last):
                    tx.delete(collection, collection.key_of(record))
                if last + BATCH >= total:
                    tx.start_over()

            await self.target.transact(work)
            self._tell(min(last + BATCH, total), total, f"discarded {self.sequences[-1].name}")

    async def compare(self) -> tuple[int, str]:
        """Compare all records; returns the last number and the digest that both sides have.

        Whatever was read for the copy is read again: what is the same both times was so at the moment between, so that
        all of it together is a state that the source had. The counts tell what was written since.
        """
        self.counts, _ = counted = await self.target.read(self._counted)
        digest = hashlib.blake2b(digest_size=16)
        for collection in (*self.plain, *self.sequences):
            done, theirs = 0, pages(self.target, collection)
            async for mine in pages(self.source, collection):
                self._compare_page(collection, mine, await anext(theirs, []), digest)
                done += len(mine)
                self._tell(done, self.counts[collection.name], f"compared {collection.name}")
            for more in await anext(theirs, []):
                raise _written(f"the target holds {collection.name} {collection.key_of(more)}, the source does not")
        if await self.source.read(self._counted) != counted:
            raise _written("the source was written to while it was copied")
        return counted[1], digest.hexdigest()

    def _compare_page(self, collection: Collection[Any], mine: list[Any], theirs: list[Any], digest: Any) -> None:
        for record, other in zip_longest(mine, theirs):
            text = b"" if record is None else encode(record)
            if other is None or encode(other) != text:
                key = collection.key_of(other if record is None else record)
                raise _written(f"{collection.name} {key} is not in the target as it is in the source")
            digest.update(b"%s %d " % (collection.name.encode(), len(text)) + text)


def _written(what: str) -> ConflictError:
    return ConflictError(what, hint="Stop whoever writes to either store and run the copy again; it goes on from here.")


_EMPTY = "Copy into a new, empty store."
_DISCARD = "Discard it to the end first: `atlas store copy --discard`."


def _ready(collection: Collection[Any], records: Sequence[Any], known: set[Any]) -> tuple[list[Any], list[Any]]:
    """Part records into those that refer to what is known, or to each other, and the keys of the rest."""
    own, left = _own(collection), list(records)
    ready: list[Any] = []
    while True:
        more = [record for record in left if all(getattr(record, field) in known for field in own)]
        if not more:
            return ready, [collection.key_of(record) for record in left]
        ready += more
        known |= {collection.key_of(record) for record in more}
        left = [record for record in left if collection.key_of(record) not in known]


def _own(collection: Collection[Any]) -> list[str]:
    return [field for field, target in collection.references.items() if target == collection.name]


def _numbered(tx: Transaction, sequences: Iterable[Collection[Any]], last: int) -> list[tuple[int, Any, Any]]:
    """Return number, sequence and record of a batch behind a number, in the order of the numbers."""
    found = [
        (collection.key_of(record), collection, record)
        for collection in sequences
        for record in tx.query(Query(collection).where(gt(collection.key, last), le(collection.key, last + BATCH)))
    ]
    return sorted(found, key=lambda each: each[0])


def _append(tx: Transaction, page: Sequence[tuple[int, Any, Any]]) -> None:
    for _, collection, record in page:
        tx.append(collection, record)


async def pages(store: Store, collection: Collection[Any], *, is_downwards: bool = False) -> AsyncIterator[list[Any]]:
    """Yield all records of a collection in the order of their keys, each page from a snapshot of its own."""
    query = Query(collection).order_by(f"-{collection.key}" if is_downwards else collection.key).limit(BATCH)
    after: str | None = None
    while True:
        found = await store.read(lambda tx, after=after: tx.query(query.after(after)))  # type: ignore[misc]
        if found:
            yield found
        if len(found) < BATCH:
            return
        after = cursor_of(query, found[-1])


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
