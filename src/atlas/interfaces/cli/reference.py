"""The reference pages, made from the commands, the settings and the errors themselves.

`python -m atlas.interfaces.cli.reference docs` writes them; a test proves that the pages are what this makes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import click
import msgspec

from ... import errors
from ...errors import AtlasError
from ...settings import PREFIX, Settings, bound_of
from .main import SECTIONS, program
from .options import Command, everywhere

_MADE = "<!-- Made by `python -m atlas.interfaces.cli.reference docs`; a test compares. -->"

_CLI = """\
# The command line

{made}

{help}

{epilog}

Errors go to stderr as `CODE: message` and a hint. With `--json` the answer goes to stdout as JSON, and so does a
refusal, with its code. [Settings](settings.md) says how the store is chosen, [errors](errors.md) what the codes mean.

Options that name several things (`--tag`, `--note`, …) are repeated. These stand before or behind a command's name:

"""

_SETTINGS = """\
# Settings

{made}

A flag counts before the environment, the environment before `atlas.toml`, and that before the default. `atlas.toml` is
looked for in the working folder and above, up to the folder of `.atlas/`; relative paths in it start at its own folder.
What it does not know, it refuses; an unknown `ATLAS_…` variable is warned about. An empty variable counts as not set.
`atlas settings` shows what is in force and from where, with secrets masked.

| In `atlas.toml` | In the environment | Values | Default | |
|---|---|---|---|---|
{rows}

## Which store

1. The one that `--store` names, else `ATLAS_STORE_URL`, else `store_url` in `atlas.toml`. One that is not there yet is
   made; where a flag or the environment named it, that is said on stderr.
2. Else `atlas.db` in the nearest `.atlas/` from the working folder upwards; `atlas init` makes one. A git worktree uses
   that of its main checkout. `.atlas/` ignores itself in git; only its owner may read what is in it.
3. Else `atlas/atlas.db` in the user's data folder (`XDG_DATA_HOME`, else `~/.local/share`), which is said on stderr.

A SQLite URL takes `?synchronous=normal` (faster; the last changes can be lost with the machine's power, never with the
program) and `?force=1` (also on a network or synced folder). [backends.md](backends.md) has the other options, and
those of the other stores.

## Other variables

`NO_COLOR` and `TERM=dumb` take the colours away. `LOGNAME` or `USER` names the actor when no setting does.
"""

_ERRORS = """\
# Errors

{made}

Every refusal and failure has a `code` that stays, a `message` for reading and a `hint` that says what would have
worked; where they apply, the `field`, its `bound` and what was `given`, and `details`. `retryable` says whether the
same call can succeed later. A refused call has changed nothing.

| Code | Means | Hint, where none fits better | Retry |
|---|---|---|---|
{rows}
"""


def cli_page() -> str:
    """Return docs/cli.md."""
    ctx = click.Context(program, info_name="atlas")
    lines = [_CLI.format(made=_MADE, help=program.help, epilog=program.epilog) + "\n".join(_options(everywhere(), ctx))]
    for title, section in SECTIONS.items():
        lines += ["", f"## {title}"]
        for name in section:
            for called, command in commands_of(ctx, name):
                lines += ["", *_command(command, called)]
    return "\n".join(lines) + "\n"


def commands_of(ctx: click.Context, name: str) -> Iterator[tuple[str, Command]]:
    """Yield a command of the program by its full name, or those of a group of commands."""
    found = program.get_command(ctx, name)
    if isinstance(found, Command):
        yield name, found
    elif isinstance(found, click.Group):
        yield from ((f"{name} {word}", each) for word, each in found.commands.items() if isinstance(each, Command))


def _command(command: Command, name: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=f"atlas {name}")
    options = [param for param in command.own if isinstance(param, click.Option)]
    arguments = [param for param in command.own if not isinstance(param, click.Option)]
    usage = ["[OPTIONS]"] if options else []
    usage += [piece for param in arguments for piece in param.get_usage_pieces(ctx)]
    yield f"### `{' '.join(['atlas', name, *usage])}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    if options:
        yield ""
        yield from _options(options, ctx)


def _options(options: list[click.Option], ctx: click.Context) -> Iterator[str]:
    yield "| Option | |"
    yield "|---|---|"
    for option in options:
        record = option.get_help_record(ctx)
        if record is not None:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def settings_page() -> str:
    """Return docs/settings.md."""
    return _SETTINGS.format(made=_MADE, rows="\n".join(_setting(field) for field in msgspec.structs.fields(Settings)))


def _setting(field: msgspec.structs.FieldInfo) -> str:
    meta, bound = get_args(field.type)[1], bound_of(field.name)
    values = bound if isinstance(bound, str) else ", ".join(f"`{value}`" for value in bound)
    default = f"`{field.default}`" if field.default != "" else ""
    names = f"| `{field.name}` | `{PREFIX}{field.name.upper()}`"
    return f"{names} | {values} | {default} | {_cell(meta.description)} |"


def errors_page() -> str:
    """Return docs/errors.md."""
    rows = [_error(depth, kind) for depth, kind in _tree(AtlasError) if kind is not AtlasError]
    return _ERRORS.format(made=_MADE, rows="\n".join(rows))


def _error(depth: int, kind: type[AtlasError]) -> str:
    meaning = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    code = f"{'&nbsp;&nbsp;' * (depth - 1)}`{kind.code}`"
    return f"| {code} | {_cell(meaning)} | {_cell(kind.hint)} | {'yes' if kind.retryable else ''} |"


def _tree(kind: type[AtlasError], depth: int = 0) -> Iterator[tuple[int, type[AtlasError]]]:
    yield depth, kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below, depth + 1)


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (Path(sys.argv[1]) / page).write_text(make(), "utf-8")
