"""Reads Taskmaster's `tasks.json`, with tags or in the older shape without them.

A tag becomes a project; `details` becomes a section of the description and `testStrategy` a line of acceptance. A
source is `tag:id` (`tag:4.2` for subtask 2 of task 4), the root of a tag is `tag:`. All other fields of a record, and
its dependencies, status and times as they were written, are kept in `metadata.taskmaster`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ...errors import ImportFormatError
from ...model import limits
from ...model.task import Criterion, Status, Type
from .decode import decode, parse_json, whole_bytes, whole_text
from .draft import Draft, Reading, Remark, Source
from .finish import finish
from .fit import cut, keep
from .links import Link
from .tree import Node, place, roots_of, segment_of
from .words import instant_of, priority_of

LABEL = "taskmaster"
UNTAGGED = "master"

STATUSES: dict[str, tuple[Status, str | None]] = {
    "pending": (Status.PENDING, None),
    "in-progress": (Status.IN_PROGRESS, None),
    "review": (Status.IN_PROGRESS, None),
    "done": (Status.COMPLETED, None),
    "completed": (Status.COMPLETED, None),
    "deferred": (Status.BLOCKED, "deferred in Taskmaster"),
    "blocked": (Status.BLOCKED, "blocked in Taskmaster"),
    "cancelled": (Status.CANCELLED, None),
}
TIMES = {
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "startedAt": "started_at",
    "completedAt": "completed_at",
    "dueDate": "due_at",
}
_TEXTS = ("title", "description", "details", "testStrategy")


class _Entry(msgspec.Struct):
    """A task or subtask on its way to a draft; `number` is its dotted id within the tag."""

    key: str
    tag: str
    number: str
    parent: str | None
    record: dict[str, Any]


def recognises(source: Source) -> bool:
    """Say whether the file is JSON with a list of tasks, under tags or not."""
    if len(source.files) != 1:
        return False
    try:
        text = decode(source.name, whole_bytes(source))
        if text.lstrip()[:1] != "{" or '"tasks"' not in text:
            return False
        return bool(_tags(parse_json(text, source=source.name)[0])[0])
    except ImportFormatError:
        return False


def read(source: Source, *, project: str | None, most: int = limits.DEPENDENCIES) -> Reading:
    """Return the tasks of every tag."""
    value, remarks = parse_json(whole_text(source), source=source.name)
    tags, rest = _tags(value)
    if not tags:
        raise _no_tasks(source.name, value)
    is_untagged = isinstance(value.get("tasks"), list)
    names = {tag: LABEL if tag == UNTAGGED and is_untagged else tag for tag in tags}
    roots, holder = roots_of({tag: segment_of(name) for tag, name in names.items()}, project)
    drafts = [] if holder is None else [Draft(source=":", path=holder, name=holder, type=Type.GROUP)]
    links: list[Link] = []
    for tag, content in tags.items():
        reader = _TagReader(tag, remarks)
        entries = {entry.key: entry for entry in reader.entries(content)}
        nodes = [Node(key, entry.parent, segment_of(_last(entry.number))) for key, entry in entries.items()]
        placed = place(roots[tag], nodes)
        remarks += placed.remarks
        drafts.append(reader.root(content, names[tag], roots[tag]))
        drafts += [reader.draft(entries[key], path) for key, path in placed.paths.items()]
        links += reader.links(entries.values())
    if rest:
        metadata = keep(drafts[0].metadata, LABEL, {"file": rest})
        drafts[0] = msgspec.structs.replace(drafts[0], metadata=metadata)
        remarks.append(Remark(source=source.name, message=f"{', '.join(rest)}: no tags; kept in metadata"))
    return finish(LABEL, drafts, links, remarks, most)


def _no_tasks(name: str, value: Any) -> ImportFormatError:
    return ImportFormatError(
        f"{name} holds no list of tasks",
        field="file",
        given=sorted(value)[:20] if isinstance(value, dict) else type(value).__name__,
        bound='{"tag": {"tasks": [...]}} or {"tasks": [...]}',
    )


def _tags(value: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the tags of the file, and what else stands beside them."""
    if not isinstance(value, dict):
        return {}, {}
    tags = {key: item for key, item in value.items() if isinstance(item, dict) and isinstance(item.get("tasks"), list)}
    if not isinstance(value.get("tasks"), list):
        return tags, {key: item for key, item in value.items() if key not in tags}
    own = {key: item for key, item in value.items() if key not in tags}
    return {("tasks" if UNTAGGED in tags else UNTAGGED): own, **tags}, {}


def _last(number: str) -> str:
    return number.rpartition(".")[2]


