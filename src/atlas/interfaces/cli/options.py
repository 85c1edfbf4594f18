"""The options and arguments that commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from ...errors import InputError
from .run import Run, call

F = TypeVar("F", bound=Callable[..., Any])

_COMPLETIONS = 50


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    run = ctx.ensure_object(Run)
    if option.name == "json":
        run.is_json = run.is_json or bool(value)
    elif value is not None and option.name is not None:
        run.flags["store_url" if option.name == "store" else option.name] = value


def everywhere() -> list[click.Option]:
    """Return the options that stand before or behind a command's name."""
    return [
        click.Option(
            ["--store"],
            metavar="URL",
            expose_value=False,
            callback=_remember,
            help="The store to use (sqlite:///…, file:…, postgresql://…, redis://…).",
        ),
        click.Option(
            ["--actor"], metavar="NAME", expose_value=False, callback=_remember, help="Who is named in the journal."
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Answer as JSON, refusals too.",
        ),
    ]


def help_option() -> click.Option:
    """Return the option that shows the help and ends."""

    def show(ctx: click.Context, _option: click.Parameter, is_asked: bool) -> None:
        if is_asked and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()

    return click.Option(
        ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show this help."
    )


class Command(click.Command):
    """A command that also takes the options of the whole program."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.own = list(self.params)
        self.params.extend(everywhere())

    def get_help_option(self, ctx: click.Context) -> click.Option | None:  # noqa: ARG002 - the signature is click's
        """Return the option for help, whose text click would first look up in catalogues of translations."""
        return help_option()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell the command's own options first."""
        own = [
            record
            for param in self.own
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None
        ]
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        shared = self.params[len(self.own) :]
        help_option = self.get_help_option(ctx)
        rest = [*shared, help_option] if help_option is not None else shared
        with formatter.section("Everywhere"):
            formatter.write_dl([record for param in rest if (record := param.get_help_record(ctx)) is not None])


def command(name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help."""
    return click.command(name, cls=Command)


def _complete_path(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the paths that begin like the word; a completion is never the place to complain."""
    from contextlib import redirect_stderr
    from io import StringIO

    from ...errors import AtlasError

    run = ctx.ensure_object(Run)
    try:
        with redirect_stderr(StringIO()), run.opened() as atlas:
            page = call(atlas.lists.by_path, _pattern_of(incomplete), limit=_COMPLETIONS, fields=("path",))
    except (AtlasError, OSError):
        return []
    return [task["path"] for task in page.tasks]


def _pattern_of(incomplete: str) -> str:
    head, slash, last = incomplete.rpartition("/")
    return f"{head}{slash}{last}*" if last or not slash else f"{head}/*"


def path_argument(name: str = "path", *, nargs: int = 1, required: bool = True) -> Callable[[F], F]:
    """Take a path (or an id), completed from the store."""
    return click.argument(
        name,
        nargs=nargs,
        required=required,
        metavar="PATH..." if nargs < 0 else "PATH" if required else "[PATH]",
        shell_complete=_complete_path,
    )


pattern_argument = click.argument(
    "pattern",
    required=False,
    default="**",
    metavar="[PATTERN]",
    shell_complete=_complete_path,
    callback=lambda *a: whole(a[2]),
)


def whole(pattern: str) -> str:
    """Return a pattern; a path without wildcards stands for the task and everything below it."""
    return pattern if any(sign in pattern for sign in "*?") else f"{pattern.rstrip('/')}/**"


yes_option = click.option("--yes", "-y", "is_yes", is_flag=True, help="Do not ask.")
key_option = click.option("--idempotency-key", metavar="KEY", help="Repeating the call with it changes nothing more.")
version_option = click.option("--expected-version", type=int, metavar="N", help="Refuse if the task has another one.")
limit_option = click.option("--limit", type=int, metavar="N", help="At most so many (default 50).")
cursor_option = click.option("--cursor", metavar="CURSOR", help="Go on where the page before ended.")


def given(**values: Any) -> dict[str, Any]:
    """Return the arguments that were given at all, so that the verb's own defaults hold for the others."""
    return {name: value for name, value in values.items() if value is not None and value != ()}


def instant(text: str | None, field: str) -> datetime | None:
    """Return a date or time; without a zone it is the one of this machine."""
    if text is None:
        return None
    try:
        made = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{field} {text!r} is no date or time",
            field=field,
            given=text,
            bound="ISO 8601",
            hint="Write 2026-03-31, 2026-03-31T17:00 or 2026-03-31T17:00Z.",
        ) from error
    try:
        return made if made.tzinfo is not None else made.astimezone()
    except (OverflowError, ValueError, OSError) as error:
        raise InputError(
            f"{field} {text!r} is out of range", field=field, given=text, bound="years 2 to 9998"
        ) from error


def place(text: str | None, field: str) -> int | datetime | None:
    """Return a place in the journal: a seq, or a time."""
    if text is not None and text.isascii() and text.isdigit():
        return int(text)
    return instant(text, field)


def json_value(text: str, field: str) -> Any:
    """Return what a JSON text says; raises InputError."""
    import msgspec

    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InputError(
            f"{field} is not JSON: {error}",
            field=field,
            given=text,
            bound="JSON",
            hint='Write it as JSON, like {"key": "value"}; a shell takes it between single quotes.',
        ) from error


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Return FIELD=VALUE pairs: the value is JSON, or else the text itself."""
    made: dict[str, Any] = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals or not field:
            raise InputError(
                f"{pair!r} is not FIELD=VALUE",
                field="set",
                given=pair,
                bound="FIELD=VALUE",
                hint="Write tags=[] or name=x.",
            )
        try:
            made[field] = json_value(text, field)
        except InputError:
            made[field] = text
    return made
