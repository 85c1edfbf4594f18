"""Laws of the commands about the store and about plans."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.interfaces.commands import Cli

PLAN = "# Shop\n\n- [ ] One\n  - Priority: high\n- [ ] Two\n  - Depends on: One, Nowhere\n"


def test_init_makes_a_private_store_that_git_does_not_see(bare: Cli) -> None:
    assert bare.json("init")["created"] is True
    place = bare.folder / ".atlas"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "atlas.db").stat().st_mode) == 0o600
    assert (place / ".gitignore").read_text() == "*\n"
    bare("add", "kept")
    assert bare.json("init")["created"] is False
    assert list(bare.tasks()) == ["kept"]


def test_init_makes_the_store_where_it_is_told(bare: Cli) -> None:
    (bare.folder / "sub").mkdir()
    assert bare("init", "sub").stdout == f"made {bare.folder / 'sub' / '.atlas' / 'atlas.db'}\n"
    assert bare("init", "sub").stdout.startswith("there already: ")
    assert bare.json("init", "nowhere", code=1)["code"] == "CONFIG_INVALID"


def test_init_reports_a_folder_that_cannot_be_written(bare: Cli) -> None:
    (bare.folder / ".atlas").write_text("not a folder")
    assert bare.json("init", code=1)["code"] == "STORAGE_ERROR"


def test_commands_below_the_project_find_its_store(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("add", "a")
    below = cli.folder / "deep" / "er"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert list(cli.tasks()) == ["a"]


def test_without_a_project_the_user_s_own_store_is_used_and_said(bare: Cli) -> None:
    told = bare("add", "a")
    assert "no .atlas/ here or above" in told.stderr
    assert (bare.folder.parent / "home" / ".local" / "share" / "atlas" / "atlas.db").exists()


def test_a_worktree_shares_the_store_of_its_main_checkout(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    main, tree = bare.folder / "main", bare.folder / "tree"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, env=clean)

    git("init", str(main))
    git("-C", str(main), "commit", "--allow-empty", "-m", "first")
    git("-C", str(main), "worktree", "add", str(tree))
    monkeypatch.chdir(tree)
    assert bare.json("init")["project"] == str(main)
    bare("add", "shared")
    monkeypatch.chdir(main)
    assert list(bare.tasks()) == ["shared"]


def test_the_store_of_a_flag_counts_before_and_behind_the_command(cli: Cli) -> None:
    cli("add", "a")
    assert cli.json("--store", "sqlite:///other.db", "list")["total"] == 0
    assert cli.json("list", "--store", "memory:")["total"] == 0
    assert (cli.folder / "other.db").exists()


def test_a_store_that_is_made_because_it_was_named_is_said(cli: Cli) -> None:
    """Who mistypes its name would else find all work gone."""
    assert "mistyped.db" in cli("list", "--store", "sqlite:///mistyped.db").stderr
    assert cli("list", "--store", "sqlite:///mistyped.db").stderr == ""


@pytest.mark.parametrize("url", ["work.db", "mysql://x", "sqlite://", "sqlite:///x.db?colour=red"])
def test_a_wrong_store_is_named_with_a_way_out(cli: Cli, url: str) -> None:
    assert cli.json("list", "--store", url, code=1)["code"] == "CONFIG_INVALID"


def test_secrets_in_a_store_s_address_are_never_shown(cli: Cli) -> None:
    told = cli("list", "--store", "mysql://me:hidden@host/db?token=hidden", code=1)
    shown = cli("list", "--json", "--store", "mysql://me:hidden@host/db?token=hidden", code=1)
    assert "hidden" not in told.stderr + shown.stdout


def test_a_file_that_is_no_store_is_reported_in_one_line_and_left_alone(cli: Cli) -> None:
    file = cli.folder / "notes.txt"
    file.write_text("my notes")
    told = cli("list", "--store", "sqlite:///notes.txt", code=1)
    assert told.stderr.startswith("STORE_FORMAT: ")
    assert file.read_text() == "my notes"


def test_doctor_looks_at_the_store_and_shows_what_is_set(cli: Cli) -> None:
    cli("add", "a")
    told = cli("doctor").stdout
    assert "integrity" in told
    assert "store_url" in told
    answer = cli.json("doctor", "--full")
    assert all(finding["status"] == "ok" for finding in answer["findings"])
    assert answer["settings"]["actor"] == {"value": "tester", "source": "the system's user"}


def test_doctor_warns_with_what_to_do(cli: Cli) -> None:
    (cli.folder / ".atlas" / "atlas.db").chmod(0o644)
    assert "chmod 600" in cli("doctor").stdout


def test_settings_show_where_each_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_AGENT", "builder")
    (cli.folder / "atlas.toml").write_text("max_children = 7\n")
    shown = cli.json("settings")
    assert shown["actor"] == {"value": "builder", "source": "ATLAS_AGENT"}
    assert shown["max_children"] == {"value": 7, "source": str(cli.folder / "atlas.toml")}
    assert shown["port"] == {"value": 8765, "source": "default"}
    assert "max_children" in cli("settings").stdout


def test_settings_bind_the_commands(cli: Cli) -> None:
    (cli.folder / "atlas.toml").write_text("max_children = 1\n")
    cli("add", "a/b", "--parents")
    assert cli.json("add", "a/c", code=1)["bound"] == 1


def test_an_unknown_variable_is_warned_about(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_STORE_ULR", "memory:")
    told = cli("list")
    assert told.stderr == "warning: ATLAS_STORE_ULR is not a setting of Atlas; did you mean ATLAS_STORE_URL?\n"


def test_a_wrong_file_of_settings_is_refused(cli: Cli) -> None:
    (cli.folder / "atlas.toml").write_text("prot = 1\n")
    facts = cli.json("list", code=1)
    assert (facts["code"], facts["field"], facts["hint"]) == ("CONFIG_INVALID", "prot", "Did you mean port?")


def test_repair_finds_nothing_in_a_sound_store(cli: Cli) -> None:
    cli("add", "a")
    assert cli("repair").stdout == "nothing is wrong\n"
    assert cli.json("repair", "--fix")["fixed"] == 0


def test_repair_shows_and_mends(cli: Cli) -> None:
    import apsw

    cli("add", "a/b", "--parents")
    connection = apsw.Connection(str(cli.folder / ".atlas" / "atlas.db"))
    connection.execute("DELETE FROM tally")
    connection.close()
    assert "--fix mends" in cli("repair").stdout
    assert "mended" in cli("repair", "--fix").stdout
    assert cli("repair").stdout == "nothing is wrong\n"


def test_vacuum_says_sizes(cli: Cli) -> None:
    assert "before" in cli("vacuum").stdout
    assert cli.json("vacuum", "--no-analyze")["analyzed"] is False


def test_clear_asks_and_keeps_a_copy(cli: Cli) -> None:
    cli("add", "a")
    assert "Delete all 1 tasks" in cli("clear", code=1).stderr
    assert list(cli.tasks()) == ["a"]
    copy = cli.json("clear", "--yes")["copy"]
    assert cli.tasks() == {}
    assert cli.json("list", "--store", f"sqlite:///{copy}")["total"] == 1
    cli("add", "b")
    assert "they are still in" in cli("clear", "--yes").stdout


def test_import_reports_what_became_what_and_again_changes_nothing(cli: Cli) -> None:
    (cli.folder / "plan.md").write_text(PLAN)
    told = cli("import", "plan.md", "--dry-run").stdout
    assert "would be created" in told
    assert cli.tasks() == {}
    told = cli("import", "plan.md").stdout
    assert "plan.md (markdown): 3 created, 0 updated, 0 unchanged in shop" in told
    assert "Nowhere" in told
    assert cli.tasks() == {"shop": "PENDING", "shop/one": "PENDING", "shop/two": "BLOCKED"}
    answer = cli.json("import", "plan.md", "--idempotency-key", "k")
    assert (answer["created"], answer["updated"], answer["skipped"]) == (0, 0, 3)


def test_import_reads_stdin_several_files_and_a_named_format(cli: Cli) -> None:
    cli("import", "-", "--format", "markdown", "--project", "other", stdin=PLAN)
    assert "other/one" in cli.tasks()
    (cli.folder / "a.md").write_text("# A\n\n- [ ] x\n")
    (cli.folder / "b.md").write_text("# B\n\n- [ ] y\n")
    lines = cli("import", "a.md", "b.md", "--json").stdout.splitlines()
    assert [json.loads(line)["projects"] for line in lines] == [["a"], ["b"]]
    assert cli.json("import", "-", code=1, stdin="\udcff".encode("utf-8", "surrogateescape").decode("latin-1"))
    assert cli("import", "-", "--json", code=1, stdin=b"\xff").stdout.startswith('{"code": "IMPORT_FORMAT"')


def test_many_notes_are_cut_short(cli: Cli) -> None:
    items = "".join(f"- [ ] Item {n}\n  - Depends on: Ghost {n}\n" for n in range(30))
    (cli.folder / "plan.md").write_text(f"# Shop\n\n{items}")
    told = cli("import", "plan.md").stdout
    assert "and 10 more notes" in told
    assert len(cli.json("import", "plan.md", "--project", "again")["notes"]) == 30


@pytest.mark.parametrize("form", ["lines", "markdown"])
def test_an_export_comes_back_identical(cli: Cli, form: str) -> None:
    (cli.folder / "plan.md").write_text(PLAN)
    cli("import", "plan.md")
    told = cli("export", "--format", form, "-o", "out")
    assert told.stderr == "3 tasks written to out\n"
    before = cli("export", "--format", form).stdout
    assert (cli.folder / "out").read_text() == before
    new = f"sqlite:///{cli.folder / 'new.db'}"
    cli("import", "out", "--store", new)
    shown = [task["path"] for task in cli.json("list", "--store", new)["tasks"]]
    assert shown == list(cli.tasks())


def test_export_answers_json_and_refuses_a_place_that_is_none(cli: Cli) -> None:
    cli("add", "a")
    assert cli.json("export")["tasks"] == 1
    assert cli.json("export", "nothing")["tasks"] == 0
    assert cli.json("export", "-o", "no/such/folder", code=1)["code"] == "STORAGE_ERROR"


def test_a_fault_is_told_without_a_traceback_unless_debugging(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, path: object) -> None:
        raise ValueError("boom")

    monkeypatch.setattr("atlas.work.tasks.Tasks.get", fail)
    assert cli.json("show", "a", code=1)["code"] == "INTERNAL_ERROR"
    assert cli("show", "a", code=1).stderr.startswith("INTERNAL_ERROR: ValueError: boom")
    monkeypatch.setenv("ATLAS_LOG_LEVEL", "debug")
    with pytest.raises(AssertionError, match="Traceback"):
        cli("show", "a", code=1)


def test_version_and_help(bare: Cli) -> None:
    assert bare("--version").stdout.startswith("atlas ")
    told = bare("--help").stdout
    assert "Everyday" not in told
    for name in ("add", "tree", "serve"):
        assert f"  {name} " in told
        assert "Everywhere:" in bare(name, "-h").stdout
    assert Path.cwd() == bare.folder


def test_a_store_is_copied_into_another(bare: Cli) -> None:
    """Who moves to another place takes everything along, and is told that it is the same."""
    first, second = (f"sqlite:///{bare.folder / name}" for name in ("a.db", "b.db"))
    bare("--store", first, "import", "-", "--format", "markdown", "--project", "shop", stdin=PLAN)
    told = bare("store", "copy", first, second).stdout
    assert "compared record by record: the same" in told
    assert bare.json("--store", first, "log")["events"] == bare.json("--store", second, "log")["events"]
    again = bare.json("store", "copy", first, second)["copied"]
    assert again["is_resumed"] is True
    assert again["records"]["task"] == 3
    bare("--store", second, "add", "mine")
    assert bare.json("store", "copy", first, second, code=1)["code"] == "CONFLICT"
    assert bare.json("store", "copy", "nowhere", second, code=1)["code"] == "CONFIG_INVALID"
    bare("store", "move", first, second, code=2)
