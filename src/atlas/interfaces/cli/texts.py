"""What verbs answer, told in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ...model.path import name_of, slug
from .screen import MARKS, Screen, clean

Data = Mapping[str, Any]

_AFFECTED = 8
_BLOCKERS = 3
_LABEL = 22
_PLAIN = ("dependencies", "inherited_dependencies", "assignee", "estimated_hours", "due_at", "tags", "requires")
_TIMES = ("created_at", "updated_at", "started_at", "completed_at")


def when(text: str | None) -> str:
    """Return a time as this machine's clock shows it."""
    if not text:
        return ""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"


def block(task: Data) -> str:
    """Return why a task is blocked, nothing when it is not."""
    found = task.get("block")
    if not found:
        return ""
    by = [str(path) for path in found.get("by", ())]
    total = found.get("by_total", len(by))
    shown = ", ".join(by[:_BLOCKERS]) + (f" and {total - _BLOCKERS} more" if total > _BLOCKERS else "")
    parts = [f"waits for {shown}" if by else "", found.get("reason") or ""]
    return "; ".join(part for part in parts if part) or ("blocked by hand" if found["cause"] == "manual" else "")


def progress(task: Data) -> str:
    """Return how much of a container is finished."""
    found = task.get("progress")
    if not found:
        return ""
    return f"{found['finished']}/{found['total']} done"


def written(screen: Screen, answer: Any) -> Iterator[str]:
    """Tell a change of one task, and what else it changed."""
    task = answer.task
    yield f"{screen.mark(task['status'])} {task['path']}  {screen.paint(task['status'], task['status'])}" + _dim(
        screen, block(task)
    )
    yield from affected(screen, answer, [task["path"]])


def affected(screen: Screen, answer: Any, named: Sequence[str]) -> Iterator[str]:
    """Tell which other tasks a change touched."""
    others = [path for path in answer.affected if path not in named]
    total = answer.affected_total - (len(answer.affected) - len(others))
    if not others:
        return
    shown = ", ".join(others[:_AFFECTED])
    more = f" and {total - _AFFECTED} more" if total > _AFFECTED else ""
    yield screen.paint(f"    also changed: {shown}{more}", "dim")


def outcomes(screen: Screen, answer: Any) -> Iterator[str]:
    """Tell what became of each operation."""
    named = []
    for outcome in answer.outcomes:
        if "task" in outcome:
            task = outcome["task"]
            named.append(task["path"])
            yield f"{screen.mark(task['status'])} {task['path']}  {screen.paint(task['status'], task['status'])}"
        else:
            named += outcome["deleted"]
            yield f"deleted {some(outcome['deleted'])}"
    yield from affected(screen, answer, named)


def deleted(screen: Screen, answer: Any) -> Iterator[str]:
    """Tell a removal."""
    yield f"deleted {some(answer.deleted)}"
    yield from affected(screen, answer, answer.deleted)


def some(paths: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(paths) - _AFFECTED} more" if len(paths) > _AFFECTED else ""
    return ", ".join(paths[:_AFFECTED]) + more


def _dim(screen: Screen, text: str) -> str:
    return f"  {screen.paint(clean(text, is_line=True), 'dim')}" if text else ""


def page(screen: Screen, answer: Any, fields: Any) -> Iterator[str]:
    """Tell a list of tasks, and how much of it this is."""
    if not answer.tasks:
        yield "no tasks"
        return
    if fields == "full":
        for task in answer.tasks:
            yield from facts(screen, task)
            yield ""
    elif isinstance(fields, str):
        has_why = any("why" in task for task in answer.tasks)
        heads = ["STATUS", "PRIORITY", "PATH", "NAME", "WHY" if has_why else ""]
        yield from screen.table(heads, [_row(task) for task in answer.tasks], whole="PATH")
    else:
        heads = list(fields)
        rows = [[_value(task[head]) for head in heads] for task in answer.tasks]
        yield from screen.table([head.upper() for head in heads], rows, whole="PATH")
    yield screen.paint(_count(answer), "dim")


def _row(task: Data) -> list[str]:
    last = task.get("why") or block(task) or progress(task)
    name = task["name"] if task["name"] != name_of(task["path"]) else ""
    return [task["status"], task["priority"], task["path"], name, last]


def _count(answer: Any) -> str:
    shown = len(answer.tasks)
    if shown == answer.total:
        return f"{shown} task{'' if shown == 1 else 's'}"
    more = f"; the next: --cursor {answer.next_cursor}" if answer.next_cursor else ""
    return f"{shown} of {answer.total} tasks{more}"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    import json

    return json.dumps(value, ensure_ascii=False)


