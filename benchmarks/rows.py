"""The rows of the table: what is measured, what it is held against, and when that is good enough."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """A bound for the figure of a row; `unit` is `x` for ratios."""

    sense: Literal["≥", "≤"]
    bound: float
    unit: str = "x"

    def is_met(self, figure: float) -> bool:
        """Say whether a figure is good enough."""
        return figure >= self.bound if self.sense == "≥" else figure <= self.bound

    def worsening(self, before: float, after: float) -> float:
        """Return how much worse `after` is, as a share of `before`; negative where it is better."""
        change = after / before - 1 if before else 0.0
        return -change if self.sense == "≥" else change


def at_least(bound: float, unit: str = "x") -> Goal:
    """Return the goal of a figure that shall be high."""
    return Goal("≥", bound, unit)


def at_most(bound: float, unit: str = "x") -> Goal:
    """Return the goal of a figure that shall be low."""
    return Goal("≤", bound, unit)


class Measured(msgspec.Struct, frozen=True):
    """What a row came to: ours and the limit's in `unit`, and the figure that the goal is about."""

    ours: float
    limit: float | None
    unit: str
    figure: float
    note: str = ""


class AbsentError(Exception):
    """What the row measures is not there: an earlier revision lacks it, or a data file is not on this machine."""


class Line(msgspec.Struct, frozen=True):
    """A row with its outcome, as it is written down."""

    name: str
    work: str
    against: str
    goal: Goal
    is_bar: bool
    measured: Measured | None = None
    failure: str | None = None

    @property
    def verdict(self) -> str:
        """`ok`, `short`, `failed`, `absent`, or nothing where no goal is set."""
        if self.measured is None:
            return "failed" if self.failure else "absent"
        if not self.is_bar:
            return ""
        return "ok" if self.goal.is_met(self.measured.figure) else "short"


class Bench(msgspec.Struct):
    """What rows share in one run: a folder that is thrown away, and how large the large store is."""

    folder: Path
    tasks: int = 100_000

    def place(self, name: str) -> Path:
        """Return a path for a new file."""
        count = len(list(self.folder.iterdir()))
        return self.folder / f"{count}-{name}"


Measure = Callable[[Bench], Awaitable[Measured]]


class Row(msgspec.Struct, frozen=True):
    """A row before it is measured; `is_bar` is False for figures that are only told."""

    name: str
    work: str
    against: str
    goal: Goal
    measure: Measure
    is_bar: bool = True

    async def run(self, bench: Bench) -> Line:
        """Measure; whatever goes wrong becomes the outcome, so that the other rows still run."""
        try:
            measured, failure = await self.measure(bench), None
        except AbsentError:
            measured, failure = None, None
        except Exception as error:  # noqa: BLE001 - a row that cannot be measured is an outcome, not the end
            traceback.print_exc()
            measured, failure = None, f"{type(error).__name__}: {error}"
        return Line(self.name, self.work, self.against, self.goal, self.is_bar, measured, failure)


ROWS: dict[str, Row] = {}


def row(name: str, work: str, *, against: str, goal: Goal, is_bar: bool = True) -> Callable[[Measure], Measure]:
    """Make a function a row of the table."""

    def made(measure: Measure) -> Measure:
        ROWS[name] = Row(name, work, against, goal, measure, is_bar)
        return measure

    return made
