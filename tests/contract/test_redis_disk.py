"""A Redis server whose disk is full: what it cannot keep is not acknowledged, and it goes on once there is room."""

from __future__ import annotations

import asyncio
import resource
import time
from datetime import timedelta

import pytest
from tests.contract.redis_servers import Server, running

from atlas.errors import StorageError, StoreFullError, StoreUnreachableError
from atlas.storage.health import findings_of
from atlas.storage.protocol import Store
from atlas.storage.redis import RedisStore
from atlas.testing.samples import COLLECTIONS, PARTS, fill, ids, part

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits the files of another process"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def leave(server: Server, room: int) -> None:
    """Leave a server so many bytes for what it appends; without end again when negative."""
    (log,) = server.socket.parent.rglob("*.aof*")
    most = log.stat().st_size + room if room >= 0 else resource.RLIM_INFINITY
    resource.prlimit(server.process_id, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


async def until_written(store: Store, key: str) -> None:
    """Write until it is acknowledged: the server looks for room by itself."""
    end = time.monotonic() + 10
    while True:
        try:
            await fill(store, [part(key)])
        except StoreFullError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        else:
            return


async def test_a_server_without_room_refuses_and_says_so() -> None:
    """One that syncs later finds out after it has answered; from then on it refuses, and the health shows why."""
    with running("--appendfsync", "everysec") as server:
        store = RedisStore(server.url("p"), COLLECTIONS)
        await store.open()
        await fill(store, [part("a")])
        leave(server, 300)
        await fill(store, [part("b", note="x" * 1_000)])
        for _ in range(2):
            with pytest.raises(StoreFullError, match="disk") as refusal:
                await fill(store, [part("c")])
            assert refusal.value.retryable
        assert await ids(store) == ["a", "b"]
        figures = await store.statistics()
        assert figures["server"]["is_saving_failed"]
        found = findings_of(figures, store.capabilities, 0.0)
        assert [finding.status for finding in found if finding.name == "server"] == ["error"]
        leave(server, -1)
        await until_written(store, "d")
        assert not (await store.statistics())["server"]["is_saving_failed"]
        server.end()
        server.start()
        assert await ids(store) == ["a", "b", "d"]
        assert await store.verify() == []
        await store.close()


@pytest.mark.parametrize("room", [0, 300])
async def test_a_server_that_cannot_sync_ends_and_has_acknowledged_nothing(room: int) -> None:
    """It would rather end than answer what it cannot keep; the store goes on when it is there again."""
    with running() as server:
        store = RedisStore(server.url("p"), COLLECTIONS)
        await store.open()
        await fill(store, [part("a")])
        leave(server, room)
        with pytest.raises(StoreUnreachableError):
            await store.transact(lambda tx: tx.put(PARTS, part("b", note="x" * 1_000)), timeout=timedelta(seconds=0.2))
        with pytest.raises(StorageError, match="does not answer"):
            await ids(store)
        server.end()
        server.start()
        assert await ids(store) == ["a"]
        await fill(store, [part("c")])
        assert await ids(store) == ["a", "c"]
        assert await store.verify() == []
        await store.close()
