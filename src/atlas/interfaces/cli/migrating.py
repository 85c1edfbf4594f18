"""The command that takes a store's records to where this Atlas has them, and the group that it stands in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ...settings import masked
from .copying import copy
from .options import command, everywhere
from .run import Run, drive, pass_run
from .screen import Screen, clean


@command()
@click.option("--to", type=int, metavar="N", help="Up, or down, to this number (default: the newest).")
@click.option("--dry-run", is_flag=True, help="Do everything, say what it came to, and leave nothing of it.")
@click.option("--no-copy", is_flag=True, help="Do without a copy from before.")
@click.option(
    "--copy-to", type=click.Path(path_type=Path), metavar="FILE", help="Where the copy goes; it must not exist yet."
)
@pass_run
def migrate(run: Run, *, to: int | None, dry_run: bool, no_copy: bool, copy_to: Path | None) -> None:
    """Show which data migrations the store went through, and do those that wait.

    Each is done whole, checked, and told in the journal, or not at all. Before the first, a copy is made: beside a
    store in a file, else where --copy-to says. The schema is brought up to date whenever a store is opened.
    """
    from ...atlas import COLLECTIONS
    from ...operations.data_migrations import MIGRATIONS, InJournal
    from ...storage import migrating

    if no_copy and copy_to is not None:
        raise click.UsageError("--no-copy and --copy-to exclude each other.")
    kept = InJournal(actor=run.configuration.settings.actor, source="cli")
    with run.opened() as atlas:
        standing = drive(migrating.standing(atlas.store, MIGRATIONS, kept=kept))
        migrated = drive(
            migrating.migrate(
                atlas.store,
                MIGRATIONS,
                to=to,
                is_dry_run=dry_run,
                is_copied=not no_copy,
                copy_to=copy_to,
                collections=COLLECTIONS,
                kept=kept,
                tell=_told if sys.stderr.isatty() else None,
            )
        )
        figures = drive(atlas.store.statistics())
    answer = {
        "store": masked("", atlas.store.url),
        "schema": figures.get("schema"),
        "applied": standing.applied,
        "waiting": [{"number": number, "name": name} for number, name in standing.waiting],
        "migrated": migrated,
    }
    run.answer(answer, lambda screen: _migrated(screen, answer))
    if any(step.found for step in migrated.steps):
        raise click.exceptions.Exit(1)


def _migrated(screen: Screen, answer: Mapping[str, Any]) -> Iterator[str]:
    migrated = answer["migrated"]
    yield f"{answer['store']}" + ("" if answer["schema"] is None else f": schema {answer['schema']}")
    for note in answer["applied"]:
        yield screen.paint(f"  {note.number} {note.name}, since {note.applied_at.astimezone():%Y-%m-%d %H:%M}", "dim")
    for step in migrated.steps:
        sign = screen.paint(step.direction.ljust(4), "FAILED" if step.found else "COMPLETED")
        counts = ", ".join(f"{count} {name}" for name, count in step.records.items())
        yield f"  {step.number} {step.name}  {sign} {counts or 'no records'}"
        yield from (f"      wrong: {clean(line, is_line=True)}" for line in step.found)
    yield _ending(answer)
    if migrated.copy is not None:
        yield f"the records from before are in {migrated.copy}"


def _ending(answer: Mapping[str, Any]) -> str:
    migrated = answer["migrated"]
    if migrated.before == migrated.after and not migrated.steps:
        waiting = len(answer["waiting"])
        return "nothing to do" + (f", {waiting} wait" if waiting else ": no data migration waits")
    would = "a dry run: nothing was changed; it would go" if migrated.is_dry_run else "went"
    return f"{would} from data migration {migrated.before} to {migrated.after}"


def _told(done: int, total: int, what: str) -> None:
    """Write over the line about a collection that is copied, or about a step, until it is done."""
    click.echo(f"{what}: {done} of {total}", nl=done >= total, err=True)
    if done < total:
        click.echo("\r", nl=False, err=True)


store = click.Group(
    "store",
    commands=[copy, migrate],
    params=[*everywhere()],
    help="Copy a store into another one, or migrate its records.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
