"""The page of imports names every format, word and status that the readers know."""

from __future__ import annotations

import typing

from tests.guards.sources import blocks, names_in, pages, section, tables

from atlas.model import limits
from atlas.model.task import Priority, Status
from atlas.work.imports import beads, markdown, outline, taskmaster, words
from atlas.work.imports.draft import Source
from atlas.work.imports.formats import FORMATS, read_plan
from atlas.work.plans import ExportFormat

PAGE = pages()["docs/imports.md"]
Statuses = dict[str, tuple[Status, str | None]]


def test_every_format_is_on_the_page_in_the_order_they_are_tried() -> None:
    assert [names_in(row[0])[0] for row in tables(section(PAGE, "Formats"))[0][1:]] == list(FORMATS)


def test_every_export_is_on_the_page() -> None:
    told = {names_in(row[0])[0] for row in tables(section(PAGE, "Exports"))[0][1:]}
    assert told == set(typing.get_args(ExportFormat))


def test_the_words_of_plans_are_those_that_are_read() -> None:
    """Statuses, priorities, fields and checkboxes."""
    statuses, priorities = tables(section(PAGE, "Words of statuses and priorities"))
    assert {Status(row[0]): row[1].split(", ") for row in statuses[1:]} == _split(words.STATUSES)
    assert {Priority(row[0]): row[1].split(", ") for row in priorities[1:]} == _split(words.PRIORITIES)
    _, fields, boxes = tables(section(PAGE, "Markdown"))
    assert {names_in(row[0])[0]: row[1].split(", ") for row in fields[1:]} == _split(outline.FIELDS)
    told = {box[1]: Status(status) for shown, status in boxes[1:] for box in names_in(shown)}
    assert told == markdown.MARKS


def _split(known: typing.Mapping[typing.Any, str]) -> dict[typing.Any, list[str]]:
    return {name: text.split("|") for name, text in known.items()}


def test_the_statuses_of_other_tools_become_what_the_page_says() -> None:
    """`manual` marks those that become a block with a reason."""
    assert _statuses("Taskmaster", 1) == _shown(taskmaster.STATUSES)
    assert _statuses("beads", 1) == _shown(beads.STATUSES)
    told = {int(row[0]): Priority(row[1]) for row in tables(section(PAGE, "beads"))[2][1:]}
    assert told == beads.PRIORITIES


def _statuses(title: str, index: int) -> dict[str, str]:
    return {names_in(row[0])[0]: row[1] for row in tables(section(PAGE, title))[index][1:]}


def _shown(known: Statuses) -> dict[str, str]:
    return {name: f"{status} (manual)" if reason else str(status) for name, (status, reason) in known.items()}


def test_the_example_is_read_as_the_page_says() -> None:
    """Project, group, tasks, and each field."""
    (example,) = blocks(section(PAGE, "Markdown"), "markdown")
    reading = read_plan(Source(name="plan.md", files={"plan.md": example.encode()}))
    assert reading.remarks == ()
    drafts = {draft.path: draft for draft in reading.drafts}
    assert list(drafts) == ["shop", "shop/basket", "shop/basket/data-model", "shop/basket/fill-the-basket"]
    filled = drafts["shop/basket/fill-the-basket"]
    assert (filled.priority, filled.estimated_hours, len(filled.acceptance)) == (Priority.HIGH, 12.0, 1)
    assert filled.dependencies == (drafts["shop/basket/data-model"].source,)
    assert drafts["shop/basket/data-model"].status is Status.COMPLETED


def test_the_sizes_of_the_page_are_in_force() -> None:
    assert f"{limits.IMPORT_BYTES // 2**20} MiB" in PAGE
    assert f"Up to {limits.IMPORT_RECORDS:,} records" in PAGE
