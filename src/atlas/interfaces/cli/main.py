"""The program `atlas`: its commands, each loaded when it is called, and what becomes of an error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ... import __version__
from ...errors import AtlasError, InternalError, StorageError
from . import quick
from .options import everywhere, help_option
from .run import Run, say

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Work": {
        "add": "tasks.add",
        "show": "reading.show",
        "list": "reading.list_",
        "tree": "reading.tree",
        "ready": "reading.ready",
        "start": "statuses.start",
        "done": "statuses.done",
        "fail": "statuses.fail",
        "block": "statuses.block",
        "cancel": "statuses.cancel",
        "reopen": "statuses.reopen",
        "update": "tasks.update",
        "move": "tasks.move",
        "delete": "tasks.delete",
        "bulk": "tasks.bulk",
    },
    "What happened": {"log": "journal.log", "wait": "journal.wait", "stats": "store.stats"},
    "Plans": {"import": "plans.import_", "export": "plans.export"},
    "The store": {
        "init": "store.init",
        "doctor": "store.doctor",
        "repair": "store.repair",
        "vacuum": "store.vacuum",
        "store": "migrating.store",
        "clear": "store.clear",
        "settings": "store.settings",
    },
    "Servers and shells": {"mcp": "serving.mcp", "serve": "serving.serve", "completion": "serving.completion"},
}

_PLACES = {name: place for section in SECTIONS.values() for name, place in section.items()}
_INTERRUPTED = 130


class Program(click.Group):
    """The group of all commands, which loads one only when it is needed."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:  # noqa: ARG002 - the signature is click's
        """Return the option for help, the same for the program and its commands."""
        return help_option()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Return the names in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module, _, function = place.partition(".")
        found: click.Command = getattr(import_module(f".{module}", __package__), function)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was meant."""
        name = args[0]
        if name not in _PLACES and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, _PLACES, n=2)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell the commands by subject."""
        for title, section in SECTIONS.items():
            rows = []
            for name in section:
                found = self.get_command(ctx, name)
                rows.append((name, found.get_short_help_str(90) if found is not None else ""))
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every failure ends as one line and an exit code."""
        run = ctx.ensure_object(Run)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except AtlasError as error:
            run.refuse(error)
            ctx.exit(1)
        except BrokenPipeError:
            # Whoever reads has enough; what is left in the buffer must not fail again when the program ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except click.exceptions.Exit:
            raise
        except (click.ClickException, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the outermost frame: nobody is to see a traceback
            run.refuse(_unexpected(error, run))
            ctx.exit(1)
        return result


def _unexpected(error: Exception, run: Run) -> AtlasError:
    """Return what a failure that nobody foresaw is told as; its traceback is for those who debug."""
    if isinstance(error, OSError) and error.filename is None:
        return StorageError(
            f"the answer could not be written: {error.strerror or error}",
            hint="What was asked may be done: look with `atlas log`.",
        )
    if isinstance(error, OSError):
        return StorageError(
            f"{error.filename}: {error.strerror or error}",
            hint="Check that the path exists and is yours.",
        )
    if run.is_debugging():
        import traceback

        say("".join(traceback.format_exception(error)))
    return InternalError(
        f"{type(error).__name__}: {error}", hint="Call again with ATLAS_LOG_LEVEL=debug, and report what that shows."
    )


def _version(ctx: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        click.echo(f"atlas {__version__}")
        ctx.exit()


program = Program(
    "atlas",
    help="Durable work memory for AI agents: what has to be done, who is doing it, and what happened.",
    epilog="A PATTERN is a glob: * in a segment, ? one character, ** any segments; a plain path means everything "
    "below it too. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.",
    params=[
        *everywhere(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit."""
    if sys.stdout is None:  # closed by whoever started this: nobody wants the answer
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the program ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        program.main(args=None if arguments is None else list(arguments), prog_name="atlas")
    finally:
        quick.leave_garbage()
