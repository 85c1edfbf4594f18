"""Laws of logs: never on stdout, one line a record, with the request it belongs to."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.errors import ConfigError
from atlas.operations.logs import FILE_BYTES, FILES_KEPT, REQUEST_ID, logging_to

log = logging.getLogger("atlas.test")


@pytest.fixture(autouse=True)
def request_of_its_own() -> Iterator[None]:
    token = REQUEST_ID.set(None)
    yield
    REQUEST_ID.reset(token)


def test_a_person_gets_lines_on_stderr_from_the_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(level="info", format="console", file=""):
        log.debug("not this")
        log.info("first")
        REQUEST_ID.set("r-1")
        log.warning("two\nlines")
    log.error("after the end")
    told = capsys.readouterr()
    assert told.out == ""
    first, second = told.err.splitlines()
    assert first.endswith("INFO    atlas.test: first")
    assert second.endswith("WARNING atlas.test: two\\nlines [r-1]")


def test_a_program_gets_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(level="debug", format="json", file=""):
        REQUEST_ID.set("r-2")
        log.info("café %s", "x", extra={"tool": "get_task"})
        try:
            int("boom")
        except ValueError:
            log.exception("failed", extra={"request_id": "r-3"})
    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "atlas.test",
        "message": "café x",
        "request_id": "r-2",
        "tool": "get_task",
    }
    assert (second["level"], second["request_id"]) == ("error", "r-3")
    assert "ValueError: invalid" in second["exception"]


def test_the_file_is_private_rotates_and_keeps_the_last_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("atlas.operations.logs.FILE_BYTES", 200)
    file = tmp_path / "logs" / "atlas.log"
    with logging_to(level="info", format="console", file=str(file)):
        for number in range(100):
            log.info("line %d of many", number)
    kept = sorted(path.name for path in file.parent.iterdir())
    assert kept == ["atlas.log", *(f"atlas.log.{n}" for n in range(1, FILES_KEPT + 1))]
    assert "line 99 of many" in file.read_text()
    assert "line 99 of many" in capsys.readouterr().err
    assert file.stat().st_mode & 0o077 == 0
    assert FILE_BYTES == 5 * 1024 * 1024


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused, logging_to(level="info", format="json", file=str(tmp_path)):
        pass
    assert refused.value.field == "log_file"


def test_what_was_there_before_stays(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with logging_to(level="error", format="json", file=""):
        assert root.level == logging.ERROR
    assert (root.level, list(root.handlers)) == before
