"""Data migrations: on every backend a step is wholly done with its note or not at all, in its order, and once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contract.kinds import BACKENDS, Maker, Spots

from atlas.errors import (
    AtlasError,
    ConflictError,
    InputError,
    StorageError,
    StoreFormatError,
    StoreNewerError,
    StoreReadOnlyError,
)
from atlas.storage import overlay
from atlas.storage.collection import Collection
from atlas.storage.data_migration import APPLIED, Applied, DataMigration, paged
from atlas.storage.migrating import Migrated, migrate, standing
from atlas.storage.protocol import Store, Transaction
from atlas.storage.query import Query, eq, ge
from atlas.storage.sqlite import SqliteStore
from atlas.storage.wrappers import CachedStore, ReadOnlyStore

pytestmark = pytest.mark.anyio


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    first: str | None = None
    last: str | None = None
    boss: str | None = None
    runs: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 0
    text: str


PEOPLE = Collection("people", Person, columns=("name", "boss"), unique=("name",), references={"boss": "people"})
LINES = Collection("lines", Line, key="number", sequence=True)
COLLECTIONS: Sequence[Collection[Any]] = (PEOPLE, LINES, APPLIED)
COUNT = 25


def split_names(tx: Transaction) -> None:
    for page in paged(tx, Query(PEOPLE).where(eq("first", None)), size=10):
        tx.put_many(PEOPLE, [_split(person) for person in page])


def _split(person: Person) -> Person:
    first, last = person.name.split(" ")
    return msgspec.structs.replace(person, first=first, last=last)


def join_names(tx: Transaction) -> None:
    for page in paged(tx, Query(PEOPLE)):
        tx.put_many(PEOPLE, [msgspec.structs.replace(person, first=None, last=None) for person in page])


def every_name_is_split(tx: Transaction) -> Iterator[str]:
    for page in paged(tx, Query(PEOPLE)):
        yield from (f"{person.id} has no last name" for person in page if not person.last)


def no_name_is_split(tx: Transaction) -> Iterator[str]:
    yield from (f"{person.id} is split" for person in tx.query(Query(PEOPLE)) if person.first)


def remember(tx: Transaction) -> None:
    tx.append(LINES, Line(text="names were split"))


def forget_last(tx: Transaction) -> None:
    tx.delete(PEOPLE, f"{COUNT - 1:03}")


SPLIT = DataMigration(1, "split names", split_names, join_names, every_name_is_split)
REMEMBER = DataMigration(2, "remember", remember)
FORGET = DataMigration(3, "forget the last", forget_last)
MIGRATIONS = (SPLIT, REMEMBER, FORGET)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest, spots: Spots) -> Maker:
    """Make stores of a kind, always at the same place; what is in memory is the same store each time."""
    maker = spots.maker(request.param)
    if request.param != "memory":
        return maker
    only: Store = maker(COLLECTIONS)
    return lambda _collections: only


@pytest.fixture
async def store(anyio_backend: str, make: Maker) -> AsyncIterator[Store]:
    made = make(COLLECTIONS)
    await made.open()
    await fill(made)
    yield made
    await made.close()


async def fill(store: Store) -> None:
    people = [
        Person(id=f"{i:03}", name=f"P{i} Q{i % 3}", boss="000" if i % 2 and i < COUNT - 1 else None)
        for i in range(COUNT)
    ]
    await store.transact(lambda tx: tx.put_many(PEOPLE, people))
    await store.transact(lambda tx: tx.append(LINES, Line(text="filled")))


async def migrated(store: Store, migrations: Sequence[DataMigration] = MIGRATIONS, **how: Any) -> Migrated:
    """Migrate without a copy, unless told otherwise."""
    return await migrate(store, migrations, **{"is_copied": False, **how})


async def contents(store: Store) -> Any:
    """Return everything that is in the store, and the last number."""
    return await store.read(lambda tx: ({c.name: tx.query(Query(c)) for c in COLLECTIONS}, tx.seq))


def copies_in(folder: Path) -> list[Path]:
    return list(folder.glob("*before-migration*"))


def mode_of(path: Path) -> int:
    return path.stat().st_mode


async def notes(store: Store) -> list[Applied]:
    return await store.read(lambda tx: tx.query(Query(APPLIED)))


async def test_every_step_is_done_in_order_noted_and_never_again(store: Store) -> None:
    """Who starts a program twice must not have its records rewritten twice."""
    told: list[tuple[int, int, str]] = []
    done = await migrated(store, MIGRATIONS[::-1], tell=lambda *how: told.append(how))
    assert (done.before, done.after, done.copy) == (0, 3, None)
    assert [(step.number, step.direction, step.records) for step in done.steps] == [
        (1, "up", {"people": COUNT}),
        (2, "up", {"lines": 1}),
        (3, "up", {"people": 1}),
    ]
    assert told == [(1, 3, "1 (split names)"), (2, 3, "2 (remember)"), (3, 3, "3 (forget the last)")]
    assert [(note.number, note.name, note.records) for note in await notes(store)] == [
        (step.number, step.name, step.records) for step in done.steps
    ]
    before = await contents(store)
    assert len(before[0]["people"]) == COUNT - 1
    again = await migrated(store)
    assert (again.before, again.after, again.steps) == (3, 3, ())
    assert await contents(store) == before


async def test_what_waits_is_told(store: Store) -> None:
    await migrated(store, to=1)
    found = await standing(store, MIGRATIONS)
    assert [note.number for note in found.applied] == [1]
    assert found.waiting == ((2, "remember"), (3, "forget the last"))


async def test_down_undoes_what_up_did(store: Store) -> None:
    """A release that is taken back takes its records along."""
    before = await contents(store)
    await migrated(store, to=1)
    assert await contents(store) != before
    done = await migrated(store, to=0)
    assert [(step.number, step.direction, step.records) for step in done.steps] == [(1, "down", {"people": COUNT})]
    assert (done.before, done.after) == (1, 0)
    assert await contents(store) == before


async def test_what_validate_finds_undoes_the_step_and_leaves_those_before(store: Store) -> None:
    """Half of a migration is found out by whoever reads the records next, unless it never was."""
    wrong = DataMigration(2, "join", remember, validate=no_name_is_split)
    with pytest.raises(StoreFormatError, match=r"2 \(join\) was undone: 000 is split") as refused:
        await migrated(store, (SPLIT, wrong))
    assert refused.value.details["found"][:2] == ["000 is split", "001 is split"]
    assert refused.value.details["migration"] == 2
    after = await contents(store)
    assert [note.number for note in after[0]["data_migration"]] == [1]
    assert (len(after[0]["lines"]), after[1]) == (1, 1)
    assert not [person for person in after[0]["people"] if person.last is None]


async def test_the_way_down_is_validated_by_the_step_below(store: Store) -> None:
    """It says how the records are after it, wherever they come from."""
    await migrated(store, (SPLIT, DataMigration(2, "nothing", forget_last, join_names)))
    before = await contents(store)
    with pytest.raises(StoreFormatError, match="has no last name"):
        await migrated(store, (SPLIT, DataMigration(2, "nothing", forget_last, join_names)), to=1)
    assert await contents(store) == before


async def test_a_step_that_fails_leaves_nothing_and_is_named(store: Store) -> None:
    def fail(tx: Transaction) -> None:
        split_names(tx)
        raise KeyError("postcode")

    before = await contents(store)
    with pytest.raises(KeyError) as failed:
        await migrated(store, (DataMigration(1, "fails", fail),))
    assert failed.value.__notes__ == ["in data migration 1 (fails)"]
    assert await contents(store) == before


async def test_a_step_that_the_store_refuses_leaves_nothing_and_is_named(store: Store) -> None:
    """Unique names and references hold in migrations as well."""

    def clash(tx: Transaction) -> None:
        tx.put(PEOPLE, Person(id="new", name="P1 Q1"))

    def dangle(tx: Transaction) -> None:
        tx.delete(PEOPLE, "000")

    before = await contents(store)
    for change in (clash, dangle):
        with pytest.raises(AtlasError) as refused:
            await migrated(store, (DataMigration(1, "refused", change),))
        assert refused.value.details["migration"] == 1
        assert await contents(store) == before


async def test_a_dry_run_does_everything_and_leaves_no_trace(store: Store) -> None:
    """Its steps see each other's records, and nobody else ever sees any of it."""
    before = await contents(store)
    told: list[int] = []
    stop = store.subscribe(told.append)
    dry = await migrated(store, is_dry_run=True, is_copied=True)
    assert await contents(store) == before
    await store.transact(lambda tx: tx.append(LINES, Line(text="next")))
    assert await store.read(lambda tx: tx.seq) == before[1] + 1
    await asyncio.sleep(0)
    assert [seq for seq in told if seq != before[1]] == [before[1] + 1]
    stop()
    real = await migrated(store)
    assert dry.steps == real.steps
    assert (dry.before, dry.after, dry.copy, dry.is_dry_run) == (0, 3, None, True)


