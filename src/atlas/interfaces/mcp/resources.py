"""Resources: a task, a tree and the projects, to be read and watched by their address."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from ...atlas import Atlas
from ...errors import AtlasError, InternalError, NotFoundError
from ...storage.ids import new_id
from .render import error_text, task_line
from .roots import Gate
from .watch import PROJECTS, TASK, TREE

NOT_FOUND = -32002
_PROJECTS_LISTED = 100
_TREE_LISTED = 1_000

Context = ServerRequestContext[Any, Any]

TEMPLATES = (
    {
        "uriTemplate": f"{TASK}{{+path}}",
        "name": "task",
        "title": "A task",
        "description": "One task in full, with its children and dependents, by path or id.",
        "mimeType": "application/json",
    },
    {
        "uriTemplate": f"{TREE}{{+path}}",
        "name": "tree",
        "title": "A tree of tasks",
        "description": "A task with everything below it, one line each, in order.",
        "mimeType": "text/plain",
    },
)


class Resources:
    """What `resources/…` answers from an open Atlas."""

    def __init__(self, atlas: Atlas, *, gate: Gate) -> None:
        self._atlas = atlas
        self._gate = gate

    async def listed(self, _: Context, __: Any) -> dict[str, Any]:
        """Name the projects, and each project's tree."""
        roots = (await self._atlas.lists.by_path("*", limit=_PROJECTS_LISTED)).tasks
        projects = {"uri": PROJECTS, "name": "projects", "title": "All projects", "mimeType": "application/json"}
        trees = [
            {"uri": f"{TREE}{root['path']}", "name": root["path"], "title": root["name"], "mimeType": "text/plain"}
            for root in roots
        ]
        return {"resources": [projects, *trees]}

    async def templates(self, _: Context, __: Any) -> dict[str, Any]:
        """Name the forms of address."""
        return {"resourceTemplates": list(TEMPLATES)}

    async def read(self, context: Context, params: Any) -> dict[str, Any]:
        """Return the content at an address; what is wrong with it is told as data of a protocol error."""
        uri = str(params.uri)
        try:
            question = await self._gate.check(context)
            if question is not None:
                return question
            kind, text = await self._content(uri)
        except AtlasError as error:
            error.request_id = new_id()
            code = INTERNAL_ERROR if isinstance(error, InternalError) else INVALID_PARAMS
            code = NOT_FOUND if isinstance(error, NotFoundError) and context.protocol_version < "2026" else code
            raise MCPError(code=code, message=error_text(error.as_dict()), data=error.as_dict()) from error
        return {"contents": [{"uri": uri, "mimeType": kind, "text": text}]}

    async def _content(self, uri: str) -> tuple[str, str]:
        if uri == PROJECTS:
            return "application/json", _json(await self._atlas.lists.by_path("*", limit=500))
        if uri.startswith(TASK):
            return "application/json", _json(await self._atlas.tasks.get(unquote(uri.removeprefix(TASK))))
        if uri.startswith(TREE):
            return "text/plain", await self._tree(unquote(uri.removeprefix(TREE)))
        raise NotFoundError(
            f"nothing at {uri!r}", field="uri", given=uri, hint=f"{TASK}…, {TREE}… and {PROJECTS} can be read."
        )

    async def _tree(self, path: str) -> str:
        root = (await self._atlas.tasks.get(path, fields=("path",))).task["path"]
        tree = await self._atlas.lists.tree(f"{root}/**", limit=_TREE_LISTED)
        lines = [f"{'  ' * task['depth']}{task_line(_named(task))}" for task in tree.tasks]
        return "\n".join([*lines, *([tree.left_out] if tree.left_out else [])])


def _named(task: dict[str, Any]) -> dict[str, Any]:
    """Return the task with its name shown where the path does not already say it."""
    shown = {name: value for name, value in task.items() if name != "depth"}
    if task["name"] != task["path"].rpartition("/")[2]:
        shown["called"] = task["name"]
    return shown


def _json(answer: msgspec.Struct) -> str:
    return msgspec.json.encode(answer).decode()
