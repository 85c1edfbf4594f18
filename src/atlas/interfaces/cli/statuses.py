"""Commands that set the status of tasks."""

from __future__ import annotations

from typing import Any

import click

from ...model.task import Status
from . import texts
from .options import command, given, path_argument, version_option
from .run import Run, call, pass_run

note_option = click.option("--note", "notes", multiple=True, metavar="TEXT", help="A note to add.")


def _set(run: Run, paths: tuple[str, ...], updates: dict[str, Any], expected_version: int | None) -> None:
    """Change one task, or several together or not at all."""
    with run.opened() as atlas:
        if len(paths) == 1:
            one = call(atlas.tasks.update, paths[0], updates, expected_version=expected_version)
            run.answer(one, lambda screen: texts.written(screen, one))
            return
        if expected_version is not None:
            raise click.UsageError("--expected-version takes one PATH")
        several = call(atlas.tasks.bulk, [{"op": "update", "path": path, "updates": updates} for path in paths])
    run.answer(several, lambda screen: texts.outcomes(screen, several))


def _status_command(name: str, status: Status, text: str) -> click.Command:
    @command(name)
    @path_argument("paths", nargs=-1)
    @note_option
    @version_option
    @pass_run
    def changed(run: Run, paths: tuple[str, ...], notes: tuple[str, ...], expected_version: int | None) -> None:
        _set(run, paths, {"status": status, **given(notes=notes)}, expected_version)

    changed.help = text
    return changed


start = _status_command("start", Status.IN_PROGRESS, "Begin tasks. Everything they depend on must be finished.")
done = _status_command("done", Status.COMPLETED, "Complete tasks. What waits for them comes free.")
fail = _status_command("fail", Status.FAILED, "Say that tasks failed.")
cancel = _status_command("cancel", Status.CANCELLED, "Cancel tasks, or everything open in a container.")
reopen = _status_command("reopen", Status.PENDING, "Take tasks back to pending, or what was cancelled in a container.")


@command()
@path_argument("paths", nargs=-1)
@click.option("--reason", metavar="TEXT", help="Why, or what has to happen first.")
@note_option
@version_option
@pass_run
def block(
    run: Run, paths: tuple[str, ...], *, reason: str | None, notes: tuple[str, ...], expected_version: int | None
) -> None:
    """Block tasks until they are started or reopened."""
    _set(run, paths, {"status": Status.BLOCKED, **given(reason=reason, notes=notes)}, expected_version)