async def test_a_dry_run_shows_what_would_be_wrong(store: Store) -> None:
    """What validate finds is its answer; what the store refuses, it refuses here too."""

    def clash(tx: Transaction) -> None:
        tx.put(PEOPLE, Person(id="new", name="P1 Q1"))

    before = await contents(store)
    wrong = DataMigration(2, "join", remember, validate=no_name_is_split)
    dry = await migrated(store, (SPLIT, wrong, FORGET), is_dry_run=True)
    assert [len(step.found) for step in dry.steps] == [0, COUNT]
    assert (dry.before, dry.after) == (0, 1)
    with pytest.raises(AtlasError):
        await migrated(store, (SPLIT, DataMigration(2, "clash", clash)), is_dry_run=True)
    assert await contents(store) == before


async def test_a_wrong_list_is_refused_before_anything_runs(store: Store) -> None:
    for numbers in ((1, 3), (1, 1), (2,), (0, 1)):
        with pytest.raises(InputError):
            await migrated(store, [DataMigration(number, "x", split_names) for number in numbers])
    for to in (-1, 4):
        with pytest.raises(InputError):
            await migrated(store, to=to)
    assert await notes(store) == []


async def test_an_altered_step_is_refused_before_anything_runs(store: Store) -> None:
    """Stores that went through one and stores that went through the other would differ without anybody knowing."""
    await migrated(store, to=1)
    before = await contents(store)
    for altered in (DataMigration(1, "split names", forget_last), DataMigration(1, "other name", split_names)):
        with pytest.raises(StoreFormatError, match="altered"):
            await migrated(store, (altered, REMEMBER, FORGET))
        with pytest.raises(StoreFormatError, match="altered"):
            await standing(store, (altered, REMEMBER, FORGET))
    assert await contents(store) == before
    mended = DataMigration(1, "split names", split_names, forget_last)
    assert (await migrated(store, (mended, REMEMBER))).after == 2


