"""Many records at once: in, out, and as one batch of operations; memory stays bounded, and a cut leaves whole parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import InputError
from .collection import Collection
from .protocol import Store, Transaction
from .query import Query, cursor_of

R = TypeVar("R")

PART = 1_000

Tell = Callable[[int], None]
"""Is told after each part how many records are done."""

Keep = Callable[[Transaction, int], None]
"""Writes down, in the transaction of a part, how many records are done with it.

Look it up in a transaction too: one waits for what a cancelled caller left under way, a read does not.
"""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """How many records of the source are in the store; a load that was cut short goes on by skipping so many."""

    count: int
    seq: int


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """How many records were given away, and the cursor behind the last of them (None when there was none)."""

    count: int
    cursor: str | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a batch: put a record, or delete a key. `expected_version` refuses what somebody overtook."""

    op: Literal["put", "delete"]
    collection: Collection[Any]
    record: Any = None
    key: Any = None
    expected_version: int | None = None


class Batched(msgspec.Struct, frozen=True, kw_only=True):
    """How many records a batch put, and how many it deleted that were there."""

    put: int
    deleted: int
    seq: int


async def bulk_load(
    store: Store,
    collection: Collection[R],
    source: AsyncIterator[R],
    *,
    skip: int = 0,
    part: int = PART,
    tell: Tell | None = None,
    keep: Keep | None = None,
) -> Loaded:
    """Put (or append) all records of a source, so many at a time, each part a transaction.

    What stops it (an error, a cancelled caller) leaves whole parts, at least those that `tell` was told of: with `skip`
    a second load of the same source goes on behind them. A part may be in that it was not told of; put again, it is the
    same, but appended again it would be there twice. What `keep` writes is there exactly when the part is.
    """
    _check_part(part)
    done, waiting, seq = 0, [], 0
    async for record in source:
        done += 1
        if done <= skip:
            continue
        waiting.append(record)
        if len(waiting) == part:
            seq = await _put(store, collection, waiting, done, keep)
            waiting = []
            if tell is not None:
                tell(done)
    if waiting:
        seq = await _put(store, collection, waiting, done, keep)
        if tell is not None:
            tell(done)
    return Loaded(count=done, seq=seq or await store.read(lambda tx: tx.seq))


async def _put(store: Store, collection: Collection[R], records: Sequence[R], done: int, keep: Keep | None) -> int:
    def work(tx: Transaction) -> None:
        if collection.sequence:
            for record in records:
                tx.append(collection, record)
        else:
            tx.put_many(collection, records)
        if keep is not None:
            keep(tx, done)

    return (await store.transact(work)).seq


async def bulk_export(
    store: Store,
    query: Query[R],
    destination: Callable[[Sequence[R]], Awaitable[None]],
    *,
    after: str | None = None,
    part: int = PART,
    tell: Tell | None = None,
) -> Exported:
    """Hand all records of a query to a destination, so many at a time, in the query's order.

    Each part is read from a snapshot of its own; a record that is written meanwhile is in it or not. None comes twice,
    unless a write moves it in the query's order; in that of the keys, none can. An export that was cut short goes on
    with the `cursor` of the last part, which `destination` can make by `cursor_of(query, record)`.
    """
    _check_part(part)
    if query.fields or query.joins or query.skip or query.most is not None:
        raise InputError(
            "an export hands out all, and whole, records",
            field="query",
            hint="Leave select, join, limit and offset out.",
        )
    done, cursor = 0, after
    while True:
        page = query.limit(part)
        found = await store.read(lambda tx, page=page, cursor=cursor: tx.query(page.after(cursor)))  # type: ignore[misc]
        if found:
            await destination(found)
            done += len(found)
            cursor = cursor_of(query, found[-1])
            if tell is not None:
                tell(done)
        if len(found) < part:
            return Exported(count=done, cursor=cursor)


async def batch_write(store: Store, operations: Sequence[Operation]) -> Batched:
    """Do all operations in order in one transaction, or none; raises what the first refused one raises."""

    def work(tx: Transaction) -> tuple[int, int]:
        put = deleted = 0
        for operation in operations:
            if operation.op == "put":
                tx.put(operation.collection, operation.record, expected_version=operation.expected_version)
                put += 1
            else:
                deleted += tx.delete(operation.collection, operation.key)
        return put, deleted

    committed = await store.transact(work)
    put, deleted = committed.value
    return Batched(put=put, deleted=deleted, seq=committed.seq)


def _check_part(part: int) -> None:
    if part < 1:
        raise InputError("a part holds one record at least", field="part", given=part, bound=1)
