"""Commands about the store itself: making one, its figures and health, mending it, and emptying it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from ...errors import ConfigError
from ...projects import make_project, project_root, store_url
from ...settings import masked
from .options import command, pattern_argument, yes_option
from .run import Run, call, drive, pass_run
from .screen import Screen, clean

_ISSUES_SHOWN = 50
_SIGNS = {"ok": ("ok", "COMPLETED"), "warning": ("warning", "high"), "error": ("error", "FAILED")}
_BAR = 20


@command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@pass_run
def init(run: Run, folder: Path | None) -> None:
    """Make .atlas/ with a new store for the project here.

    Or in FOLDER. Every command below that folder then uses it. In a git worktree, the main checkout gets it and
    shares it.
    """
    if "store_url" in run.flags:
        raise click.UsageError("init makes the store of a project; --store names another.")
    here = (Path.cwd() if folder is None else folder).absolute()
    if folder is not None and not here.is_dir():
        raise ConfigError(f"{here} is no folder", field="folder", given=str(folder), hint="Name a folder that exists.")
    root = project_root(here) if folder is None else here
    project = make_project(root)
    is_new = not (project.place / "atlas.db").exists()
    run.flags["store_url"] = store_url(project.place / "atlas.db")
    with run.opened(is_made=True) as atlas:
        answer = {"store": atlas.store.url, "project": str(root), "created": is_new}
    text = "made" if is_new else "there already:"
    run.answer(answer, lambda _: [f"{text} {project.place / 'atlas.db'}"])


@command()
@pattern_argument
@pass_run
def stats(run: Run, pattern: str) -> None:
    """Count tasks, and show how far each project is."""
    with run.opened() as atlas:
        answer = call(atlas.upkeep.statistics, pattern=pattern)
    run.answer(answer, lambda screen: _stats(screen, answer))


def _stats(screen: Screen, answer: Any) -> Iterator[str]:
    archived = f", {answer.archived} archived" if answer.archived else ""
    done = answer.progress
    yield f"{answer.total} tasks{archived}; {done['finished']} of {done['total']} leaves done ({done['percent']} %)"
    for title, counts in (
        ("status", answer.by_status),
        ("type", answer.by_type),
        ("priority", answer.by_priority),
    ):
        shown = ", ".join(f"{screen.paint(name, name)} {count}" for name, count in counts.items() if count)
        if shown:
            yield f"  {title.ljust(10)}{shown}"
    if answer.projects:
        yield ""
        rows = [_project(project) for project in answer.projects]
        yield from screen.table(["PROJECT", "DONE", ""], rows, whole="PROJECT")
        if answer.projects_total > len(answer.projects):
            yield screen.paint(f"{len(answer.projects)} of {answer.projects_total} projects", "dim")
    yield ""
    yield f"store {answer.store['url']}: {size(answer.store['bytes'])}, seq {answer.seq}"


def _project(project: Mapping[str, Any]) -> list[str]:
    full = round(_BAR * project["finished"] / project["total"]) if project["total"] else 0
    bar = f"{'#' * full}{'.' * (_BAR - full)}"
    return [str(project["path"]), f"{project['finished']}/{project['total']}", f"{bar} {project['percent']} %"]


def size(count: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@command()
@pattern_argument
@click.option("--fix", is_flag=True, help="Mend what is found; without it, only say what is wrong.")
@pass_run
def repair(run: Run, pattern: str, *, fix: bool) -> None:
    """Find records that disagree with the rules.

    A fault or another program may leave such; Atlas itself does not.
    """
    with run.opened() as atlas:
        answer = call(atlas.upkeep.repair, dry_run=not fix, pattern=pattern)
    run.answer(answer, lambda screen: _repaired(screen, answer))


def _repaired(screen: Screen, answer: Any) -> Iterator[str]:
    if not answer.issues_total:
        yield "nothing is wrong"
        return
    for issue in answer.issues[:_ISSUES_SHOWN]:
        yield f"{screen.paint(issue.kind, 'high')}  {issue.path}  {clean(issue.message, is_line=True)}"
    if answer.issues_total > _ISSUES_SHOWN:
        yield screen.paint(f"and {answer.issues_total - _ISSUES_SHOWN} more", "dim")
    found = "1 issue" if answer.issues_total == 1 else f"{answer.issues_total} issues"
    yield f"{found}; --fix mends" if answer.dry_run else f"{found} mended"


@command()
@click.option("--no-analyze", is_flag=True, help="Leave what the planner knows as it is.")
@pass_run
def vacuum(run: Run, *, no_analyze: bool) -> None:
    """Give the store's unused space back to the disk."""
    with run.opened() as atlas:
        answer = call(atlas.upkeep.vacuum, analyze=not no_analyze)
    run.answer(answer, lambda _: [f"{size(answer.before)} before, {size(answer.after)} after"])


@command()
@yes_option
@pass_run
def clear(run: Run, *, is_yes: bool) -> None:
    """Delete every task, after taking a copy of the store.

    The journal keeps what was.
    """
    with run.opened() as atlas:
        total = call(atlas.lists.by_path, "**", archived=True, limit=1, fields=("path",)).total
        run.confirm(f"Delete all {total} tasks of {atlas.store.url}?", is_yes=is_yes)
        answer = call(atlas.upkeep.clear, confirm=True)
    copy = f"; they are still in {answer.copy}" if answer.copy else ""
    run.answer(answer, lambda _: [f"deleted {answer.deleted} tasks{copy}"])


@command()
@click.option("--full", is_flag=True, help="Replay the whole journal, however long it is.")
@pass_run
def doctor(run: Run, *, full: bool) -> None:
    """Say what is wrong with the store and what to do.

    Changes nothing. Exits with 1 when it found an error.
    """
    from ...operations.doctor import examine

    with run.opened() as atlas:
        found = drive(examine(atlas, is_full=full))
    shown = _shown_settings(run)
    run.answer({"findings": found, "settings": shown}, lambda screen: _examined(screen, found, shown))
    if any(finding.status == "error" for finding in found):
        raise click.exceptions.Exit(1)


def _examined(screen: Screen, found: Any, shown: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for finding in found:
        sign, paint = _SIGNS[finding.status]
        yield f"{screen.paint(sign.ljust(8), paint)} {finding.name.ljust(11)} {clean(finding.what, is_line=True)}"
        if finding.what_to_do:
            yield screen.paint(f"{' ' * 21}{finding.what_to_do}", "dim")
    yield ""
    yield from _settings(screen, {name: fact for name, fact in shown.items() if fact["source"] != "default"})


@command()
@pass_run
def settings(run: Run) -> None:
    """Show every setting and where it comes from.

    Secrets are masked.
    """
    shown = _shown_settings(run)
    run.answer(shown, lambda screen: _settings(screen, shown))


def _shown_settings(run: Run) -> dict[str, dict[str, Any]]:
    made = run.configuration
    values = msgspec.structs.asdict(made.settings)
    return {name: {"value": masked(name, value), "source": made.sources[name]} for name, value in values.items()}


def _settings(screen: Screen, shown: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows = [[name, str(fact["value"]), fact["source"]] for name, fact in shown.items()]
    yield from screen.table(["SETTING", "VALUE", "FROM"], rows)
