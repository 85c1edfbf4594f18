"""The one table that a run results in, as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import msgspec

from .machine import Machine
from .rows import Goal, Line

HEADER = ("row", "work", "ours", "held against", "limit", "figure", "goal", "")
WORSE = 0.15
"""How much worse a figure must be to be named; less than that is the machine's own unrest."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    revision: str
    date: str
    machine: Machine
    lines: list[Line]


def amount(value: float | None, unit: str) -> str:
    """Return a measured value with its unit, at three digits or so."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def bound(goal: Goal) -> str:
    """Return a goal as it is written."""
    return f"{goal.sense} {goal.bound:g}{goal.unit if goal.unit == 'x' else ' ' + goal.unit}"


def cells(line: Line) -> tuple[str, ...]:
    """Return the cells of a line, in the order of HEADER."""
    goal = bound(line.goal) if line.is_bar else ""
    if line.measured is None:
        return (line.name, line.work, "", line.against, "", line.failure or "", goal, line.verdict)
    found = line.measured
    figure = f"{found.figure:.2f}x" if line.goal.unit == "x" else amount(found.figure, line.goal.unit)
    return (
        line.name,
        line.work,
        amount(found.ours, found.unit),
        line.against,
        amount(found.limit, found.unit),
        figure + (f" ({found.note})" if found.note else ""),
        goal,
        line.verdict,
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table whose columns line up in plain text too."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def shown(lines: Iterable[Line]) -> str:
    """Return the table."""
    return aligned([HEADER, *(cells(line) for line in lines)])


def compared(before: Result, after: Result) -> str:
    """Return a table of the figures of two runs, with what became worse marked."""
    known = {line.name: line for line in before.lines}
    rows: list[tuple[str, ...]] = [("row", f"figure at {before.revision}", f"at {after.revision}", "change", "")]
    for line in after.lines:
        old = known.get(line.name)
        if line.measured is None or old is None or old.measured is None:
            rows.append((line.name, *(cells(each)[5] if each else "" for each in (old, line)), "", "not comparable"))
            continue
        worse = line.goal.worsening(old.measured.figure, line.measured.figure)
        verdict = "WORSE" if worse > WORSE else "better" if worse < -WORSE else ""
        rows.append((line.name, cells(old)[5], cells(line)[5], f"{-worse:+.0%}", verdict))
    return aligned(rows)


def written(result: Result, folder: Path) -> Path:
    """Write the result down as Markdown and JSON; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{result.date}-{result.revision.replace('+', '-changed')}.md"
    machine = msgspec.structs.asdict(result.machine)
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items())
    place.write_text(f"# Benchmarks of {result.revision}, {result.date}\n\n{facts}\n\n{shown(result.lines)}\n")
    place.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return place


def today() -> str:
    """Return the day as results are named after it."""
    return date.today().isoformat()
