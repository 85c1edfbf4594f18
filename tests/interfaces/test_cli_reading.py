"""Laws of the commands that only read: they show what is there, in order, and how much is left."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from tests.interfaces.commands import Cli

from atlas.work.arguments import Order

HOSTILE = "a\x1b[31mb\u202ec\nd"


@pytest.fixture
def plan(cli: Cli) -> Cli:
    cli("add", "shop/api", "--parents", "--name", "Build the API", "--priority", "critical", "--tag", "back")
    cli("add", "shop/ui", "--dependency", "shop/api", "--assignee", "mira", "--description", "with a word: zebra")
    cli("add", "shop/ui-tests", "--dependency", "shop/ui")
    cli("add", "docs", "--type", "MILESTONE")
    return cli


def test_list_narrows_by_every_filter(plan: Cli) -> None:
    def paths(*arguments: str) -> list[str]:
        return [task["path"] for task in plan.json("list", *arguments)["tasks"]]

    assert paths() == ["docs", "shop", "shop/api", "shop/ui", "shop/ui-tests"]
    assert paths("shop") == ["shop", "shop/api", "shop/ui", "shop/ui-tests"]
    assert paths("shop/ui*") == ["shop/ui-tests"]
    assert paths("--status", "blocked") == ["shop/ui", "shop/ui-tests"]
    assert paths("--type", "milestone") == ["docs"]
    assert paths("--tag", "back") == ["shop/api"]
    assert paths("--assignee", "mira") == ["shop/ui"]
    assert paths("--text", "zebra") == ["shop/ui"]
    assert paths("--order", "-path", "--limit", "2") == ["shop/ui-tests", "shop/ui"]


def test_list_takes_every_order_that_lists_have(plan: Cli) -> None:
    for order in get_args(Order):
        assert plan.json("list", "--order", order)["total"] == 5


def test_list_pages_by_cursor(plan: Cli) -> None:
    first = plan.json("list", "--limit", "3")
    assert (len(first["tasks"]), first["total"]) == (3, 5)
    told = plan("list", "--limit", "3").stdout
    assert f"3 of 5 tasks; the next: --cursor {first['next_cursor']}" in told
    rest = plan.json("list", "--limit", "3", "--cursor", first["next_cursor"])
    assert [task["path"] for task in rest["tasks"]] == ["shop/ui", "shop/ui-tests"]


def test_list_shows_a_table_with_what_blocks(plan: Cli) -> None:
    lines = plan("list", "shop").stdout.splitlines()
    assert lines[0].split() == ["STATUS", "PRIORITY", "PATH", "NAME"]
    assert lines[2].split() == ["PENDING", "critical", "shop/api", "Build", "the", "API"]
    assert "waits for shop/api" in lines[3]
    assert lines[-1] == "4 tasks"
    assert plan("list", "nothing").stdout == "no tasks\n"


def test_list_shows_the_fields_that_are_named(plan: Cli) -> None:
    lines = plan("list", "shop/ui", "--fields", "path, assignee,dependencies,progress").stdout.splitlines()
    assert lines[0].split() == ["PATH", "ASSIGNEE", "DEPENDENCIES", "PROGRESS"]
    assert lines[1].split() == ["shop/ui", "mira", "shop/api"]
    assert "with a word: zebra" in plan("list", "shop/ui", "--fields", "full").stdout
    assert plan.json("list", "docs", "--fields", "full")["tasks"][0]["version"] == 1


def test_ready_is_best_first_with_the_reason(plan: Cli) -> None:
    plan("add", "small", "--priority", "low", "--requires", "magic")
    assert [t["path"] for t in plan.json("ready")["tasks"]] == ["shop/api", "small"]
    assert "critical priority, 1 waiting for it" in plan("ready").stdout
    assert [t["path"] for t in plan.json("ready", "--requires", "other")["tasks"]] == ["shop/api"]
    assert [t["path"] for t in plan.json("ready", "small")["tasks"]] == ["small"]
    page = plan.json("ready", "--limit", "1", "--fields", "path,id")
    assert set(page["tasks"][0]) == {"path", "id", "why"}
    assert [t["path"] for t in plan.json("ready", "--cursor", page["next_cursor"])["tasks"]] == ["small"]


def test_tree_draws_levels_progress_and_urgency(plan: Cli) -> None:
    plan("done", "shop/api")
    lines = plan("tree", "shop").stdout.splitlines()
    assert lines == [
        "[/] shop  1/3 done",
        "├─ [x] api  Build the API  !critical",
        "├─ [ ] ui",
        "└─ [!] ui-tests  waits for shop/ui",
    ]
    assert [task["depth"] for task in plan.json("tree", "shop")["tasks"]] == [0, 1, 1, 1]
    assert len(plan("tree", "--depth", "1").stdout.splitlines()) == 2
    assert "narrow the pattern" in plan("tree", "--limit", "1").stdout
    assert plan("tree", "nothing").stdout == "no tasks\n"


def test_tree_draws_nested_branches(cli: Cli) -> None:
    for path in ("a/b/c", "a/b/d", "a/e"):
        cli("add", path, "--parents")
    lines = [line[:9] for line in cli("tree").stdout.splitlines()]
    assert lines == ["[ ] a  0/", "├─ [ ] b ", "│  ├─ [ ]", "│  └─ [ ]", "└─ [ ] e"]


def test_show_tells_everything_that_is_known(plan: Cli) -> None:
    plan(
        *("update", "shop/ui", "--note", "a\nb", "--reasoning", "because", "--acceptance", "fast", "--set"),
        *('metadata={"a": 1}', "--due-at", "2030-01-01", "--estimated-hours", "2"),
    )
    told = plan("show", "shop/ui").stdout
    for part in ("waits for shop/api", "zebra", "because", "[ ] fast", "tester: a", '{"a": 1}', "mira", "2030-01-01"):
        assert part in told
    assert "dependents (1)" in told
    assert "children (3)" in plan("show", "shop").stdout
    plan("update", "shop/ui", "--status", "blocked", "--reason", "no key")
    assert "waits for shop/api; no key" in plan("show", "shop/ui").stdout


def test_a_running_task_that_cannot_end_warns(plan: Cli) -> None:
    plan("start", "docs")
    plan("update", "docs", "--add-dependency", "shop/api")
    assert "cannot complete before shop/api" in plan("show", "docs").stdout


def test_what_agents_wrote_cannot_steer_the_terminal(cli: Cli) -> None:
    cli("add", "a", "--name", HOSTILE, "--description", HOSTILE, "--note", HOSTILE)
    cli("update", "a", "--status", "blocked", "--reason", HOSTILE)
    for command in (["list"], ["tree"], ["show", "a"], ["log"], ["list", "--fields", "name,description"]):
        told = cli(*command).stdout
        assert "\x1b" not in told
        assert "\u202e" not in told
    assert cli.json("show", "a")["task"]["name"] == HOSTILE


def test_stats_count_by_everything(plan: Cli) -> None:
    plan("done", "shop/api")
    plan("update", "docs", "--archived")
    told = plan("stats").stdout
    assert "4 tasks, 1 archived; 1 of 3 leaves done (33 %)" in told
    assert "critical 1" in told
    assert "shop     1/3" in told
    answer = plan.json("stats", "shop")
    assert answer["by_status"]["COMPLETED"] == 1
    assert answer["total"] == 4


def test_log_tells_what_changed_newest_first(plan: Cli) -> None:
    plan("start", "shop/api", "--note", "go")
    plan(
        "update",
        "shop/api",
        "--add-tag",
        "new",
        "--metadata",
        '{"a": 1}',
        "--assignee",
        "jo",
        "--description",
        "d" * 300,
    )
    plan("update", "shop/api", "--set", "assignee=null", "--metadata", '{"a": 2}', "--description", "d" * 299 + "e")
    plan("move", "shop/api", "shop/core")
    lines = plan("log", "shop/core").stdout
    for part in ("status PENDING → IN_PROGRESS", "tags +new", "metadata a", "description edited", "path shop/api"):
        assert part in lines
    assert "assignee none → jo" in lines
    assert "assignee jo → none" in lines
    assert lines.index("task.moved") < lines.index("task.created")
    assert "note.created" in lines
    plan("delete", "shop/core", "--yes", "--dependents", "detach")
    assert "task.deleted" in plan("log", "shop/core").stdout


def test_log_leaves_out_what_every_change_changes(plan: Cli) -> None:
    """Whoever reads wants the change; its time is at the front of the line, and --json has the rest."""
    plan("start", "shop/api")
    line = plan("log", "shop/api", "--limit", "1").stdout.splitlines()[0]
    assert line.endswith("shop/api  status PENDING → IN_PROGRESS")
    fields = plan.json("log", "shop/api", "--limit", "1")["events"][0]["change"]["fields"]
    assert fields.keys() == {"status", "started_at", "updated_at", "version"}


def test_log_narrows_and_pages(plan: Cli) -> None:
    assert [e["seq"] for e in plan.json("log", "--since", "2")["events"]] == [3, 4, 5]
    assert [e["seq"] for e in plan.json("log", "--until", "2")["events"]] == [2, 1]
    assert plan.json("log", "--since", "2099-01-01")["events"] == []
    assert plan("log", "--since", "2099-01-01").stdout == "nothing happened\n"
    assert plan.json("log", "--type", "task.deleted")["events"] == []
    assert [e["path"] for e in plan.json("log", "shop/**", "--limit", "2")["events"]] == ["shop/ui-tests", "shop/ui"]
    page = plan.json("log", "--limit", "2")
    assert "more: --cursor" in plan("log", "--limit", "2").stdout
    assert [e["seq"] for e in plan.json("log", "--limit", "2", "--cursor", page["next_cursor"])["events"]] == [3, 2]


def test_wait_answers_at_once_when_it_is_so_and_else_when_the_time_is_up(plan: Cli) -> None:
    assert "[ ] shop/api" in plan("wait", "shop/api", "--status", "pending").stdout
    assert plan.json("wait", "--pattern", "shop/*", "--since", "0")["tasks"]
    told = plan("wait", "docs", "--timeout", "0.1", code=1)
    assert "the time is up" in told.stdout
    plan("delete", "docs", "--yes")
    assert plan.json("wait", "--pattern", "docs*", "--since", "5", "--timeout", "0", code=1)["timed_out"] is True
    assert "gone: docs" in plan("wait", "--pattern", "**", "--since", "5").stdout


def test_a_refusal_with_json_is_the_agreed_shape(cli: Cli) -> None:
    told = cli("--json", "show", "nope", code=1)
    assert told.stderr == ""
    assert set(json.loads(told.stdout)) >= {
        "code",
        "message",
        "hint",
        "field",
        "given",
        "bound",
        "retryable",
        "details",
    }
