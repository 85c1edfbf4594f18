"""Another process: a server spoken to over stdio as plainly as possible, or a command timed from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

import atlas

PROTOCOL = "2025-06-18"


def environment() -> dict[str, str]:
    """Return the environment in which a child finds the same Atlas, and settings of nobody's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATLAS_")}
    return {**kept, "PYTHONPATH": str(Path(atlas.__file__).parent.parent)}


class Peer:
    """A server over stdio; requests are sent one at a time, and the time until their answer's line is kept."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._id = 0
        self.seconds = 0.0
        """From the start of the process to its first answer."""

    def __enter__(self) -> Self:
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.request("initialize", hello)
        self.seconds = time.perf_counter() - start
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        self.process.stdin.flush()

    def request(self, method: str, params: dict[str, Any]) -> tuple[bytes, float]:
        """Send a request; returns the line of its answer and the seconds it took."""
        assert self.process.stdout is not None
        self._id += 1
        mark = f'"id":{self._id}'.encode()
        line = msgspec.json.encode({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}) + b"\n"
        assert self.process.stdin is not None
        start = time.perf_counter()
        self.process.stdin.write(line)
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline()
            taken = time.perf_counter() - start
            if not answer:
                raise RuntimeError(f"{' '.join(self._words)} ended with {self.process.wait()}")
            if mark in answer.replace(b" ", b""):
                return answer, taken

    def call(self, tool: str, arguments: dict[str, Any]) -> float:
        """Call a tool; returns the seconds. Raises RuntimeError for a failure."""
        answer, taken = self.request("tools/call", {"name": tool, "arguments": arguments})
        if b'"isError":true' in answer or b'"error":' in answer[:200]:
            raise RuntimeError(answer[:500].decode())
        return taken

    def result(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; returns its whole result."""
        answer, _ = self.request("tools/call", {"name": tool, "arguments": arguments})
        result: dict[str, Any] = msgspec.json.decode(answer)["result"]
        return result

    def resident_bytes(self) -> int:
        """Return how much memory the process holds."""
        return resident_bytes(self.process.pid)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds, as the kernel counts it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def served(path: Path) -> Peer:
    """Return Atlas on a store over stdio."""
    return Peer("-m", "atlas", "--store", f"sqlite:///{path}", "mcp")


def run(*words: str) -> float:
    """Run a Python process to its end; returns the seconds. Raises RuntimeError unless it ends well."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, env=environment(), check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode()[-500:]}")
    return taken
