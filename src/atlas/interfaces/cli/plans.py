"""Commands that take plans in and out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from ...errors import ImportFormatError
from . import texts
from .options import command, given, key_option, pattern_argument
from .run import Run, call, pass_run, say
from .screen import Screen, clean
from .tasks import read_bytes

FORMATS = ("auto", "atlas", "markdown", "taskmaster", "beads", "backlog", "atlas1")
_NOTES_SHOWN = 20


@command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--format", type=click.Choice(FORMATS), help="What the files are; found out by itself.")
@click.option("--project", metavar="NAME", help="Where the plan goes; by itself, where the file says.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@key_option
@pass_run
def import_(
    run: Run,
    files: tuple[str, ...],
    *,
    format: str | None,  # noqa: A002 - the option's name
    project: str | None,
    dry_run: bool,
    idempotency_key: str | None,
) -> None:
    """Import plans: Markdown, or the files of other tools.

    Those of Taskmaster, beads, Backlog.md (a folder), the earlier Atlas, and what `atlas export` wrote; - reads stdin.
    Importing a file again updates what changed in it, and never what was changed here.
    """
    if idempotency_key is not None and len(files) > 1:
        raise click.UsageError("--idempotency-key takes one FILE")
    chosen = given(format=format, project=project, idempotency_key=idempotency_key)
    with run.opened() as atlas:
        for file in files:
            with _progress(file):
                answer = call(atlas.plans.load, **_source(file), dry_run=dry_run, **chosen)
            run.answer(answer, partial(_imported, file=file, answer=answer))


def _source(file: str) -> dict[str, str]:
    if file != "-":
        return {"file": file}
    try:
        return {"content": read_bytes(file).decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        raise ImportFormatError("stdin is not UTF-8 text", field="content", hint="Name the file instead.") from error


@contextmanager
def _progress(file: str) -> Iterator[None]:
    """Show how far an import is, when a person is watching."""
    if not sys.stderr.isatty():
        yield
        return
    from ...verb import PROGRESS

    with click.progressbar(length=1, label=f"importing {file}", file=sys.stderr) as bar:

        def tell(done: int, total: int, _what: str) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        token = PROGRESS.set(tell)
        try:
            yield
        finally:
            PROGRESS.reset(token)


def _imported(screen: Screen, *, file: str, answer: Any) -> Iterator[str]:
    would = "would be " if answer.dry_run else ""
    counts = f"{answer.created} {would}created, {answer.updated} {would}updated, {answer.skipped} unchanged"
    into = f" in {texts.some(answer.projects)}" if answer.projects else ""
    yield f"{file} ({answer.format}): {counts}{into}"
    for note in answer.notes[:_NOTES_SHOWN]:
        yield screen.paint(f"    {clean(note['source'], is_line=True)}: {clean(note['message'], is_line=True)}", "dim")
    if len(answer.notes) > _NOTES_SHOWN:
        yield screen.paint(f"    and {len(answer.notes) - _NOTES_SHOWN} more notes; --json shows all", "dim")


@command()
@pattern_argument
@click.option("--format", type=click.Choice(("lines", "markdown")), help="JSON lines (default), or Markdown.")
@click.option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.")
@pass_run
def export(run: Run, pattern: str, *, format: str | None, output: str | None) -> None:  # noqa: A002 - the option's name
    """Export tasks as JSON lines or Markdown.

    Lines hold everything, Markdown is for reading; `atlas import` reads both.
    """
    with run.opened() as atlas:
        answer = call(atlas.plans.export, pattern, **given(format=format))
    if output is not None and output != "-":
        Path(output).write_text(answer.content, "utf-8")
        say(f"{answer.tasks} tasks written to {output}")
    elif run.is_json:
        run.write_json(answer)
    else:
        # As bytes, since an export must come back as it went, whatever the terminal can show.
        sys.stdout.flush()
        sys.stdout.buffer.write(answer.content.encode())
