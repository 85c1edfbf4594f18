"""The gate: a client whose roots lie elsewhere is told so, rather than served the wrong project."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import ListRootsRequest, ListRootsResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from ...errors import WrongProjectError

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
_QUESTION = "roots"

Context = ServerRequestContext[Any, Any]


class Gate:
    """Asks each client once for its roots; `project_folder` is None where a person named the store."""

    def __init__(self, project_folder: Path | None) -> None:
        self._folder = None if project_folder is None else project_folder.resolve()
        self._asked = _Asked()

    async def check(self, context: Context) -> dict[str, Any] | None:
        """Raise WrongProjectError for a client that works elsewhere.

        Returns what to answer instead where the protocol has the client asked that way (2026-07-28), None to go on.
        """
        if self._folder is None:
            return None
        capabilities = context.session.client_capabilities
        if capabilities is None or capabilities.roots is None:
            return None
        asked = self._asked_of(context)
        if asked.roots is None:
            if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
                answer = (context.params or {}).get("inputResponses", {}).get(_QUESTION)
                if answer is None:
                    return {"resultType": "input_required", "inputRequests": {_QUESTION: {"method": "roots/list"}}}
                asked.roots = _folders(answer)
            else:
                asked.roots = await _ask(context)
        self._refuse_elsewhere(asked.roots)
        return None

    def forget(self, context: Context) -> None:
        """Ask again: the client says that its roots changed."""
        self._asked_of(context).roots = None

    def _asked_of(self, context: Context) -> _Asked:
        """Return what this client said: kept with its connection, or with the process where it has only one client."""
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            # The SDK gives handlers no public way to the state that it keeps for them on the connection.
            connection = context.session._connection  # noqa: SLF001
            asked: _Asked = connection.state.setdefault("atlas.roots", _Asked())
            return asked
        return self._asked if context.request is None else _Asked()

    def _refuse_elsewhere(self, roots: list[Path]) -> None:
        folder = self._folder
        if folder is None or not roots or any(_overlap(root, folder) for root in roots):
            return
        raise WrongProjectError(str(folder), [str(root) for root in roots])


class _Asked:
    """The folders a client works in; None until it was asked."""

    roots: list[Path] | None = None


def _overlap(root: Path, folder: Path) -> bool:
    return root == folder or root in folder.parents or folder in root.parents


async def _ask(context: Context) -> list[Path]:
    """Ask a client of the handshake era; one that does not answer is served."""
    try:
        with anyio.fail_after(_ANSWER_SECONDS):
            answer = await context.session.send_request(
                ListRootsRequest(),
                ListRootsResult,
                metadata=ServerMessageMetadata(related_request_id=context.request_id),
            )
    except (MCPError, ValidationError, TimeoutError) as error:
        _log.warning("the client has roots but did not say which: %s", error)
        return []
    return _folders({"roots": [{"uri": str(root.uri)} for root in answer.roots]})


def _folders(answer: Any) -> list[Path]:
    """Return the folders that `file:` roots name; others say nothing about where the client works."""
    roots = answer.get("roots") if isinstance(answer, dict) else None
    found = []
    for root in roots if isinstance(roots, list) else ():
        parts = urlsplit(str(root.get("uri", ""))) if isinstance(root, dict) else None
        if parts is not None and parts.scheme == "file" and "\0" not in unquote(parts.path):
            found.append(Path(unquote(parts.path)).resolve())
    return found
