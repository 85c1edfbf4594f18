"""Atlas over the Model Context Protocol, for agents. May import everything but the other interfaces.

The SDK is loaded only when something is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...atlas import Atlas

__all__ = ["HOST", "PORT", "serve_http", "serve_stdio"]

HOST = "127.0.0.1"
PORT = 8765


async def serve_stdio(atlas: Atlas, *, profile: str = "standard", project_folder: Path | None = None) -> None:
    """Serve an open Atlas to the client at stdin and stdout, until stdin ends or a signal comes.

    Give `project_folder` where the store was found by the nearest `.atlas/`: a client that works elsewhere is refused.
    """
    from .stdio import run_stdio

    await run_stdio(atlas, profile=profile, project_folder=project_folder)


async def serve_http(
    atlas: Atlas,
    *,
    host: str = HOST,
    port: int = PORT,
    profile: str = "standard",
    project_folder: Path | None = None,
    is_public: bool = False,
    hosts: Iterable[str] = (),
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve an open Atlas at http://host:port/mcp until a signal comes; port 0 takes a free one.

    Raises ConfigError for a host that other machines reach, unless `is_public`; `hosts` are further names that
    requests may call this server by. `on_listening` is told the address.
    """
    from .http import run_http

    await run_http(
        atlas,
        host=host,
        port=port,
        profile=profile,
        project_folder=project_folder,
        is_public=is_public,
        hosts=hosts,
        on_listening=on_listening,
    )
