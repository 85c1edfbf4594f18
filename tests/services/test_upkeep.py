"""Upkeep: figures against an independent count, space given back, and starting anew without losing anything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.services.desk import Desk
from tests.services.test_plans import work_on

import atlas
from atlas.atlas import Atlas
from atlas.errors import IdempotencyError
from atlas.model.path import parse_pattern
from atlas.model.task import Priority, Status, Task, Type
from atlas.storage.query import Query
from atlas.work.collections import TASKS

pytestmark = pytest.mark.anyio

FINISHED = {"COMPLETED", "CANCELLED"}


async def tasks_of(a: Atlas) -> list[Task]:
    found: list[Task] = await a.store.read(lambda tx: tx.query(Query(TASKS)))
    return found


# Statistics.


def progress(leaves: list[Task]) -> dict[str, int]:
    finished = sum(leaf.status in FINISHED for leaf in leaves)
    return {
        "total": len(leaves),
        "finished": finished,
        "percent": round(100 * finished / len(leaves)) if leaves else 0,
    }


def naive(tasks: list[Task], pattern: str) -> dict[str, Any]:
    """Count everything one by one."""
    closed = [task.path for task in tasks if task.archived]
    hidden = [t for t in tasks if any(t.path == path or t.path.startswith(path + "/") for path in closed)]
    chosen = [task for task in tasks if parse_pattern(pattern).matches(task.path)]
    shown = [task for task in chosen if task not in hidden]
    holders = {task.parent for task in tasks}
    leaves = [task for task in shown if task.id not in holders]
    projects = sorted({leaf.path.partition("/")[0] for leaf in leaves})
    by_project = {name: [leaf for leaf in leaves if leaf.path.partition("/")[0] == name] for name in projects}
    return {
        "total": len(shown),
        "archived": len(chosen) - len(shown),
        "by_status": {str(s): Counter(task.status for task in shown)[s] for s in Status},
        "by_type": {str(t): Counter(task.type for task in shown)[t] for t in Type},
        "by_priority": {str(p): Counter(task.priority for task in shown)[p] for p in Priority},
        "progress": progress(leaves),
        "projects": [{"path": name, **progress(of)} for name, of in by_project.items()],
        "projects_total": len(projects),
    }


@pytest.mark.parametrize("seed", range(8))
async def test_figures_are_those_of_an_independent_count(desk: Desk, seed: int) -> None:
    """Whichever way they come: from aggregates, from the counts kept, or one by one; archived ones apart."""
    await work_on(desk, seed * 1_000 + 5, 40)
    for pattern in ("**", "a/**", "a", "**/a", "a/*", "nowhere/**", "*"):
        made = msgspec.to_builtins(await desk.atlas.upkeep.statistics(pattern=pattern))
        due = naive(await tasks_of(desk.atlas), pattern)
        assert {name: made[name] for name in due} == due
        assert made["seq"] == await desk.seq()


async def test_statistics_show_the_first_fifty_projects_and_count_all(desk: Desk) -> None:
    """An answer stays readable in a store of many projects."""
    for number in range(60):
        await desk.add(f"p{number:02}/t")
    made = await desk.atlas.upkeep.statistics()
    assert (len(made.projects), made.projects_total) == (50, 60)
    assert made.projects[0] == {"path": "p00", "total": 1, "finished": 0, "percent": 0}


async def test_statistics_show_the_figures_of_the_store(desk: Desk) -> None:
    """Its address, size and records."""
    await desk.add("p/a", notes=["one"])
    store = (await desk.atlas.upkeep.statistics()).store
    assert store["url"] == desk.store.url
    assert store["bytes"] > 0
    assert (store["records"]["task"], store["records"]["note"]) == (2, 1)


async def test_a_wrong_pattern_is_refused(desk: Desk) -> None:
    """With the field."""
    error = await desk.refused("TASK_INVALID_PATH", desk.atlas.upkeep.statistics(pattern="a//b"))
    assert error.field == "pattern"


# Vacuum.


async def test_vacuum_gives_back_what_was_deleted(tmp_path: Path) -> None:
    """The sizes are those of the file; nothing of the work changes."""
    place = tmp_path / "work.db"
    async with atlas.open(f"sqlite:///{place}") as a:
        await a.tasks.create("keep", description="kept")
        for number in range(20):
            await a.tasks.create(f"t{number}", description="x" * 30_000)
        await a.store.transact(
            lambda tx: tx.delete_many(TASKS, [t.id for t in tx.query(Query(TASKS)) if t.description[0] == "x"])
        )
        made = await a.upkeep.vacuum()
        assert made.before > made.after > 0
        assert (made.freed, made.analyzed) == (made.before - made.after, True)
        assert (await a.tasks.get("keep")).task["description"] == "kept"
        assert not (await a.upkeep.vacuum(analyze=False)).analyzed


async def test_vacuum_of_a_store_in_memory_frees_nothing(memory_desk: Desk) -> None:
    """And says so."""
    made = await memory_desk.atlas.upkeep.vacuum()
    assert (made.freed, made.before) == (0, made.after)


# Clear.


def copies(folder: Path) -> list[str]:
    """Return what clearing left beside the store."""
    return [str(path) for path in folder.glob("*before-clear*")]


async def test_clearing_needs_confirmation(desk: Desk) -> None:
    """A slip deletes nothing."""
    await desk.add("p/a")
    error = await desk.refused("INVALID_INPUT", desk.atlas.upkeep.clear(confirm=False))
    assert (error.field, error.given, error.bound) == ("confirm", False, True)
    await desk.refused("INVALID_INPUT", desk.atlas.upkeep.clear())  # type: ignore[call-arg]


async def test_clearing_deletes_all_work_and_the_journal_keeps_what_was(desk: Desk) -> None:
    """Tasks, notes, and what is derived or remembered of them; children before their parents."""
    await desk.atlas.plans.load("# P\n\n## G\n\n- [ ] a\n- [ ] b\n  - Depends on: a\n")
    await desk.set("p/g/a", notes=["said"])
    made = await desk.atlas.upkeep.clear(confirm=True, actor="ada")
    assert (made.deleted, made.receipt.seq) == (4, await desk.seq())
    # A store in a file leaves a copy beside it.
    assert (made.copy is not None) == hasattr(desk.store, "path")
    left = (await desk.store.statistics())["records"]
    assert {left[name] for name in ("task", "note", "tally", "ready", "origin")} == {0}
    events = (await desk.atlas.timeline.read(limit=5)).events[::-1]
    assert {(e["action"], e["actor"]) for e in events} == {("clear_all_tasks", "ada")}
    assert [e["type"] for e in events] == ["note.deleted", *["task.deleted"] * 4]
    depths = [e["path"].count("/") for e in events[1:]]
    assert depths == sorted(depths, reverse=True)
    assert (await desk.atlas.plans.load("# P\n\n- [ ] a\n")).created == 2


async def test_clearing_takes_a_copy_first_and_names_it(tmp_path: Path) -> None:
    """The copy is a store by itself, whole as it was."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        await a.tasks.create("p/a", parents=True, notes=["kept"])
        was = await tasks_of(a)
        made = await a.upkeep.clear(confirm=True)
        assert made.deleted == 2
        assert await tasks_of(a) == []
    assert made.copy is not None
    assert Path(made.copy).parent == tmp_path
    async with atlas.open(f"sqlite:///{made.copy}") as copy:
        assert await tasks_of(copy) == was
        assert await copy.store.verify() == []
        assert (await copy.tasks.get("p/a")).task["notes"][0]["text"] == "kept"


