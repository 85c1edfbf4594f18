"""`python -m benchmarks [--only ROW …] [--against REV] [--large]`: measure, print one table, write it down."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from . import backends, changes, commands, copying, durable, imports, pools, postgres, reads, wire, writes  # noqa: F401 - rows register themselves
from .machine import described, revision
from .rows import ROWS, Bench, Line
from .table import Result, cells, compared, shown, today, written

RESULTS = Path(__file__).parent / "results"


def main(words: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit code."""
    asked = _arguments(words)
    with tempfile.TemporaryDirectory(prefix="atlas-bench-") as folder:
        bench = Bench(Path(folder), tasks=1_000_000 if asked.large else 100_000)
        before = _at_revision(asked, Path(folder)) if asked.against else None
        result = asyncio.run(_measured(bench, asked.only or list(ROWS), asked.name))
    if asked.json_to:
        asked.json_to.write_bytes(msgspec.json.encode(result))
        return 0
    print(shown(result.lines))
    if before is not None:
        print(f"\n{compared(before, result)}")
    if not asked.only:
        print(f"\nwritten to {written(result, RESULTS).relative_to(Path.cwd())}")
    return 0


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--against", metavar="REV", help="measure that revision too, and show what became worse")
    parser.add_argument("--large", action="store_true", help="a million tasks instead of 100,000")
    parser.add_argument("--json-to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", default=None, help=argparse.SUPPRESS)
    return parser.parse_args(words)


async def _measured(bench: Bench, names: Sequence[str], name: str | None) -> Result:
    machine = described(bench.folder)
    lines: list[Line] = []
    for each in names:
        print(f"{each} …", end=" ", file=sys.stderr, flush=True)
        line = await ROWS[each].run(bench)
        lines.append(line)
        print(cells(line)[5], line.verdict, file=sys.stderr)
    return Result(revision=name or revision(), date=today(), machine=machine, lines=lines)


def _at_revision(asked: argparse.Namespace, folder: Path) -> Result:
    """Measure another revision's sources with these benchmarks, in a process of its own."""
    tree, answer = folder / "tree", folder / "before.json"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), asked.against], check=True)
    try:
        words = [sys.executable, "-m", "benchmarks", "--json-to", str(answer), "--name", asked.against]
        words += ["--only", *asked.only] if asked.only else []
        words += ["--large"] if asked.large else []
        subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(tree / "src")})
        return msgspec.json.decode(answer.read_bytes(), type=Result)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
