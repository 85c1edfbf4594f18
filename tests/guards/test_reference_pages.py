"""The reference pages are what the program itself says, and leave nothing out."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import click
import msgspec
import pytest

import atlas
from atlas import errors
from atlas.interfaces.cli.main import SECTIONS, program
from atlas.interfaces.cli.options import Command
from atlas.interfaces.cli.reference import PAGES, commands_of
from atlas.settings import PREFIX, Settings
from atlas.work.arguments import TaskFields, Updates

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_is_as_it_is_made(page: str) -> None:
    assert (ROOT / "docs" / page).read_text("utf-8") == PAGES[page](), (
        "run: python -m atlas.interfaces.cli.reference docs"
    )


def test_every_command_is_on_the_page_with_help_for_each_option() -> None:
    page = PAGES["cli.md"]()
    ctx = click.Context(program)
    for section in SECTIONS.values():
        for name in section:
            commands = list(commands_of(ctx, name))
            assert commands
            for called, command in commands:
                assert command.name == called.rpartition(" ")[2]
                assert command.help
                assert f"### `atlas {called}" in page
                for option in command.own:
                    if isinstance(option, click.Option):
                        assert option.help, (called, option.name)
                        assert option.opts[0] in page


def test_every_setting_is_on_the_page() -> None:
    page = PAGES["settings.md"]()
    for name in Settings.__struct_fields__:
        assert f"`{PREFIX}{name.upper()}`" in page


def test_every_error_is_on_the_page_and_in_the_drawing() -> None:
    page = PAGES["errors.md"]()
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.AtlasError)]
    for kind in kinds:
        if kind is not errors.AtlasError:
            assert f"`{kind.code}`" in page
            assert f" {kind.__name__} " in str(errors.__doc__)
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)


def test_every_field_of_a_task_has_an_option() -> None:
    ctx = click.Context(program)
    for name, fields in (("add", TaskFields), ("update", Updates)):
        command = program.get_command(ctx, name)
        assert isinstance(command, Command)
        assert {param.name for param in command.own} >= {field.name for field in msgspec.structs.fields(fields)}


def test_only_the_settings_read_the_environment() -> None:
    for file in Path(atlas.__file__).parent.rglob("*.py"):
        if file.name == "settings.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"environ", "environb", "getenv"}, file
