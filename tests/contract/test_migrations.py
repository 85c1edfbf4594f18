"""A store of any earlier schema is brought up to date whole, with a copy from before, or stays as it was."""

from __future__ import annotations

import asyncio
import stat
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.acceptance.disks import CutDisk, FullDisk

from atlas.errors import AtlasError, StoreFormatError, StoreFullError, StoreNewerError, StoreReadOnlyError
from atlas.storage.collection import Collection
from atlas.storage.migration import Migration
from atlas.storage.open import open_store
from atlas.storage.query import Query, contains, eq, match
from atlas.storage.sql import schema_of
from atlas.storage.sqlite import SqliteStore, place, schema
from atlas.storage.sqlite.schema import differences


class Box(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    size: int | None = None
    color: str | None = None
    inside: str | None = None
    tags: tuple[str, ...] = ()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 0
    text: str


def _boxes(columns: tuple[str, ...], **declared: Any) -> Collection[Box]:
    return Collection(
        "boxes", Box, columns=columns, lists=("tags",), text=("name",), references={"inside": "boxes"}, **declared
    )


LINES = Collection("lines", Line, key="number", sequence=True)
NOTES = Collection("notes", Box, columns=("inside",), references={"inside": "boxes"})
FIRST = _boxes(("name", "inside"))
SECOND = _boxes(("name", "inside", "size"), indexes=(("size",),))
# Colours stand before sizes here, and a column that is altered in a file can only stand last.
THIRD = _boxes(("name", "color", "inside", "size"), indexes=(("size",),), unique=("color",))
DECLARED = {number: (boxes, LINES, NOTES) for number, boxes in enumerate((FIRST, SECOND, THIRD), 1)}


def _statement(collection: Collection[Any], name: str) -> str:
    """Return the statement that makes the named index or table."""
    (text,) = (text for text in schema_of(collection) if text.split('"')[1] == name)
    return text


SIZES = Migration(
    "sizes",
    f"""ALTER TABLE "boxes" ADD COLUMN "size" ANY;
    SELECT "key" FROM "boxes";
    UPDATE "boxes" SET "size" = "value" ->> '$.size';
    {_statement(SECOND, "boxes__by_size")}""",
)
"""Adds a column to the table; a statement in the middle answers with rows."""

COLORS = Migration(
    "colors",
    f"""CREATE TABLE "kept" AS SELECT * FROM "boxes";
    DROP TABLE "boxes";
    {_statement(THIRD, "boxes")};
    INSERT INTO "boxes" ("n", "key", "value", "name", "color", "inside", "size")
      SELECT "n", "key", "value", "name", "value" ->> '$.color', "inside", "size" FROM "kept";
    DROP TABLE "kept";
    {_statement(THIRD, "boxes__by_size")};
    {_statement(THIRD, "boxes__by_color")}""",
)
"""Makes the table anew, to which others refer."""

MIGRATIONS = (SIZES, COLORS)
LATEST = 1 + len(MIGRATIONS)
OLD = (1, 2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def atlas_of(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    path: Path,
    *,
    migrations: Sequence[Migration] = MIGRATIONS,
    **how: Any,
) -> SqliteStore:
    """Return the store as the Atlas opens it whose newest schema is `number`."""
    monkeypatch.setattr(place, "SCHEMA", number)
    return SqliteStore(path, DECLARED[number], migrations=migrations[: number - 1], **how)


def records() -> list[Box]:
    inner = [
        Box(id=f"b{i}", name=f"box {i}", size=i % 3 or None, color=f"c{i}", inside=f"b{i - 1}", tags=(f"t{i % 2}",))
        for i in range(1, 30)
    ]
    return [Box(id="b0", name="the outermost"), *inner]


async def made(store: SqliteStore) -> None:
    """Have records of every kind in it."""
    boxes = store._database.collections[0]
    await store.open()
    await store.transact(lambda tx: tx.put_many(boxes, records()))
    for i in range(5):
        await store.transact(lambda tx, i=i: tx.append(LINES, Line(text=f"{i}")))  # type: ignore[misc]
    await store.transact(lambda tx: tx.put(NOTES, Box(id="n", name="note", inside="b3")))
    await store.transact(lambda tx: tx.delete(LINES, 5))
    await store.close()


async def check_whole(store: SqliteStore) -> None:
    """Check that everything `made` put there is there, and found by whatever the schema finds it by."""
    boxes = store._database.collections[0]
    assert await store.verify() == []
    found = await store.read(lambda tx: tx.query(Query(boxes)))
    assert found == sorted(records(), key=lambda box: box.id)
    assert await store.read(lambda tx: tx.query(Query(LINES).select("text"))) == [(f"{i}",) for i in range(4)]
    assert await store.read(lambda tx: (tx.seq, tx.get(NOTES, "n"))) == (5, Box(id="n", name="note", inside="b3"))
    assert len(await store.read(lambda tx: tx.query(Query(boxes).where(match("outermost"))))) == 1
    assert await store.read(lambda tx: tx.count(Query(boxes).where(contains("tags", "t1")))) == 15
    if "size" in boxes.columns:
        assert await store.read(lambda tx: tx.count(Query(boxes).where(eq("size", 2)))) == 10
    if "color" in boxes.columns:
        (seven,) = await store.read(lambda tx: tx.query(Query(boxes).where(eq("color", "c7"))))
        assert seven.id == "b7"


def placed(folder: Path, content: bytes) -> Path:
    """Put a store into a new folder."""
    folder.mkdir()
    (folder / "atlas.db").write_bytes(content)
    return folder / "atlas.db"


def names(folder: Path, pattern: str = "*") -> set[str]:
    return {found.name for found in folder.glob(pattern)}


def schema_and_steps(path: Path) -> tuple[int, int, list[tuple[Any, ...]]]:
    """Return both numbers of the schema, and the migrations that the file says were applied."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        number = connection.execute("PRAGMA user_version").get
        known = connection.execute('SELECT "schema" FROM "meta"').get
        steps = connection.execute('SELECT "number", "name", "checksum" FROM "migration" ORDER BY 1').fetchall()
        return number, known, steps[1:]
    finally:
        connection.close()


STEPS = [(number, step.name, step.checksum) for number, step in enumerate(MIGRATIONS, 2)]


@pytest.mark.anyio
@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 3), (2, 3)])
async def test_an_earlier_store_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int, new: int
) -> None:
    """People upgrade Atlas and go on; every record, number and reference is there, and the new columns are filled."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, old, path))
    store = atlas_of(monkeypatch, new, path)
    await store.open()
    await check_whole(store)
    done = await store.transact(lambda tx: tx.append(LINES, Line(text="after")))
    assert done.seq == 6
    await store.close()
    assert schema_and_steps(path) == (new, new, STEPS[: new - 1])
    again = atlas_of(monkeypatch, new, path)
    await again.open()
    assert again._database._writer is None, "it was upgraded once more"
    await again.close()


@pytest.mark.anyio
@pytest.mark.parametrize("old", OLD)
async def test_a_copy_is_taken_before_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int) -> None:
    """Whoever regrets the upgrade goes back with it; it is whole, for its owner only, and the only thing left over."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, old, path))
    store = atlas_of(monkeypatch, LATEST, path)
    await store.open()
    await store.close()
    copy = tmp_path / f"atlas.db.schema-{old}.bak"
    assert names(tmp_path) == {"atlas.db", "atlas.db-lock", copy.name}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = atlas_of(monkeypatch, old, copy)
    await before.open()
    await check_whole(before)
    await before.close()
    assert schema_and_steps(copy) == (old, old, STEPS[: old - 1])


@pytest.mark.anyio
async def test_a_migrated_schema_is_as_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stores of one schema must not differ by their past; what differs otherwise is still noticed."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    store = atlas_of(monkeypatch, LATEST, path)
    await store.open()
    await store.close()
    connection = apsw.Connection(str(path))
    assert differences(connection, DECLARED[LATEST]) == []
    connection.execute('ALTER TABLE "lines" ADD COLUMN "mine" ANY; DROP INDEX "boxes__by_size"')
    connection.execute('CREATE INDEX "boxes__by_size" ON "boxes" ("size" DESC)')
    connection.execute('DROP TABLE "notes"')
    assert differences(connection, DECLARED[LATEST]) == ["notes is missing", "boxes__by_size differs", "lines differs"]
    connection.close()


@pytest.mark.anyio
async def test_power_cuts_during_an_upgrade_leave_one_schema_or_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laptops are shut while an upgrade runs; whatever is left opens with everything in it."""
    path = tmp_path / "old" / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    content = path.read_bytes()

    async def upgraded(folder: Path, at: int) -> CutDisk:
        disk = CutDisk(f"cut-{uuid.uuid4()}", at=at)
        store = atlas_of(monkeypatch, LATEST, placed(folder, content), vfs=disk.name)
        try:
            await store.open()
            await store.close()
        finally:
            disk.unregister()
        return disk

    total = (await upgraded(tmp_path / "whole", 1 << 60)).operations
    seen = set()
    for at in range(1, total + 1, 2):
        disk = await upgraded(tmp_path / f"{at}", at)
        left = disk.survivors(tmp_path / f"{at}" / "left", None) / "atlas.db"
        probe = apsw.Connection(str(left))
        seen.add(schema.version_of(probe))
        probe.close()
        store = atlas_of(monkeypatch, LATEST, left)
        await store.open()
        await check_whole(store)
        await store.close()
    assert seen == {1, 2, 3}


@pytest.mark.anyio
async def test_a_migration_that_does_not_fit_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first statements must not count when a later one fails; the error names the step and the way out."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    unfit = {
        "fails": 'ALTER TABLE "boxes" ADD COLUMN "size" ANY; INSERT INTO "boxes" ("key") VALUES (\'half\')',
        "is nonsense": 'DELETE FROM "boxes"; CREATE TABEL x (a)',
        "leaves references to nothing": 'DELETE FROM "boxes" WHERE "key" = \'b3\'',
    }
    for name, script in unfit.items():
        wrong = (Migration(name, script),)
        with pytest.raises(StoreFormatError) as refused:
            await atlas_of(monkeypatch, 2, path, migrations=wrong).open()
        assert f"migration 2 ({name})" in refused.value.message
        assert "schema 1" in refused.value.hint
        assert "\n" not in refused.value.message
        store = atlas_of(monkeypatch, 1, path)
        await store.open()
        await check_whole(store)
        await store.close()
        assert schema_and_steps(path) == (1, 1, [])