async def test_a_store_newer_than_the_program_is_refused(store: Store) -> None:
    """An older program would write records as they were before."""
    await migrated(store)
    before = await contents(store)
    with pytest.raises(StoreNewerError, match=r"3 \(forget the last\), this program knows 2"):
        await migrated(store, (SPLIT, REMEMBER), to=0)
    assert await contents(store) == before


async def test_a_note_that_is_missing_between_others_is_refused(store: Store) -> None:
    await migrated(store)
    await store.transact(lambda tx: tx.delete(APPLIED, 2))
    with pytest.raises(StoreFormatError, match="gap"):
        await migrated(store)


async def test_a_step_without_a_way_down_is_refused_before_anything_runs(store: Store) -> None:
    """Halfway down is nowhere."""
    done = DataMigration(3, "forget the last", forget_last, remember)
    await migrated(store, (SPLIT, REMEMBER, done))
    before = await contents(store)
    with pytest.raises(InputError, match=r"2 \(remember\) has no way down"):
        await migrated(store, (SPLIT, REMEMBER, done), to=0)
    assert await contents(store) == before


async def test_two_at_once_do_each_step_once(store: Store, make: Maker) -> None:
    """The second waits for its turn, and finds it done."""

    def run(tx: Transaction) -> None:
        person = tx.get(PEOPLE, "000")
        assert person is not None
        tx.put(PEOPLE, msgspec.structs.replace(person, runs=person.runs + 1))

    steps = [DataMigration(number, f"run {number}", run) for number in range(1, 6)]
    other = make(COLLECTIONS)
    await other.open()
    both = await asyncio.gather(migrated(store, steps), migrated(other, steps))
    assert sorted(step.number for done in both for step in done.steps) == [1, 2, 3, 4, 5]
    assert [done.after for done in both] == [5, 5]
    (person,) = await store.read(lambda tx: tx.query(Query(PEOPLE).where(ge("runs", 1))))
    assert person.runs == 5
    if other is not store:
        await other.close()


async def test_two_in_opposite_directions_end(store: Store, make: Maker) -> None:
    """One of them is told; neither goes on for ever."""
    steps = [DataMigration(number, f"step {number}", remember, remember) for number in range(1, 4)]
    await migrated(store, steps, to=1)
    other = make(COLLECTIONS)
    await other.open()
    up = migrated(store, steps)
    down = migrated(other, steps, to=0)
    for ended in await asyncio.gather(up, down, return_exceptions=True):
        assert isinstance(ended, (Migrated, ConflictError))
    assert [note.number for note in await notes(store)] in ([], [1], [1, 2], [1, 2, 3])
    if other is not store:
        await other.close()


