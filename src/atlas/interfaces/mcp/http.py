"""Serving many clients over streamable HTTP at /mcp, with Host and Origin checked."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from ...atlas import Atlas
from ...errors import ConfigError
from .server import make_server

PATH = "/mcp"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_IDLE_SECONDS = 30 * 60.0
_BODY_MOST = 160 * 1024 * 1024
_GRACE_SECONDS = 2

_log = logging.getLogger(__name__)


async def make_app(
    atlas: Atlas,
    *,
    profile: str = "standard",
    project_folder: Path | None = None,
    hosts: Iterable[str] = (),
) -> Starlette:
    """Return an ASGI application that serves MCP at /mcp, and at / and /health what it serves.

    `hosts` are names, beside those of the loopback, that a request may call this server by. The application has a
    lifespan, which whoever mounts it must run.
    """
    server = await make_server(atlas, profile=profile, project_folder=project_folder)
    names = [*_LOOPBACK, *hosts]
    security = TransportSecuritySettings(
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            form for name in names for scheme in ("http", "https") for form in _forms(f"{scheme}://{name}")
        ],
    )
    guard = TransportSecurityMiddleware(security)

    async def health(request: Request) -> Response:
        refusal = await guard.validate_request(request)
        return refusal or JSONResponse(await _facts(atlas))

    return server.streamable_http_app(
        streamable_http_path=PATH,
        session_idle_timeout=_IDLE_SECONDS,
        max_request_body_size=_BODY_MOST,
        transport_security=security,
        custom_starlette_routes=[Route("/", health), Route("/health", health)],
    )


def _forms(origin: str) -> tuple[str, str]:
    return origin, f"{origin}:*"


async def _facts(atlas: Atlas) -> dict[str, Any]:
    page = await atlas.lists.by_path("**", limit=1, archived=True, fields=("path",))
    return {
        "name": "atlas",
        "version": __version__,
        "store": atlas.store.url,
        "tasks": page.total,
        "seq": page.seq,
        "mcp": PATH,
    }


async def run_http(
    atlas: Atlas,
    *,
    host: str,
    port: int,
    profile: str,
    project_folder: Path | None,
    is_public: bool,
    hosts: Iterable[str],
    on_listening: Callable[[str], None] | None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    if not is_public and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and Atlas asks nobody who they are",
            field="host",
            given=host,
            bound="127.0.0.1, ::1 or localhost",
            hint="Serve on 127.0.0.1, or say that others may read and change everything (--public, is_public).",
        )
    # Whoever reaches a port need not own this user's files.
    atlas.plans.can_read_files = False
    shown = f"[{host}]" if ":" in host else host
    named = [shown, *hosts] if is_public else hosts
    app = await make_app(atlas, profile=profile, project_folder=project_folder, hosts=named)
    listening = _listening(host, port)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=_GRACE_SECONDS
    )
    server, loop = uvicorn.Server(config), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # For a signal before uvicorn handles them, and for the one that it sends itself once it has ended: without a
        # handler that would kill the process before the store is closed.
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    try:
        if on_listening is not None:
            on_listening(f"http://{shown}:{listening.getsockname()[1]}{PATH}")
        await server.serve(sockets=[listening])
    finally:
        listening.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except OSError as error:
        is_port = error.errno in {errno.EADDRINUSE, errno.EACCES}
        raise ConfigError(
            f"cannot listen on {host}:{port}: {str(error.strerror or error).partition(' (')[0]}",
            field="port" if is_port else "host",
            given=port if is_port else host,
            hint="Choose another port (--port), or end the program that holds it."
            if is_port
            else "Name an address of this machine with --host.",
        ) from error
