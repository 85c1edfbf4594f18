"""Calling a tool: one verb, its answer as data and as text; a failure as a result that says what would have worked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext

from ...atlas import Atlas
from ...errors import AtlasError, InputError, InternalError, NotFoundError
from ...operations.logs import REQUEST_ID
from ...storage.ids import new_id
from ...verb import PROGRESS
from ..verbs import VERBS, shown_in
from .render import error_text, text_of
from .roots import Gate

_log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
Result = dict[str, Any]


class Tools:
    """The tools of one profile on an open Atlas."""

    def __init__(self, atlas: Atlas, *, profile: str, gate: Gate) -> None:
        self._atlas = atlas
        self._gate = gate
        self._names = [verb.name for verb in shown_in(profile)]

    async def call(self, context: Context) -> Result:
        """Answer `tools/call`; every failure but a cancelled call is a result of its own."""
        params = context.params or {}
        name, request_id = params.get("name"), new_id()
        token = REQUEST_ID.set(request_id)
        try:
            question = await self._gate.check(context)
            if question is not None:
                return question
            result = await self._run(context, name, params.get("arguments"))
            _log.debug("%s done (request %s)", name, request_id)
        except AtlasError as error:
            _log.info("%r refused: %s: %s (request %s)", name, error.code, error.told(), request_id)
            return _refusal(error, request_id)
        except RecursionError:
            return _refusal(InputError("the arguments are nested too deeply", field="arguments", bound=100), request_id)
        except Exception:  # noqa: BLE001 - the outermost frame: a fault of ours is an answer too
            _log.exception("%s failed (request %s)", name, request_id)
            return _refusal(InternalError(f"an unexpected failure, logged as request {request_id}"), request_id)
        finally:
            REQUEST_ID.reset(token)
        return result

    async def _run(self, context: Context, name: Any, given: Any) -> Result:
        if name not in self._names:
            raise NotFoundError(
                f"there is no tool {name!r}",
                field="name",
                given=name,
                hint=f"Tools: {', '.join(self._names)}. ATLAS_TOOLS=all shows every tool.",
            )
        if given is not None and not isinstance(given, Mapping):
            raise InputError("arguments must be an object", field="arguments", given=given, bound="a JSON object")
        async with _progress(context):
            answer = await VERBS[name].call(self._atlas, dict(given or {}))
        data = msgspec.to_builtins(answer)
        return _result(data, text_of(name, data))


def _result(data: dict[str, Any], text: str) -> Result:
    return {"content": [{"type": "text", "text": text}], "structuredContent": data}


def _refusal(error: AtlasError, request_id: str) -> Result:
    error.request_id = request_id
    facts = _as_json(error.as_dict())
    return {**_result(facts, error_text(facts)), "isError": True}


def _as_json(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts that any client can read, whatever was given: no lone surrogate, no number JSON has no place for."""
    try:
        made = msgspec.json.decode(msgspec.json.encode(facts))
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = json.dumps(facts["given"], default=str, skipkeys=True, check_circular=False)[:200]
        facts = {name: _clean(value) for name, value in facts.items()} | {"given": text}
        made = msgspec.json.decode(json.dumps(facts, default=str, skipkeys=True))
    return dict(made)


def _clean(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


@asynccontextmanager
async def _progress(context: Context) -> AsyncIterator[None]:
    """Send what long work says of itself to a caller who wants to hear it, upwards only, never after the end."""
    loop, session, highest = asyncio.get_running_loop(), context.session, -1
    sent: list[Future[None]] = []

    def tell(done: int, total: int, what: str) -> None:
        nonlocal highest
        # A transaction that runs again counts again.
        if done > highest:
            highest = done
            report = session.report_progress(done, total, f"{done} of {total} {what}")
            sent.append(asyncio.run_coroutine_threadsafe(report, loop))

    token = PROGRESS.set(tell)
    try:
        yield
    finally:
        PROGRESS.reset(token)
        if sent:
            await asyncio.gather(*(asyncio.wrap_future(one) for one in sent), return_exceptions=True)
