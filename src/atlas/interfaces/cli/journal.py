"""Commands that tell what happened, and wait for what will."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ...model.task import Status
from .options import command, cursor_option, given, path_argument, place
from .run import Run, call, pass_run
from .screen import Screen, clean

if TYPE_CHECKING:
    from ...atlas import Atlas

_LONG = 48
_UNTOLD = frozenset({"version", "updated_at", "started_at", "completed_at"})
"""What follows from any change, or from the status and the time of the event; --json has it."""
_WAIT_MOST = 50.0


@command()
@path_argument(required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on, until interrupted.")
@click.option("--since", metavar="PLACE", help="Only after this seq or time; told in order.")
@click.option("--until", metavar="PLACE", help="Only up to this seq or time.")
@click.option("--by", metavar="NAME", help="Only what this actor did.")
@click.option("--type", metavar="TYPE", help="Only of this type, as task.created.")
@click.option("--limit", type=int, metavar="N", help="At most so many (default 50).")
@cursor_option
@pass_run
def log(
    run: Run,
    path: str | None,
    *,
    follow: bool,
    since: str | None,
    until: str | None,
    by: str | None,
    type: str | None,  # noqa: A002 - the option's name
    limit: int | None,
    cursor: str | None,
) -> None:
    """Tell what happened, newest first.

    PATH is a task, also one that is gone, or a pattern; without it, everything is told.
    """
    chosen = given(path=path, actor=by, type=type)
    if follow:
        if until is not None or cursor is not None:
            raise click.UsageError("--follow goes without --until and --cursor.")
        _follow(run, chosen, place(since, "since"), limit)
        return
    chosen |= given(since=place(since, "since"), until=place(until, "until"), limit=limit, cursor=cursor)
    with run.opened() as atlas:
        answer = call(atlas.timeline.read, **chosen)
    run.answer(answer, lambda screen: _page(screen, answer))


def _page(screen: Screen, answer: Any) -> Iterator[str]:
    yield from (told(screen, event) for event in answer.events)
    if not answer.events:
        yield "nothing happened"
    if answer.next_cursor:
        yield screen.paint(f"more: --cursor {answer.next_cursor}", "dim")


def _follow(run: Run, chosen: Mapping[str, Any], since: int | datetime | None, limit: int | None) -> None:
    """Write each event as it comes: first the latest, or what came after `since`."""
    import asyncio

    async def tell() -> None:
        async with run.atlas(is_inline=False) as atlas:
            await _tell_news(atlas, chosen, since, limit, lambda events: _write(run, events))

    asyncio.run(tell())


async def _tell_news(
    atlas: Atlas,
    chosen: Mapping[str, Any],
    since: Any,
    limit: int | None,
    write: Callable[[list[dict[str, Any]]], None],
) -> None:
    from ...journal.feed import wait_beyond

    if since is None:
        page = await atlas.timeline.read(**chosen, limit=10 if limit is None else limit)
        write(page.events[::-1])
        seen = page.seq
    else:
        page = await atlas.timeline.read(**chosen, since=since)
        write(page.events)
        seen = page.events[-1]["seq"] if page.next_cursor else page.seq
    while True:
        page = await atlas.timeline.read(**chosen, since=seen)
        write(page.events)
        seen = page.events[-1]["seq"] if page.next_cursor else page.seq
        if not page.next_cursor:
            await wait_beyond(atlas.store, seen, seconds=_WAIT_MOST)


def _write(run: Run, events: list[dict[str, Any]]) -> None:
    import sys

    for event in events:
        if run.is_json:
            run.write_line(event)
        else:
            click.echo(told(run.screen, event))
    sys.stdout.flush()


def told(screen: Screen, event: Mapping[str, Any]) -> str:
    """Tell an event on one line: when, its seq, who, what, where, and what changed."""
    time = f"{datetime.fromisoformat(event['time']).astimezone():%Y-%m-%d %H:%M:%S}"
    head = f"{time} {event['seq']:>6}  {clean(event['actor'] or '-', is_line=True):<12} {event['type']:<13}"
    where = event["path"] or event["target"]["key"]
    line = f"{screen.paint(head, 'dim')} {clean(where, is_line=True)}"
    changed = clean(_changes(event.get("change") or {}), is_line=True)
    return f"{line}  {screen.fit(changed, len(head) + len(where) + 3)}" if changed else line


def _changes(change: Mapping[str, Any]) -> str:
    for kind in ("created", "deleted"):
        if kind in change:
            record = change[kind]
            said = record.get("text") or record.get("name") or ""
            return _short(said) if "text" in record or kind == "created" else ""
    return "; ".join(_delta(name, delta) for name, delta in change.get("fields", {}).items() if name not in _UNTOLD)


def _delta(name: str, delta: Any) -> str:
    if isinstance(delta, list):
        return f"{name} {_short(delta[0])} → {_short(delta[1])}"
    if "added" in delta:
        return f"{name} {_short(delta['added'])}"
    if "removed" in delta:
        return f"{name} removed"
    if "splice" in delta:
        _, removed, added = delta["splice"]
        if isinstance(removed, str) or isinstance(added, str):
            return f"{name} edited"
        return " ".join([name, *(f"-{_short(item)}" for item in removed), *(f"+{_short(item)}" for item in added)])
    keys = [key.lstrip("/") for part in ("keys", "gained", "lost") for key in delta.get(part, {})]
    return f"{name} {', '.join(keys)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("text") or value.get("cause") or f"{len(value)} values"
    text = "none" if value is None or value == "" else str(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


@command()
@path_argument(required=False)
@click.option("--pattern", metavar="PATTERN", help="Wait for any task of this pattern instead.")
@click.option("--status", type=click.Choice(Status, case_sensitive=False), help="Until it has this status.")
@click.option("--timeout", type=float, metavar="SECONDS", default=25.0, show_default=True, help="Give up after this.")
@click.option("--since", type=int, metavar="SEQ", help="Count changes from here on, not from now.")
@pass_run
def wait(
    run: Run, path: str | None, *, pattern: str | None, status: Status | None, timeout: float, since: int | None
) -> None:
    """Wait until a task changes or reaches a status.

    Exits with 1 when the time is up.
    """
    import asyncio
    from time import monotonic

    if (path is None) == (pattern is None):
        raise click.UsageError("Name either PATH or --pattern.")

    async def waited() -> Any:
        end = monotonic() + timeout
        chosen = given(path=path, pattern=pattern, status=status, since=since)
        async with run.atlas(is_inline=False) as atlas:
            while True:
                left = max(0.0, end - monotonic())
                answer = await atlas.lists.wait_for(**chosen, timeout=min(left, _WAIT_MOST))
                if not answer.timed_out or left <= _WAIT_MOST:
                    return answer
                chosen["since"] = answer.seq

    answer = asyncio.run(waited())
    run.answer(answer, lambda screen: _waited(screen, answer))
    if answer.timed_out:
        raise click.exceptions.Exit(1)


def _waited(screen: Screen, answer: Any) -> Iterator[str]:
    for task in answer.tasks:
        yield f"{screen.mark(task['status'])} {task['path']}  {screen.paint(task['status'], task['status'])}"
    for path in answer.removed:
        yield f"gone: {path}"
    if answer.timed_out:
        yield "the time is up; nothing changed"