async def test_the_records_from_before_are_in_a_copy(store: Store, tmp_path: Path) -> None:
    """Beside the file where there is one, else where it was told, and over nothing."""
    before = await contents(store)
    path: Any = getattr(store, "path", None)
    if path is None and store.capabilities.is_shared:
        with pytest.raises(InputError, match="where the copy"):
            await migrate(store, MIGRATIONS)
        assert await contents(store) == before
    target = None if path is not None else tmp_path / "copies" / "before.db"
    done = await migrate(store, MIGRATIONS, copy_to=target, collections=COLLECTIONS)
    assert done.copy is not None
    copied = Path(done.copy)
    assert mode_of(copied) & 0o077 == 0
    if target is None:
        assert copied.parent == path.parent
        assert copied.name.startswith(f"{path.name}.before-migration-1-")
        copy: Store = type(store)(copied, COLLECTIONS)  # type: ignore[call-arg]
    else:
        assert [found.name for found in target.parent.iterdir()] == ["before.db"]
        copy = SqliteStore(copied, COLLECTIONS)
    await copy.open()
    assert await contents(copy) == before
    await copy.close()
    after = await contents(store)
    more = [*MIGRATIONS, DataMigration(4, "more", remember)]
    with pytest.raises(StorageError, match="exists already"):
        await migrate(store, more, copy_to=copied, collections=COLLECTIONS)
    assert await contents(store) == after
    assert (await migrate(store, MIGRATIONS)).copy is None


async def test_a_copy_of_a_store_inside_a_wrapper_lies_beside_its_file(tmp_path: Path) -> None:
    store = CachedStore(SqliteStore(tmp_path / "a.db", COLLECTIONS))
    await store.open()
    await fill(store)
    done = await migrate(store, MIGRATIONS)
    assert done.copy is not None
    assert Path(done.copy).parent == tmp_path
    await store.close()


async def test_a_store_that_can_only_be_read_is_not_copied_either(tmp_path: Path) -> None:
    """Nothing is left of what cannot be done."""
    writable = SqliteStore(tmp_path / "a.db", COLLECTIONS)
    store = ReadOnlyStore(writable)
    await store.open()
    await fill(writable)
    with pytest.raises(StoreReadOnlyError):
        await migrate(store, MIGRATIONS)
    assert copies_in(tmp_path) == []
    assert (await standing(store, MIGRATIONS)).waiting[0] == (1, "split names")
    await store.close()


@pytest.mark.parametrize("kind", ["sqlite", "file"])
async def test_processes_at_once_do_each_step_once(kind: str, spots: Spots) -> None:
    """Every program of a team is started anew after the release, at the same moment."""
    spot = spots.new(kind)
    store = spot.make(COLLECTIONS)
    await store.open()
    await fill(store)
    command = [sys.executable, "-c", AT_ONCE, spot.url]
    place = Path(__file__).parents[2]
    running = [await asyncio.create_subprocess_exec(*command, cwd=place, stdout=subprocess.PIPE) for _ in range(3)]
    told = [(await process.communicate())[0].decode().split() for process in running]
    assert sorted(number for numbers in told for number in numbers) == ["1", "2", "3", "4", "5", "6"]
    assert await store.read(lambda tx: tx.count(Query(LINES).where(eq("text", "names were split")))) == 6
    await store.close()


async def test_pages_give_every_record_once_whatever_is_done_to_them(store: Store) -> None:
    """Records that are rewritten, removed or added behind a walk do not send it in circles."""

    def walk(tx: Transaction) -> list[list[str]]:
        seen = []
        for page in paged(tx, Query(PEOPLE).where(ge("id", "003")), size=10):
            seen.append([person.id for person in page])
            tx.put_many(PEOPLE, [msgspec.structs.replace(person, name=f"again {person.id}") for person in page])
            tx.put(PEOPLE, Person(id="000a", name="behind"))
            tx.put(PEOPLE, Person(id="100", name="ahead"))
        return seen

    seen = (await store.transact(walk)).value
    assert [len(page) for page in seen] == [10, 10, 3]
    assert [key for page in seen for key in page] == [f"{i:03}" for i in range(3, COUNT)] + ["100"]
    refused: list[Callable[[Transaction], object]] = [
        lambda tx: next(paged(tx, Query(PEOPLE), size=0)),
        lambda tx: next(paged(tx, Query(PEOPLE).order_by("name"))),
        lambda tx: next(paged(tx, Query(PEOPLE).select("name"))),
        lambda tx: next(paged(tx, Query(PEOPLE).limit(3))),
        lambda tx: next(paged(tx, Query(PEOPLE).offset(3))),
    ]
    for work in refused:
        with pytest.raises(InputError):
            await store.read(work)


