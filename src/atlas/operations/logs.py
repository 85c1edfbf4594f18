"""Logs of the servers: to stderr, and to a file if one is named; never to stdout, which belongs to the protocol."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ..errors import ConfigError

FILE_BYTES = 5 * 1024 * 1024
FILES_KEPT = 5

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request being answered; every log record of its making carries it."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}


@contextmanager
def logging_to(*, level: str, format: str, file: str) -> Iterator[None]:  # noqa: A002 - the setting's name
    """Log from `level` on for as long as the block lasts, as `console` lines or `json`; `file` may be empty.

    Raises ConfigError when the file cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file:
        handlers.append(_file_handler(Path(file).expanduser()))
    formatter = _JsonFormatter() if format == "json" else _ConsoleFormatter()
    root = logging.getLogger()
    before = root.level
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(_with_request)
        root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _PrivateFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be logged to: {error.strerror}",
            field="log_file",
            given=str(path),
            hint="Name a file in a folder of yours.",
        ) from error


class _PrivateFileHandler(RotatingFileHandler):
    """A rotating file that only its owner may read, each new one too."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")


def _with_request(record: logging.LogRecord) -> bool:
    if not hasattr(record, "request_id"):
        record.request_id = REQUEST_ID.get()
    return True


class _ConsoleFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in the standard library
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        # A message may quote what a client sent: it must not be able to write lines of its own.
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        return f"{line} [{request_id}]" if request_id and request_id not in line else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", None)
        if request_id:
            facts["request_id"] = request_id
        facts |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str, ensure_ascii=False)
