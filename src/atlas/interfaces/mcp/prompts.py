"""Prompts for beginning and resuming work, and completions of paths."""

from __future__ import annotations

from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from ...atlas import Atlas
from ...errors import AtlasError, InputError
from ...model.task import Status
from .render import error_text, text_of
from .roots import Gate

_COMPLETED_MOST = 100
_SHOWN = 20
_COMPLETED = frozenset({"path", "project", "pattern"})

Context = ServerRequestContext[Any, Any]

PROMPTS = (
    {
        "name": "plan_project",
        "title": "Plan a project",
        "description": "Break a goal down into tasks with dependencies, and write them into Atlas.",
        "arguments": [
            {"name": "goal", "description": "what is to be reached", "required": True},
            {"name": "project", "description": "path of the project, new or there already", "required": True},
        ],
    },
    {
        "name": "resume_work",
        "title": "Resume work",
        "description": "What is under way, what is ready, and what happened last.",
        "arguments": [{"name": "pattern", "description": "which tasks, as a glob (default: all)", "required": False}],
    },
)

_PLAN = """\
Plan this goal as tasks in Atlas, under the project {project}: {goal}

1. Look at what is there: get_tasks_by_path with pattern {project}/**.
2. Break the goal down: a GROUP for each area, below it tasks that one person finishes in at most a day, each with \
acceptance that can be checked, a priority and an estimate in hours. Let a task depend on others only where it cannot \
begin before they are finished.
3. Write all of it in one bulk_task_operations call (operations of op create, parents before children, dependencies as \
paths), so that nothing or everything is there.
4. Show the result with get_tasks_by_path, and name what next_task offers first.

{present}"""

_RESUME = """\
Resume the work in Atlas on {pattern}.

In progress:
{running}

Ready, best first:
{ready}

Blocked:
{blocked}

What happened last:
{events}

Go on with what is in progress before beginning something new. Set a task IN_PROGRESS with update_task when you begin \
it, and COMPLETED only when its acceptance is met; note what the next reader must know."""


class Prompts:
    """What `prompts/…` and `completion/complete` answer from an open Atlas."""

    def __init__(self, atlas: Atlas, *, gate: Gate) -> None:
        self._atlas = atlas
        self._gate = gate

    async def listed(self, _: Context, __: Any) -> dict[str, Any]:
        """Name the prompts."""
        return {"prompts": list(PROMPTS)}

    async def get(self, context: Context, params: Any) -> dict[str, Any]:
        """Return a prompt with what the store says at this moment."""
        given = dict(params.arguments or {})
        try:
            question = await self._gate.check(context)
            if question is not None:
                return question
            known = next((prompt for prompt in PROMPTS if prompt["name"] == params.name), None)
            if known is None:
                names = [prompt["name"] for prompt in PROMPTS]
                raise InputError(f"there is no prompt {params.name!r}", field="name", given=params.name, bound=names)
            _check(known, given)
            text = await (self._plan(given) if params.name == "plan_project" else self._resume(given))
        except AtlasError as error:
            raise MCPError(code=INVALID_PARAMS, message=error_text(error.as_dict()), data=error.as_dict()) from error
        return {
            "description": known["description"],
            "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        }

    async def _plan(self, given: dict[str, str]) -> str:
        project = given["project"]
        page = await self._atlas.lists.by_path(f"{project}/**", limit=_SHOWN)
        present = f"There already:\n{_text(page)}" if page.tasks else "The project holds nothing yet."
        return _PLAN.format(project=project, goal=given["goal"], present=present)

    async def _resume(self, given: dict[str, str]) -> str:
        pattern, lists = given.get("pattern") or "**", self._atlas.lists
        return _RESUME.format(
            pattern=pattern,
            running=_text(await lists.by_status(Status.IN_PROGRESS, pattern=pattern, limit=_SHOWN)),
            ready=_text(await lists.next(pattern=pattern, limit=5)),
            blocked=_text(await lists.by_status(Status.BLOCKED, pattern=pattern, limit=5)),
            events=text_of("get_timeline", msgspec.to_builtins(await self._atlas.timeline.read(pattern, limit=10))),
        )

    async def complete(self, _: Context, params: Any) -> dict[str, Any]:
        """Complete a path by the tasks there are, one segment at a time; anything else has no completions."""
        values: list[str] = []
        total = 0
        if params.argument.name in _COMPLETED:
            values, total = await self._paths(params.argument.value)
        return {"completion": {"values": values, "total": total, "hasMore": total > len(values)}}

    async def _paths(self, begun: str) -> tuple[list[str], int]:
        try:
            page = await self._atlas.lists.by_path(f"{begun}*", limit=_COMPLETED_MOST, fields=("path",))
            exact = await self._atlas.lists.by_path(begun, fields=("path",)) if begun and begun[-1] != "/" else None
        except InputError:
            return [], 0
        found = [task["path"] for task in [*(exact.tasks if exact else ()), *page.tasks]]
        return found[:_COMPLETED_MOST], page.total + (exact.total if exact else 0)


def _check(prompt: dict[str, Any], given: dict[str, str]) -> None:
    for argument in prompt["arguments"]:
        if argument["required"] and not given.get(argument["name"]):
            raise InputError(f"{argument['name']} is required", field=argument["name"], bound="required")


def _text(page: Any) -> str:
    return text_of("get_tasks_by_path", msgspec.to_builtins(page))
