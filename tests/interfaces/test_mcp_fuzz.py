"""Laws under any input: an answer in the agreed shape, no fault of ours, and nothing changed by a refused call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import atlas
from atlas import Atlas
from atlas.interfaces.mcp.schema import tools
from atlas.interfaces.mcp.server import make_server
from atlas.interfaces.mcp.wire import Incoming, Outgoing
from atlas.storage.protocol import Transaction
from atlas.storage.query import Query
from atlas.work.collections import NOTES, TASKS

# Some arguments are meant to be large.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

Json = Any

PATHS = ("shop", "shop/api", "shop/api/login", "shop/db", "docs", "docs/guide", "new", "new/one", "shop/**", "*", "**")
SEED = ("shop/api/login", "shop/db", "docs/guide")
WORDS = st.sampled_from(PATHS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
HOSTILE_TEXT = st.sampled_from(
    ["", "\0", "a\0b", "\ud800", "x" * 33_000, "../../etc/passwd", "'; drop table task; --", "a/" * 500, "%s%n"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | HOSTILE_TEXT
HOSTILE = st.recursive(
    SCALARS | st.sampled_from([2**63, -(2**70), 10**400, float("nan"), float("inf"), 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | HOSTILE_TEXT, inner, max_size=3),
    max_leaves=6,
)
CALLS = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOLS = {tool["name"]: tool["inputSchema"] for tool in tools("all")}
DRAWN_OTHERWISE: dict[tuple[str, str], SearchStrategy[Json]] = {
    # The files of the machine are no part of the law.
    ("import_plan", "file"): st.just("/nowhere/plan.md"),
    ("bulk_task_operations", "operations"): st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["create", "update", "move", "delete", "paint"])},
            optional={
                "path": WORDS,
                "to": WORDS,
                "name": WORDS,
                "status": st.sampled_from(["COMPLETED", "PENDING", "odd"]),
                "updates": st.fixed_dictionaries({}, optional={"status": st.just("CANCELLED"), "name": WORDS}),
                "dependents": st.sampled_from(["refuse", "detach"]),
            },
        ),
        min_size=1,
        max_size=4,
    ),
}


def drawn(schema: dict[str, Any]) -> SearchStrategy[Json]:
    """Return values that a schema allows, the long and the many left out."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of([drawn(part) for part in schema["anyOf"]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([drawn({**schema, "type": one}) for one in kind])
    if kind == "object":
        return _object(schema)
    if kind == "array":
        return st.lists(drawn(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=3)
    return _scalar(kind, schema)


def _scalar(kind: str | None, schema: dict[str, Any]) -> SearchStrategy[Json]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if kind == "string" and schema.get("format") == "date-time":
        return st.datetimes().map(lambda time: f"{time.isoformat()}Z")
    plain: dict[str | None, SearchStrategy[Json]] = {
        "string": WORDS.filter(lambda text: len(text) >= schema.get("minLength", 0)),
        "integer": st.integers(low, high if high is not None else 2**40),
        "number": st.floats(low, high, allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain.get(kind, SCALARS)


def _object(schema: dict[str, Any], replaced: dict[str, SearchStrategy[Json]] | None = None) -> SearchStrategy[Json]:
    properties = {name: drawn(part) for name, part in schema.get("properties", {}).items()} | (replaced or {})
    if not properties:
        return st.dictionaries(WORDS, st.integers() | WORDS, max_size=3)
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: one for name, one in properties.items() if name in required},
        optional={name: one for name, one in properties.items() if name not in required},
    )


def allowed(tool: str) -> SearchStrategy[dict[str, Json]]:
    replaced = {name: one for (owner, name), one in DRAWN_OTHERWISE.items() if owner == tool}
    made = _object(TOOLS[tool], replaced)
    return made.map(lambda given: {**given, "timeout": 0}) if tool == "wait_for" else made


@st.composite
def violating(draw: st.DrawFn, tool: str) -> dict[str, Json]:
    """Return arguments of which at least one is nothing the schema allows, or that lack one, or have one too many."""
    made = draw(allowed(tool))
    names = sorted(TOOLS[tool].get("properties", {}))
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["replace", "add", "drop"]))
        if how == "replace" and names:
            name = draw(st.sampled_from(names))
            made[name] = draw(HOSTILE)
        elif how == "drop" and made:
            del made[draw(st.sampled_from(sorted(made)))]
        else:
            made[draw(WORDS | HOSTILE_TEXT)] = draw(HOSTILE)
    if tool == "wait_for":
        made["timeout"] = 0
    if isinstance(made.get("file"), str):
        made["file"] = "/nowhere/plan.md"
    return made