def tree(screen: Screen, answer: Any) -> Iterator[str]:
    """Tell tasks as a tree: mark, name of the segment, wording, progress, urgency and what it waits for."""
    if not answer.tasks:
        yield "no tasks"
        return
    depths = [task["depth"] for task in answer.tasks]
    lasts = _lasts(depths)
    trunk: list[bool] = []
    for task, depth, is_last in zip(answer.tasks, depths, lasts, strict=True):
        del trunk[max(depth - 1, 0) :]
        lead = "".join("   " if ended else _branch(screen, "│  ") for ended in trunk)
        if depth:
            lead += _branch(screen, "└─ " if is_last else "├─ ")
            trunk.append(is_last)
        yield lead + _leaf(screen, task, depth, len(lead))
    if answer.left_out:
        yield screen.paint(answer.left_out, "dim")


def _lasts(depths: Sequence[int]) -> list[bool]:
    """Say of each node whether no sibling follows it."""
    lasts = []
    seen: dict[int, bool] = {}
    for depth in reversed(depths):
        lasts.append(not seen.get(depth, False))
        seen = {level: True for level in seen if level < depth} | {depth: True}
    return lasts[::-1]


def _branch(screen: Screen, text: str) -> str:
    if not screen.is_unicode:
        text = text.translate({ord("│"): "|", ord("├"): "|", ord("└"): "`", ord("─"): "-"})
    return screen.paint(text, "dim")


def _leaf(screen: Screen, task: Data, depth: int, used: int) -> str:
    segment = task["path"] if depth == 0 else name_of(task["path"])
    name = "" if slug(task["name"]) == name_of(task["path"]) else clean(task["name"], is_line=True)
    room = used + len(MARKS["PENDING"]) + 1
    made = f"{screen.mark(task['status'])} {screen.paint(segment, 'bold' if task['type'] != 'TASK' else '')}"
    if name:
        made += f"  {screen.fit(name, room + len(segment) + 4)}"
    if task["priority"] in {"critical", "high"}:
        made += f"  {screen.paint('!' + task['priority'], task['priority'])}"
    return made + _dim(screen, progress(task)) + _dim(screen, block(task))


def read(screen: Screen, answer: Any) -> Iterator[str]:
    """Tell one task in full."""
    yield from facts(screen, answer.task)
    for title, tasks in (("children", answer.children), ("dependents", answer.dependents)):
        if tasks:
            yield screen.paint(f"{title} ({len(tasks)})", "dim")
            yield from (_brief(screen, task) for task in tasks)


def _brief(screen: Screen, task: Data) -> str:
    made = f"  {screen.mark(task['status'])} {task['path']}"
    return made + _dim(screen, progress(task)) + _dim(screen, block(task))


def facts(screen: Screen, task: Data) -> Iterator[str]:
    """Tell the fields of a full task, those that say nothing left out."""
    name = clean(task["name"], is_line=True)
    yield f"{screen.mark(task['status'])} {screen.paint(task['path'], 'bold')}  {name}"
    yield from _field(screen, "status", f"{task['status']}{_after(block(task))}{_after(progress(task))}")
    yield from _field(screen, "type", f"{task['type']}, {task['priority']} priority")
    for field in _PLAIN:
        value = when(task[field]) if field == "due_at" else _value(task[field])
        if value not in {"", "[]"}:
            yield from _field(screen, field, value)
    for warning in task["warnings"]:
        yield from _field(screen, "warning", warning)
    yield from _long(screen, "description", task["description"].splitlines())
    yield from _long(screen, "acceptance", [f"[{'x' if c['done'] else ' '}] {c['text']}" for c in task["acceptance"]])
    yield from _long(screen, "reasoning", task["reasoning"].splitlines())
    notes = [f"{when(n['at'])}  {n['by'] or 'somebody'}: {n['text']}" for n in task["notes"]]
    yield from _long(screen, f"notes ({task['notes_total']})" if notes else "notes", notes)
    if task["metadata"]:
        yield from _field(screen, "metadata", _value(task["metadata"]))
    times = [f"{field.removesuffix('_at')} {when(task[field])}" for field in _TIMES if task[field]]
    yield from _field(screen, "times", ", ".join(times))
    yield from _field(
        screen, "id", f"{task['id']}, version {task['version']}{', archived' if task['archived'] else ''}"
    )


def _after(text: str) -> str:
    return f", {text}" if text else ""


def _field(screen: Screen, label: str, value: str) -> Iterator[str]:
    label = label.replace("_", " ")
    yield f"  {screen.paint(label.ljust(_LABEL), 'dim')}  {clean(value, is_line=True)}"


def _long(screen: Screen, label: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"  {screen.paint(label, 'dim')}"
        yield from (f"    {clean(line)}" for line in lines)
