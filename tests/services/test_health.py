"""One view of a store's health: every part of it looked at, and a way out for whatever is wrong."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from typing import Any

import pytest
from tests.services.desk import Desk

import atlas
from atlas.operations.doctor import examine
from atlas.storage.health import Health, findings_of, health
from atlas.storage.memory import MemoryStore
from atlas.storage.protocol import Capabilities
from atlas.storage.query import Query, eq
from atlas.storage.slow import SlowQueries
from atlas.storage.wrappers import CachedStore, ReadOnlyStore
from atlas.work.collections import TASKS

DISK = Capabilities(durability="disk", is_shared=True)


def told(figures: dict[str, Any], capabilities: Capabilities = DISK, seconds: float = 0.001) -> dict[str, str]:
    """Return what is found wrong, by name."""
    found = list(findings_of(figures, capabilities, seconds))
    assert all(finding.status == "ok" or finding.what_to_do for finding in found)
    return {finding.name: finding.status for finding in found if finding.status != "ok"}


@pytest.mark.anyio
async def test_a_good_store_is_well_whatever_it_is(desk: Desk) -> None:
    """The doctor says the same of each kind: nothing is wrong but, where it is so, that a crash may lose work."""
    await desk.atlas.tasks.create("a")
    found = await health(desk.atlas.store)
    assert found.url == desk.atlas.store.url
    assert found.seconds > 0
    assert found.figures["seq"] == 1
    wrong = [finding.name for finding in found.findings if finding.status != "ok"]
    is_lasting = desk.atlas.store.capabilities.durability == "disk"
    assert wrong == ([] if is_lasting else ["durability"])
    assert found.status == ("ok" if is_lasting else "warning")
    assert {"store", "queries"} <= {finding.name for finding in found.findings}
    examined = {finding.name: finding.status for finding in await examine(desk.atlas)}
    assert "error" not in examined.values(), examined


@pytest.mark.anyio
async def test_a_store_that_does_not_answer_is_one_error(anyio_backend: str) -> None:
    """Whoever asks how it is gets an answer, not the failure itself."""
    store = MemoryStore((TASKS,))
    found = await health(store)
    assert isinstance(found, Health)
    assert [(finding.name, finding.status) for finding in found.findings] == [("store", "error")]
    assert found.status == "error"


@pytest.mark.anyio
async def test_wrappers_pass_the_view_on(anyio_backend: str) -> None:
    store = ReadOnlyStore(CachedStore(MemoryStore((TASKS,))))
    await store.open()
    found = {finding.name: finding.status for finding in (await health(store)).findings}
    assert found["writable"] == "warning"
    assert found["queries"] == "ok"
    await store.close()


@pytest.mark.anyio
async def test_slow_queries_are_told_of_and_those_of_looking_are_not(anyio_backend: str) -> None:
    """The looking itself counts every record: that must not come back as a warning."""
    store = MemoryStore((TASKS,))
    await store.open()
    store.slow_queries.after = timedelta(0)
    assert (await health(store)).status == "warning", "memory lasts as long as its process"
    store.slow_queries.clear()
    await store.read(lambda tx: tx.query(Query(TASKS).where(eq("name", "secret"))))
    (slow,) = (finding for finding in (await health(store)).findings if finding.name == "queries")
    await store.close()
    assert slow.status == "warning"
    assert "1 queries took over 0 s; task where name eq ?" in slow.what
    assert "secret" not in slow.what


RULES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a long log": ({"log_bytes": 65 << 20}, {"log": "warning"}),
    "a short log": ({"log_bytes": 63 << 20}, {}),
    "long waits for a turn": ({"commits": 10, "lock_wait_seconds": 2.0}, {"turns": "warning"}),
    "short waits for a turn": ({"commits": 10, "lock_wait_seconds": 0.5}, {}),
    "readers that wait": ({"pool": {"size": 4, "active": 4, "waiting": 2}}, {"pool": "warning"}),
    "a busy pool": ({"pool": {"size": 4, "active": 4, "waiting": 0}}, {}),
    "connections that break": ({"pool": {"size": 4, "lost": 3}}, {"pool": "warning"}),
    "one that broke": ({"pool": {"size": 4, "lost": 1}}, {}),
    "no connections left": ({"server": {"connections": 90, "connections_limit": 100}}, {"server": "warning"}),
    "many connections": ({"server": {"connections": 89, "connections_limit": 100}}, {}),
    "no memory left": ({"server": {"memory": 95, "memory_limit": 100}}, {"server": "error"}),
    "memory without a limit": ({"server": {"memory": 95, "memory_limit": 0}}, {}),
    "a server that forgets": ({"server": {"eviction": "allkeys-lru", "memory_limit": 100}}, {"server": "error"}),
    "one that would, had it a limit": ({"server": {"eviction": "allkeys-lru", "memory_limit": 0}}, {}),
    "one that forgets what expires": ({"server": {"eviction": "volatile-lru", "memory_limit": 100}}, {}),
    "one that refuses": ({"server": {"eviction": "noeviction", "memory_limit": 100}}, {}),
    "a disk that takes nothing": ({"server": {"is_saving_failed": True}}, {"server": "error"}),
    "a cache that is too small": ({"file": {"cache_reads": 20_000, "cache_hit_rate": 0.5}}, {"cache": "warning"}),
    "a cache hardly used": ({"file": {"cache_reads": 20, "cache_hit_rate": 0.0}}, {}),
}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_strikes_at_its_bound(name: str) -> None:
    """Just beyond it, and not just before: a view that cries wolf is not looked at."""
    figures, wrong = RULES[name]
    assert told(figures) == wrong


def test_a_slow_answer_and_what_cannot_last_are_warned_of() -> None:
    assert told({}, seconds=2.0) == {"answer": "warning"}
    lost = Capabilities(durability="memory", is_shared=True, is_writable=False)
    assert told({}, lost) == {"writable": "warning", "durability": "warning"}
    (_, kept, *_) = findings_of({"server": {"persistence": "It syncs later."}}, lost, 0.0)
    assert kept.what == "It syncs later."


@pytest.mark.anyio
async def test_statistics_for_a_model_leave_the_details_to_the_doctor(desk: Desk) -> None:
    """Each connection and each slow query would flood its context."""
    desk.atlas.store.slow_queries.after = timedelta(0)
    await desk.atlas.tasks.create("a")
    told = (await desk.atlas.upkeep.statistics()).store
    assert told["records"]["task"] == 1
    assert all(name == "records" or not isinstance(value, dict) for name, value in told.items())


@pytest.mark.anyio
async def test_how_slow_is_slow_is_a_setting(anyio_backend: str) -> None:
    async with atlas.open("memory:", slow_query=timedelta(0)) as a:
        await a.lists.by_path("**")
        assert a.store.slow_queries.total > 0
    async with atlas.open("memory:") as a:
        assert a.store.slow_queries.after == timedelta(milliseconds=100)


def test_slow_queries_may_be_told_of_while_others_are_noted() -> None:
    """Reads on other threads go on noting theirs while somebody looks."""
    slow, is_done = SlowQueries(after=timedelta(0)), threading.Event()

    def note() -> None:
        while not is_done.is_set():
            slow.saw(Query(TASKS), 1.0, 1)

    noting = [threading.Thread(target=note) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in noting:
            thread.start()
        for _ in range(1_000):
            assert len(slow.figures()["last"]) <= 100
    finally:
        is_done.set()
        for thread in noting:
            thread.join()
        sys.setswitchinterval(interval)


def test_slow_queries_that_were_forgotten_just_now_are_no_fault() -> None:
    """The number and the last of them are not read in one step."""
    assert told({"slow_queries": {"total": 1, "after_seconds": 0.1, "last": []}}) == {}
