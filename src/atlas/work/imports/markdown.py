"""Reads a plan in Markdown: headings and items with parts become groups, other items tasks, paragraphs descriptions.

The first heading of level 1 is the project. Priority, estimate, status and the like stand on lines or items of their
own (`Depends on: …`) or in the columns of a table. A source is the path within the project, or what an export wrote.

An export carries what has no visible form in a comment below the title: `path`, `source`, `id`, and `kept`; and for a
visible field whose form is not exact, in `exact`, the digest of what the page says and the exact value. When somebody
edits the page, the digest differs, and what the page says wins.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import PurePath
from typing import Any

import msgspec

from ...errors import ImportFormatError, PathError
from ...model import limits
from ...model.path import is_id, name_of, parse_path
from ...model.task import Criterion, Status, Type
from .atlas_lines import rename
from .decode import clean, decode, whole_bytes, whole_text
from .draft import Draft, Reading, Remark, Source
from .finish import finish
from .fit import keep
from .front_matter import parse as parse_front_matter
from .front_matter import split
from .links import Link
from .names import Names, label_of
from .outline import Block, parse_outline
from .tree import Node, as_project, place, segment_of
from .words import hours_of, instant_of, priority_of, status_of

LABEL = "markdown"
MARKS = {" ": Status.PENDING, "!": Status.BLOCKED, "-": Status.CANCELLED}
MARKS |= dict.fromkeys("xX✓✔", Status.COMPLETED) | dict.fromkeys("~/>.", Status.IN_PROGRESS)
_BOLD = re.compile(r"(\*\*|__)((?:(?!\1).)+)\1\Z")
_NOTHING = frozenset({"", "-", "\u2013", "\u2014", "none", "n/a", "nothing", "no"})
_JSON_START = re.compile(r"\s*(?:\{|\[\s*[\[{\"])")


class Entry(msgspec.Struct):
    """A block that becomes a draft; `comment` is what an export wrote below its title, `preface` what stands above."""

    key: str
    block: Block
    parent: str | None
    comment: dict[str, Any]
    preface: str = ""


class _Tree(msgspec.Struct):
    """A project of the page: the entry at its root, where that goes, and the entries below it."""

    root: Entry
    path: str
    below: list[Entry]


def recognises(source: Source) -> bool:
    """Say whether the file is text with a heading, a list or a table of tasks."""
    if len(source.files) != 1:
        return False
    try:
        text = decode(source.name, whole_bytes(source))
    except ImportFormatError:
        return False
    return not _JSON_START.match(text) and "\0" not in text and bool(parse_outline(text).children)


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES) -> Reading:
    """Return the plan; with `project`, under that name."""
    remarks: list[Remark] = []
    text, dirty = clean(whole_text(source).replace("\r\n", "\n"))
    if dirty:
        remarks.append(Remark(source=source.name, message="the page held NUL, now U+FFFD"))
    head, body = split(text)
    page = parse_outline(body)
    trees = list(_trees(page, PurePath(source.name).stem, project, remarks))
    paths: dict[str, str] = {}
    for tree in trees:
        placed = place(tree.path, [Node(entry.key, entry.parent, _segment(entry)) for entry in tree.below])
        paths |= {tree.root.key: tree.path, **placed.paths}
        remarks += placed.remarks
    by_key = {entry.key: entry for tree in trees for entry in (tree.root, *tree.below)}
    entries = {key: by_key[key] for key in paths}
    sources = _sources(entries, paths, trees)
    remarks = [_renamed(remark, sources) for remark in remarks]
    drafts = [_visible(entries[key], sources[key], path, remarks) for key, path in paths.items()]
    if head is not None and drafts:
        values, unread = parse_front_matter(head)
        own = {"front_matter": {**values, **({"unread": unread} if unread else {})}}
        drafts[0] = msgspec.structs.replace(drafts[0], metadata=keep(drafts[0].metadata, LABEL, own))
    if any(entry.comment for entry in entries.values()):
        # An export comes back as it was; what a store has no room for is told when it is planted there.
        most = limits.DEPENDENCIES_MOST
    reading = finish(LABEL, drafts, _links(entries, sources, drafts), remarks, most)
    said = list(reading.remarks)
    made = [restore(draft, entries[key].comment, said) for key, draft in zip(paths, reading.drafts, strict=True)]
    if project is not None:
        made = rename(made, project, said)
    return Reading(format=LABEL, drafts=tuple(made), remarks=tuple(said))


def digest(value: Any) -> str:
    """Return a short mark of what a page says, by which an edit is noticed."""
    return f"{zlib.crc32(msgspec.json.encode(value)):08x}"


def _trees(page: Block, stem: str, project: str | None, remarks: list[Remark]) -> Iterator[_Tree]:
    """Give the exported projects of the page, and one for all the rest of it."""
    rest: list[Block] = []
    keys = map(str, count(1))
    preface = page.description()
    taken: set[str] = set()
    for block in page.children:
        comment = _comment(block)
        path = comment.get("path")
        if not comment.get("root"):
            rest.append(block)
        elif isinstance(path, str) and _is_path(path) and path not in taken:
            taken.add(path)
            yield _Tree(Entry(next(keys), block, None, comment, preface), path, list(_below(block.children, keys)))
            preface = ""
        else:
            remarks.append(Remark(source=block.text, message=f"its path {path!r} cannot be used; placed anew"))
            rest.append(block)
    if rest or not taken:
        whole = _whole(page, rest, project or stem)
        path = project or as_project(segment_of(label_of(whole.text)[1], "project"))
        yield _Tree(Entry(next(keys), whole, None, _comment(whole), preface), path, list(_below(whole.children, keys)))


def _whole(page: Block, rest: Sequence[Block], name: str) -> Block:
    """Return the project that no export wrote: its first heading of level 1, with all the blocks around that."""
    title = next((block for block in rest if block.kind == "heading" and block.level == 1), Block("heading", name))
    whole = msgspec.structs.replace(title, text=title.text or name, fields=page.fields + title.fields, children=[])
    for block in rest:
        whole.children += block.children if block is title else [block]
    return whole


def _below(blocks: Sequence[Block], keys: Iterator[str]) -> Iterator[Entry]:
    waiting: list[tuple[Block, str | None]] = [(block, None) for block in reversed(blocks)]
    while waiting:
        block, above = waiting.pop()
        entry = Entry(next(keys), block, above, _comment(block))
        yield entry
        waiting += [(child, entry.key) for child in reversed(block.children)]


def _comment(block: Block) -> dict[str, Any]:
    return block.comment if isinstance(block.comment, dict) else {}


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except PathError:
        return False
    return True


def _segment(entry: Entry) -> str:
    told = entry.comment.get("path")
    if isinstance(told, str) and _is_path(told):
        return name_of(told)
    return segment_of(label_of(title_of(entry.block))[1])


def title_of(block: Block) -> str:
    """Return the title as a name: without the stars around all of it."""
    bold = _BOLD.match(block.text)
    return bold[2].strip() if bold else block.text


def _sources(entries: Mapping[str, Entry], paths: Mapping[str, str], trees: Sequence[_Tree]) -> dict[str, str]:
    """Return the source of each entry: what an export wrote (its path by default), else the path in the project."""
    roots = {entry.key: tree.path for tree in trees for entry in (tree.root, *tree.below)}
    made: dict[str, str] = {}
    taken: set[str] = set()
    for key, path in paths.items():
        comment = entries[key].comment
        told = comment.get("source", comment.get("path"))
        if not isinstance(told, str) or told in taken:
            entries[key].comment = {}
            told = path[len(roots[key]) + 1 :] or "."
            while told in taken:
                told += "'"
        taken.add(told)
        made[key] = told
    return made


def _renamed(remark: Remark, sources: Mapping[str, str]) -> Remark:
    return msgspec.structs.replace(remark, source=sources.get(remark.source, remark.source))


def _visible(entry: Entry, source: str, path: str, remarks: list[Remark]) -> Draft:
    """Return what the page says to its readers."""
    block = entry.block
    fields = _Fields(block, source, path, remarks)
    description = block.description()
    if entry.comment.get("quoted"):
        description = _unquoted(description)
    if entry.preface and entry.comment:
        fields.kept["preface"] = entry.preface
    elif entry.preface:
        description = f"{entry.preface}\n\n{description}".rstrip("\n")
    is_group = block.kind == "heading" or bool(block.children)
    return Draft(
        source=source,
        path=path,
        name=title_of(block),
        type=Type.GROUP if is_group else Type.TASK,
        status=fields.status(),
        description=description,
        acceptance=tuple(fields.acceptance()),
        tags=tuple(fields.words("tags")),
        **fields.scalars(),
        metadata=fields.metadata(),
    )


def _unquoted(text: str) -> str:
    lines = text.split("\n")
    if not all(line.startswith(">") for line in lines):
        return text
    return "\n".join(line[2:] if line.startswith("> ") else line[1:] for line in lines)


class _Fields:
    """Reads the fields of one block; what cannot be understood is kept in metadata as it was written."""

    def __init__(self, block: Block, source: str, path: str, remarks: list[Remark]) -> None:
        self.block, self.source, self.path, self.remarks = block, source, path, remarks
        self.kept: dict[str, Any] = {"columns": block.columns} if block.columns else {}

    def status(self) -> Status | None:
        """Return the status that the checkbox or a field tells; a box that is not empty says more than a field."""
        told = self._first("status", lambda word: status_of(word.strip("[]") or "pending"))
        marked = MARKS.get(self.block.mark) if self.block.mark is not None else None
        return told if told is not None and marked in {None, Status.PENDING} else marked

    def scalars(self) -> dict[str, Any]:
        """Return the fields of one value that the page tells."""
        told = {
            "priority": self._first("priority", priority_of),
            "estimated_hours": self._first("estimate", hours_of),
            "due_at": self._first("due", instant_of),
            "assignee": self._first("assignee", str),
        }
        return {field: value for field, value in told.items() if value is not None}

    def _first(self, field: str, meaning: Any) -> Any:
        values = self.block.values(field)
        known = meaning(values[0]) if values else None
        unknown = values[1:] if known is not None else values
        if unknown:
            self.kept[field] = unknown if len(unknown) > 1 else unknown[0]
            message = f"{field} {unknown[0]!r} is not understood; kept in metadata"
            self.remarks.append(Remark(source=self.source, path=self.path, message=message))
        return known

    def words(self, field: str) -> Iterator[str]:
        """Give the words of a list: separated by commas, or each behind a hash."""
        for value in self.block.values(field):
            parts = value.split(",") if "," in value or not value.startswith("#") else value.split()
            yield from (word for part in parts if (word := part.strip().strip("`").lstrip("#").strip()))

    def acceptance(self) -> Iterator[Criterion]:
        """Give the lines below `Acceptance:`."""
        for name, block in self.block.fields:
            if name == "acceptance":
                texts = [block.text, *block.lines]
                yield from (Criterion(text.strip()) for text in texts if text.strip())
                for child in block.children:
                    text = "\n".join([child.text, *child.lines]).strip()
                    yield Criterion(text, MARKS.get(child.mark or " ") is Status.COMPLETED)

    def metadata(self) -> dict[str, Any]:
        """Return what was not understood."""
        return {LABEL: self.kept} if self.kept else {}


def _links(entries: Mapping[str, Entry], sources: Mapping[str, str], drafts: Sequence[Draft]) -> list[Link]:
    names = Names()
    for entry, draft in zip(entries.values(), drafts, strict=True):
        parent = sources[entry.parent] if entry.parent is not None else None
        names.add(draft.source, draft.path, title_of(entry.block), entry.block.number, parent)
    made = []
    for entry, draft in zip(entries.values(), drafts, strict=True):
        values = entry.block.values("dependencies")
        exact = entry.comment.get("dependencies")
        if isinstance(exact, list) and len(exact) == 2 and exact[0] == digest(values) and isinstance(exact[1], list):
            made += [_exact_link(draft.source, str(told), names) for told in exact[1]]
        else:
            made += [link for value in values for link in _told_links(draft.source, value, names)]
    return made


def _exact_link(source: str, told: str, names: Names) -> Link:
    on = told if told in names.sources else names.paths.get(told, told)
    return Link(source, on, told, is_outside=is_id(on) or _is_path(on))


def _told_links(source: str, value: str, names: Names) -> Iterator[Link]:
    whole = names.find(value, source)
    for told in [value] if whole else names.split(value):
        if told.casefold() in _NOTHING:
            continue
        on = names.find(told, source)
        outside = told.strip("`").strip()
        is_outside = on is None and "/" in outside and _is_path(outside)
        yield Link(source, outside if is_outside else on, told, is_outside=is_outside)


def restore(draft: Draft, comment: Mapping[str, Any], remarks: list[Remark]) -> Draft:
    """Return `draft` with what an export wrote beside it, where the page still says what the export did."""
    if not comment:
        return draft
    told = msgspec.to_builtins(draft)
    exact = comment.get("exact")
    for field, pair in exact.items() if isinstance(exact, dict) else ():
        if isinstance(pair, list) and len(pair) == 2 and pair[0] == digest(getattr(draft, field, None)):
            told[field] = pair[1]
    kept = comment.get("kept")
    kept = kept if isinstance(kept, dict) else {}
    metadata = kept.get("metadata", {})
    if comment.get("seen") != digest(draft.metadata) and isinstance(metadata, dict):
        metadata = {**draft.metadata, **metadata}
    try:
        return msgspec.convert({**told, **kept, "metadata": metadata, "id": comment.get("id")}, Draft)
    except msgspec.ValidationError as error:
        message = f"the comment of the export was not used: {error}"
        remarks.append(Remark(source=draft.source, path=draft.path, message=message))
        return draft