class Bench:
    """A server in another thread, the wire to it, and the store behind it."""

    def __init__(self, portal: BlockingPortal, a: Atlas, ask: BinaryIO, answers: BinaryIO) -> None:
        self._portal, self._a, self._ask, self._answers = portal, a, ask, answers

    def call(self, tool: Json, given: Json) -> dict[str, Any]:
        """Call a tool; a refused call must have changed nothing."""
        before = self._portal.call(self._state)
        params = {"name": tool, "arguments": given, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self._ask.write(json.dumps(message).encode() + b"\n")
        self._ask.flush()
        answer = json.loads(self._answers.readline())
        result: dict[str, Any] = answer["result"]
        if result.get("isError"):
            assert self._portal.call(self._state) == before
        return result

    async def _state(self) -> bytes:
        """Return the journal's place and every record of work, some tasks always among them."""
        if not all([(await self._a.lists.by_path(path)).total for path in SEED]):
            # Deleted, moved or archived, in any mixture: beginning anew is the one way that always works.
            await self._a.upkeep.clear(confirm=True)
            for path in SEED:
                await self._a.tasks.create(path, parents=True)

        def read(tx: Transaction) -> Any:
            return [tx.seq, tx.query(Query(TASKS).order_by("id")), tx.query(Query(NOTES).order_by("id"))]

        return msgspec.json.encode(await self._a.store.read(read))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    (to_server, ask), (answers, from_server) = os.pipe(), os.pipe()
    os.set_blocking(to_server, False)

    async def served(a: Atlas) -> None:
        server = await make_server(a, profile="all")
        out = Outgoing(from_server)
        await server.run(Incoming(to_server, out), out, server.create_initialization_options())

    with start_blocking_portal("asyncio") as portal:
        a = atlas.open("memory:")
        with portal.wrap_async_context_manager(a):
            running = portal.start_task_soon(served, a)
            with os.fdopen(ask, "wb") as asking, os.fdopen(answers, "rb") as answering:
                yield Bench(portal, a, asking, answering)
                asking.close()
                running.result(10)
    os.close(to_server)
    os.close(from_server)


def check(result: dict[str, Any]) -> None:
    (content,) = result["content"]
    facts = result["structuredContent"]
    assert isinstance(facts, dict)
    assert isinstance(content["text"], str)
    if result.get("isError"):
        assert facts["code"] != "INTERNAL_ERROR", facts
        assert {"code", "message", "hint", "field", "given", "bound", "retryable", "details"} <= facts.keys()
        assert len(msgspec.json.encode(facts)) < 20_000


@pytest.mark.parametrize("tool", TOOLS)
def test_any_allowed_argument_gets_an_answer(bench: Bench, tool: str) -> None:
    @CALLS
    @given(allowed(tool))
    def holds(arguments: dict[str, Json]) -> None:
        check(bench.call(tool, arguments))

    holds()


@pytest.mark.parametrize("tool", TOOLS)
def test_any_other_argument_gets_an_answer(bench: Bench, tool: str) -> None:
    @CALLS
    @given(violating(tool))
    def holds(arguments: dict[str, Json]) -> None:
        check(bench.call(tool, arguments))

    holds()


def test_any_other_name_gets_an_answer(bench: Bench) -> None:
    @CALLS
    @given(HOSTILE, HOSTILE)
    def holds(tool: Json, arguments: Json) -> None:
        if not isinstance(tool, str) or tool not in TOOLS:
            check(bench.call(tool, arguments))

    holds()
