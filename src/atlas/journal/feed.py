"""The journal as it grows: every event after a place, then each new one, from any process on the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ..model.event import Event
from ..storage.protocol import Store
from ..storage.query import Query, gt
from .ledger import EVENTS

BATCH = 500


async def follow(store: Store, *, after: int) -> AsyncIterator[Event]:
    """Yield every event with a seq above `after`, in order, without end; stop by leaving the loop or cancelling.

    Raises StoreClosedError when the store is closed meanwhile.
    """
    news = asyncio.Event()
    stop = store.subscribe(lambda _seq: news.set())
    try:
        while True:
            news.clear()
            place = after
            batch = await store.read(
                lambda tx, place=place: tx.query(  # type: ignore[misc]
                    Query(EVENTS).where(gt("seq", place)).order_by("seq").limit(BATCH)
                )
            )
            for event in batch:
                after = event.seq
                yield event
            if not batch:
                await news.wait()
    finally:
        stop()


async def wait_beyond(store: Store, seq: int, *, seconds: float) -> bool:
    """Wait until something is committed above `seq`; says whether it was within `seconds`. Raises StoreClosedError."""
    news = asyncio.Event()
    stop = store.subscribe(lambda _told: news.set())
    try:
        async with asyncio.timeout(seconds):
            while await store.read(lambda tx: tx.seq) <= seq:
                await news.wait()
                news.clear()
    except TimeoutError:
        return False
    finally:
        stop()
    return True
