"""Laws of the program as a real process: exit codes, what goes where, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.interfaces.commands import Cli

ATLAS = [sys.executable, "-m", "atlas"]
WAIT_SECONDS = 30


def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ATLAS, *arguments], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, input=stdin or ""
    )


def watched(arguments: Sequence[str], answer: str = "") -> tuple[int, str]:
    """Run with a terminal, type the answer, and return the exit code and what the person saw."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*ATLAS, *arguments])
    seen = b""
    if answer:
        while b"[y/N]" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, answer.encode())
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
    except OSError:
        pass  # A terminal whose program has ended is an error to read.
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_exit_codes_and_streams(cli: Cli) -> None:
    done = run("add", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[ ] a  PENDING\n", "")
    refused = run("add", "a")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("TASK_DUPLICATE: ")
    wrong = run("add")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("Usage: atlas add")
    facts = run("--json", "add", "a")
    assert (facts.returncode, facts.stderr) == (1, "")
    assert json.loads(facts.stdout)["code"] == "TASK_DUPLICATE"


def test_a_reader_that_has_enough_is_no_failure(cli: Cli) -> None:
    for start in range(0, 3000, 1000):
        lines = "\n".join(json.dumps({"op": "create", "path": f"task-{n:05}"}) for n in range(start, start + 1000))
        assert run("bulk", "-", stdin=lines).returncode == 0
    for command in (["tree", "--limit", "5000"], ["export"], ["log", "--limit", "500", "--json"]):
        with subprocess.Popen([*ATLAS, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stderr is not None
            writer.stdout.read(10)
            writer.stdout.close()
            assert writer.wait(WAIT_SECONDS) == 0
            assert writer.stderr.read() == b""


def test_an_answer_that_nobody_can_take_is_no_fault(cli: Cli) -> None:
    """Closed by whoever started it, or full: what was asked is done, and said so where anybody listens."""
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *ATLAS, "add", "a"], capture_output=True, check=True)
    assert closed.stderr == b""
    with Path("/dev/full").open("w") as full:
        made = subprocess.run([*ATLAS, "add", "b"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert made.returncode == 1
    assert made.stderr.splitlines() == [
        "STORAGE_ERROR: the answer could not be written: No space left on device",
        "hint: What was asked may be done: look with `atlas log`.",
    ]
    assert cli.tasks() == {"a": "PENDING", "b": "PENDING"}


def test_a_terminal_that_knows_no_unicode_gets_what_it_can_show(cli: Cli) -> None:
    cli("add", "a/b", "--parents", "--name", "Ärger mit 漢字")
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    made = subprocess.run([*ATLAS, "tree"], check=True, capture_output=True, env=env)
    assert "`- [ ] b  Ärger mit ??".encode("latin-1") in made.stdout


def test_a_person_is_asked_before_anything_is_destroyed(cli: Cli) -> None:
    cli("add", "a")
    code, seen = watched(["delete", "a"], "n\n")
    assert code == 1
    assert "nothing was changed" in seen
    assert list(cli.tasks()) == ["a"]
    code, seen = watched(["delete", "a"], "y\n")
    assert code == 0
    assert "deleted a" in seen
    assert cli.tasks() == {}


def test_a_person_sees_colours_and_lines_as_wide_as_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("add", "shop/long", "--parents", "--name", "word " * 39, "--priority", "high")
    cli("start", "shop/long")
    monkeypatch.setenv("TERM", "xterm")
    for command in (["list"], ["tree"], ["log"], ["stats"], ["show", "shop/long"]):
        code, seen = watched(command)
        assert code == 0
        assert "\x1b[" in seen
    _, listed = watched(["list"])
    assert "…" in listed
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in watched(["list"])[1]
    assert json.loads(watched(["list", "--json"])[1])["total"] == 2


def test_a_person_sees_how_far_an_import_is(cli: Cli) -> None:
    items = "".join(f"- [ ] Item {n}\n" for n in range(300))
    (cli.folder / "plan.md").write_text(f"# Shop\n\n{items}")
    code, seen = watched(["import", "plan.md"])
    assert code == 0
    assert "100%" in seen
    assert "301 created" in seen


def test_log_follow_tells_another_process_s_changes_as_they_come(cli: Cli) -> None:
    cli("add", "a")
    with subprocess.Popen([*ATLAS, "log", "--follow"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "task.created" in follower.stdout.readline()
        cli("start", "a")
        assert "status PENDING → IN_PROGRESS" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(WAIT_SECONDS) == 130


def test_log_follow_goes_on_after_a_place_and_keeps_to_the_path(cli: Cli) -> None:
    cli("add", "a")
    cli("add", "b")
    command = [*ATLAS, "log", "a", "--follow", "--since", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["path"] == "a"
        cli("start", "b")
        cli("start", "a")
        assert json.loads(follower.stdout.readline())["path"] == "a"
        follower.terminate()


def test_wait_ends_when_another_process_gets_there(cli: Cli) -> None:
    cli("add", "a")
    with subprocess.Popen(
        [*ATLAS, "wait", "a", "--status", "completed", "--timeout", "20"], stdout=subprocess.PIPE, text=True
    ) as waiting:
        time.sleep(0.3)
        cli("done", "a")
        assert waiting.wait(WAIT_SECONDS) == 0
        assert waiting.stdout is not None
        assert waiting.stdout.read() == "[x] a  COMPLETED\n"


def test_a_store_that_may_only_be_read_is_said_in_one_line(cli: Cli) -> None:
    cli("add", "a")
    for file in (cli.folder / ".atlas").iterdir():
        file.chmod(0o400)
    refused = run("add", "b")
    assert refused.returncode == 1
    assert refused.stderr.startswith("STORE_READ_ONLY: ")
    assert len(refused.stderr.splitlines()) == 2
    assert run("list").returncode == 0


def test_the_working_folder_may_be_gone(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {sys.executable} -P -m atlas list"
    made = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert made.returncode == 1
    assert "Traceback" not in made.stderr
