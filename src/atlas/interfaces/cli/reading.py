"""Commands that show tasks: one, a list, a tree, and what to do next."""

from __future__ import annotations

from typing import get_args

import click

from ...model.task import Status, Type
from ...work.arguments import Order
from . import texts
from .options import command, cursor_option, given, limit_option, path_argument, pattern_argument
from .run import Run, call, pass_run

fields_option = click.option("--fields", metavar="NAMES", help="brief, full, or names of fields joined by commas.")


def _fields(text: str | None) -> str | list[str]:
    if text is None or text in {"brief", "full"}:
        return text or "brief"
    return [name.strip() for name in text.split(",")]


@command()
@path_argument()
@pass_run
def show(run: Run, path: str) -> None:
    """Show a task in full, with its children and dependents."""
    with run.opened() as atlas:
        answer = call(atlas.tasks.get, path)
    run.answer(answer, lambda screen: texts.read(screen, answer))


@command("list")
@pattern_argument
@click.option("--status", type=click.Choice(Status, case_sensitive=False), help="Only of this status.")
@click.option("--type", type=click.Choice(Type, case_sensitive=False), help="Only of this type.")
@click.option("--tag", metavar="TAG", help="Only with this tag.")
@click.option("--assignee", metavar="NAME", help="Only of this assignee.")
@click.option("--text", metavar="WORDS", help="Only with these words in name, description or notes.")
@click.option("--archived", is_flag=True, help="Archived tasks too.")
@click.option(
    "--order",
    type=click.Choice(get_args(Order)),
    help="Order; - turns it around.",
)
@limit_option
@cursor_option
@fields_option
@pass_run
def list_(
    run: Run,
    pattern: str,
    *,
    status: Status | None,
    type: Type | None,  # noqa: A002 - the option's name
    tag: str | None,
    assignee: str | None,
    text: str | None,
    archived: bool,
    order: str | None,
    limit: int | None,
    cursor: str | None,
    fields: str | None,
) -> None:
    """List tasks, the first 50 and how many there are."""
    chosen = given(
        status=status,
        type=type,
        tag=tag,
        assignee=assignee,
        text=text,
        order_by=order,
        limit=limit,
        cursor=cursor,
    )
    shown = _fields(fields)
    with run.opened() as atlas:
        answer = call(atlas.lists.by_path, pattern, archived=archived, fields=shown, **chosen)
    run.answer(answer, lambda screen: texts.page(screen, answer, shown))


@command()
@pattern_argument
@click.option("--depth", type=int, metavar="N", help="Only so many levels.")
@click.option("--archived", is_flag=True, help="Archived tasks too.")
@click.option("--limit", type=int, metavar="N", help="At most so many tasks (default 1000).")
@pass_run
def tree(run: Run, pattern: str, *, depth: int | None, archived: bool, limit: int | None) -> None:
    """Show tasks as a tree, with progress.

    [ ] pending, [/] in progress, [x] completed, [F] failed, [!] blocked, [-] cancelled.
    """
    with run.opened() as atlas:
        answer = call(atlas.lists.tree, pattern, archived=archived, **given(depth=depth, limit=limit))
    run.answer(answer, lambda screen: texts.tree(screen, answer))


@command()
@pattern_argument
@click.option("--requires", multiple=True, metavar="NAME", help="A capability you have; others' work is left out.")
@click.option("--limit", type=int, metavar="N", help="At most so many (default 10).")
@cursor_option
@fields_option
@pass_run
def ready(
    run: Run, pattern: str, *, requires: tuple[str, ...], limit: int | None, cursor: str | None, fields: str | None
) -> None:
    """Show what can be done now, best first, and why."""
    shown = _fields(fields)
    with run.opened() as atlas:
        answer = call(
            atlas.lists.next,
            pattern=pattern,
            fields=shown,
            limit=10 if limit is None else limit,
            **given(requires=requires, cursor=cursor),
        )
    run.answer(answer, lambda screen: texts.page(screen, answer, shown))
