"""Serving one client over stdin and stdout."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from ...atlas import Atlas
from .server import make_server
from .wire import Incoming, Outgoing, claimed


async def run_stdio(atlas: Atlas, *, profile: str, project_folder: Path | None) -> None:
    """Serve until stdin ends, or SIGTERM or SIGINT comes; never end because of idling."""
    server = await make_server(atlas, profile=profile, project_folder=project_folder)
    with claimed() as (source, target), anyio.CancelScope() as scope, _ended_by_signals(scope):
        out = Outgoing(target)
        await server.run(Incoming(source, out), out, server.create_initialization_options())


@contextmanager
def _ended_by_signals(scope: anyio.CancelScope) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    caught = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may; elsewhere the caller decides when to end.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, scope.cancel)
            caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
