"""Taking the records of a store through data migrations: up or down, each step with its note or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import AtlasError, ConflictError, InputError, StoreFormatError, StoreNewerError, StoreReadOnlyError
from .collection import Collection
from .copying import Tell, copy_store
from .data_migration import Applied, DataMigration, InCollection, Kept
from .place import made_beside, prepare_folder, taken
from .protocol import Store, Transaction
from .query import Query
from .wrappers.around import TransactionAround, path_of

R = TypeVar("R")

LONG = timedelta(hours=1)
_FOUND_MOST = 100


class Stepped(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was done: how many records it wrote or removed in each collection, and what `validate` found."""

    number: int
    name: str
    direction: Literal["up", "down"]
    records: dict[str, int]
    found: tuple[str, ...] = ()


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """From which number to which, the steps done here, and the file with the records from before.

    Another process may have done some of the steps between. Of a dry run it says what would be.
    """

    before: int
    after: int
    steps: tuple[Stepped, ...]
    copy: str | None
    is_dry_run: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The notes of the steps that were done, and the numbers and names of those that wait."""

    applied: tuple[Applied, ...]
    waiting: tuple[tuple[int, str], ...]


async def standing(store: Store, migrations: Sequence[DataMigration], *, kept: Kept | None = None) -> Standing:
    """Return where an open store stands; raises as `migrate` does when it does not fit the migrations."""
    course = _Course(migrations, kept or InCollection())
    applied = await store.read(course.applied)
    waiting = course.migrations[len(applied) :]
    return Standing(applied=tuple(applied), waiting=tuple((each.number, each.name) for each in waiting))


async def migrate(
    store: Store,
    migrations: Sequence[DataMigration],
    *,
    to: int | None = None,
    is_dry_run: bool = False,
    is_copied: bool = True,
    copy_to: Path | None = None,
    collections: Sequence[Collection[Any]] = (),
    kept: Kept | None = None,
    timeout: timedelta = LONG,
    tell: Tell | None = None,
) -> Migrated:
    """Take the records of an open store up, or down, to the step numbered `to` (the newest), one transaction each.

    Before the first, a copy is made unless that is refused: beside a store in a file, else a SQLite file at `copy_to`
    of all `collections`. A dry run does every step in one transaction and leaves nothing of it. Nothing runs, and
    InputError, StoreFormatError or StoreNewerError is raised, when numbers have gaps, an applied step was altered, the
    store knows more steps, or one on the way down has no `down`. A step whose `validate` finds something is undone and
    raises StoreFormatError; those before it stay done. Each step may take `timeout`, the wait for its turn included.
    """
    course = _Course(migrations, kept or InCollection())
    goal = course.goal(to)
    before = await store.read(course.place)
    way = course.way(before, goal)
    if is_dry_run:
        steps = await _rehearsed(store, way, timeout)
        ends = [step.number - (step.direction == "up") for step in steps if step.found]
        return Migrated(before=before, after=ends[0] if ends else goal, steps=steps, copy=None, is_dry_run=True)
    if way and not store.capabilities.is_writable:
        raise StoreReadOnlyError(f"{store.url} cannot be written")
    copy = await _copied(store, copy_to, collections, before, tell) if way and is_copied else None
    steps = ()
    for done, stage in enumerate(way, 1):
        steps += await _stepped(store, stage, timeout)
        if tell is not None:
            tell(done, len(way), stage.told)
    return Migrated(before=before, after=goal, steps=steps, copy=None if copy is None else str(copy), is_dry_run=False)


class _Course:
    """The migrations in their order, against what a store says was done."""

    def __init__(self, migrations: Sequence[DataMigration], kept: Kept) -> None:
        self.migrations = sorted(migrations, key=lambda each: each.number)
        self.kept = kept
        numbers = [each.number for each in self.migrations]
        if numbers != list(range(1, len(numbers) + 1)):
            raise InputError(
                "data migrations are numbered from 1 on, without a gap and none twice",
                field="migrations",
                given=numbers,
                bound=f"1 to {len(numbers)}",
            )
        self.checksums = [each.checksum for each in self.migrations]

    def applied(self, tx: Transaction) -> list[Applied]:
        """Return the notes of what was done; raises where they do not fit the migrations."""
        applied = self.kept.applied(tx)
        if applied and applied[-1].number > len(self.migrations):
            last = applied[-1]
            raise StoreNewerError(
                f"the store went through data migration {last.number} ({last.name}), this program knows"
                f" {len(self.migrations)}",
                hint="Use the newer program; it can also take the store down.",
            )
        if [note.number for note in applied] != list(range(1, len(applied) + 1)):
            raise StoreFormatError(
                f"the store notes data migrations {[note.number for note in applied]}, which have a gap",
                hint="Restore a copy.",
            )
        for note, migration, checksum in zip(applied, self.migrations, self.checksums, strict=False):
            if note.checksum != checksum:
                raise StoreFormatError(
                    f"data migration {note.number} ({note.name}) was altered since it was done"
                    f" on {note.applied_at:%Y-%m-%d} (now {migration.name})",
                    hint="Put it back as it was, and make the correction the next step.",
                )
        return applied

    def place(self, tx: Transaction) -> int:
        """Return the number of the step that was done last, 0 for none."""
        return len(self.applied(tx))

    def goal(self, to: int | None) -> int:
        """Return the number to go to."""
        newest = len(self.migrations)
        if to is not None and not 0 <= to <= newest:
            raise InputError(f"there is no data migration {to}", field="to", given=to, bound=f"0 to {newest}")
        return newest if to is None else to

    def way(self, before: int, goal: int) -> list[_Stage]:
        """Return the stages from one number to another; raises InputError where one of them cannot be gone."""
        if goal >= before:
            return [_Stage(self, each, is_up=True) for each in self.migrations[before:goal]]
        stages = [_Stage(self, each, is_up=False) for each in reversed(self.migrations[goal:before])]
        for stage in stages:
            if stage.migration.down is None:
                raise InputError(
                    f"data migration {stage.told} has no way down",
                    field="to",
                    given=goal,
                    bound=f"{stage.migration.number} to {len(self.migrations)}",
                    hint="Go no further down than that, or put the copy from before it back.",
                )
        return stages


class _Stage:
    """One step in one direction."""

    def __init__(self, course: _Course, migration: DataMigration, *, is_up: bool) -> None:
        self.course = course
        self.migration = migration
        self.is_up = is_up
        self.told = f"{migration.number} ({migration.name})"
        self._from, self._to = migration.number - is_up, migration.number - (not is_up)

    def run(self, tx: Transaction) -> Stepped | None:
        """Do the step and note it, with what is wrong afterwards; None where another process has done it."""
        place = self.course.place(tx)
        if place == self._to or (place > self._to) is self.is_up:
            return None
        if place != self._from:
            raise ConflictError(
                f"the store went to data migration {place} while it was to go from {self._from} to {self._to}",
                hint="Somebody migrates it in the other direction; agree where it shall be.",
            )
        with self.course.kept.changing(tx) as inner:
            counting = _Counting(inner)
            change = self.migration.up if self.is_up else self.migration.down
            assert change is not None
            change(counting)
            step = Stepped(
                number=self.migration.number,
                name=self.migration.name,
                direction="up" if self.is_up else "down",
                records=dict(sorted(counting.records.items())),
                found=self._found(counting),
            )
            self.course.kept.keep(inner, self._note(tx, step), is_up=self.is_up)
        return step

    def _found(self, tx: _Counting) -> tuple[str, ...]:
        """Return what is wrong with the records, as the step says by which they got where they are now."""
        # A refusal of what is still buffered belongs to this step, also in a dry run, which never gets to the commit.
        tx.flush()
        validate = self.course.migrations[self._to - 1].validate if self._to else None
        return () if validate is None else tuple(islice(validate(tx), _FOUND_MOST))

    def _note(self, tx: Transaction, step: Stepped) -> Applied:
        checksum = self.course.checksums[step.number - 1]
        return Applied(number=step.number, name=step.name, checksum=checksum, applied_at=tx.now, records=step.records)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Have an error say in which step it was raised."""
        try:
            yield
        except Exception as error:
            error.add_note(f"in data migration {self.told}")
            if isinstance(error, AtlasError):
                error.details.setdefault("migration", self.migration.number)
            raise


