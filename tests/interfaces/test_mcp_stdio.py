"""Laws of stdio: nothing but the protocol on stdout, and an end that comes with stdin's or a signal, not before."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest

SOURCE = Path(__file__).parents[2] / "src"
SECONDS = 20.0
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
Message = dict[str, Any]


def environment() -> dict[str, str]:
    """Return the environment in which a child process finds Atlas."""
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


class Wire:
    """A client that sends exactly what it is told to a process of its own, in either era of the protocol."""

    def __init__(self, url: str, *more: str, program: str | None = None, is_modern: bool = False) -> None:
        command = ["-c", program] if program else ["-m", "atlas.interfaces.mcp"]
        self.process = subprocess.Popen(
            [sys.executable, *command, url, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        self.is_modern = is_modern
        self.lines: list[bytes] = []
        self.notices: list[Message] = []
        self._ids = 0
        self._arrived: queue.Queue[bytes] = queue.Queue()
        self._errors: list[bytes] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arrived.put(line)
        self._arrived.put(b"")

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def __enter__(self) -> Self:
        if not self.is_modern:
            self.initialize()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.finish()

    def initialize(self, version: str = "2025-06-18", capabilities: Message | None = None) -> Message:
        info = {"name": "test", "version": "1"}
        made = self.ask(
            "initialize", {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": info}
        )
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return made

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: Message) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def request(self, method: str, params: Message | None = None) -> int:
        self._ids += 1
        whole = {**(params or {}), "_meta": MODERN | (params or {}).get("_meta", {})} if self.is_modern else params
        self.send({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": whole or {}})
        return self._ids

    def next(self, seconds: float = SECONDS) -> Message | None:
        """Return the next message, None at the end of the output."""
        line = self._arrived.get(timeout=seconds)
        if not line:
            return None
        self.lines.append(line)
        return dict(json.loads(line))

    def answer(self, request_id: int | str | None, seconds: float = SECONDS) -> Message:
        """Return the answer to a request, keeping what comes before it in `notices`."""
        while (message := self.next(seconds)) is not None:
            if "method" not in message and message.get("id") == request_id:
                return message
            self.notices.append(message)
        raise AssertionError(f"the server ended: {self.errors()}")

    def ask(self, method: str, params: Message | None = None) -> Message:
        """Send a request and return its result; an error of the protocol fails the test."""
        message = self.answer(self.request(method, params))
        assert "result" in message, message
        return dict(message["result"])

    def call(self, tool: str, /, **arguments: Any) -> Message:
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def notice(self, method: str, seconds: float = SECONDS) -> Message:
        """Wait for a notification."""
        for index, message in enumerate(self.notices):
            if message.get("method") == method:
                return self.notices.pop(index)
        while (message := self.next(seconds)) is not None:  # type: ignore[assignment]
            if message.get("method") == method:
                return message
            self.notices.append(message)
        raise AssertionError(f"the server ended: {self.errors()}")

    def finish(self) -> int:
        """Close stdin and return how the server ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def errors(self) -> str:
        return b"".join(self._errors).decode(errors="replace")


