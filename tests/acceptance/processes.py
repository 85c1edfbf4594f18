"""Real processes for tests: started from the programs beside this file, ended by the one who started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import atlas

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_SECONDS = 120


def environment() -> dict[str, str]:
    """Return the environment in which another process imports the same Atlas."""
    sources = str(Path(atlas.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": sources if not known else f"{sources}{os.pathsep}{known}"}


def start(program: str, *words: object, output: IO[Any] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a program of this folder with its arguments."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / program), *(str(word) for word in words)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@contextmanager
def ended(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens inside, none of the processes outlives the block."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None and not stream.closed:
                    stream.close()


def finished(process: subprocess.Popen[str], *, said: str | None = None) -> str:
    """Wait for a process to end well; returns what it printed."""
    out, errors = process.communicate(said, timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, f"exit {process.returncode}: {errors}"
    assert errors == "", errors
    return out