class _Counting(TransactionAround):
    """A transaction that counts the records written and removed, by collection."""

    def __init__(self, inner: Transaction) -> None:
        super().__init__(inner)
        self.records: Counter[str] = Counter()
        self._written: dict[str, Collection[Any]] = {}

    def _count(self, collection: Collection[Any], count: int) -> None:
        if count:
            self.records[collection.name] += count
            self._written[collection.name] = collection

    def put(self, collection: Collection[R], record: R, *, expected_version: int | None = None) -> None:
        """See Transaction."""
        self.inner.put(collection, record, expected_version=expected_version)
        self._count(collection, 1)

    def put_many(self, collection: Collection[R], records: Iterable[R]) -> None:
        """See Transaction."""
        given = list(records)
        self.inner.put_many(collection, given)
        self._count(collection, len(given))

    def delete(self, collection: Collection[R], key: Any) -> bool:
        """See Transaction."""
        was_there = self.inner.delete(collection, key)
        self._count(collection, was_there)
        return was_there

    def delete_many(self, collection: Collection[R], keys: Iterable[Any]) -> int:
        """See Transaction."""
        count = self.inner.delete_many(collection, keys)
        self._count(collection, count)
        return count

    def append(self, collection: Collection[R], record: R) -> None:
        """See Transaction."""
        self.inner.append(collection, record)
        self._count(collection, 1)

    def flush(self) -> None:
        """Have the store take in all that was written: a query of a collection looks at what is there."""
        for collection in self._written.values():
            self.inner.query(Query(collection).limit(1))


