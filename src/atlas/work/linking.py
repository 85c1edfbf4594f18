"""Dependencies as they are asked for: found, counted, and kept from going round in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..errors import CycleError, InputError, TaskNotFoundError
from ..model import dependency
from ..model.path import is_within
from ..model.task import Task
from .board import Board
from .collections import TASKS


def resolve(board: Board, given: Iterable[str], field: str) -> list[Task]:
    """Return the tasks that paths or ids name; raises TaskNotFoundError for the first missing, with the others."""
    found: dict[str, Task] = {}
    missing: list[str] = []
    for text in given:
        try:
            task = board.find(text, field)
        except TaskNotFoundError:
            missing.append(text)
        else:
            found[task.id] = task
    if missing:
        raise TaskNotFoundError(missing[0], field=field, details={"missing": missing, "others": len(missing) - 1})
    return list(found.values())


def check_dependencies(board: Board, task: Task, wanted: Sequence[Task], *, new: Sequence[Task] | None = None) -> None:
    """Refuse too many dependencies, those within the task's own line, and those that would close a circle."""
    if len(wanted) > board.limits.dependencies:
        raise InputError(
            f"{task.path!r} would have {len(wanted)} dependencies",
            field="dependencies",
            given=len(wanted),
            bound=board.limits.dependencies,
            hint="Depend on a container that groups them.",
        )
    dependency.check_direct(task.path, [d.path for d in wanted])
    first = [d.id for d in (wanted if new is None else new)]
    check_cycle(board, task.id, task.path, first, lambda path: is_within(path, task.path) or is_within(task.path, path))


def check_new_dependency(board: Board, task: Task, wanted: Sequence[str], new: str) -> None:
    """Refuse a dependency that the rules forbid, all given as ids; `wanted` holds the new one too."""
    known = board.tx.get_many(TASKS, wanted)
    check_dependencies(board, task, [known[key] for key in wanted], new=[known[new]])


def check_cycle(
    board: Board,
    start: str,
    start_path: str,
    first: list[str],
    is_target: Callable[[str], bool],
    waits_for: Callable[[str], Iterable[str]] | None = None,
) -> None:
    """Refuse what would make the task at `start` wait for a target, going by `first`; the error shows the chain.

    `waits_for` tells who would wait for whom, where that is not as it is now.
    """
    paths = {start: start_path}

    def path_of(key: str) -> str:
        if key not in paths:
            task = board.tx.get(TASKS, key)
            paths[key] = "" if task is None else task.path
        return paths[key]

    chain = dependency.find_chain(start, first, waits_for or board.waits_for, lambda key: is_target(path_of(key)))
    if chain is not None:
        shown = [path_of(key) for key in chain]
        raise CycleError([*shown, start_path] if shown[-1] != start_path else shown)