class Big(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    id: str
    size: int


BIGS = Collection("bigs", Big)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_large_collection_passes_through_a_small_memory(
    kind: str, spots: Spots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is one transaction, however many records there are; they are in the database, not in the program."""
    monkeypatch.setattr(overlay, "HELD_MOST", 100)
    alive: weakref.WeakSet[Big] = weakref.WeakSet()
    most = 0

    def grow(tx: Transaction) -> None:
        nonlocal most
        for page in paged(tx, Query(BIGS), size=50):
            grown = [Big(id=big.id, size=big.size + 1) for big in page]
            alive.update([*page, *grown])
            most = max(most, len(alive))
            tx.put_many(BIGS, grown)

    store = spots.maker(kind)((BIGS, APPLIED))
    await store.open()
    await store.transact(lambda tx: tx.put_many(BIGS, [Big(id=f"{i:04}", size=0) for i in range(2_000)]))
    (step,) = (await migrated(store, (DataMigration(1, "grow", grow),))).steps
    assert step.records == {"bigs": 2_000}
    assert await store.read(lambda tx: tx.count(Query(BIGS).where(eq("size", 1)))) == 2_000
    assert most <= 500
    await store.close()


def test_a_step_without_a_source_says_its_revision() -> None:
    """A program that was frozen or compiled has none, and must come to the same checksum as the one that has."""
    made: dict[str, Callable[[Transaction], None]] = {}
    exec("def up(tx): tx.seq", made)
    step = DataMigration(1, "one", made["up"])
    with pytest.raises(InputError) as refused:
        _ = step.checksum
    assert refused.value.field == "revision"
    assert (
        DataMigration(1, "one", made["up"], revision="1").checksum
        == DataMigration(1, "one", split_names, revision="1").checksum
    )
    assert DataMigration(1, "one", split_names).checksum == DataMigration(1, "one", split_names, forget_last).checksum
    assert DataMigration(1, "one", split_names).checksum != DataMigration(1, "one", forget_last).checksum


AT_ONCE = """
import asyncio, sys
from tests.contract.test_data_migrations import COLLECTIONS, remember
from atlas.storage.data_migration import DataMigration
from atlas.storage.migrating import migrate
from atlas.storage.open import open_store

async def main():
    store = open_store(sys.argv[1], COLLECTIONS)
    await store.open()
    done = await migrate(store, [DataMigration(n, f"step {n}", remember) for n in range(1, 7)], is_copied=False)
    print(*(step.number for step in done.steps))
    await store.close()

asyncio.run(main())
"""

KILLED = """
import asyncio, os, sys
from pathlib import Path
from tests.contract.test_data_migrations import COLLECTIONS, PEOPLE, SPLIT, join_names
from atlas.storage.data_migration import DataMigration
from atlas.storage.migrating import migrate
from atlas.storage.query import Query
from atlas.storage.sqlite import SqliteStore

def die(tx):
    join_names(tx)
    tx.query(Query(PEOPLE))
    os._exit(7)

async def main():
    store = SqliteStore(Path(sys.argv[1]), COLLECTIONS)
    await store.open()
    await migrate(store, (SPLIT, DataMigration(2, "dies", die, revision="1")), is_copied=False)

asyncio.run(main())
"""


async def test_a_process_that_dies_in_a_step_leaves_those_before(tmp_path: Path) -> None:
    """The next one goes on where it was."""
    path = tmp_path / "a.db"
    store = SqliteStore(path, COLLECTIONS)
    await store.open()
    await fill(store)
    await store.close()
    command = [sys.executable, "-c", KILLED, str(path)]
    died = await asyncio.to_thread(subprocess.run, command, cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == 7
    await store.open()
    assert [note.number for note in await notes(store)] == [1]
    assert not [person for person in (await contents(store))[0]["people"] if person.last is None]
    done = await migrated(store, (SPLIT, DataMigration(2, "dies", remember)))
    assert [step.number for step in done.steps] == [2]
    await store.close()
