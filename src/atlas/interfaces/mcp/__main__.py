"""`python -m atlas.interfaces.mcp URL [PROFILE]` serves a store over stdio, for those who start it themselves."""

from __future__ import annotations

import asyncio
import logging
import sys

from ...atlas import open as open_atlas
from . import serve_stdio


async def _main(url: str, profile: str = "standard") -> None:
    async with open_atlas(url, source="mcp") as atlas:
        await serve_stdio(atlas, profile=profile)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(_main(*sys.argv[1:]))
