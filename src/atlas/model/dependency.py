"""Dependencies: who waits for whom, and whether waiting could go round in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..errors import CycleError
from .path import is_below


def find_chain(
    start: str,
    first: Iterable[str],
    waits_for: Callable[[str], Iterable[str]],
    is_target: Callable[[str], bool],
) -> list[str] | None:
    """Return the shortest chain from `start` over `first` to a target, as keys, or None.

    `waits_for` gives what a task waits for: its own dependencies, those of the containers above it, and, for a
    container, its children. Breadth first and iterative: hostile depth cannot exhaust the stack.
    """
    came: dict[str, str] = {}
    current = []
    for key in first:
        if key not in came:
            came[key] = start
            current.append(key)
    while current:
        following: list[str] = []
        for key in current:
            if is_target(key):
                return _walk_back(came, start, key)
            for other in waits_for(key):
                if other not in came:
                    came[other] = key
                    following.append(other)
        current = following
    return None


def _walk_back(came: dict[str, str], start: str, end: str) -> list[str]:
    chain, key = [end], end
    while True:
        key = came[key]
        chain.append(key)
        if key == start:
            return chain[::-1]


def check_direct(path: str, dependencies: Sequence[str], field: str = "dependencies") -> None:
    """Refuse a dependency on the task itself, on what lies above it, or on what lies below it (all as paths)."""
    for other in dependencies:
        if other == path:
            raise CycleError([path, other], field=field, given=other)
        if is_below(path, other):
            raise CycleError([path, other, path], field=field, given=other)
        if is_below(other, path):
            raise CycleError([path, other, path], field=field, given=other)
