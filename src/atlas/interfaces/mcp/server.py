"""The server: one open Atlas behind the handlers of the protocol, the same over every transport."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import ListenHandler
from mcp_types import (
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    CompleteRequestParams,
    GetPromptRequestParams,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ... import __version__
from ...atlas import Atlas
from .prompts import Prompts
from .resources import Resources
from .roots import Gate
from .schema import tools
from .tools import Tools
from .watch import Watch

_log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

Handler = Callable[[Context, Any], Awaitable[dict[str, Any]]]

_FIXED = frozenset({"tools/list", "prompts/list", "resources/templates/list"})
_LISTING_MS = 300_000
_PROJECTS_NAMED = 10

_INSTRUCTIONS = """\
Atlas is durable work memory: tasks, what depends on what, and what happened. {place}

Paths are project/area/task; wherever a path is taken, an id is too. PENDING means ready. Ask next_task what to do, \
set IN_PROGRESS with update_task when you begin and COMPLETED when it is done (else FAILED, or BLOCKED with a reason): \
dependents come free and containers roll up by themselves. Finished tasks reopen by PENDING. A container's status is \
that of its children.

Arguments of every change: idempotency_key (a repeated call returns the first answer, for a day), actor (who is named \
in the journal); of update, move and delete also expected_version. Of whatever answers with tasks: fields (brief, \
full, or names). Of every list: limit, cursor (the next_cursor before), max_tokens, since (a seq: only what changed \
after it). For each list x of a task, updates also take add_x and remove_x.

Text shows a task as `STATUS path`: !! critical, ! high, - low, n% of a container finished. A failure says code, \
message and hint (what would have worked); nothing was changed by it."""


async def make_server(
    atlas: Atlas, *, profile: str = "standard", project_folder: Path | None = None, title: str | None = None
) -> Server[Any]:
    """Return the protocol's server on an open Atlas.

    `profile` is which tools are shown (`verbs.PROFILES`). `project_folder` is given where the store was found by the
    nearest `.atlas/`, so that a client that works elsewhere is refused.
    """
    gate, watch = Gate(project_folder), Watch(atlas.store)
    listen = ListenHandler(watch)

    @asynccontextmanager
    async def lifespan(_: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        yield {}
        listen.close()
        watch.close()

    server: Server[Any] = Server(
        "atlas",
        version=__version__,
        title=title or "Atlas",
        instructions=_INSTRUCTIONS.format(place=await _place(atlas, project_folder)),
        cache_hints={method: CacheHint(_LISTING_MS if method in _FIXED else 0) for method in get_args(CacheableMethod)},
        lifespan=lifespan,
        # No argument travels in a header, so no call needs its schema looked up.
        get_tool_input_schema=lambda _: None,
    )
    _register(server, Tools(atlas, profile=profile, gate=gate), profile)
    _register_resources(server, Resources(atlas, gate=gate), watch, listen)
    _register_prompts(server, Prompts(atlas, gate=gate))

    async def roots_changed(context: Context, _: NotificationParams) -> None:
        gate.forget(context)

    server.add_notification_handler("notifications/roots/list_changed", NotificationParams, roots_changed)
    return server


async def _place(atlas: Atlas, project_folder: Path | None) -> str:
    page = await atlas.lists.by_path("*", limit=_PROJECTS_NAMED, fields=("path",))
    names = ", ".join(task["path"] for task in page.tasks)
    more = page.total - len(page.tasks)
    where = f" of the project folder {project_folder}" if project_folder else ""
    holds = f"Its projects: {names}{f' and {more} more' if more else ''}." if names else "It holds no project yet."
    return f"This server serves the store {atlas.store.url}{where}. {holds}"


def _complete(handler: Handler) -> Handler:
    """Mark results as the newest era wants them; the SDK takes the mark off for those before."""

    async def completed(context: Context, params: Any) -> dict[str, Any]:
        return {"resultType": "complete", **await handler(context, params)}

    return completed


def _register(server: Server[Any], called: Tools, profile: str) -> None:
    listed = {"tools": list(tools(profile))}

    async def call(context: Context, _: CallToolRequestParams) -> dict[str, Any]:
        return await called.call(context)

    async def listing(_: Context, __: PaginatedRequestParams) -> dict[str, Any]:
        return listed

    async def shortcut(ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a call of a tool without the SDK's two validations of what is data of ours in and out."""
        if ctx.method != "tools/call" or ctx.session.client_capabilities is None:
            return await call_next(ctx)
        result = await called.call(ctx)
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            result = {"resultType": "complete", "_meta": {SERVER_INFO_META_KEY: server.server_info_stamp}, **result}
        return result

    server.add_request_handler("tools/list", PaginatedRequestParams, _complete(listing))
    server.add_request_handler("tools/call", CallToolRequestParams, _complete(call))
    # Spans of OpenTelemetry are not exported by anything here, and cost time on every message.
    server.middleware[:] = [shortcut]


def _register_resources(server: Server[Any], resources: Resources, watch: Watch, listen: ListenHandler) -> None:
    async def listening(context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        await watch.ready()
        return await listen(context, params)

    async def subscribe(context: Context, params: SubscribeRequestParams) -> None:
        await watch.ready()
        watch.add(context, str(params.uri))

    async def unsubscribe(context: Context, params: UnsubscribeRequestParams) -> None:
        watch.remove(context, str(params.uri))

    server.add_request_handler("resources/list", PaginatedRequestParams, _complete(resources.listed))
    server.add_request_handler("resources/templates/list", PaginatedRequestParams, _complete(resources.templates))
    server.add_request_handler("resources/read", ReadResourceRequestParams, _complete(resources.read))
    server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, listening)


def _register_prompts(server: Server[Any], prompts: Prompts) -> None:
    server.add_request_handler("prompts/list", PaginatedRequestParams, _complete(prompts.listed))
    server.add_request_handler("prompts/get", GetPromptRequestParams, _complete(prompts.get))
    server.add_request_handler("completion/complete", CompleteRequestParams, _complete(prompts.complete))
