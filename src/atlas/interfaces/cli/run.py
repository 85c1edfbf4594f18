"""What every command stands on: its settings, the open store, a question to the person, and how it answers."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import AtlasError, InputError
from ...settings import Configuration, configure, masked
from .screen import Screen, clean

if TYPE_CHECKING:
    from ...atlas import Atlas

T = TypeVar("T")

_TYPED = {
    "parents=true": "--parents",
    "remove_dependencies": "--remove-dependency",
    "remove_notes": "--remove-note",
    "dependents='detach'": "--dependents detach",
    "archived=false": "--no-archived",
    "get_tasks_by_path (atlas list)": "`atlas list`",
}
"""How arguments that hints speak of are spelled here."""


def drive(verb: Awaitable[T]) -> T:
    """Run to its end what never really waits: the verbs of a store that was opened inline.

    An event loop would cost a command 40 ms of its start.
    """
    steps = verb.__await__()
    try:
        while True:
            next(steps)
    except StopIteration as end:
        value: T = end.value
        return value


def call(verb: Callable[..., Awaitable[T]], *args: Any, **arguments: Any) -> T:
    """Call a verb with arguments as they were given: it checks them itself."""
    return drive(verb(*args, **arguments))


class Run:
    """One call of the program; `flags` are the settings given on the command line."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.is_json = False

    @cached_property
    def configuration(self) -> Configuration:
        """The settings in force; warns about what looks like one and is none."""
        made = configure(self.flags)
        for warning in made.warnings:
            say(f"warning: {warning}")
        return made

    @cached_property
    def screen(self) -> Screen:
        """Where answers are written."""
        return Screen(sys.stdout, has_color=self.configuration.has_color)

    def atlas(self, *, source: str = "cli", is_inline: bool = True) -> Atlas:
        """Return Atlas on the chosen store, not yet opened; says so when that is nobody's project."""
        from ...atlas import open as open_atlas

        chosen = self.configuration.settings
        if self.configuration.is_fallback:
            say(f"using {chosen.store_url}: no .atlas/ here or above (`atlas init` makes one)")
        return open_atlas(
            chosen.store_url,
            actor=chosen.actor,
            source=source,
            limits=chosen.limits(),
            slow_query=timedelta(seconds=chosen.slow_query),
            is_inline=is_inline,
        )

    @contextmanager
    def opened(self, *, is_made: bool = False) -> Iterator[Atlas]:
        """Open the chosen store inline for as long as the block lasts; `is_made` where making it was asked for."""
        atlas = self.atlas()
        if not is_made:
            self.tell_new(atlas)
        drive(atlas.store.open())
        try:
            yield atlas
        finally:
            drive(atlas.store.close())

    def confirm(self, question: str, *, is_yes: bool) -> None:
        """Ask before something is destroyed; raises InputError where nobody is there to answer, or Abort at a no."""
        if is_yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InputError(
                f"{question} nobody is here to say yes",
                field="yes",
                given=False,
                bound=True,
                hint="Pass --yes to go ahead without being asked.",
            )
        if not click.confirm(question, err=True):
            say("nothing was changed")
            raise click.exceptions.Exit(1)

    def answer(self, answer: Any, told: Callable[[Screen], Iterable[str]]) -> None:
        """Write a verb's answer: as JSON where it was asked for, else as `told` tells it."""
        if self.is_json:
            self.write_json(answer)
        else:
            # At once: echo flushes each time.
            click.echo("\n".join(told(self.screen)))

    def write_json(self, answer: Any) -> None:
        """Write one JSON document: on one line for programs, indented for a person."""
        import msgspec

        data = msgspec.json.encode(answer)
        click.echo(msgspec.json.format(data, indent=2 if sys.stdout.isatty() else -1))

    def write_line(self, answer: Any) -> None:
        """Write one JSON document on a line of its own, for answers that come one after the other."""
        import msgspec

        click.echo(msgspec.json.encode(answer))

    def tell_new(self, atlas: Atlas) -> None:
        """Say that a store that somebody named is about to be made: the name may be mistyped."""
        path = getattr(atlas.store, "path", None)
        is_named = self.configuration.sources["store_url"] in {"--store", "ATLAS_STORE_URL"}
        if is_named and path is not None and not path.exists():
            say(f"making a new store: {path}")

    def refuse(self, error: AtlasError) -> None:
        """Tell what went wrong: a line and its way out on stderr, or the facts as JSON on stdout."""
        for named, typed in _TYPED.items():
            error.hint = error.hint.replace(named, typed)
        if self.is_json:
            import json

            # A refused text may be no valid Unicode, which only an ASCII encoder takes.
            facts = {name: masked("", value) for name, value in error.as_dict().items()}
            click.echo(json.dumps(facts, default=str))
            return
        say(f"{error.code}: {clean(masked('', error.told()), is_line=True)}")
        say(f"hint: {clean(masked('', error.hint), is_line=True)}")

    def is_debugging(self) -> bool:
        """Say whether failures are to be told in full."""
        try:
            return self.configuration.settings.log_level == "debug"
        except AtlasError:
            return False


def say(line: str) -> None:
    """Tell the person something that is not part of the answer."""
    click.echo(line, err=True)


pass_run = click.pass_obj
"""Hands the Run to a command as its first argument."""
