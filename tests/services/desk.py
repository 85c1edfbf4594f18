"""A desk to work at: an open Atlas in memory, with short words for what tests say often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from atlas.atlas import COLLECTIONS, Atlas
from atlas.errors import AtlasError
from atlas.model.limits import Limits
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Store
from atlas.storage.query import Query
from atlas.work.arguments import Deleted, Updates, Written


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **units: float) -> None:
        self.now += timedelta(**units)


Make = Callable[[Clock], Store]


class Desk:
    """Atlas with a frozen clock, on a memory store unless another one is made for it."""

    def __init__(self, *, limits: Limits | None = None, make: Make | None = None) -> None:
        self.clock = Clock()
        self.store: Store = make(self.clock) if make is not None else MemoryStore(COLLECTIONS, clock=self.clock)
        self.atlas = Atlas(self.store, limits=limits or Limits(), actor="tester", source="test")

    async def add(self, path: str, **fields: Any) -> dict[str, Any]:
        """Create a task, and show it in full."""
        made = await self.atlas.tasks.create(path, **{"parents": True, "fields": "full", **fields})
        return made.task

    async def set(self, path: str, *, expected_version: int | None = None, **updates: Any) -> Written:
        """Update fields."""
        given = msgspec.convert(updates, Updates)
        return await self.atlas.tasks.update(path, given, expected_version=expected_version, fields="full")

    async def move(self, path: str, to: str, **more: Any) -> Written:
        return await self.atlas.tasks.move(path, to, fields="full", **more)

    async def delete(self, path: str, **more: Any) -> Deleted:
        return await self.atlas.tasks.delete(path, **more)

    async def show(self, path: str) -> dict[str, Any]:
        return (await self.atlas.tasks.get(path)).task

    async def status(self, path: str) -> str:
        return str((await self.show(path))["status"])

    async def children(self, path: str) -> list[str]:
        return [child["path"] for child in (await self.atlas.tasks.get(path)).children]

    async def seq(self) -> int:
        return await self.store.read(lambda tx: tx.seq)

    async def contents(self) -> dict[str, Any]:
        """Return every record there is, and the last number."""
        return await self.store.read(
            lambda tx: {"seq": tx.seq, **{c.name: tx.query(Query(c).order_by(c.key)) for c in COLLECTIONS}}
        )

    async def refused(self, code: str, call: Awaitable[Any]) -> AtlasError:
        """Await a call that must be refused with this code, and see that it changed nothing."""
        before = await self.contents()
        with pytest.raises(AtlasError) as caught:
            await call
        error = caught.value
        assert error.code == code, error.as_dict()
        assert error.hint
        assert await self.contents() == before
        return error
