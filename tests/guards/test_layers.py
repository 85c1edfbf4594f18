"""A newcomer finds every folder by its first line: what lives there, and what it may import."""

from __future__ import annotations

import ast
import re

import pytest
from tests.guards.sources import SOURCE, modules

FOLDERS = sorted(str(file.parent.relative_to(SOURCE)) for file in SOURCE.rglob("*.py"))
BELOW = {
    "errors": frozenset(),
    "model": frozenset({"errors"}),
    "storage": frozenset({"model", "errors"}),
    "journal": frozenset({"storage", "model", "errors"}),
    "work": frozenset({"journal", "storage", "model", "errors", "verb"}),
    "operations": frozenset({"work", "journal", "storage", "model", "errors", "verb"}),
}
"""What each layer may import, as docs/architecture.md draws it; `make lint` checks the same transitively."""


@pytest.mark.parametrize("folder", sorted(set(FOLDERS) - {"."}))
def test_a_folder_says_what_lives_there_and_what_it_may_import(folder: str) -> None:
    """Import-linter refuses a wrong import; the sentence saves writing one."""
    file = SOURCE / folder / "__init__.py"
    assert file.is_file()
    said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    assert re.search(r"\b(?:may import|imports?)\b", said, re.IGNORECASE), said


@pytest.mark.parametrize("layer", sorted(BELOW))
def test_a_layer_imports_only_what_lies_below(layer: str) -> None:
    """Also late and within functions, where nobody looks."""
    own = [m for m in modules() if m.name == f"{layer}.py" or m.name.startswith(f"{layer}/")]
    assert own
    for module in own:
        for node in ast.walk(module.tree):
            for name in _imported(node, module.name):
                assert name in BELOW[layer] | {layer}, f"{module.name}:{getattr(node, 'lineno', 0)} imports {name}"


def _imported(node: ast.AST, file: str) -> set[str]:
    """Return the layers of Atlas that an import names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("atlas.")}
    if not isinstance(node, ast.ImportFrom):
        return set()
    if node.level == 0:
        parts = (node.module or "").split(".")
        return {parts[1]} if parts[0] == "atlas" and len(parts) > 1 else set()
    package = file.split("/")[:-1]
    base = package[: len(package) - (node.level - 1)]
    whole = [*base, *(node.module or "").split(".")] if node.module else base
    return {whole[0]} if whole else {alias.name for alias in node.names}
