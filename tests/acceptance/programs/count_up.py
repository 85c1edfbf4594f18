"""Adds one to a counter again and again by reading it and writing it back at the version read; prints its steps."""

import asyncio
import json
import sys

import atlas
from atlas.errors import VersionError
from atlas.work.arguments import Updates


async def main(url: str, times: int) -> None:
    """Count until `times` writes of one's own were acknowledged."""
    steps: list[tuple[int | None, int, int]] = []
    async with atlas.open(url) as a:
        while len(steps) < times:
            seen = (await a.tasks.get("counter")).task
            count = seen["metadata"]["count"] + 1
            try:
                written = await a.tasks.update(
                    "counter", Updates(metadata={"count": count}), expected_version=seen["version"]
                )
            except VersionError:
                continue
            steps.append((written.receipt.version, count, written.receipt.seq))
    print(json.dumps(steps))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