LOUD = """
import asyncio, os, subprocess, sys
import atlas
from atlas.interfaces.mcp import serve_stdio
from atlas.work.tasks import Tasks

print("before serving", file=sys.stderr)
inner = Tasks.get

async def loud(self, **given):
    print("a stray print")
    os.write(1, b"a stray write\\n")
    child = subprocess.run([sys.executable, "-c", "import sys; print('child read', repr(sys.stdin.read()))"])
    return await inner(self, **given)

loud.spec = inner.spec
Tasks.get = loud

async def main(url):
    async with atlas.open(url) as a:
        await serve_stdio(a)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/work.db"


@pytest.mark.parametrize("is_modern", [False, True])
def test_both_eras_plan_and_finish_work(url: str, is_modern: bool) -> None:
    with Wire(url, is_modern=is_modern) as wire:
        if is_modern:
            found = wire.ask("server/discover")
            assert "2026-07-28" in found["supportedVersions"]
            assert url in found["instructions"]
        wire.call("create_task", path="shop/db", parents=True)
        made = wire.call("create_task", path="shop/api", dependencies=["shop/db"])
        assert made["structuredContent"]["task"]["status"] == "BLOCKED"
        assert made.get("resultType") == ("complete" if is_modern else None)
        ready = wire.call("next_task")
        assert [task["path"] for task in ready["structuredContent"]["tasks"]] == ["shop/db"]
        wire.call("update_task", path="shop/db", updates={"status": "COMPLETED"})
        freed = wire.call("get_task", path="shop/api")
        assert freed["structuredContent"]["task"]["status"] == "PENDING"
        assert wire.finish() == 0
    assert "Traceback" not in wire.errors()


def test_the_version_asked_for_is_the_version_spoken(url: str) -> None:
    with Wire(url, is_modern=True) as wire:
        wire.is_modern = False
        answer = wire.initialize("2025-06-18")
        assert answer["protocolVersion"] == "2025-06-18"
        assert answer["serverInfo"]["name"] == "atlas"
        assert url in answer["instructions"]
        assert answer["capabilities"]["resources"]["subscribe"] is True


def test_stray_output_and_children_never_reach_the_wire(url: str) -> None:
    with Wire(url, program=LOUD) as wire:
        wire.call("create_task", path="shop")
        wire.call("get_task", path="shop")
        assert wire.call("get_task", path="shop")["structuredContent"]["task"]["path"] == "shop"
        assert wire.finish() == 0
    assert all("jsonrpc" in json.loads(line) for line in wire.lines)
    for stray in ("a stray print", "a stray write", "child read ''"):
        assert stray in wire.errors()


def test_what_was_asked_before_the_end_of_stdin_is_answered(url: str) -> None:
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "create_task", "_meta": MODERN}}
        for n in range(20)
    ]
    for n, message in enumerate(messages):
        message["params"]["arguments"] = {"path": f"shop{n}"}
    given = "".join(json.dumps(message) + "\n" for message in messages)
    done = subprocess.run(
        [sys.executable, "-m", "atlas.interfaces.mcp", url],
        input=given.encode(),
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(answer["id"] for answer in answers) == list(range(20))
    assert all(answer["result"]["structuredContent"]["receipt"]["durability"] == "disk" for answer in answers)


def test_a_file_serves_as_stdin(url: str, tmp_path: Path) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}}
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps(message))
    with asked.open("rb") as source, (tmp_path / "said").open("wb") as target:
        subprocess.run(
            [sys.executable, "-m", "atlas.interfaces.mcp", url],
            stdin=source,
            stdout=target,
            env=environment(),
            timeout=SECONDS,
            check=True,
        )
    assert len(json.loads((tmp_path / "said").read_text())["result"]["tools"]) > 12


def test_a_waiting_call_does_not_hold_up_the_end(url: str) -> None:
    with Wire(url) as wire:
        wire.call("create_task", path="shop")
        wire.request("tools/call", {"name": "wait_for", "arguments": {"path": "shop", "timeout": 50}})
        time.sleep(0.2)
        began = time.monotonic()
        assert wire.finish() == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(url: str, tmp_path: Path, number: signal.Signals) -> None:
    with Wire(url) as wire:
        wire.call("create_task", path="shop")
        wire.process.send_signal(number)
        assert wire.process.wait(SECONDS) == 0
        assert "Traceback" not in wire.errors()
    assert not (tmp_path / "work.db-wal").exists() or not (tmp_path / "work.db-wal").stat().st_size


def test_what_is_not_the_protocol_is_answered_and_survived(url: str) -> None:
    with Wire(url) as wire:
        for line in (b"not json\n", b'{"jsonrpc": "2.0"}\n', b"[1, 2]\n", b"\xff\xfe\n", b"\n", b"[" * 5_000 + b"\n"):
            wire.write(line)
        for _ in range(5):
            message = wire.next()
            assert message is not None
            assert message["error"]["code"] in {-32700, -32600}
        wire.write(b'{"jsonrpc": "2.0", "id": "x", "method": 7}\n')
        assert wire.answer("x")["error"]["code"] == -32600
        wire.call("create_task", path="shop")


def test_lone_surrogates_huge_numbers_and_nul_are_refused_by_name(url: str) -> None:
    bad = [
        '{"path": "\\ud800"}',
        '{"path": "a\\u0000"}',
        '{"path": "a", "\\ud800": 1}',
        '{"path": "a", "limit": 1e999}',
    ]
    bad += ['{"path": "a", "estimated_hours": ' + "9" * 400 + "}", '{"path": "a", "metadata": {"k": NaN}}']
    bad += ['{"path": "a", "metadata": ' + '{"k":' * 400 + "1" + "}" * 401]
    with Wire(url) as wire:
        for number, arguments in enumerate(bad):
            params = '{"name": "create_task", "arguments": ' + arguments + "}"
            text = f'{{"jsonrpc": "2.0", "id": "b{number}", "method": "tools/call", "params": {params}}}\n'
            wire.write(text.encode())
            result = wire.answer(f"b{number}")["result"]
            assert result["isError"], arguments
            assert result["structuredContent"]["code"] in {"INVALID_INPUT", "TASK_INVALID_PATH"}, result
        assert wire.call("get_tasks_by_path")["structuredContent"] == {
            "tasks": [],
            "total": 0,
            "next_cursor": None,
            "seq": 0,
        }
        assert wire.finish() == 0
    assert "Traceback" not in wire.errors()
