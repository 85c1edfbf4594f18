"""Commands that serve MCP, and those that tell clients and shells how to start Atlas."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import InputError
from ...projects import anchored, make_project
from . import quick
from .clients import CLIENTS, config_for
from .options import command
from .run import Run, pass_run, say

if TYPE_CHECKING:
    from ...atlas import Atlas

EXAMPLE = "examples/plan.md"

tools_option = click.option("--tools", metavar="PROFILE", help="Which tools are shown: core, standard or all.")


@command()
@click.option("--print-config", "client", type=click.Choice(sorted(CLIENTS)), help="Print what a client's file needs.")
@tools_option
@pass_run
def mcp(run: Run, client: str | None, tools: str | None) -> None:
    """Serve MCP over stdin and stdout, for one client.

    Ends when stdin does.
    """
    if client is not None:
        _print_config(run, client)
        return
    if tools is not None:
        run.flags["tools"] = tools
    settings = run.configuration.settings

    async def serve(atlas: Atlas) -> None:
        from ..mcp import serve_stdio

        await serve_stdio(atlas, profile=settings.tools, project_folder=run.configuration.project)

    _run(run, serve, source="mcp")


def _print_config(run: Run, client: str) -> None:
    run.atlas()  # refuses a store that could not be served
    say(f"put into {CLIENTS[client].file}:")
    click.echo(_config(run, client))


def _config(run: Run, client: str) -> str:
    made = run.configuration
    return config_for(
        client, store_url=anchored(made.settings.store_url, Path.cwd()), is_project=made.project is not None
    )


@command()
@click.option("--host", metavar="HOST", help="The address to listen on (default 127.0.0.1).")
@click.option("--port", metavar="N", help="The port to listen on (default 8765); 0 takes a free one.")
@tools_option
@click.option("--public", is_flag=True, help="Listen where other machines reach it; nobody is asked who they are.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name that requests may call it by.")
@click.option(
    "--example",
    metavar="FILE",
    is_flag=False,
    flag_value=EXAMPLE,
    help=f"Where there is no store yet, make .atlas/ here and import FILE (default {EXAMPLE}).",
)
@pass_run
def serve(
    run: Run,
    *,
    host: str | None,
    port: str | None,
    tools: str | None,
    public: bool,
    hosts: tuple[str, ...],
    example: str | None,
) -> None:
    """Serve MCP over HTTP, for any number of clients.

    Until it is interrupted.
    """
    run.flags.update({"host": host, "port": port, "tools": tools})
    plan = None if example is None else _example(run, example)
    settings, project = run.configuration.settings, run.configuration.project

    async def served(atlas: Atlas) -> None:
        from ..mcp import serve_http

        if plan is not None:
            await atlas.plans.load(file=str(plan))
        total = (await atlas.lists.by_path("**", archived=True, limit=1, fields=("path",))).total
        await serve_http(
            atlas,
            host=settings.host,
            port=settings.port,
            profile=settings.tools,
            project_folder=project,
            is_public=public,
            hosts=hosts,
            on_listening=lambda url: _announce(run, atlas, url, total),
        )

    _run(run, served, source="mcp")


def _example(run: Run, file: str) -> Path | None:
    """Return the plan to import, None where there is a store already; makes the project where there is none."""
    if run.configuration.is_fallback:
        make_project(Path.cwd())
        del run.configuration
    path = getattr(run.atlas().store, "path", None)
    if path is not None and Path(path).exists():
        return None
    if not Path(file).is_file():
        raise InputError(
            f"there is no plan {file}", field="example", given=file, hint="Name a file with --example FILE."
        )
    return Path(file)


def _announce(run: Run, atlas: Atlas, url: str, total: int) -> None:
    if run.is_json:
        run.write_line({"url": url, "store": atlas.store.url, "tasks": total})
    else:
        click.echo(f"Atlas listens at {url}")
        click.echo(f"store  {atlas.store.url}, {total} tasks")
        click.echo(
            f"\nA client that starts Atlas by itself takes this, here for Claude Code in {_file('claude-code')}:\n"
        )
        click.echo(_config(run, "claude-code"))
        others = ", ".join(name for name in CLIENTS if name != "claude-code")
        click.echo(f"\nFor {others}: atlas mcp --print-config NAME. Ctrl-C ends the server.")
    sys.stdout.flush()


def _file(client: str) -> str:
    return CLIENTS[client].file


def _run(run: Run, serve: Any, *, source: str) -> None:
    """Open the store for a server, with logs, for as long as it serves."""
    import asyncio

    from ...operations.logs import logging_to

    settings = run.configuration.settings

    async def served() -> None:
        made = run.atlas(source=source, is_inline=False)
        run.tell_new(made)
        async with made as atlas:
            await serve(atlas)

    quick.last()
    with logging_to(level=settings.log_level, format=settings.log_format, file=settings.log_file):
        asyncio.run(served())


@command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes words in a shell.

    For bash: eval "$(atlas completion bash)" in ~/.bashrc; for fish: atlas completion fish | source.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(ctx.find_root().command, {}, "atlas", "_ATLAS_COMPLETE").source())
