"""Reads a folder of Backlog.md: one Markdown page for each task, with front matter and sections.

The source of a record is its id. Description and acceptance criteria go to their fields, notes and comments become
notes, other sections stay sections of the description; the front matter is kept as written in `metadata.backlog`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...errors import ImportFormatError
from ...model import limits
from ...model.task import Criterion, Priority, Status, Type
from .decode import clean, decode
from .draft import Draft, DraftNote, Reading, Remark, Source
from .finish import finish
from .front_matter import Value, parse, split
from .links import Link
from .tree import Node, as_project, place, segment_of
from .words import instant_of, priority_of, status_of

LABEL = "backlog"
CONFIG = ("config.yml", "config.yaml", "backlog.config.yml")
ARCHIVE = "archive/"
TIMES = {
    "created_date": "created_at",
    "updated_date": "updated_at",
    "actual_start": "started_at",
    "actual_end": "completed_at",
    "due_date": "due_at",
}
_CHECKLISTS = ("acceptance criteria", "definition of done")
_NOTES = ("implementation notes", "notes")
_MARKER = re.compile(r"\s*<!-- (SECTION:\w+|AC|DOD|COMMENTS):(BEGIN|END) -->\s*\Z")
_HEADING = re.compile(r"## +(.*?)\s*#*\s*\Z")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_CHECK = re.compile(r"\s*[-*+] \[([ xX])\] (?:#(\d+) )?(.*)\Z")
_COMMENT = re.compile(r"<!-- COMMENT:BEGIN -->\n(.*?)\n?<!-- COMMENT:END -->", re.DOTALL)
_COMMENT_FIELD = re.compile(r"(index|author|created): *(.*)\Z")


class _Page(msgspec.Struct):
    """A task file: `sections` pairs titles with their text, the first untitled."""

    key: str
    file: str
    values: dict[str, Value]
    unread: list[str]
    sections: list[tuple[str, str]]


def recognises(source: Source) -> bool:
    """Say whether some page has front matter with an id and a title."""
    for name, data in source.files.items():
        if name.endswith(".md") and data[:3] in {b"---", b"\xef\xbb\xbf"}:
            head, _ = split(data.decode("utf-8-sig", "replace").replace("\r\n", "\n"))
            if head is not None and {"id", "title"} <= parse(head)[0].keys():
                return True
    return False


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES) -> Reading:
    """Return one draft for every page, archived ones as archived."""
    remarks: list[Remark] = []
    config, unread = _config(source), []
    pages: dict[str, _Page] = {}
    for name in sorted(source.files, key=lambda name: (name.startswith(ARCHIVE), name)):
        if name.endswith(".md"):
            text, dirty = clean(decode(name, source.files[name]).replace("\r\n", "\n"))
            page = _page(name, text, pages, remarks)
            if page is None:
                unread.append({"file": name, "text": text})
            if dirty:
                remarks.append(Remark(source=name, message="it held NUL, now U+FFFD"))
    if not pages:
        raise ImportFormatError(
            f"{source.name} holds no task of Backlog.md",
            field="file",
            given=sorted(source.files)[:20],
            bound="tasks/*.md with id and title in their front matter",
        )
    title = config.get("project_name")
    name = title if isinstance(title, str) and title.strip() else LABEL
    path = project or as_project(segment_of(name, LABEL))
    own = {key: value for key, value in (("config", config), ("unread", unread)) if value}
    root = Draft(source=":", path=path, name=name, type=Type.GROUP, metadata={LABEL: own} if own else {})
    index = _Index(pages)
    ordered = sorted(pages.values(), key=_rank)
    placed = place(path, [Node(page.key, _parent(page, index, remarks), segment_of(page.key)) for page in ordered])
    remarks += placed.remarks
    drafts = [root, *(_draft(pages[key], place_, remarks) for key, place_ in placed.paths.items())]
    links = [Link(page.key, index.find(told), told) for page in ordered for told in _list(page, "dependencies")]
    return finish(LABEL, drafts, links, remarks, most)


def _config(source: Source) -> dict[str, Value]:
    for name in CONFIG:
        if name in source.files:
            text, _ = clean(decode(name, source.files[name]).replace("\r\n", "\n"))
            values, unread = parse(text)
            return {**values, **({"unread": unread} if unread else {})}
    return {}


def _page(name: str, text: str, pages: dict[str, _Page], remarks: list[Remark]) -> _Page | None:
    head, body = split(text)
    if head is None:
        remarks.append(Remark(source=name, message="no front matter; kept in metadata of the project"))
        return None
    values, unread = parse(head)
    told = values.get("id")
    key = told if isinstance(told, str) and told else name
    if key in pages:
        message = f"it has the same id as {pages[key].file}; both are kept"
        key = f"{key}#{name}"
        remarks.append(Remark(source=key, message=message))
    if unread:
        remarks.append(Remark(source=key, message=f"{len(unread)} lines of its front matter are kept as text only"))
    pages[key] = _Page(key, name, values, unread, _sections(body))
    return pages[key]


def _sections(body: str) -> list[tuple[str, str]]:
    """Return the sections of a page; a heading within a marked section or a fence belongs to its text."""
    made: list[tuple[str, list[str]]] = [("", [])]
    fence, is_marked = "", False
    for line in body.split("\n"):
        marker, fenced, heading = _MARKER.match(line), _FENCE.match(line), _HEADING.match(line)
        if marker and not fence:
            is_marked = marker[2] == "BEGIN"
        elif heading and not fence and not is_marked:
            made.append((heading[1], []))
        else:
            made[-1][1].append(line)
            if fenced and (not fence or fenced[1] == fence):
                fence = "" if fence else fenced[1]
    return [(title, "\n".join(lines).strip("\n")) for title, lines in made]


class _Index:
    """Finds a page by what a dependency calls it: its id in any case, else its number."""

    def __init__(self, pages: dict[str, _Page]) -> None:
        self.ids: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        for key in pages:
            self.ids.setdefault(key.casefold(), key)
            self.numbers.setdefault(_number(key), key)

    def find(self, told: str) -> str | None:
        """Return the key of the page, None when there is none."""
        known = self.ids.get(told.casefold())
        return known if known is not None else self.numbers.get(_number(told)) if _number(told) else None


def _number(key: str) -> str:
    """Return the number of an id without prefix and padding: `TASK-02.1` and `back-2.1` are both `2.1`."""
    match = re.search(r"(\d+(?:\.\d+)*)\Z", key)
    return ".".join(str(int(part)) for part in match[1].split(".")) if match else ""


def _rank(page: _Page) -> tuple[bool, float, list[tuple[int, str]]]:
    told = page.values.get("ordinal")
    try:
        ordinal = float(told) if isinstance(told, str) else None
    except ValueError:
        ordinal = None
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", page.key)]
    return ordinal is None, ordinal or 0.0, natural


def _parent(page: _Page, index: _Index, remarks: list[Remark]) -> str | None:
    told = page.values.get("parent_task_id") or page.values.get("parent")
    if isinstance(told, str) and told:
        parent = index.find(told)
        if parent is None:
            remarks.append(Remark(source=page.key, message=f"its parent {told!r} is not in the folder"))
        return parent
    head, dot, _ = page.key.rpartition(".")
    return index.ids.get(head.casefold()) if dot else None


def _list(page: _Page, key: str) -> list[str]:
    told = page.values.get(key)
    return told if isinstance(told, list) else [told] if told else []


def _one(page: _Page, key: str) -> str:
    return next(iter(_list(page, key)), "")


def _draft(page: _Page, path: str, remarks: list[Remark]) -> Draft:
    acceptance, kept = _acceptance(page)
    status, reason = _status(page, remarks)
    return Draft(
        source=page.key,
        path=path,
        name=_one(page, "title") or page.key,
        status=status,
        reason=reason,
        description=_description(page, kept),
        acceptance=tuple(criterion for criterion, _ in acceptance),
        priority=_priority(page, remarks),
        assignee=_one(page, "assignee") or None,
        tags=tuple(_list(page, "labels")),
        notes=_notes(page, remarks),
        metadata={LABEL: _rest(page, acceptance)},
        archived=page.file.startswith(ARCHIVE),
        **_times(page, remarks),
    )


def _times(page: _Page, remarks: list[Remark]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, field in TIMES.items():
        told = _one(page, key)
        made[field] = instant_of(told)
        if told and made[field] is None:
            remarks.append(Remark(source=page.key, message=f"{key} {told!r} is no time; kept in metadata"))
    return made


def _status(page: _Page, remarks: list[Remark]) -> tuple[Status, str | None]:
    told = _one(page, "status")
    status = status_of(told) if told else Status.PENDING
    if status is None:
        remarks.append(Remark(source=page.key, message=f"the status {told!r} is not known; taken as PENDING"))
    return status or Status.PENDING, f"{told} in Backlog.md" if status is Status.BLOCKED else None


def _priority(page: _Page, remarks: list[Remark]) -> Priority:
    told = _one(page, "priority")
    known = priority_of(told) if told else Priority.MEDIUM
    if known is None:
        remarks.append(Remark(source=page.key, message=f"the priority {told!r} is not known; taken as medium"))
    return known or Priority.MEDIUM


def _acceptance(page: _Page) -> tuple[list[tuple[Criterion, str]], dict[str, str]]:
    """Return the lines of both checklists, each with its number, and what else their sections say."""
    found: list[tuple[Criterion, str]] = []
    rest: dict[str, str] = {}
    for title, text in page.sections:
        if title.casefold() not in _CHECKLISTS:
            continue
        others = []
        for line in text.split("\n"):
            match = _CHECK.match(line)
            if match:
                number = match[2] or "" if title.casefold() == _CHECKLISTS[0] else f"definition of done {match[2]}"
                found.append((Criterion(match[3], match[1] != " "), number))
            elif line.strip():
                others.append(line)
        if others:
            rest[title] = "\n".join(others)
    return found, rest


def _description(page: _Page, kept: dict[str, str]) -> str:
    parts = []
    for title, text in page.sections:
        name = title.casefold()
        if name in _CHECKLISTS:
            text = kept.get(title, "")
        if not text or name in _NOTES or (name == "comments" and _COMMENT.search(text)):
            continue
        parts.append(text if name in {"", "description"} else f"## {title}\n\n{text}")
    return "\n\n".join(parts)


def _notes(page: _Page, remarks: list[Remark]) -> tuple[DraftNote, ...]:
    made = []
    for title, text in page.sections:
        name = title.casefold()
        if name in _NOTES and text:
            made.append(DraftNote(text=text))
        elif name == "comments":
            made += [_comment(match[1]) for match in _COMMENT.finditer(text)]
            if _COMMENT.search(text) and (rest := _COMMENT.sub("", text).strip()):
                made.append(DraftNote(text=rest))
                remarks.append(Remark(source=page.key, message="text between its comments was made a note"))
    return tuple(made)


def _comment(block: str) -> DraftNote:
    head, _, body = block.partition("\n\n")
    matches = [_COMMENT_FIELD.match(line) for line in head.split("\n")]
    fields = {match[1]: match[2] for match in matches if match}
    at = instant_of(fields.get("created"))
    if not body or not all(matches) or (at is None and fields.get("created")):
        return DraftNote(text=block)
    return DraftNote(text=body, by=fields.get("author") or None, at=at)


def _rest(page: _Page, acceptance: list[tuple[Criterion, str]]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: value for key, value in page.values.items() if value not in (None, [], "")}
    kept["file"] = page.file
    numbers = [number for _, number in acceptance]
    if numbers != [str(index + 1) for index in range(len(numbers))] and any(numbers):
        kept["acceptance_numbers"] = numbers
    if page.unread:
        kept["unread"] = page.unread
    return kept
