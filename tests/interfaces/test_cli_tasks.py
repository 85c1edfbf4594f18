"""Laws of the commands that change tasks: they say what they did, and what is refused changes nothing."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from tests.interfaces.commands import Cli


def test_add_takes_every_field(cli: Cli) -> None:
    cli("add", "shop/db", "--parents")
    answer = cli.json(
        *("add", "shop/api", "--name", "The API", "--type", "TASK", "--description", "what", "--priority", "HIGH"),
        *("--dependency", "shop/db", "--acceptance", "it runs", "--acceptance", "it is fast", "--requires", "python"),
        *(
            "--assignee",
            "mira",
            "--estimated-hours",
            "2.5",
            "--due-at",
            "2030-01-02T03:04Z",
            "--tag",
            "a",
            "--tag",
            "b",
        ),
        *("--note", "first", "--reasoning", "why", "--metadata", '{"k": [1]}', "--before", "shop/db"),
        *("--idempotency-key", "once"),
    )
    assert answer["task"]["status"] == "BLOCKED"
    assert answer["receipt"]["durability"] == "disk"
    task = cli.json("show", "shop/api")["task"]
    assert (task["name"], task["description"], task["priority"]) == ("The API", "what", "high")
    assert task["dependencies"] == ["shop/db"]
    assert [c["text"] for c in task["acceptance"]] == ["it runs", "it is fast"]
    assert (task["requires"], task["assignee"], task["estimated_hours"]) == (["python"], "mira", 2.5)
    assert (task["tags"], task["reasoning"], task["metadata"]) == (["a", "b"], "why", {"k": [1]})
    assert task["due_at"] == "2030-01-02T03:04:00Z"
    assert [(n["text"], n["by"]) for n in task["notes"]] == [("first", "tester")]
    assert [t["path"] for t in cli.json("show", "shop")["children"]] == ["shop/api", "shop/db"]


def test_a_time_without_a_zone_is_the_machine_s(cli: Cli) -> None:
    cli("add", "a", "--due-at", "2030-01-02")
    due = datetime.fromisoformat(cli.json("show", "a")["task"]["due_at"])
    assert due == datetime(2030, 1, 2).astimezone()


def test_a_repeated_key_adds_once(cli: Cli) -> None:
    first = cli.json("add", "a", "--idempotency-key", "k")
    assert cli.json("add", "a", "--idempotency-key", "k") == first
    assert list(cli.tasks()) == ["a"]


def test_update_takes_every_field(cli: Cli) -> None:
    cli("add", "b")
    cli("add", "c")
    cli("add", "a", "--tag", "x", "--requires", "r", "--acceptance", "one", "--note", "n")
    note = cli.json("show", "a")["task"]["notes"][0]["id"]
    cli(
        *("update", "a", "--name", "A", "--description", "d", "--type", "group", "--priority", "low", "--note", "m"),
        *("--add-tag", "y", "--remove-tag", "x", "--add-requires", "s", "--remove-requires", "r"),
        *("--add-acceptance", "two", "--remove-acceptance", "one", "--remove-note", note, "--assignee", "jo"),
        *("--add-dependency", "b", "--add-dependency", "c", "--estimated-hours", "1"),
        *("--due-at", "2030-01-01T00:00Z", "--reasoning", "r", "--metadata", '{"k": 1}', "--expected-version", "1"),
    )
    cli("update", "a", "--remove-dependency", "c")
    task = cli.json("show", "a")["task"]
    assert (task["name"], task["type"], task["status"], task["priority"]) == ("A", "GROUP", "BLOCKED", "low")
    assert (task["tags"], task["requires"], task["dependencies"]) == (["y"], ["s"], ["b"])
    assert [c["text"] for c in task["acceptance"]] == ["two"]
    assert [n["text"] for n in task["notes"]] == ["m"]
    cli("update", "a", "--tag", "p", "--dependency", "c", "--acceptance", "q", "--requires", "t")
    cli("update", "a", "--status", "blocked", "--reason", "no power")
    task = cli.json("show", "a")["task"]
    assert (task["tags"], task["requires"], task["dependencies"]) == (["p"], ["t"], ["c"])
    assert task["block"]["reason"] == "no power"


def test_set_clears_a_field(cli: Cli) -> None:
    cli("add", "a", "--tag", "x", "--assignee", "jo", "--estimated-hours", "3")
    cli(
        "update",
        "a",
        "--set",
        "tags=[]",
        "--set",
        "assignee=null",
        "--set",
        "estimated_hours=null",
        "--set",
        "name=x=y",
    )
    task = cli.json("show", "a")["task"]
    assert (task["tags"], task["assignee"], task["estimated_hours"], task["name"]) == ([], None, None, "x=y")


def test_archived_tasks_are_hidden_until_asked_for(cli: Cli) -> None:
    cli("add", "a")
    cli("update", "a", "--archived")
    assert cli.json("list")["total"] == 0
    assert cli.json("list", "--archived")["total"] == 1
    assert cli.json("tree", "--archived")["total"] == 1
    assert cli.json("start", "a", code=1)["code"] == "TASK_ARCHIVED"
    cli("update", "a", "--no-archived")
    assert cli.json("list")["total"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["add", "a//b"], "TASK_INVALID_PATH"),
        (["add", "x/y"], "TASK_PARENT_NOT_FOUND"),
        (["add", "a"], "TASK_DUPLICATE"),
        (["add", "n", "--due-at", "soon"], "INVALID_INPUT"),
        (["add", "n", "--due-at", "0001-01-01"], "INVALID_INPUT"),
        (["add", "n", "--metadata", "{"], "INVALID_INPUT"),
        (["add", "n", "--metadata", "[1]"], "INVALID_INPUT"),
        (["add", "n", "--estimated-hours", "nan"], "INVALID_INPUT"),
        (["add", "n", "--dependency", "nope"], "TASK_NOT_FOUND"),
        (["add", "n", "--name", "x" * 201], "INVALID_INPUT"),
        (["add", "n\udcff"], "INVALID_INPUT"),
        (["show", "nope"], "TASK_NOT_FOUND"),
        (["update", "a", "--set", "colour=red"], "INVALID_INPUT"),
        (["update", "a", "--set", "tags"], "INVALID_INPUT"),
        (["update", "a", "--name", "x", "--expected-version", "7"], "CONCURRENT_MODIFICATION"),
        (["update", "a", "--reason", "x"], "INVALID_INPUT"),
        (["update", "a", "--dependency", "a"], "TASK_CYCLE"),
        (["move", "a", "b//"], "TASK_INVALID_PATH"),
        (["delete", "nope", "--yes"], "TASK_NOT_FOUND"),
        (["list", "a b"], "TASK_INVALID_PATH"),
        (["list", "--limit", "0"], "INVALID_INPUT"),
        (["list", "--cursor", "?"], "INVALID_INPUT"),
        (["list", "--fields", "colour"], "INVALID_INPUT"),
        (["tree", "--depth", "0"], "INVALID_INPUT"),
        (["ready", "--limit", "501"], "INVALID_INPUT"),
        (["log", "--since", "yesterday"], "INVALID_INPUT"),
        (["log", "nope"], "TASK_NOT_FOUND"),
        (["export", "a//b"], "TASK_INVALID_PATH"),
        (["import", "nope.md"], "IMPORT_FORMAT"),
        (["bulk", "nope.json"], "INVALID_INPUT"),
        (["ready", "--limit", "0"], "INVALID_INPUT"),
    ],
)
def test_what_is_refused_changes_nothing(cli: Cli, arguments: list[str], expected: str) -> None:
    cli("add", "a")
    before = cli("export").stdout
    told = cli(*arguments, code=1)
    assert told.stdout == ""
    first, second = told.stderr.splitlines()
    assert first.startswith(f"{expected}: ")
    assert second.startswith("hint: ")
    facts = cli.json(*arguments, code=1)
    assert facts["code"] == expected
    assert facts["hint"]
    assert cli("export").stdout == before


def test_a_hint_names_options_as_they_are_typed_here(cli: Cli) -> None:
    """The way out of a refusal can be copied into the next command."""
    assert "--parents" in cli("add", "x/y", code=1).stderr
    cli("add", "a")
    cli("add", "b", "--dependency", "a")
    assert "--remove-dependency" in cli("done", "b", code=1).stderr
    assert "--dependents detach" in cli("delete", "a", "--yes", code=1).stderr
    cli("update", "b", "--archived")
    assert "--no-archived" in cli("start", "b", code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["lst"],
        ["add"],
        ["add", "a", "--colour", "red"],
        ["add", "a", "--type", "EPIC"],
        ["list", "--status", "DOING"],
        ["list", "--limit", "many"],
        ["update", "a"],
        ["move", "a"],
        ["start"],
        ["start", "a", "b", "--expected-version", "1"],
        ["completion", "tcsh"],
        ["mcp", "--print-config", "emacs"],
        ["log", "--follow", "--until", "3"],
        ["import", "x", "y", "--idempotency-key", "k"],
        ["init", "--store", "memory:"],
        ["wait"],
        ["wait", "a", "--pattern", "b"],
    ],
)
def test_wrong_usage_exits_with_two(cli: Cli, arguments: list[str]) -> None:
    told = cli(*arguments, code=2)
    assert told.stdout == ""
    assert "Usage: atlas" in told.stderr


def test_an_unknown_command_or_option_names_the_nearest(cli: Cli) -> None:
    assert "Did you mean list?" in cli("lst", code=2).stderr
    assert "--priority" in cli("add", "a", "--prioritty", "low", code=2).stderr


def test_the_everyday_commands_take_a_task_through_its_life(cli: Cli) -> None:
    cli("add", "shop/a", "--parents")
    cli("add", "shop/b", "--dependency", "shop/a")
    assert "shop/a" in cli("ready").stdout
    assert cli("start", "shop/a").stdout.splitlines()[0] == "[/] shop/a  IN_PROGRESS"
    told = cli("done", "shop/a", "--note", "went well").stdout
    assert "[x] shop/a  COMPLETED" in told
    assert "also changed: shop/b" in told
    assert cli.tasks() == {"shop": "IN_PROGRESS", "shop/a": "COMPLETED", "shop/b": "PENDING"}
    assert cli.json("show", "shop/a")["task"]["notes"][0]["text"] == "went well"
    cli("block", "shop/b", "--reason", "the key is lost")
    assert "the key is lost" in cli("list").stdout
    cli("reopen", "shop/b")
    cli("fail", "shop/b")
    assert cli.tasks()["shop/b"] == "FAILED"
    cli("cancel", "shop/b")
    assert cli.tasks() == {"shop": "COMPLETED", "shop/a": "COMPLETED", "shop/b": "CANCELLED"}


def test_several_paths_change_together_or_not_at_all(cli: Cli) -> None:
    for path in ("a", "b", "c"):
        cli("add", path)
    assert cli.json("start", "a", "b", "nope", code=1)["code"] == "TASK_NOT_FOUND"
    assert set(cli.tasks().values()) == {"PENDING"}
    answer = cli.json("start", "a", "b")
    assert [o["task"]["status"] for o in answer["outcomes"]] == ["IN_PROGRESS"] * 2
    assert "[x] a" in cli("done", "a", "b").stdout


def test_move_renames_and_reorders(cli: Cli) -> None:
    cli("add", "shop/a", "--parents")
    cli("add", "shop/b")
    assert cli("move", "shop/a", "shop/z").stdout.startswith("[ ] shop/z")
    cli("move", "shop/z", "--after", "shop/b")
    assert [t["path"] for t in cli.json("show", "shop")["children"]] == ["shop/b", "shop/z"]
    identity = cli.json("show", "shop/z")["task"]["id"]
    cli("move", identity, "--before", "shop/b")
    assert [t["path"] for t in cli.json("show", "shop")["children"]] == ["shop/z", "shop/b"]


def test_delete_asks_and_names_what_goes(cli: Cli) -> None:
    cli("add", "shop/a", "--parents")
    cli("add", "other", "--dependency", "shop/a")
    refused = cli("delete", "shop", code=1)
    assert "Delete shop and the 1 tasks below it?" in refused.stderr
    assert "--yes" in refused.stderr
    assert cli.json("delete", "shop", "--yes", code=1)["code"] == "TASK_DEPENDENCY"
    told = cli("delete", "shop", "--yes", "--dependents", "detach").stdout
    assert "deleted" in told
    assert "also changed: other" in told
    assert cli.tasks() == {"other": "PENDING"}


def test_delete_by_id_with_the_version_seen(cli: Cli) -> None:
    cli("add", "a")
    identity = cli.json("show", "a")["task"]["id"]
    assert cli.json("delete", identity, "--yes", "--expected-version", "3", code=1)["code"] == "CONCURRENT_MODIFICATION"
    assert cli.json("delete", identity, "--yes", "--expected-version", "1")["deleted"] == ["a"]


def test_bulk_reads_a_list_or_lines_from_a_file_or_stdin(cli: Cli) -> None:
    operations = [
        {"op": "create", "path": "a/b", "parents": True},
        {"op": "update", "path": "a/b", "updates": {"status": "IN_PROGRESS"}},
        {"op": "move", "path": "a/b", "to": "a/c"},
    ]
    (cli.folder / "list.json").write_text(json.dumps(operations))
    assert "[/] a/c" in cli("bulk", "list.json").stdout
    lines = "\n".join(json.dumps(o) for o in [{"op": "create", "path": "d"}, {"op": "delete", "path": "a/c"}])
    assert cli.json("bulk", "-", code=1, stdin=lines)["field"] == "yes"
    answer = cli.json("bulk", "-", "--yes", stdin=lines + "\n\n")
    assert [o["op"] for o in answer["outcomes"]] == ["create", "delete"]
    assert cli.tasks() == {"a": "PENDING", "d": "PENDING"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[{"op": "create", "path": "a"}, {"op": "create", "path": "a"}]', "operations[1].path"),
        ('{"op": "create", "path": "a"}\nnonsense', "file:2"),
        ("[1]", "operations[0]"),
        ("{}", "operations[0].op"),
        ("[", "file"),
        ("", "operations"),
        ('{"op": "create", "path": "\udcff"}', "file:1"),
    ],
)
def test_a_wrong_bulk_says_where_and_keeps_nothing(cli: Cli, text: str, field: str) -> None:
    told = json.loads(cli("bulk", "-", "--json", code=1, stdin=text.encode("utf-8", "surrogateescape")).stdout)
    assert told["code"] in {"INVALID_INPUT", "TASK_DUPLICATE"}
    assert str(told["field"]).startswith(field.partition(".")[0])
    assert cli.tasks() == {}


def test_the_journal_names_the_actor_wherever_the_flag_stands(cli: Cli) -> None:
    cli("--actor", "mira", "add", "a")
    cli("add", "b", "--actor", "jonas")
    cli("add", "c")
    events = cli.json("log")["events"]
    assert [event["actor"] for event in events] == ["tester", "jonas", "mira"]
    assert [event["path"] for event in cli.json("log", "--by", "mira")["events"]] == ["a"]
    assert {event["source"] for event in events} == {"cli"}