@pytest.mark.anyio
async def test_a_step_that_fails_keeps_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a transaction of its own; the next attempt goes on from there, with a copy of that."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    with pytest.raises(StoreFormatError):
        await atlas_of(monkeypatch, LATEST, path, migrations=(SIZES, Migration("colors", "nonsense"))).open()
    assert schema_and_steps(path) == (2, 2, STEPS[:1])
    store = atlas_of(monkeypatch, LATEST, path)
    await store.open()
    await check_whole(store)
    await store.close()
    assert (tmp_path / "atlas.db.schema-2.bak").exists()


@pytest.mark.anyio
async def test_a_migration_altered_after_its_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files would claim one schema and hold two; nothing is altered, no copy is taken."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 2, path))
    before = path.read_bytes()
    altered = (Migration("sizes", SIZES.script + ";"), COLORS)
    with pytest.raises(StoreFormatError, match=r"migration 2 \(sizes\)"):
        await atlas_of(monkeypatch, LATEST, path, migrations=altered).open()
    assert path.read_bytes() == before
    assert names(tmp_path, "*.bak*") == set()


@pytest.mark.anyio
async def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only the log tells that it is newer: an old Atlas knows nothing of what it would write into."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    connection = apsw.Connection(str(path))
    connection.wal_autocheckpoint(0)
    connection.execute("PRAGMA user_version = 2; UPDATE meta SET schema = 2")
    log = path.with_name("atlas.db-wal")
    before = path.read_bytes(), log.read_bytes()
    assert before[1]
    with pytest.raises(StoreNewerError):
        await atlas_of(monkeypatch, 1, path).open()
    assert (path.read_bytes(), log.read_bytes()) == before
    connection.close()
    before_all = path.read_bytes()
    with pytest.raises(StoreNewerError) as refused:
        await atlas_of(monkeypatch, 1, path).open()
    assert "schema 2" in refused.value.message
    assert "Upgrade" in refused.value.hint
    assert path.read_bytes() == before_all
    assert names(tmp_path, "*.bak*") == set()