class _TagReader:
    """Reads one tag; `remarks` grows while it does."""

    def __init__(self, tag: str, remarks: list[Remark]) -> None:
        self.tag, self.remarks = tag, remarks
        self.unread: list[Any] = []
        self.ids: dict[str, str] = {}
        self.keys: set[str] = set()

    def remark(self, source: str, message: str) -> None:
        """Note what could not be taken as it stands."""
        self.remarks.append(Remark(source=source, message=message))

    def entries(self, content: dict[str, Any]) -> list[_Entry]:
        """Return the tasks with their subtasks, each task before its own."""
        found: list[_Entry] = []
        waiting: list[tuple[Any, int, _Entry | None]] = self._listed(content["tasks"], None)
        while waiting:
            record, index, parent = waiting.pop()
            if not isinstance(record, dict):
                self.unread.append(record)
                self.remark(f"{self.tag}:", f"entry {index} is not a task; kept in metadata")
                continue
            entry = self._entry(record, index, parent)
            found.append(entry)
            if isinstance(record.get("subtasks"), list):
                waiting += self._listed(record["subtasks"], entry)
        return found

    def _listed(self, records: list[Any], parent: _Entry | None) -> list[tuple[Any, int, _Entry | None]]:
        return [(record, index, parent) for index, record in enumerate(records, 1)][::-1]

    def _entry(self, record: dict[str, Any], index: int, parent: _Entry | None) -> _Entry:
        told = record.get("id")
        has_id = isinstance(told, (str, int, float)) and str(told).strip() != ""
        own = str(told).strip() if has_id else f"no-id-{index}"
        if parent is not None and own.startswith(f"{parent.number}."):
            own = own[len(parent.number) + 1 :]
        number = own if parent is None else f"{parent.number}.{own}"
        key, count = f"{self.tag}:{number}", 1
        while key in self.keys:
            count += 1
            key = f"{self.tag}:{number}#{count}"
        if not has_id:
            self.remark(key, "it has no id; called after its place in the list")
        if count > 1:
            self.remark(key, f"the id {number} is given twice; both are kept, dependencies mean the first")
        self.keys.add(key)
        number = number if count == 1 else f"{number}#{count}"
        self.ids[number] = key
        return _Entry(key, self.tag, number, parent.key if parent else None, record)

    def root(self, content: dict[str, Any], name: str, path: str) -> Draft:
        """Return the project that stands for the tag."""
        told = content.get("metadata")
        told = told if isinstance(told, dict) else {}
        description = told.get("description")
        rest = {key: value for key, value in content.items() if key != "tasks"}
        kept = {"tag": self.tag, **rest, **({"unread": self.unread} if self.unread else {})}
        return Draft(
            source=f"{self.tag}:",
            path=path,
            name=name,
            type=Type.GROUP,
            description=description if isinstance(description, str) else "",
            created_at=instant_of(told.get("created")),
            updated_at=instant_of(told.get("updated")),
            metadata={LABEL: kept},
        )

    def draft(self, entry: _Entry, path: str) -> Draft:
        """Return the draft of a record, without its dependencies."""
        record = entry.record
        title = record.get("title")
        status, reason = self._status(entry)
        times: dict[str, Any] = {field: instant_of(record.get(key)) for key, field in TIMES.items()}
        for key, field in TIMES.items():
            if times[field] is None and record.get(key):
                self.remark(entry.key, f"{key} {record[key]!r} is no time; kept in metadata")
        return Draft(
            source=entry.key,
            path=path,
            name=title if isinstance(title, str) and title.strip() else f"Task {entry.number}",
            status=status,
            reason=reason,
            description=_description(record),
            acceptance=_acceptance(record),
            metadata={LABEL: _rest(record)},
            **self._words(entry),
            **times,
        )

    def _status(self, entry: _Entry) -> tuple[Status, str | None]:
        told = entry.record.get("status")
        known = STATUSES.get(told) if isinstance(told, str) else (Status.PENDING, None) if told is None else None
        if known is None:
            self.remark(entry.key, f"the status {told!r} is not known; taken as PENDING")
        return known or (Status.PENDING, None)

    def _words(self, entry: _Entry) -> dict[str, Any]:
        made: dict[str, Any] = {}
        told = entry.record.get("priority")
        priority = priority_of(told) if isinstance(told, str) else None
        if priority is not None:
            made["priority"] = priority
        elif told is not None:
            self.remark(entry.key, f"the priority {told!r} is not known; taken as medium")
        assignee, tags = entry.record.get("assignee"), entry.record.get("tags")
        if isinstance(assignee, str) and assignee.strip():
            made["assignee"] = assignee
        if isinstance(tags, list):
            made["tags"] = tuple(tag for tag in tags if isinstance(tag, str))
        return made

    def links(self, entries: Iterable[_Entry]) -> list[Link]:
        """Return the dependencies: a number is a sibling, else a task of the tag; `4.2` is a subtask of task 4."""
        made = []
        for entry in entries:
            told = entry.record.get("dependencies")
            if isinstance(told, list):
                made += [Link(entry.key, self._target(entry, item), item) for item in told]
            elif told is not None:
                self.remark(entry.key, "its dependencies are not a list; kept in metadata")
        return made

    def _target(self, entry: _Entry, told: Any) -> str | None:
        number = str(told).strip() if isinstance(told, (str, int, float)) else ""
        above = entry.number.rpartition(".")[0]
        if above and f"{above}.{number}" in self.ids:
            return self.ids[f"{above}.{number}"]
        return self.ids.get(number)


def _description(record: dict[str, Any]) -> str:
    description, details, test = (record.get(key) for key in _TEXTS[1:])
    parts = [description] if isinstance(description, str) and description else []
    if isinstance(details, str) and details:
        parts.append(f"## Details\n\n{details}")
    if isinstance(test, str) and len(test) > limits.CRITERION:
        parts.append(f"## Test strategy\n\n{test}")
    return "\n\n".join(parts)


def _acceptance(record: dict[str, Any]) -> tuple[Criterion, ...]:
    test = record.get("testStrategy")
    return (Criterion(cut(test, limits.CRITERION)),) if isinstance(test, str) and test.strip() else ()


def _rest(record: dict[str, Any]) -> dict[str, Any]:
    """Return what no field of the draft holds word for word; `absent` names what the file says is null."""
    kept = {}
    for key, value in record.items():
        is_taken = (key in _TEXTS and isinstance(value, str)) or (key == "subtasks" and isinstance(value, list))
        if not is_taken and value is not None:
            kept[key] = value
    absent = [key for key, value in record.items() if value is None]
    return {**kept, "absent": absent} if absent else kept
