"""Answers as compact text, for clients that show a model the text and not the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

_MARKS = {"critical": "!!", "high": "!", "low": "-"}
_BRIEF = frozenset({"path", "name", "type", "status", "priority", "block", "progress"})
_FINISHED = frozenset({"COMPLETED", "CANCELLED"})
_VALUE_LENGTH = 80
_NOTES_SHOWN = 50
_UNTOLD = frozenset({"updated_at", "started_at", "completed_at"})
"""Times that the status and the time of an event already say."""

Data = Mapping[str, Any]


def text_of(tool: str, data: Data) -> str:
    """Return the answer of a tool as text that is enough by itself."""
    return _TEXTS.get(tool, _facts)(data)


def error_text(facts: Data) -> str:
    """Return a failure as one line: code, message, and what would have worked."""
    message = str(facts["message"]).rstrip(".")
    return f"{facts['code']}: {message}. {facts['hint']}"


def task_line(task: Data) -> str:
    """Return a task as `STATUS path`: at most 20 bytes beyond the path for a brief one.

    `!!` is critical, `!` high, `-` low; a container says how much of it is finished.
    """
    line = f"{task.get('status', '')}{_MARKS.get(task.get('priority', ''), '')} {task.get('path', '')}".strip()
    progress = task.get("progress")
    if progress and task.get("status") not in _FINISHED:
        line = f"{line} {100 * progress['finished'] // (progress['total'] or 1)}%"
    return line if task.keys() <= _BRIEF else "; ".join([line, *_more(task)])


def _more(task: Data) -> list[str]:
    """Write the fields that only a full task has, or that were asked for by name."""
    return [f"{name}: {_value(task[name])}" for name in task if name not in _BRIEF and not _is_nothing(task[name])]


def _lines(tasks: Iterable[Data]) -> list[str]:
    return [task_line(task) for task in tasks]


def _page(data: Data) -> str:
    shown = data["tasks"]
    lines = _lines(shown)
    foot = [f"{len(shown)} of {data['total']} tasks, seq {data['seq']}"]
    if data.get("next_cursor"):
        foot.append(f"next_cursor: {data['next_cursor']}")
    if data.get("removed"):
        foot.append(f"removed: {', '.join(data['removed'])}")
    if data.get("left_out"):
        foot.append(f"left out: {data['left_out']}")
    return "\n".join([*lines, "; ".join(foot)])


def _written(data: Data) -> str:
    task, receipt = data["task"], data["receipt"]
    head = [str(task.get("path", "")), str(task.get("status", "")), f"v{receipt['version']} seq {receipt['seq']}"]
    parts = [" ".join(part for part in head if part)]
    block = task.get("block")
    if block:
        parts.append(f"blocked ({_block(block)})")
    if task.get("warnings"):
        parts.append("; ".join(task["warnings"]))
    parts += _affected(data, {task.get("path")})
    return "\n".join(["; ".join(parts), *_more(task)])


def _block(block: Data) -> str:
    parts = [block["cause"]]
    if block.get("by"):
        total = block.get("by_total")
        parts.append("by " + ", ".join(block["by"]) + (f" and others, {total} in all" if total else ""))
    if block.get("reason"):
        parts.append(str(block["reason"]))
    return ": ".join([parts[0], "; ".join(parts[1:])]) if parts[1:] else str(parts[0])


def _affected(data: Data, named: set[Any]) -> list[str]:
    others = [path for path in data["affected"] if path not in named]
    if not others:
        return []
    more = data["affected_total"] - len(data["affected"])
    return [f"also changed: {', '.join(others)}" + (f" and {more} more" if more else "")]


def _deleted(data: Data) -> str:
    parts = [f"deleted {len(data['deleted'])}: {', '.join(data['deleted'])}", f"seq {data['receipt']['seq']}"]
    return "; ".join([*parts, *_affected(data, set(data["deleted"]))])


def _outcomes(data: Data) -> str:
    lines = []
    for outcome in data["outcomes"]:
        if "task" in outcome:
            lines.append(f"{outcome['op']} {task_line(outcome['task'])} v{outcome['version']}")
        else:
            lines.append(f"{outcome['op']} {', '.join(outcome['deleted'])}")
    named = {outcome["task"].get("path") for outcome in data["outcomes"] if "task" in outcome}
    return "\n".join([*lines, "; ".join([f"seq {data['receipt']['seq']}", *_affected(data, named)])])


def _read(data: Data) -> str:
    task = data["task"]
    lines = [" ".join(_value(task[name]) for name in ("path", "type", "status", "priority") if task.get(name))]
    for name, value in task.items():
        if name in {"path", "type", "status", "priority"} or _is_nothing(value):
            continue
        lines += _field(name, value)
    for name in ("children", "dependents"):
        if data[name]:
            lines += [f"{name} ({len(data[name])}):", *(f"  {line}" for line in _lines(data[name]))]
    return "\n".join([*lines, f"seq {data['seq']}"])


def _field(name: str, value: Any) -> list[str]:
    if name == "notes":
        return [f"note {n['id']} {n['at'][:19]} {n['by'] or ''}: {n['text']}" for n in value]
    if name == "acceptance":
        return ["acceptance:", *(f"  [{'x' if c['done'] else ' '}] {c['text']}" for c in value)]
    if name == "block":
        return [f"block: {_block(value)}"]
    return [f"{name}: {_value(value, length=None)}"]


def _events(data: Data) -> str:
    lines = [_event(event) for event in data["events"]]
    foot = [f"{len(lines)} events, seq {data['seq']}"]
    if data.get("next_cursor"):
        foot.append(f"next_cursor: {data['next_cursor']}")
    if data.get("left_out"):
        foot.append(f"left out: {data['left_out']}")
    return "\n".join([*lines, "; ".join(foot)])


def _event(event: Data) -> str:
    who = f" by {event['actor']}" if event.get("actor") else ""
    head = f"{event['seq']} {event['time'][:19]} {event['type']} {event.get('path') or event['target']['key']}{who}"
    change = event.get("change") or {}
    parts = [f"{name} {_delta(delta)}" for name, delta in change.get("fields", {}).items() if name not in _UNTOLD]
    for kind in ("created", "deleted"):
        record = change.get(kind, {})
        parts += [f"{name} {_value(record[name])}" for name in ("name", "status", "text") if name in record]
    return f"{head}: {'; '.join(parts)}" if parts else head


def _delta(delta: Any) -> str:
    if isinstance(delta, list):
        return f"{_value(delta[0])} -> {_value(delta[1])}"
    return _value(delta)


def _waited(data: Data) -> str:
    lines = _lines(data["tasks"])
    foot = ["nothing changed in time" if data["timed_out"] else f"{len(lines)} changed", f"seq {data['seq']}"]
    if data["removed"]:
        foot.append(f"removed: {', '.join(data['removed'])}")
    return "\n".join([*lines, "; ".join(foot)])


def _imported(data: Data) -> str:
    numbers = f"created {data['created']}, updated {data['updated']}, skipped {data['skipped']}"
    what = "would have been " if data["dry_run"] else ""
    head = f"{data['format']}: {what}{numbers}; projects: {', '.join(data['projects']) or 'none'}"
    notes = [_flat(note) for note in data["notes"][:_NOTES_SHOWN]]
    more = len(data["notes"]) - len(notes)
    return "\n".join([head, *notes, *([f"{more} more notes"] if more else []), f"seq {data['receipt']['seq']}"])


def _exported(data: Data) -> str:
    return str(data["content"])


def _facts(data: Data) -> str:
    """Write any answer as lines of `name: value`."""
    lines: list[str] = []
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{name} ({len(value)}):", *(f"  {_flat(item)}" for item in value)]
        elif isinstance(value, Mapping):
            lines.append(f"{name}: {_flat(value)}")
        elif value is not None:
            lines.append(f"{name}: {_value(value, length=None)}")
    return "\n".join(lines)


def _flat(data: Data) -> str:
    return ", ".join(f"{name} {_value(value, length=None)}" for name, value in data.items() if not _is_nothing(value))


def _value(value: Any, *, length: int | None = _VALUE_LENGTH) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = ", ".join(value)
    else:
        text = msgspec.json.encode(value).decode()
    return text if length is None or len(text) <= length else f"{text[:length]}…"


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


_TEXTS: dict[str, Callable[[Data], str]] = {
    "create_task": _written,
    "get_task": _read,
    "update_task": _written,
    "move_task": _written,
    "delete_task": _deleted,
    "get_tasks_by_status": _page,
    "get_tasks_by_path": _page,
    "get_subtasks": _page,
    "next_task": _page,
    "wait_for": _waited,
    "bulk_task_operations": _outcomes,
    "get_timeline": _events,
    "import_plan": _imported,
    "export_plan": _exported,
}
