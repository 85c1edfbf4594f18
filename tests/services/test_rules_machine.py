"""The rules as a whole: random calls, and after each one everything is as a naive model of the rules has it."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.contract.kinds import BACKENDS, Spots
from tests.services.naive import Naive, RefusedError, above

import atlas
from atlas.errors import AtlasError
from atlas.journal.proof import disagreements
from atlas.storage.query import Query
from atlas.work.board import Reading
from atlas.work.collections import NOTES, READY, TASKS
from atlas.work.rebuild import derived_state, stale_ready, stale_tallies
from atlas.work.views import view

T = TypeVar("T")

NAMES = ("a", "b", "c", "d")
PRIORITIES = ("critical", "high", "medium", "low")
STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "BLOCKED", "CANCELLED")
TYPES = ("GROUP", "GROUP", "TASK", "TASK", "MILESTONE")
DEEPEST = 5

seeds = st.integers(0, 2**48)


class Inventor:
    """Invents calls that fit the tasks there are more often than not; what is drawn blindly mostly misses."""

    def __init__(self, seed: int, model: Naive) -> None:
        self.random = random.Random(seed)
        self.model = model
        self.paths = sorted(task["path"] for task in model.tasks.values())

    def call(self) -> dict[str, Any]:
        kinds = [self.create, self.update, self.move, self.reorder, self.delete]
        made = self.random.choices(kinds, weights=(3, 5, 2, 1, 1) if len(self.paths) > 6 else (6, 4, 2, 1, 0))[0]()
        if made["op"] != "create" and self.chance(6):
            key = self.model.at(made["path"])
            right = 1 if key is None else self.model.tasks[key]["version"]
            made["expected_version"] = right + self.random.choice((0, 0, 1))
        return made

    def chance(self, one_in: int) -> bool:
        return self.random.randrange(one_in) == 0

    def somewhere(self) -> str:
        return self.random.choice(self.paths) if self.paths and not self.chance(25) else "nowhere"

    def place(self) -> str:
        holder = self.somewhere()
        name = self.random.choice(NAMES)
        return name if self.chance(4) or holder.count("/") >= DEEPEST - 1 else f"{holder}/{name}"

    def links(self) -> list[str]:
        return list(dict.fromkeys(self.somewhere() for _ in range(self.random.choice((1, 1, 2)))))

    def beside(self, place: str) -> dict[str, str]:
        siblings = [path for path in self.paths if above(path) == above(place)]
        if not siblings or not self.chance(3):
            return {}
        sibling = self.somewhere() if self.chance(10) else self.random.choice(siblings)
        return {self.random.choice(("before", "after")): sibling}

    def create(self) -> dict[str, Any]:
        path = self.place()
        made: dict[str, Any] = {"op": "create", "path": path, "type": self.random.choice(TYPES), **self.beside(path)}
        if self.chance(2):
            made["parents"] = True
        if self.chance(2):
            made["dependencies"] = self.links()
        if self.chance(3):
            made["priority"] = self.random.choice(PRIORITIES)
        return made

    def update(self) -> dict[str, Any]:
        likely = ("COMPLETED", "COMPLETED", "IN_PROGRESS", "PENDING", "PENDING", "CANCELLED")
        fields: dict[str, Callable[[], Any]] = {
            "status": lambda: self.random.choice(STATUSES if self.chance(2) else likely),
            "add_dependencies": self.links,
            "remove_dependencies": self.links,
            "dependencies": lambda: [] if self.chance(2) else self.links(),
            "type": lambda: self.random.choice(TYPES),
            "priority": lambda: self.random.choice(PRIORITIES),
            "archived": lambda: self.chance(3),
        }
        weights = (12, 4, 2, 2, 2, 1, 2)
        names = self.random.choices(list(fields), weights=weights, k=1 + self.chance(4))
        return {"op": "update", "path": self.somewhere(), "updates": {name: fields[name]() for name in names}}

    def move(self) -> dict[str, Any]:
        to = self.place()
        return {"op": "move", "path": self.somewhere(), "to": to, **self.beside(to)}

    def reorder(self) -> dict[str, Any]:
        path = self.somewhere()
        return {"op": "move", "path": path, "to": path, **self.beside(path)}

    def delete(self) -> dict[str, Any]:
        return {"op": "delete", "path": self.somewhere(), "dependents": self.random.choice(("refuse", "detach"))}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never waits for anything outside."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value


def refusal(call: Callable[[], Any]) -> tuple[Any, AtlasError | None]:
    """Return the answer of a call, or the refusal."""
    try:
        return run(call()), None
    except AtlasError as error:
        return None, error


class Rules(RuleBasedStateMachine):
    url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.atlas = atlas.open(self.url, actor="tester", is_inline=True)
        run(self.atlas.store.open())
        self.model = Naive()
        self.seq = 0
        self.ids: dict[int, str] = {}

    def teardown(self) -> None:
        run(self.atlas.store.close())

    @initialize()
    def begin(self) -> None:
        """Have something to work with from the first step on."""
        for path in ("a/a/a", "a/b", "b/a"):
            self.call({"op": "create", "path": path, "parents": True})

    @rule(seed=seeds)
    def one(self, seed: int) -> None:
        self.call(Inventor(seed, self.model).call())

    @rule(given=st.lists(seeds, min_size=5, max_size=10))
    def several(self, given: list[int]) -> None:
        for seed in given:
            self.call(Inventor(seed, self.model).call())

    @rule(given=st.lists(seeds, min_size=1, max_size=4))
    def bulk(self, given: list[int]) -> None:
        model = self.model.copy()
        operations, due = [], None
        for seed in given:
            operations.append(Inventor(seed, model).call())
            due = expected(model, operations[-1])
            if due is not None:
                break
        note(f"bulk {operations}")
        error = refusal(lambda: self.atlas.tasks.bulk(tuple(operations)))[1]
        self.check(error, due)
        if error is None:
            self.model = model
        else:
            assert error.details["index"] == len(operations) - 1

    def check(self, error: AtlasError | None, due: set[str] | None) -> None:
        """Hold a refusal to the one that is due; a refused call leaves nothing."""
        if error is None or due is None:
            assert error is None, error.as_dict()
            assert due is None, f"due: {due}"
            return
        assert error.code in due, error.as_dict()
        assert error.hint
        assert self.journal_seq() == self.seq

    def call(self, op: dict[str, Any]) -> None:
        """Call the verb and the model; both refuse with the same code, or both do it."""
        note(str(op))
        model = self.model.copy()
        due = expected(model, op)
        arguments = {name: value for name, value in op.items() if name != "op"}
        answer, error = refusal(lambda: getattr(self.atlas.tasks, op["op"])(**arguments))
        self.check(error, due)
        if error is not None:
            return
        is_same = model.tasks == self.model.tasks and model.order == self.model.order
        self.model = model
        seq = self.journal_seq()
        assert (seq == self.seq) == is_same, "an event is written exactly when something changed"
        assert answer.receipt.seq == seq
        self.seq = seq

    def journal_seq(self) -> int:
        return run(self.atlas.store.read(lambda tx: tx.seq))

    @invariant()
    def records_are_the_models(self) -> None:
        self.seq = self.journal_seq()
        run(self.atlas.store.read(self.compare))

    def compare(self, tx: Any) -> None:
        reading = Reading(tx)
        stored = {task.path: task for task in tx.query(Query(TASKS))}
        model = self.model
        assert set(stored) == {task["path"] for task in model.tasks.values()}
        known = {key: stored[task["path"]].id for key, task in model.tasks.items()}
        assert all(self.ids.setdefault(key, found) == found for key, found in known.items()), "an id changed"
        for key, due in model.tasks.items():
            task = stored[due["path"]]
            shown = view(reading, task, "full")
            block = None if task.status != "BLOCKED" else shown["block"]
            assert shown["status"] == model.status(key), due["path"]
            assert shown["type"] == due["type"]
            assert shown["archived"] == due["archived"]
            assert task.hidden == model.is_hidden(key)
            assert task.version == due["version"], due["path"]
            assert shown["dependencies"] == [model.tasks[d]["path"] for d in due["dependencies"]]
            if not model.is_container(key):
                assert (block or {}).get("cause") == due["cause"], due["path"]
            if block is not None:
                assert block["by"] == [model.tasks[d]["path"] for d in model.waiting(key)]
            children = [model.tasks[child]["path"] for child in model.children(due["path"])]
            assert [child.path for child in reading.children(task.id)] == children, due["path"]
        self.compare_derived(tx)

    def compare_derived(self, tx: Any) -> None:
        derived = derived_state(tx)
        assert stale_tallies(tx, derived) == {}
        assert stale_ready(tx, derived) == {}
        for task in tx.query(Query(TASKS)):
            due = derived.tasks[task.id]
            assert (task.status, task.block, task.hidden) == (due.status, due.block, due.hidden), task.path
        queue = [(entry.path, entry.dependents) for entry in tx.query(Query(READY).order_by("rank", "-dependents"))]
        assert sorted(path for path, _ in queue) == sorted(self.model.ready())
        for path, dependents in queue:
            key = self.model.at(path)
            assert key is not None
            assert dependents == self.model.open_dependents(key), path

    @invariant()
    def journal_gives_the_present(self) -> None:
        assert run(self.atlas.store.read(lambda tx: disagreements(tx, (TASKS, NOTES)))) == []


def expected(model: Naive, op: dict[str, Any]) -> set[str] | None:
    """Apply one operation to the model; returns the codes of which one is due, None when it must succeed."""
    arguments = {name: value for name, value in op.items() if name not in {"op", "updates"}}
    try:
        getattr(model, op["op"])(**arguments, **op.get("updates", {}))
    except RefusedError as refused:
        return refused.codes
    return None


QUICK = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
LONG = settings(QUICK, max_examples=1_500, stateful_step_count=50)


def test_every_call_leaves_what_a_naive_model_of_the_rules_leaves() -> None:
    """Statuses, blocks, counts, queue, journal and refusals: incremental work gives what recomputing gives."""
    run_state_machine_as_test(Rules, settings=QUICK)


@pytest.mark.nightly
def test_every_call_leaves_what_the_model_leaves_at_length() -> None:
    """The same, long enough to find what needs many steps."""
    run_state_machine_as_test(Rules, settings=LONG)


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "memory"])
def test_other_backends_keep_the_rules_too(spots: Spots, backend: str) -> None:
    """The rules read through buffered writes, which each takes in at other moments than memory does."""

    class Elsewhere(Rules):
        def __init__(self) -> None:
            self.url = spots.new(backend).url
            super().__init__()

    run_state_machine_as_test(Elsewhere, settings=settings(QUICK, max_examples=15))
