"""Subscriptions: which resources an event of the journal touches, and telling those who wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from ...errors import StoreClosedError
from ...journal.feed import follow
from ...model.event import Event
from ...model.path import ancestors_of
from ...storage.protocol import Store

_log = logging.getLogger(__name__)

TASK, TREE, PROJECTS = "atlas://tasks/", "atlas://tree/", "atlas://projects"
GATHER_SECONDS = 0.02
"""How long events are gathered before clients are told, so that a thousand changes are one notice per resource."""

Listener = Callable[[ServerEvent], None]
Context = ServerRequestContext[Any, Any]


class Watch:
    """Follows the journal while somebody listens: the bus of `subscriptions/listen`, and the older subscriptions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: dict[object, Listener] = {}
        self._following: asyncio.Task[None] | None = None
        self._after = 0
        self._sending: set[asyncio.Task[None]] = set()

    async def ready(self) -> None:
        """Note the place in the journal from which a subscription that follows will be told."""
        if self._following is None:
            self._after = await self._store.read(lambda tx: tx.seq)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See SubscriptionBus."""
        token = object()
        self._listeners[token] = listener
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

        def stop() -> None:
            self._listeners.pop(token, None)
            if not self._listeners:
                self.close()

        return stop

    async def publish(self, event: ServerEvent) -> None:
        """See SubscriptionBus."""
        for listener in list(self._listeners.values()):
            listener(event)
        await asyncio.sleep(0)

    def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def add(self, context: Context, uri: str) -> None:
        """Tell the connection of a request about one resource, until it unsubscribes or ends."""
        # The SDK gives handlers no public way to what it keeps for them on the connection, nor to its end.
        connection = context.session._connection  # noqa: SLF001
        wanted = connection.state.get("atlas.resources")
        if wanted is None:
            wanted = connection.state["atlas.resources"] = set()
            session = context.session
            connection.exit_stack.callback(self.subscribe(lambda event: self._send(session, event, wanted)))
        wanted.add(uri)

    def remove(self, context: Context, uri: str) -> None:
        """Stop telling the connection about one resource."""
        context.session._connection.state.get("atlas.resources", set()).discard(uri)  # noqa: SLF001 - as in add

    def _send(self, session: ServerSession, event: ServerEvent, wanted: set[str]) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in wanted:
            task = asyncio.create_task(session.send_resource_updated(event.uri))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _follow(self) -> None:
        touched: dict[ServerEvent, None] = {}
        has_news = asyncio.Event()
        telling = asyncio.create_task(self._tell(touched, has_news))
        try:
            # A store that closes has nothing more to tell.
            with contextlib.suppress(StoreClosedError):
                async for event in follow(self._store, after=self._after):
                    touched.update(dict.fromkeys(touched_by(event)))
                    has_news.set()
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling

    async def _tell(self, touched: dict[ServerEvent, None], has_news: asyncio.Event) -> None:
        while True:
            await has_news.wait()
            await asyncio.sleep(GATHER_SECONDS)
            has_news.clear()
            found = list(touched)
            touched.clear()
            for event in found:
                await self.publish(event)


def touched_by(event: Event) -> Iterable[ServerEvent]:
    """Yield what an event changes: the task, and everything above, whose children and progress it shows."""
    if event.collection not in {"task", "note"}:
        return
    moved = ((event.change or {}).get("fields") or {}).get("path")
    for path in (event.path, moved[0] if moved else None):
        if path is None:
            continue
        for place in (path, *ancestors_of(path)):
            yield ResourceUpdated(uri=f"{TASK}{place}")
            yield ResourceUpdated(uri=f"{TREE}{place}")
        if "/" not in path and event.type != "task.updated":
            yield ResourcesListChanged()
    yield ResourceUpdated(uri=f"{TASK}{event.subject}")
    yield ResourceUpdated(uri=PROJECTS)
