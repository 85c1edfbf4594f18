"""`atlas store migrate`: what waits is shown, done with a copy from before, told in the journal, and undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.contract.kinds import BACKENDS, Spots
from tests.interfaces.commands import Cli

from atlas.operations import data_migrations
from atlas.storage.data_migration import DataMigration, paged
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.work.collections import TASKS


def shout(tx: Transaction) -> None:
    for page in paged(tx, Query(TASKS)):
        tx.put_many(TASKS, [msgspec.structs.replace(task, name=task.name.upper()) for task in page])


def whisper(tx: Transaction) -> None:
    for page in paged(tx, Query(TASKS)):
        tx.put_many(TASKS, [msgspec.structs.replace(task, name=task.name.lower()) for task in page])


def nobody_whispers(tx: Transaction) -> Iterator[str]:
    yield from (f"{task.path} is called {task.name}" for task in tx.query(Query(TASKS)) if task.name.islower())


def leave(tx: Transaction) -> None:
    assert tx.count(Query(TASKS)) > 0


SHOUT = DataMigration(1, "upper case", shout, whisper, nobody_whispers)
LEAVE = DataMigration(2, "nothing", leave)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Cli:
    """An Atlas that has data migrations, and a project from before them."""
    monkeypatch.setattr(data_migrations, "MIGRATIONS", (SHOUT,))
    cli("add", "shop/till", "--parents")
    return cli


def names(cli: Cli) -> list[str]:
    return sorted(task["name"] for task in cli.json("list", "--fields", "name")["tasks"])


def copies(cli: Cli) -> list[Path]:
    return sorted((cli.folder / ".atlas").glob("*.before-migration-*.db"))


def test_an_atlas_without_data_migrations_says_so(cli: Cli) -> None:
    told = cli("store", "migrate").stdout
    assert "nothing to do: no data migration waits" in told
    answer = cli.json("store", "migrate")
    assert answer["schema"] == 1
    assert (answer["applied"], answer["waiting"], answer["migrated"]["steps"]) == ([], [], [])
    assert copies(cli) == []


def test_what_waits_is_done_told_and_not_done_again(steps: Cli) -> None:
    """The records change, the journal tells each of them, and the doctor finds everything well."""
    waiting = steps("doctor").stdout
    assert "data migrations wait: 1 upper case" in waiting
    assert "`atlas store migrate` does them" in waiting
    told = steps("--actor", "ada", "store", "migrate").stdout
    assert "1 upper case  up   2 task" in told
    assert "went from data migration 0 to 1" in told
    assert names(steps) == ["SHOP", "TILL"]
    events = steps.json("log", "--limit", "3")["events"]
    assert [event["type"] for event in events] == ["task.updated", "task.updated", "store.migrated"]
    assert {event["actor"] for event in events} == {"ada"}
    assert len({event["correlation"] for event in events}) == 1
    assert "store.migrated 1 upper case" in steps("log").stdout
    assert {finding["status"] for finding in steps.json("doctor")["findings"]} == {"ok"}
    (copy,) = copies(steps)
    assert str(copy) in told
    assert [task["name"] for task in steps.json("--store", f"sqlite:///{copy}", "list")["tasks"]] == ["shop", "till"]
    again = steps("store", "migrate").stdout
    assert "1 upper case, since" in again
    assert "nothing to do" in again
    assert len(copies(steps)) == 1


def test_a_dry_run_shows_everything_and_changes_nothing(steps: Cli) -> None:
    before = steps.json("log")
    answer = steps.json("store", "migrate", "--dry-run")
    assert answer["waiting"] == [{"number": 1, "name": "upper case"}]
    assert answer["migrated"]["steps"][0]["records"] == {"task": 2}
    assert (
        "a dry run: nothing was changed; it would go from data migration 0 to 1"
        in steps("store", "migrate", "--dry-run").stdout
    )
    assert names(steps) == ["shop", "till"]
    assert steps.json("log") == before
    assert copies(steps) == []


def test_a_step_is_taken_back(steps: Cli) -> None:
    """And done again: the journal tells all three."""
    steps("store", "migrate", "--no-copy")
    assert "1 upper case  down" in steps("store", "migrate", "--to", "0").stdout
    assert names(steps) == ["shop", "till"]
    assert "up" in steps("store", "migrate", "--no-copy").stdout
    assert names(steps) == ["SHOP", "TILL"]
    types = [event["type"] for event in steps.json("log")["events"] if event["type"].startswith("store")]
    assert types == ["store.migrated", "store.migrated_back", "store.migrated"]
    assert "error" not in steps("doctor").stdout
    assert len(copies(steps)) == 1


def test_what_is_wrong_is_told_and_undone(steps: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_migrations, "MIGRATIONS", (DataMigration(1, "quiet", whisper, None, nobody_whispers),))
    dry = steps("store", "migrate", "--dry-run", code=1).stdout
    assert "wrong: shop is called shop" in dry
    refused = steps("store", "migrate", code=1).stderr
    assert "STORE_FORMAT: data migration 1 (quiet) was undone: shop is called shop" in refused
    assert steps.json("store", "migrate", "--dry-run", code=1)["applied"] == []
    assert steps.json("store", "migrate", "--to", "7", code=1)["code"] == "INVALID_INPUT"
    steps("store", "migrate", "--no-copy", "--copy-to", "x.db", code=2)


def test_a_store_of_a_newer_atlas_is_refused(steps: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    steps("store", "migrate")
    monkeypatch.setattr(data_migrations, "MIGRATIONS", ())
    assert steps.json("store", "migrate", code=1)["code"] == "STORE_NEWER"
    (finding,) = (each for each in steps.json("doctor", code=1)["findings"] if each["status"] == "error")
    assert "this program knows 0" in finding["what"]


@pytest.mark.parametrize("backend", [each for each in BACKENDS if each != "memory"])
def test_every_store_is_migrated_alike(bare: Cli, spots: Spots, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend needs a table for it; a server's copy is a file where it was told."""
    migrations: Sequence[DataMigration] = (SHOUT, LEAVE)
    monkeypatch.setattr(data_migrations, "MIGRATIONS", migrations)
    url = spots.new(backend).url
    bare("--store", url, "add", "shop")
    is_server = backend in {"postgres", "redis"}
    if is_server:
        assert bare.json("--store", url, "store", "migrate", code=1)["field"] == "copy_to"
    where = ["--copy-to", "before.db"] if is_server else []
    answer = bare.json("--store", url, "store", "migrate", *where)
    assert (answer["schema"] is not None) is (backend in {"sqlite", "postgres"})
    done = answer["migrated"]
    assert [(step["number"], step["records"]) for step in done["steps"]] == [(1, {"task": 1}), (2, {})]
    assert [task["name"] for task in bare.json("--store", url, "list")["tasks"]] == ["SHOP"]
    if is_server:
        assert [task["name"] for task in bare.json("--store", "sqlite:///before.db", "list")["tasks"]] == ["shop"]
    assert bare.json("--store", url, "store", "migrate", "--to", "1", code=1)["code"] == "INVALID_INPUT"
