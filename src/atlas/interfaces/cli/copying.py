"""The command that moves work from one store to another."""

from __future__ import annotations

import sys

import click

from ...settings import masked
from .options import command
from .run import Run, drive, pass_run


@command("store")
@click.argument("action", type=click.Choice(("copy",)))
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@pass_run
def store(run: Run, *, action: str, source: str, target: str) -> None:  # noqa: ARG001 - there is one action so far
    """Copy all tasks and the whole journal from one store URL to another, and compare the copy record by record.

    TO must be empty, or hold what a copy that was cut short got done: then that copy goes on. FROM is not changed.
    """
    from ...atlas import COLLECTIONS
    from ...storage.copying import copy_store
    from ...storage.open import open_store

    first, second = (open_store(url, COLLECTIONS, is_inline=True) for url in (source, target))
    drive(first.open())
    try:
        drive(second.open())
        try:
            tell = _told if sys.stderr.isatty() else None
            copied = drive(copy_store(first, second, COLLECTIONS, tell=tell))
        finally:
            drive(second.close())
    finally:
        drive(first.close())
    answer = {"from": masked("", first.url), "to": masked("", second.url), "copied": copied}
    counts = ", ".join(f"{count} {name}" for name, count in copied.records.items() if count)
    went_on = "went on with an earlier copy; " if copied.is_resumed else ""
    run.answer(
        answer,
        lambda _: [
            f"{went_on}copied {counts or 'nothing'}",
            f"compared record by record: the same, digest {copied.digest}, seq {copied.seq}",
        ],
    )


def _told(done: int, total: int, what: str) -> None:
    """Write over the line about a collection until it is copied."""
    click.echo(f"{what}: {done} of {total}", nl=done >= total, err=True)
    if done < total:
        click.echo("\r", nl=False, err=True)
