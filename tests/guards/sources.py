"""The sources and pages that the guards look at."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "atlas"
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A source file, parsed; `name` is its path below `src/atlas`."""

    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def calls(self) -> Iterator[tuple[str, int]]:
        """What is called, as it is written, and on which line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node.lineno


@cache
def modules() -> tuple[Module, ...]:
    files = sorted(SOURCE.rglob("*.py"))
    texts = [(str(file.relative_to(SOURCE)), file.read_text("utf-8")) for file in files]
    return tuple(Module(name, text, ast.parse(text)) for name, text in texts)


@cache
def pages() -> dict[str, str]:
    """Every page that people read, by its path from the root of the repository."""
    files = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "examples" / "README.md"]
    return {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in sorted(files)}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, in their order."""
    return [text for named, text in _FENCE.findall(page) if named == language]


def without_blocks(page: str) -> str:
    return _FENCE.sub("", page)


def section(page: str, title: str) -> str:
    """What stands below a heading, up to the next one that is not below it."""
    lines = page.splitlines()
    heads = _headings(lines)
    start, level = next((at, level) for at, level in heads if lines[at].lstrip("#").strip() == title)
    end = next((at for at, other in heads if at > start and other <= level), len(lines))
    return "\n".join(lines[start + 1 : end])


def _headings(lines: list[str]) -> list[tuple[int, int]]:
    """The numbers of the lines that are headings, each with its level; what stands in a code block is none."""
    found, is_code = [], False
    for at, line in enumerate(lines):
        is_code = is_code is not line.startswith("```")
        match = re.match(r"(#{1,6}) ", line)
        if match and not is_code:
            found.append((at, len(match[1])))
    return found


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table as rows of cells, the heading first, without the line below it."""
    found: list[list[list[str]]] = []
    is_inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            is_inside = False
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not is_inside:
            found.append([])
        is_inside = True
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            found[-1].append(cells)
    return found


def names_in(text: str) -> list[str]:
    """What is set as code in a line of text."""
    return re.findall(r"`([^`]+)`", text)