async def _stepped(store: Store, stage: _Stage, timeout: timedelta) -> tuple[Stepped, ...]:
    """Do one step and commit it; nothing where another process has done it."""

    def work(tx: Transaction) -> Stepped | None:
        step = stage.run(tx)
        if step is not None and step.found:
            raise StoreFormatError(
                f"data migration {stage.told} was undone: {step.found[0]}",
                hint="Mend the records or the step, and migrate again; a dry run shows what it finds.",
                details={"found": list(step.found)},
            )
        return step

    with stage.naming():
        step = (await store.transact(work, timeout=timeout)).value
    return () if step is None else (step,)


class _UndoneError(Exception):
    """Ends a dry run."""

    def __init__(self, steps: tuple[Stepped, ...]) -> None:
        super().__init__("a dry run leaves nothing")
        self.steps = steps


async def _rehearsed(store: Store, way: Sequence[_Stage], timeout: timedelta) -> tuple[Stepped, ...]:
    """Do all steps in one transaction, up to the first that finds something wrong, and undo them."""

    def work(tx: Transaction) -> None:
        steps: tuple[Stepped, ...] = ()
        for stage in way:
            with stage.naming():
                step = stage.run(tx)
            steps += () if step is None else (step,)
            if step is not None and step.found:
                break
        raise _UndoneError(steps)

    try:
        await store.transact(work, timeout=timeout)
    except _UndoneError as undone:
        return undone.steps
    return ()


async def _copied(
    store: Store, target: Path | None, collections: Sequence[Collection[Any]], before: int, tell: Tell | None
) -> Path | None:
    """Copy the records as they are; returns the new file, None where there is nothing that outlasts the process."""
    path = path_of(store)
    if path is not None:
        if target is None:
            stamp = await store.read(lambda tx: f"{tx.now:%Y%m%dT%H%M%S%f}Z")
            target = path.with_name(f"{path.name}.before-migration-{before + 1}-{stamp}{path.suffix}")
        return await store.copy_to(target)
    if target is None and not store.capabilities.is_shared:
        return None
    if target is None or not collections:
        raise InputError(
            f"nothing says where the copy of {store.url} goes, or of what collections it is",
            field="copy_to" if target is None else "collections",
            hint="Name a file for it that does not exist yet, or migrate without a copy.",
        )
    return await _copied_into(target, store, collections, tell)


async def _copied_into(target: Path, store: Store, collections: Sequence[Collection[Any]], tell: Tell | None) -> Path:
    """Make a new SQLite file that holds every record of the store, whole or not at all."""
    from .sqlite import SqliteStore

    _make_room(target)
    with made_beside(target, is_new=True) as beside:
        # Without an event loop, since the store may be driven without one.
        copy = SqliteStore(beside, collections, is_inline=True)
        try:
            await copy.open()
            await copy_store(store, copy, collections, tell=tell)
        finally:
            await copy.close()
            beside.with_name(f"{beside.name}-lock").unlink(missing_ok=True)
    return target


def _make_room(target: Path) -> None:
    if target.exists():
        raise taken(target)
    prepare_folder(target)
