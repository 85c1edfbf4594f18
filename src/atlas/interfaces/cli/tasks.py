"""Commands that create, change, move and delete tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ...errors import InputError
from ...model import limits
from ...model.task import Priority, Status, Type
from . import texts
from .options import (
    assignments,
    command,
    given,
    instant,
    json_value,
    key_option,
    path_argument,
    version_option,
    yes_option,
)
from .run import Run, call, pass_run

name_option = click.option("--name", metavar="TEXT", help="The full wording.")
type_option = click.option("--type", type=click.Choice(Type, case_sensitive=False), help="What it may hold.")
description_option = click.option("--description", metavar="TEXT", help="What it is about.")
priority_option = click.option("--priority", type=click.Choice(Priority, case_sensitive=False), help="How urgent.")
assignee_option = click.option("--assignee", metavar="NAME", help="Who does it.")
hours_option = click.option("--estimated-hours", type=float, metavar="N", help="How long it takes.")
due_option = click.option("--due-at", metavar="TIME", help="When it must be done, as 2026-03-31 or 2026-03-31T17:00Z.")
reasoning_option = click.option("--reasoning", metavar="TEXT", help="Why it is done this way.")
note_option = click.option("--note", "notes", multiple=True, metavar="TEXT", help="A note to add.")
before_option = click.option("--before", metavar="PATH", help="Stand before this sibling.")
after_option = click.option("--after", metavar="PATH", help="Stand behind this sibling.")


@command()
@path_argument()
@name_option
@type_option
@description_option
@click.option("--parents", is_flag=True, help="Create missing parents as GROUP.")
@click.option("--dependency", "dependencies", multiple=True, metavar="PATH", help="What must be finished first.")
@click.option("--acceptance", multiple=True, metavar="TEXT", help="What must hold when it is done.")
@click.option("--requires", multiple=True, metavar="NAME", help="A capability that it needs.")
@priority_option
@assignee_option
@hours_option
@due_option
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag.")
@note_option
@reasoning_option
@click.option("--metadata", metavar="JSON", help="Anything else, as a JSON object.")
@before_option
@after_option
@key_option
@pass_run
def add(run: Run, /, path: str, *, parents: bool, due_at: str | None, metadata: str | None, **fields: Any) -> None:
    """Create a task. Options that name several things are repeated."""
    chosen = given(**fields, due_at=instant(due_at, "due_at"))
    if metadata is not None:
        chosen["metadata"] = json_value(metadata, "metadata")
    with run.opened() as atlas:
        answer = call(atlas.tasks.create, path, parents=parents, **chosen)
    run.answer(answer, lambda screen: texts.written(screen, answer))


@command()
@path_argument()
@name_option
@type_option
@description_option
@click.option("--status", type=click.Choice(Status, case_sensitive=False), help="Where it stands.")
@click.option("--reason", metavar="TEXT", help="Why it is blocked.")
@click.option("--dependency", "dependencies", multiple=True, metavar="PATH", help="The dependencies, all of them.")
@click.option("--add-dependency", "add_dependencies", multiple=True, metavar="PATH", help="One more dependency.")
@click.option("--remove-dependency", "remove_dependencies", multiple=True, metavar="PATH", help="One dependency less.")
@click.option("--acceptance", multiple=True, metavar="TEXT", help="The criteria, all of them.")
@click.option("--add-acceptance", multiple=True, metavar="TEXT", help="One more criterion.")
@click.option("--remove-acceptance", multiple=True, metavar="TEXT", help="One criterion less.")
@click.option("--requires", multiple=True, metavar="NAME", help="The capabilities it needs, all of them.")
@click.option("--add-requires", multiple=True, metavar="NAME", help="One more capability.")
@click.option("--remove-requires", multiple=True, metavar="NAME", help="One capability less.")
@click.option("--archived/--no-archived", default=None, help="Hide it with everything below, or show it again.")
@priority_option
@assignee_option
@hours_option
@due_option
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="The tags, all of them.")
@click.option("--add-tag", "add_tags", multiple=True, metavar="TAG", help="One more tag.")
@click.option("--remove-tag", "remove_tags", multiple=True, metavar="TAG", help="One tag less.")
@note_option
@click.option("--remove-note", "remove_notes", multiple=True, metavar="ID", help="Remove the note of this id.")
@reasoning_option
@click.option("--metadata", metavar="JSON", help="Merged into what there is: null removes a key.")
@click.option("--set", "pairs", multiple=True, metavar="FIELD=VALUE", help="Any field; VALUE is JSON, or else text.")
@version_option
@key_option
@pass_run
def update(
    run: Run,
    /,
    path: str,
    *,
    due_at: str | None,
    metadata: str | None,
    pairs: tuple[str, ...],
    expected_version: int | None,
    idempotency_key: str | None,
    **fields: Any,
) -> None:
    """Change fields of a task.

    --set clears one too, as --set tags=[] or --set assignee=null.
    """
    updates = {**assignments(pairs), **given(**fields, due_at=instant(due_at, "due_at"))}
    if metadata is not None:
        updates["metadata"] = json_value(metadata, "metadata")
    if not updates:
        raise click.UsageError("Name at least one field to change.")
    with run.opened() as atlas:
        answer = call(
            atlas.tasks.update, path, updates, expected_version=expected_version, idempotency_key=idempotency_key
        )
    run.answer(answer, lambda screen: texts.written(screen, answer))


@command()
@path_argument()
@click.argument("to", required=False)
@before_option
@after_option
@version_option
@key_option
@pass_run
def move(run: Run, /, path: str, to: str | None, **more: Any) -> None:
    """Move or rename a task with everything below it.

    Without TO, it gets another place among its siblings, by --before or --after.
    """
    if to is None and not (more["before"] or more["after"]):
        raise click.UsageError("Name TO, or a sibling with --before or --after.")
    with run.opened() as atlas:
        goal = to if to is not None else call(atlas.tasks.get, path, fields=["path"]).task["path"]
        answer = call(atlas.tasks.move, path, goal, **more)
    run.answer(answer, lambda screen: texts.written(screen, answer))


@command()
@path_argument()
@click.option(
    "--dependents", type=click.Choice(("refuse", "detach")), help="What if others depend on it (default refuse)."
)
@version_option
@yes_option
@pass_run
def delete(run: Run, path: str, *, dependents: str | None, expected_version: int | None, is_yes: bool) -> None:
    """Delete a task with everything below it."""
    with run.opened() as atlas:
        found = call(atlas.tasks.get, path, fields=["path"]).task["path"]
        below = call(atlas.lists.by_path, f"{found}/**", archived=True, limit=1, fields=["path"]).total - 1
        run.confirm(f"Delete {found}{f' and the {below} tasks below it' if below else ''}?", is_yes=is_yes)
        answer = call(atlas.tasks.delete, path, **given(dependents=dependents, expected_version=expected_version))
    run.answer(answer, lambda screen: texts.deleted(screen, answer))


@command()
@click.argument("file", metavar="FILE")
@key_option
@yes_option
@pass_run
def bulk(run: Run, file: str, *, idempotency_key: str | None, is_yes: bool) -> None:
    """Run many operations, all or none.

    FILE holds a JSON list, or one object a line; - reads stdin.

    {"op": "create", "path": …}, {"op": "update", "path": …, "updates": {…}}, {"op": "move", "path": …, "to": …},
    {"op": "delete", "path": …}.
    """
    operations = _operations(file)
    removals = sum(isinstance(item, dict) and item.get("op") == "delete" for item in operations)
    if removals:
        run.confirm(f"{removals} of {len(operations)} operations delete. Go on?", is_yes=is_yes)
    with run.opened() as atlas:
        answer = call(atlas.tasks.bulk, operations, idempotency_key=idempotency_key)
    run.answer(answer, lambda screen: texts.outcomes(screen, answer))


def _operations(file: str) -> list[Any]:
    data = read_bytes(file)
    if data.lstrip()[:1] == b"[":
        made = json_value(data.decode("utf-8", "surrogateescape"), "file")
        return made if isinstance(made, list) else [made]
    lines = [line.strip() for line in data.splitlines()]
    return [
        json_value(line.decode("utf-8", "surrogateescape"), f"file:{number}")
        for number, line in enumerate(lines, start=1)
        if line
    ]


def read_bytes(file: str) -> bytes:
    """Return what a file holds, or stdin for -; raises InputError for more than an import may hold."""
    if file == "-":
        data = sys.stdin.buffer.read(limits.IMPORT_BYTES + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(limits.IMPORT_BYTES + 1)
        except OSError as error:
            raise InputError(
                f"{file} cannot be read: {error.strerror}",
                field="file",
                given=file,
                hint="Name a file that you may read, or - for stdin.",
            ) from error
    if len(data) > limits.IMPORT_BYTES:
        raise InputError(f"{file} is too long", field="file", given=file, bound=f"{limits.IMPORT_BYTES} bytes")
    return data
