"""A JSON file store tells at once whether others changed it, so that what is kept of it is never out of date."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atlas.errors import StoreClosedError
from atlas.storage.file import FileStore
from atlas.storage.protocol import Store, Transaction, Versioned
from atlas.storage.wrappers import CachedStore
from atlas.testing.laws import Stopped, stop
from atlas.testing.samples import COLLECTIONS, COUNTERS, Counter, marks

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[FileStore, FileStore]]:
    """Two stores on one file, as two processes have them."""
    stores = FileStore(tmp_path / "plan.json", COLLECTIONS), FileStore(tmp_path / "plan.json", COLLECTIONS)
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def value(store: Store, key: str = "n") -> int | None:
    counter = await store.read(lambda tx: tx.get(COUNTERS, key))
    return None if counter is None else counter.value


async def keep(store: Store, number: int, key: str = "n") -> None:
    await store.transact(lambda tx: tx.put(COUNTERS, Counter(id=key, value=number)))


def undone(tx: Transaction) -> None:
    tx.put(COUNTERS, Counter(id="never", value=1))
    stop()


async def version_of(store: FileStore) -> int:
    """Return the version, having read once more where there was much to be read."""
    await value(store)
    found = store.others_version()
    assert found is not None
    return found


async def test_every_change_of_others_gives_another_version(pair: tuple[FileStore, FileStore], tmp_path: Path) -> None:
    """Whatever it was, and however little: a commit, a new snapshot, an edit by hand."""
    store, other = pair
    assert isinstance(store, Versioned)
    versions = [await version_of(store)]
    for number in range(3):
        await keep(other, number)
        assert store.others_version() != versions[-1]
        versions.append(await version_of(store))
    await other.maintain()
    await keep(other, 4)
    assert store.others_version() != versions[-1]
    versions.append(await version_of(store))
    await other.maintain()
    versions.append(await version_of(store))
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace('"value":4', '"value":5'))
    assert store.others_version() != versions[-1]
    versions.append(await version_of(store))
    assert await value(store) == 5
    assert len(set(versions)) == len(versions)


async def test_own_changes_give_no_other_version(pair: tuple[FileStore, FileStore]) -> None:
    """Nor does what comes to nothing: what is kept of everything else would be forgotten for it."""
    store, other = pair
    await keep(other, 1)
    before = await version_of(store)
    for number in range(5):
        await asyncio.gather(keep(store, number), marks(store, "x"))
        with pytest.raises(Stopped):
            await store.transact(undone)
        assert await version_of(store) == before
    await store.maintain()
    await keep(store, 9)
    assert await version_of(store) == before


async def test_the_version_is_told_within_a_transaction(pair: tuple[FileStore, FileStore]) -> None:
    """Nobody else can write meanwhile, and what others wrote before is part of what it sees."""
    store, other = pair
    await marks(store, "x")
    before = await version_of(store)
    await keep(other, 7)

    def look(tx: Transaction) -> tuple[int, int | None]:
        held = tx.get(COUNTERS, "n")
        assert held is not None
        tx.put(COUNTERS, Counter(id="n", value=held.value + 1))
        return held.value, store.others_version()

    seen, version = (await store.transact(look)).value
    assert seen == 7
    assert version not in {None, before}
    assert store.others_version() == version


async def test_a_closed_store_tells_no_version(tmp_path: Path) -> None:
    """It looks at nothing any more."""
    store = FileStore(tmp_path / "plan.json", COLLECTIONS)
    await store.open()
    await store.close()
    with pytest.raises(StoreClosedError):
        store.others_version()


async def test_a_cache_over_a_file_shows_every_change_at_once(pair: tuple[FileStore, FileStore]) -> None:
    """It needs no staleness; and own changes cost nothing of what else it keeps."""
    inner, other = pair
    store = CachedStore(inner)
    await keep(store, 0, "still")
    await keep(other, 0)
    assert await value(store) == 0
    for number in range(1, 20):
        await keep(other, number)
        assert [await value(store), await value(store)] == [number, number]
        await keep(store, -number)
        assert await value(store) == -number
    asked = store.figures().misses
    assert [await value(store, "still") for _ in range(3)] == [0, 0, 0]
    for number in range(10):
        await keep(store, number)
        assert await value(store, "still") == 0
    assert store.figures().misses == asked + 1


async def test_readers_and_writers_of_several_threads_see_no_past(tmp_path: Path) -> None:
    """A number that only grows never falls for anybody, also while new snapshots are written."""
    path = tmp_path / "plan.json"
    store, other = CachedStore(FileStore(path, COLLECTIONS)), FileStore(path, COLLECTIONS)
    await store.open()
    await other.open()
    await store.transact(lambda tx: tx.put_many(COUNTERS, [Counter(id="x"), Counter(id="y")]))
    is_done = threading.Event()
    falls: list[tuple[int, int]] = []

    def both(tx: Transaction) -> tuple[int, int]:
        held = tx.get_many(COUNTERS, ["x", "y"])
        return held["x"].value, held["y"].value

    def grow(tx: Transaction) -> None:
        x, y = both(tx)
        assert x == y
        tx.put_many(COUNTERS, [Counter(id=key, value=x + 1) for key in ("x", "y")])

    async def look() -> None:
        last = 0
        while not is_done.is_set():
            x, y = await store.read(both)
            if x != y or x < last:
                falls.append((last, x))
            last = x
            await asyncio.sleep(0)

    elsewhere = threading.Thread(target=lambda: asyncio.run(look()))
    elsewhere.start()
    looking = asyncio.create_task(look())
    for turn in range(60):
        await asyncio.gather(*(store.transact(grow) for _ in range(turn % 3)), other.transact(grow))
        if turn % 20 == 19:
            await (other if turn == 39 else store).maintain()
    is_done.set()
    await looking
    await asyncio.to_thread(elsewhere.join)
    assert falls == []
    assert await store.read(both) == (120, 120)
    await other.close()
    await store.close()
