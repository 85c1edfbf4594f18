"""A user's program over the storage layer alone, whose field names mypy checks."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

from atlas.storage import Collection, Query, ge, open_storage


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part on a shelf."""

    id: str
    stock: int = 0
    data: dict[str, Any] = {}


PARTS = Collection("part", Part, columns=("stock",))
STOCK = PARTS.field(lambda part: part.stock)
BUILD = PARTS.field(lambda part: part.data["build"]["id"])


async def main(url: str) -> None:
    async with open_storage(url, PARTS) as parts:
        await parts.set_many([Part(id="bolt", stock=5), Part(id="nut", stock=30, data={"build": {"id": 7}})])
        print([part.id async for part in parts.query(Query(PARTS).where(ge(STOCK, 10)).order_by(STOCK))])
        print([part.id async for part in parts.query(Query(PARTS).where(ge(BUILD, 7)))])


asyncio.run(main(sys.argv[1]))
