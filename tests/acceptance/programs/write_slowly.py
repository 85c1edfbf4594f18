"""Creates a task now and then; prints when each was acknowledged, by the clock that all processes share."""

import asyncio
import json
import sys
import time

import atlas


async def main(url: str, count: int) -> None:
    """Create `count` tasks, a moment apart."""
    at = {}
    async with atlas.open(url) as a:
        for number in range(count):
            path = f"p{number}"
            await a.tasks.create(path)
            at[path] = time.monotonic()
            await asyncio.sleep(0.02 + number % 5 * 0.013)
    print(json.dumps(at))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
