"""Writes drafts as a Markdown plan that people read and edit, and that Atlas reads back unchanged.

Projects are headings of level 1; groups are headings while no task follows them, else list items like tasks. What has
no visible form stands in a comment below the title, in the form that `imports.markdown` describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ...model.path import parent_of
from ...model.task import Priority, Status, Type
from ..imports.draft import Draft, Source
from ..imports.markdown import digest, read
from ..imports.outline import field_of, is_plain, is_title

MARKS = {
    Status.PENDING: " ",
    Status.IN_PROGRESS: "/",
    Status.COMPLETED: "x",
    Status.FAILED: " ",
    Status.BLOCKED: "!",
    Status.CANCELLED: "-",
}
VISIBLE: tuple[str, ...] = ("name", "type", "status", "description", "acceptance", "priority", "assignee", "tags")
VISIBLE += ("estimated_hours", "due_at")
KEPT: tuple[str, ...] = ("reason", "requires", "notes", "reasoning", "archived", "metadata")
KEPT += ("created_at", "updated_at", "started_at", "completed_at")
_DEEPEST = 6
_STEP = "  "


def write_markdown(drafts: Sequence[Draft]) -> str:
    """Return the plan of `drafts` in the order of the tree; without any, an empty text.

    `markdown.read` gives the same drafts back, provided that each container stands right before all that lies below
    it, and that they keep the limits and the rules of dependencies.
    """
    if not drafts:
        return ""
    page = _Page(drafts)
    comments = [page.marks(draft) for draft in drafts]
    said = read(Source(name="plan.md", files={"plan.md": page.text(comments).encode()}), project=None)
    visible = {draft.source: draft for draft in said.drafts}
    for draft, comment in zip(drafts, comments, strict=True):
        comment |= _rest(draft, visible[draft.source])
    return page.text(comments)


def _rest(draft: Draft, visible: Draft) -> dict[str, Any]:
    """Return what the comment must add to what the page says by itself."""
    exact = {}
    for field in VISIBLE:
        value, shown = getattr(draft, field), getattr(visible, field)
        if value != shown:
            exact[field] = [digest(shown), msgspec.to_builtins(value)]
    told = msgspec.to_builtins(draft)
    kept = {field: told[field] for field in KEPT if field in told}
    parts = {"id": draft.id, "exact": exact, "kept": kept}
    return {"seen": digest(visible.metadata), **{name: part for name, part in parts.items() if part}}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_plain(text: str) -> bool:
    lines = text.split("\n")
    return bool(lines[0] and lines[-1]) and all(is_plain(line) for line in lines)


def _hours(hours: float) -> str:
    return f"{hours:.10f}".rstrip("0").rstrip(".") + "h"


class _Page:
    """Lays the drafts out; `paths` gives the path of a source."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.paths = {draft.source: draft.path for draft in drafts}
        known = {draft.path for draft in drafts}
        self.below: dict[str | None, list[Draft]] = {}
        for draft in drafts:
            above = parent_of(draft.path)
            self.below.setdefault(above if above in known else None, []).append(draft)

    def marks(self, draft: Draft) -> dict[str, Any]:
        """Return the part of the comment that says which task this is."""
        made: dict[str, Any] = {"path": draft.path}
        if draft.source != draft.path:
            made["source"] = draft.source
        if any(draft is root for root in self.below.get(None, ())):
            made["root"] = True
        if draft.description and not _is_plain(draft.description):
            made["quoted"] = True
        if draft.dependencies:
            told = field_of(f"Depends on: {self._dependencies(draft)}")
            made["dependencies"] = [digest([told[1]] if told and told[1] else []), list(draft.dependencies)]
        return made

    def text(self, comments: Sequence[Mapping[str, Any]]) -> str:
        """Return the page with the comments in place."""
        by_path = {draft.path: comment for draft, comment in zip(self.drafts, comments, strict=True)}
        lines: list[str] = []
        for root in self.below.get(None, []):
            lines += self._section(root, 1, by_path)
        return "\n".join(lines)

    def _section(self, draft: Draft, level: int, comments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        yield f"{'#' * level} {self._title(draft, has_mark=False)}"
        yield _comment(comments[draft.path])
        yield ""
        yield from self._body(draft, "")
        children = self.below.get(draft.path, [])
        first = len(children)
        while first and level < _DEEPEST and self._is_section(children[first - 1]):
            first -= 1
        for child in children[:first]:
            yield from self._item(child, "", comments)
        if first:
            yield ""
        for child in children[first:]:
            yield from self._section(child, level + 1, comments)

    def _is_section(self, draft: Draft) -> bool:
        return draft.type is not Type.TASK or draft.path in self.below

    def _item(self, draft: Draft, indent: str, comments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        has_mark = draft.status is not None and draft.path not in self.below
        mark = f"[{MARKS[draft.status]}] " if draft.status is not None and has_mark else ""
        yield f"{indent}- {mark}{self._title(draft, has_mark=has_mark)}"
        yield f"{indent}{_STEP}{_comment(comments[draft.path])}"
        body = list(self._body(draft, indent + _STEP))
        if draft.description:
            yield ""
        yield from body[:-1] if body and not self.below.get(draft.path) else body
        for child in self.below.get(draft.path, []):
            yield from self._item(child, indent + _STEP, comments)

    def _title(self, draft: Draft, *, has_mark: bool) -> str:
        title = _one_line(draft.name)
        if has_mark or is_title(title):
            return title
        return title.replace(":", "\\:", 1) if field_of(title) else f"\\{title}"

    def _body(self, draft: Draft, indent: str) -> Iterator[str]:
        """Give the description and the fields, each followed by a blank line."""
        if draft.description:
            quote = "" if _is_plain(draft.description) else "> "
            for line in draft.description.split("\n"):
                yield f"{indent}{quote}{line}" if line else f"{indent}{quote}".rstrip()
            yield ""
        fields = list(self._fields(draft))
        yield from (f"{indent}{line}" for line in fields)
        if fields:
            yield ""

    def _fields(self, draft: Draft) -> Iterator[str]:
        if draft.status is Status.FAILED:
            yield "- Status: failed"
        if draft.priority is not Priority.MEDIUM:
            yield f"- Priority: {draft.priority}"
        if draft.assignee:
            yield f"- Assignee: {_one_line(draft.assignee)}"
        if draft.estimated_hours is not None:
            yield f"- Estimate: {_hours(draft.estimated_hours)}"
        if draft.due_at is not None:
            yield f"- Due: {draft.due_at.isoformat()}"
        if draft.tags:
            yield f"- Tags: {', '.join(_one_line(tag) for tag in draft.tags)}"
        if draft.dependencies:
            yield f"- Depends on: {self._dependencies(draft)}"
        if draft.acceptance:
            yield "- Acceptance:"
            for criterion in draft.acceptance:
                yield f"{_STEP}- [{'x' if criterion.done else ' '}] {_one_line(criterion.text)}".rstrip()

    def _dependencies(self, draft: Draft) -> str:
        return ", ".join(f"`{_one_line(self.paths.get(on, on))}`" for on in draft.dependencies)


def _comment(value: Mapping[str, Any]) -> str:
    """Return the comment on one line; two hyphens in a row would end it early."""
    return f"<!-- atlas: {msgspec.json.encode(value).decode().replace('--', '-' + chr(92) + 'u002d')} -->"