async def test_a_repeated_clearing_gets_the_first_answer_and_takes_no_second_copy(tmp_path: Path) -> None:
    """What came since stays."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        await a.tasks.create("a")
        first = await a.upkeep.clear(confirm=True, idempotency_key="k")
        await a.tasks.create("b")
        assert await a.upkeep.clear(confirm=True, idempotency_key="k") == first
        assert [task.path for task in await tasks_of(a)] == ["b"]
    assert len(copies(tmp_path)) == 1


async def test_clearing_nothing_takes_no_copy(tmp_path: Path) -> None:
    """There is nothing to keep."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        made = await a.upkeep.clear(confirm=True)
        assert (made.deleted, made.copy) == (0, None)
    assert copies(tmp_path) == []


class Intruder:
    """Writes to a store while it is copied: a copy that others overtake would not hold what is deleted."""

    def __init__(self, a: Atlas, times: int) -> None:
        self.atlas = a
        self.left = times
        self.copy_to = a.store.copy_to

    async def __call__(self, target: Path) -> Path:
        made = await self.copy_to(target)
        if self.left:
            self.left -= 1
            await self.atlas.tasks.create(f"late{self.left}")
        return made


async def test_what_is_written_while_the_copy_is_taken_is_in_the_next_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted that no copy has; a copy that came too early is thrown away."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        await a.tasks.create("a")
        monkeypatch.setattr(a.store, "copy_to", Intruder(a, times=1))
        made = await a.upkeep.clear(confirm=True)
        assert made.deleted == 2
    assert copies(tmp_path) == [made.copy]
    async with atlas.open(f"sqlite:///{made.copy}") as copy:
        assert sorted(task.path for task in await tasks_of(copy)) == ["a", "late0"]


async def test_clearing_gives_up_while_others_keep_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and has deleted nothing."""
    async with atlas.open(f"sqlite:///{tmp_path / 'work.db'}") as a:
        await a.tasks.create("a")
        monkeypatch.setattr(a.store, "copy_to", Intruder(a, times=9))
        with pytest.raises(atlas.AtlasError) as caught:
            await a.upkeep.clear(confirm=True)
        assert caught.value.code == "CONFLICT"
        assert len(await tasks_of(a)) == 4
    assert copies(tmp_path) == []


async def test_vacuuming_again_with_the_same_key_gives_the_first_answer(tmp_path: Path) -> None:
    """A retry after a lost answer must be as cheap as for any other write."""
    async with atlas.open(f"sqlite:///{tmp_path / 'a.db'}") as a:
        await a.tasks.create("x")
        first = await a.upkeep.vacuum(idempotency_key="once")
        await a.tasks.create("y", description="long " * 5_000)
        assert await a.upkeep.vacuum(idempotency_key="once") == first
        assert first.receipt.durability == "disk"
        with pytest.raises(IdempotencyError):
            await a.upkeep.vacuum(analyze=False, idempotency_key="once")
