"""Reads the JSON lines of beads (`issues.jsonl`).

The prefix of the ids becomes the project, and the source of a record is its id. Title, description, design, notes,
labels and comments go to their fields; everything else stays as it was written in `metadata.beads`, the links as
`dependencies` (parents and blockers) and `links` (kinds that Atlas has no word for).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ...errors import ImportFormatError
from ...model import limits
from ...model.task import Criterion, Priority, Status, Type
from .decode import clean, decode, parse_json, whole_bytes, whole_text
from .draft import Draft, DraftNote, Reading, Remark, Source
from .finish import finish
from .links import Link
from .tree import Node, place, roots_of, segment_of
from .words import instant_of

LABEL = "beads"

STATUSES: dict[str, tuple[Status, str | None]] = {
    "open": (Status.PENDING, None),
    "in_progress": (Status.IN_PROGRESS, None),
    "hooked": (Status.IN_PROGRESS, None),
    "closed": (Status.COMPLETED, None),
    "tombstone": (Status.CANCELLED, None),
    "deferred": (Status.BLOCKED, "deferred in beads"),
    "blocked": (Status.BLOCKED, "blocked in beads"),
}
PRIORITIES = {0: Priority.CRITICAL, 1: Priority.HIGH, 2: Priority.MEDIUM, 3: Priority.LOW, 4: Priority.LOW}
TIMES = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "started_at": "started_at",
    "closed_at": "completed_at",
    "due_at": "due_at",
}
_FIRST_LINES = 20
PARENT, BLOCKS = "parent-child", "blocks"
_CONTAINERS = frozenset({"epic"})
_DOTTED = re.compile(r"(.+)\.\d+\Z")
_BULLET = re.compile(r"(?:(?:[-*+]|\d{1,9}[.)])\s+)?(?:\[([ xX])\]\s+)?(\S.*)")


class _Issue(msgspec.Struct):
    """A record on its way to a draft; `parent` is its id, `others` are the links that make no parent."""

    key: str
    project: str
    record: dict[str, Any]
    parent: str | None = None
    earlier: list[dict[str, Any]] = []


def recognises(source: Source) -> bool:
    """Say whether one of the first lines is a JSON object with an id, and a title or a status."""
    if len(source.files) != 1:
        return False
    try:
        text = decode(source.name, whole_bytes(source)).lstrip()
    except ImportFormatError:
        return False
    return text[:1] == "{" and any(_is_issue(line) for line in text.split("\n", _FIRST_LINES)[:_FIRST_LINES])


def _is_issue(line: str) -> bool:
    if line[:1] != "{":
        return False
    try:
        value, _ = parse_json(line, source="")
    except ImportFormatError:
        return False
    return isinstance(value, dict) and "id" in value and ("title" in value or "status" in value)


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES) -> Reading:
    """Return one draft for every issue, tombstones included."""
    remarks: list[Remark] = []
    issues, unread = _issues(source, remarks)
    projects = _projects(issues)
    for issue in issues.values():
        issue.project = projects[issue.key]
    for issue in issues.values():
        issue.parent = _parent(issue, issues, remarks)
    names = list(dict.fromkeys(projects.values()))
    roots, holder = roots_of({name: segment_of(name) for name in names}, project)
    drafts = [] if holder is None else [Draft(source=":", path=holder, name=holder, type=Type.GROUP)]
    for name in names:
        drafts.append(Draft(source=f"{name}:", path=roots[name], name=name, type=Type.GROUP))
        own = [issue for issue in issues.values() if issue.project == name]
        placed = place(roots[name], [Node(issue.key, issue.parent, segment_of(issue.key)) for issue in own])
        remarks += placed.remarks
        drafts += [_draft(issues[key], path, remarks) for key, path in placed.paths.items()]
    if unread:
        drafts[0] = msgspec.structs.replace(drafts[0], metadata={LABEL: {"unread": unread}})
    return finish(LABEL, drafts, _links(issues), remarks, most)


def _issues(source: Source, remarks: list[Remark]) -> tuple[dict[str, _Issue], list[dict[str, Any]]]:
    """Return the records by id, and the lines that are none; when no line can be read, say what is wrong."""
    issues: dict[str, _Issue] = {}
    unread: list[dict[str, Any]] = []
    first: ImportFormatError | None = None
    for number, line in enumerate(whole_text(source).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record, told = parse_json(line, source=f"{source.name} line {number}", line=number)
        except ImportFormatError as error:
            first, record, told = first or error, None, [Remark(source=f"line {number}", message=error.message)]
        remarks += told
        if isinstance(record, dict):
            _add(record, number, issues, remarks)
        else:
            unread.append({"line": number, "text": clean(line.rstrip("\r"))[0]})
            remarks.append(Remark(source=f"line {number}", message="not an issue; kept in metadata of the project"))
    if not issues:
        raise first or ImportFormatError(
            f"{source.name} holds no issue", field="file", given=source.name, bound="one JSON object on each line"
        )
    return issues, unread


def _add(record: dict[str, Any], number: int, issues: dict[str, _Issue], remarks: list[Remark]) -> None:
    told = record.get("id")
    if isinstance(told, str) and told.strip():
        key = told.strip()
    else:
        key = f"line {number}"
        remarks.append(Remark(source=key, message=f"the id {told!r} is none; called after its line"))
    before = issues.pop(key, None)
    earlier = [*before.earlier, before.record] if before else []
    issues[key] = _Issue(key, "", record, None, earlier)
    if before:
        remarks.append(Remark(source=key, message=f"the id is given again on line {number}; the last one counts"))


def _projects(ids: Iterable[str]) -> dict[str, str]:
    """Return the prefix of every id: what precedes its last hyphen, or a shorter prefix that the file has as well.

    `bd-mol-4kx` belongs to `bd` in a file with `bd-1dez`, while `my-app-4kx` alone belongs to `my-app`. An id without a
    hyphen goes to the first project of the file.
    """
    own = {key: key.rpartition("-")[0] for key in ids}
    known = dict.fromkeys(prefix for prefix in own.values() if prefix)
    others = next(iter(known), LABEL)
    made = {}
    for key, prefix in own.items():
        parts = prefix.split("-")
        shorter = ("-".join(parts[:count]) for count in range(1, len(parts)))
        made[key] = next((candidate for candidate in shorter if candidate in known), prefix) or others
    return made


def _records(record: dict[str, Any], field: str) -> list[dict[str, Any]]:
    told = record.get(field)
    return [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []


def _is_own(link: dict[str, Any], key: str, kind: str) -> bool:
    return link.get("type") == kind and link.get("issue_id", key) == key


def _parent(issue: _Issue, issues: dict[str, _Issue], remarks: list[Remark]) -> str | None:
    """Choose the parent: of those linked the one that the id names, else the first; without a link, what it names."""
    links = [link for link in _records(issue.record, "dependencies") if _is_own(link, issue.key, PARENT)]
    told = [str(link.get("depends_on_id")) for link in links]
    parents = [parent for parent in told if parent in issues and issues[parent].project == issue.project]
    lost = [parent for parent in told if parent not in parents]
    remarks += [Remark(source=issue.key, message=f"its parent {parent!r} is not in the project") for parent in lost]
    named = _named(issue.key, issues)
    if not parents:
        return named
    chosen = named if named in parents else parents[0]
    for other in parents:
        if other != chosen:
            message = f"it has two parents; put below {chosen!r}, the link to {other!r} stays in metadata"
            remarks.append(Remark(source=issue.key, message=message))
    return chosen


def _named(key: str, issues: dict[str, _Issue]) -> str | None:
    """Return the nearest issue that a dotted id names as its parent: `bd-a.1` for `bd-a.1.2`, else `bd-a`."""
    match = _DOTTED.match(key)
    while match:
        if match[1] in issues and issues[match[1]].project == issues[key].project:
            return match[1]
        match = _DOTTED.match(match[1])
    return None


def _links(issues: dict[str, _Issue]) -> list[Link]:
    made = []
    for issue in issues.values():
        for link in _records(issue.record, "dependencies"):
            if _is_own(link, issue.key, BLOCKS):
                on = link.get("depends_on_id")
                made.append(Link(issue.key, on if isinstance(on, str) and on in issues else None, link))
    return made


def _draft(issue: _Issue, path: str, remarks: list[Remark]) -> Draft:
    record = issue.record
    title = record.get("title")
    told, reason = _status(issue, remarks)
    minutes = record.get("estimated_minutes")
    return Draft(
        source=issue.key,
        path=path,
        name=title if isinstance(title, str) and title.strip() else issue.key,
        type=Type.GROUP if record.get("issue_type") in _CONTAINERS else Type.TASK,
        status=told,
        reason=reason,
        description=_description(record),
        acceptance=_acceptance(record.get("acceptance_criteria")),
        priority=_priority(issue, remarks),
        assignee=record["assignee"] if isinstance(record.get("assignee"), str) and record["assignee"] else None,
        estimated_hours=minutes / 60 if isinstance(minutes, (int, float)) else None,
        tags=tuple(tag for tag in _listed(record, "labels") if isinstance(tag, str)),
        notes=_notes(record),
        metadata={LABEL: _rest(issue, remarks)},
        **_times(issue, remarks),
    )


def _listed(record: dict[str, Any], field: str) -> list[Any]:
    told = record.get(field)
    return told if isinstance(told, list) else []


def _times(issue: _Issue, remarks: list[Remark]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, field in TIMES.items():
        told = issue.record.get(key)
        made[field] = instant_of(told)
        if made[field] is None and told and not str(told).startswith("0001-"):
            remarks.append(Remark(source=issue.key, message=f"{key} {told!r} is no time; kept in metadata"))
    return made


def _status(issue: _Issue, remarks: list[Remark]) -> tuple[Status, str | None]:
    told = issue.record.get("status", "open")
    known = STATUSES.get(told) if isinstance(told, str) else None
    if known is None:
        remarks.append(Remark(source=issue.key, message=f"the status {told!r} has no equal; taken as PENDING"))
        return Status.PENDING, None
    return known


def _priority(issue: _Issue, remarks: list[Remark]) -> Priority:
    told = issue.record.get("priority", 2)
    known = PRIORITIES.get(told) if isinstance(told, int) and not isinstance(told, bool) else None
    if known is None:
        remarks.append(Remark(source=issue.key, message=f"the priority {told!r} has no equal; taken as medium"))
    return known or Priority.MEDIUM


def _description(record: dict[str, Any]) -> str:
    description, design = record.get("description"), record.get("design")
    parts = [description] if isinstance(description, str) and description else []
    if isinstance(design, str) and design:
        parts.append(f"## Design\n\n{design}")
    return "\n\n".join(parts)


def _acceptance(told: Any) -> tuple[Criterion, ...]:
    """Return a line of acceptance for each line of text; the text itself stays in metadata."""
    lines = [_BULLET.fullmatch(line.strip()) for line in told.split("\n")] if isinstance(told, str) else []
    return tuple(Criterion(match[2], match[1] in {"x", "X"}) for match in lines if match)


def _notes(record: dict[str, Any]) -> tuple[DraftNote, ...]:
    text = record.get("notes")
    made = [DraftNote(text=text)] if isinstance(text, str) and text else []
    for comment in _records(record, "comments"):
        if _is_note(comment):
            author = comment.get("author")
            by = author if isinstance(author, str) and author else None
            made.append(DraftNote(text=comment["text"], by=by, at=instant_of(comment.get("created_at"))))
    return tuple(made)


def _is_note(comment: Any) -> bool:
    return isinstance(comment, dict) and isinstance(comment.get("text"), str) and comment["text"] != ""


def _rest(issue: _Issue, remarks: list[Remark]) -> dict[str, Any]:
    """Return what no field of the draft holds word for word; `absent` names what the file says is null."""
    record = issue.record
    taken = {key for key in ("title", "description", "design", "notes") if isinstance(record.get(key), str)}
    if all(isinstance(tag, str) for tag in _listed(record, "labels")):
        taken.add("labels")
    for field in ("dependencies", "comments", "labels"):
        if isinstance(record.get(field), list):
            taken.add(field)
    kept = {key: value for key, value in record.items() if key not in taken and value is not None}
    kept.update(_kept_links(issue, remarks))
    if _listed(record, "comments"):
        kept["comments"] = [_without_text(comment) for comment in record["comments"]]
    odd = [tag for tag in _listed(record, "labels") if not isinstance(tag, str)]
    if odd:
        kept["labels"] = odd
    if issue.earlier:
        kept["earlier"] = issue.earlier
    absent = [key for key, value in record.items() if value is None]
    return {**kept, "absent": absent} if absent else kept


def _without_text(comment: Any) -> Any:
    return {key: value for key, value in comment.items() if key != "text"} if _is_note(comment) else comment


def _kept_links(issue: _Issue, remarks: list[Remark]) -> dict[str, Any]:
    known: list[Any] = []
    others: list[Any] = []
    for link in _listed(issue.record, "dependencies"):
        is_known = isinstance(link, dict) and (_is_own(link, issue.key, PARENT) or _is_own(link, issue.key, BLOCKS))
        (known if is_known else others).append(link)
        if isinstance(link, dict) and link.get("issue_id", issue.key) != issue.key:
            message = f"a link of {link['issue_id']!r} stands here; it stays in metadata"
            remarks.append(Remark(source=issue.key, message=message))
    return {name: links for name, links in (("dependencies", known), ("links", others)) if links}
