"""The Redis store keeps the contract."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
import redis
from tests.contract.redis_servers import running

from atlas.storage.redis import RedisStore
from atlas.testing import StoreContract, StoreFactory, run_contract
from atlas.testing.samples import COLLECTIONS, fill, ids, part


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A server, as a URL that a prefix is to be added to."""
    given = os.environ.get("ATLAS_TEST_REDIS_URL")
    if given:
        run = uuid.uuid4().hex
        yield f"{given}{'&' if '?' in given else '?'}prefix={run}."
        with redis.from_url(given.partition("?")[0]) as client:
            for key in client.scan_iter(match=f"{{{run}.*", count=1_000):
                client.delete(key)
        return
    with running() as server:
        yield server.url("")


class TestRedisStore(StoreContract):
    @pytest.fixture
    def make_store(self, place: str) -> StoreFactory:
        url = f"{place}{uuid.uuid4().hex}"
        return lambda collections: RedisStore(url, collections)


INLINE = (
    "no_increment_is_lost",
    "no_increment_is_lost_between_stores",
    "what_one_store_commits_another_reads",
    "a_failed_transaction_takes_no_number",
    "a_read_sees_one_moment",
    "work_past_its_deadline_is_undone",
    "refused_work_cannot_go_on",
    "subscribers_are_told_after_the_commit",
    "a_closed_store_refuses",
    "reopening_keeps_everything",
    "a_used_store_is_well",
)


def test_a_store_on_the_one_thread_there_is_keeps_the_laws(place: str) -> None:
    """As the command line opens it: what differs is who waits for the server, and that a turn is given back there."""
    broken = run_contract(lambda: partial(RedisStore, f"{place}{uuid.uuid4().hex}", is_inline=True), INLINE)
    assert not broken


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_server_is_reached_by_host_and_port(host: str) -> None:
    """With a database of its own number."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with running("--port", str(port), "--bind", "127.0.0.1", "-::1") as server:
        store = RedisStore(f"redis://{host}:{port}/3?prefix=p", COLLECTIONS)
        await store.open()
        await fill(store, [part("a")])
        assert await ids(store) == ["a"]
        await store.close()
        with server.client() as client:
            assert set(client.info("keyspace")) == {"db3"}
