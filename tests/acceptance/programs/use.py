"""Opens a store, writes and reads all over it; prints the refusal as `CODE message | hint` and ends with 1."""

import asyncio
import sys

import atlas
from atlas.errors import AtlasError


async def main(url: str) -> int:
    """Use the store as anybody would; returns the exit code."""
    try:
        async with atlas.open(url) as a:
            await a.lists.by_path("**", limit=500, fields="full")
            await a.timeline.read(limit=500)
            await a.tasks.create("new")
            print("usable")
    except AtlasError as error:
        print(f"{error.code} {error.message} | {error.hint}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