@pytest.mark.anyio
async def test_a_store_that_becomes_newer_while_open_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent upgrades while another's server still runs the old Atlas, which must write nothing any more."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    old = atlas_of(monkeypatch, 1, path)
    await old.open()
    await check_whole(old)
    new = atlas_of(monkeypatch, LATEST, path)
    await new.open()
    monkeypatch.setattr(place, "SCHEMA", 1)
    with pytest.raises(StoreNewerError):
        await old.transact(lambda tx: tx.put(FIRST, Box(id="late", name="late")))
    with pytest.raises(StoreNewerError):
        await old.read(lambda tx: tx.get(FIRST, "b0"))
    await old.close()
    await check_whole(new)
    await new.close()


@pytest.mark.anyio
async def test_a_schema_that_no_atlas_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that resets the number must not have every migration run over what is there already."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, LATEST, path))
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    with pytest.raises(StoreFormatError, match="schema 0"):
        await atlas_of(monkeypatch, LATEST, path).open()
    assert names(tmp_path, "*.bak*") == set()


@pytest.mark.anyio
async def test_an_upgrade_on_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a half copy nor half a schema; with space again it goes through."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    disk = FullDisk(f"full-{uuid.uuid4()}")
    try:
        # The copy takes about as much as the store, so that the second time only the copy fits.
        for room in (path.stat().st_size // 2, path.stat().st_size + 20_000):
            disk.room = room
            with pytest.raises(StoreFullError) as refused:
                await atlas_of(monkeypatch, LATEST, path, vfs=disk.name).open()
            assert refused.value.retryable
            assert names(tmp_path, "*-unfinished*") == set()
            store = atlas_of(monkeypatch, 1, path)
            await store.open()
            await check_whole(store)
            await store.close()
        disk.room = None
        store = atlas_of(monkeypatch, LATEST, path, vfs=disk.name)
        await store.open()
        await check_whole(store)
        await store.close()
    finally:
        disk.unregister()


@pytest.mark.anyio
async def test_an_old_store_that_cannot_be_written_is_not_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor read by columns that it does not have."""
    path = tmp_path / "atlas.db"
    await made(atlas_of(monkeypatch, 1, path))
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(StoreReadOnlyError) as refused:
        await atlas_of(monkeypatch, LATEST, path).open()
    assert refused.value.hint
    assert path.read_bytes() == before


def test_several_that_upgrade_at_once_do_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A team's agents are restarted together after an upgrade of Atlas."""
    path = tmp_path / "atlas.db"
    asyncio.run(made(atlas_of(monkeypatch, 1, path)))
    stores = [atlas_of(monkeypatch, LATEST, path) for _ in range(4)]
    failed: list[BaseException] = []
    gate = threading.Barrier(len(stores))

    async def used(store: SqliteStore) -> None:
        gate.wait(10)
        await store.open()
        await check_whole(store)
        await store.close()

    def run(store: SqliteStore) -> None:
        try:
            asyncio.run(used(store))
        except (AtlasError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert schema_and_steps(path) == (LATEST, LATEST, STEPS)


def test_the_door_refuses_just_what_no_migration_leads_to() -> None:
    """The number that is refused unopened and the list of migrations stand in two places."""
    store = open_store("sqlite:///anywhere.db", DECLARED[1])
    assert isinstance(store, SqliteStore)
    assert 1 + len(store._database.migrations) == place.SCHEMA
