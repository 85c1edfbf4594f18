"""The formats that plans can be imported from, by name or by what the files look like."""

from __future__ import annotations

from typing import Protocol

from ...errors import ImportFormatError, InputError, PathError
from ...model import limits
from ...model.path import parse_path
from . import atlas1, atlas_lines, backlog, beads, markdown, taskmaster
from .decode import parse_json, whole_bytes, whole_text
from .draft import Reading, Source

AUTO = "auto"


class Reader(Protocol):
    """What the module of a format offers."""

    def recognises(self, source: Source) -> bool:
        """Say whether `source` looks like this format; never raises for odd content."""

    def read(self, source: Source, *, project: str | None, most: int = ...) -> Reading:
        """Return the tasks, each with `most` dependencies at most.

        Raises ImportFormatError, naming the place, when the file is not of this format.
        """


# In the order in which they are tried: a format that is easily told comes before one that resembles others.
FORMATS: dict[str, Reader] = {
    "atlas1": atlas1,
    "backlog": backlog,
    "atlas": atlas_lines,
    "beads": beads,
    "taskmaster": taskmaster,
    "markdown": markdown,
}


def read_plan(
    source: Source,
    format: str = AUTO,  # noqa: A002 - the word of the interfaces
    project: str | None = None,
    most: int = limits.DEPENDENCIES,
) -> Reading:
    """Return the tasks of `source`; `project` names the first segment of their paths where the format allows.

    `most` is how many dependencies a task may have.


    Raises ImportFormatError (IMPORT_FORMAT) when the file is empty, too large, broken, or of no known format, and
    InputError when `format` or `project` is not one.
    """
    if format != AUTO and format not in FORMATS:
        raise ImportFormatError(
            f"{format!r} is no format of plans", field="format", given=format, bound=[AUTO, *sorted(FORMATS)]
        )
    if project is not None:
        _check_project(project)
    whole_bytes(source)
    name = _detect(source) if format == AUTO else format
    return FORMATS[name].read(source, project=project, most=most)


def _check_project(project: str) -> None:
    try:
        parse_path(project, "project")
    except PathError as error:
        raise InputError(error.message, field="project", given=project, bound=error.bound, hint=error.hint) from error
    if "/" in project:
        raise InputError(
            f"{project!r} is no project but a path",
            field="project",
            given=project,
            bound="one segment",
            hint="Name a project; move its tasks below another one afterwards.",
        )


def _detect(source: Source) -> str:
    found = next((name for name, reader in FORMATS.items() if reader.recognises(source)), None)
    if found is not None:
        return found
    text = whole_text(source)
    if text.lstrip()[:1] in {"{", "["}:
        parse_json(text, source=source.name)
    raise ImportFormatError(
        f"{source.name} is of no format that Atlas reads",
        field="file",
        given=text[:200],
        bound=sorted(FORMATS),
        hint="A Markdown plan needs a heading, a list or a table of tasks; name the format with --format.",
    )
