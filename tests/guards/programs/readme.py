"""The program of the README, here so that it is type-checked."""

import asyncio

import atlas


async def main() -> None:
    async with atlas.open("sqlite:///work.db") as a:
        await a.tasks.create("shop/api", parents=True)
        await a.tasks.create("shop/page", dependencies=["shop/api"])
        written = await a.tasks.update("shop/api", {"status": "COMPLETED"})
        print(written.affected, written.receipt.durability)


asyncio.run(main())
