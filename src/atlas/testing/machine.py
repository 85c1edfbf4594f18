"""A state machine that drives a store beside a plain dict, through whatever order of calls Hypothesis thinks of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ..errors import ConflictError, VersionError
from ..storage.evaluate import count_rows, select_rows
from ..storage.protocol import Transaction
from ..storage.query import Query
from .generated import queries
from .laws import Place, Stopped, StoreFactory, stop
from .samples import KINDS, MARKS, PARTS, Mark, Part

KEYS = st.sampled_from(("p00", "p01", "p02", "p03", "p04"))
PARTS_DRAWN = st.builds(
    Part,
    id=KEYS,
    path=st.sampled_from(("a", "a/b", "a/b/c", "b", "c/x1", "zz")),
    name=st.sampled_from(("", "Straße red", "café")),
    kind=st.sampled_from(KINDS),
    code=st.none() | st.sampled_from(("x", "y", "z")),
    size=st.none() | st.integers(-2, 2),
    weight=st.none() | st.sampled_from((0.5, 1.0)),
    parent=st.none() | KEYS,
    tags=st.lists(st.sampled_from(("red", "blue")), unique=True).map(tuple),
    metadata=st.sampled_from(({}, {"build": {"id": 7}}, {"build": "id", "labels": ["red"]})),
    version=st.integers(1, 3),
)
BATCH = st.lists(PARTS_DRAWN | KEYS, max_size=4)


class StoreMachine(RuleBasedStateMachine):
    """What is known of the store: `parts` by key, the texts of the marks, and how it is driven."""

    fresh: Callable[[], StoreFactory]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = Place(type(self).fresh())
        self.store = self.run(self.place.open())
        self.is_lasting = self.store.capabilities.durability != "memory"
        self.parts: dict[str, Part] = {}
        self.marks: list[str] = []

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Wait for one call of the store."""
        return self.runner.run(call)

    def teardown(self) -> None:
        """Close the store, which must be well."""
        try:
            assert self.run(self.store.verify()) == []
        finally:
            self.run(self.place.close())
            self.runner.close()

    def _after(self, batch: list[Part | str]) -> dict[str, Part] | None:
        """Return the parts after puts and deletes, None where the store must refuse them."""
        parts = dict(self.parts)
        for item in batch:
            if isinstance(item, Part):
                parts[item.id] = item
            else:
                parts.pop(item, None)
        values = [("path", made.path) for made in parts.values()]
        values += [("code", made.code) for made in parts.values() if made.code is not None]
        is_whole = all(made.parent is None or made.parent in parts for made in parts.values())
        return parts if is_whole and len(values) == len(set(values)) else None

    @rule(batch=BATCH, texts=st.lists(st.sampled_from("xyz"), max_size=2))
    def change(self, batch: list[Part | str], texts: list[str]) -> None:
        """Put, delete and append in one transaction; refused as a whole where it contradicts itself."""
        expected = self._after(batch)

        def work(tx: Transaction) -> None:
            for text in texts:
                tx.append(MARKS, Mark(text=text))
            _take(tx, batch)

        try:
            done = self.run(self.store.transact(work))
        except ConflictError:
            assert expected is None
            return
        assert expected is not None
        self.parts = expected
        self.marks += texts
        assert done.seq == len(self.marks)

    @rule(made=PARTS_DRAWN, version=st.integers(0, 3))
    def replace(self, made: Part, version: int) -> None:
        """Put with an expected version."""
        expected = self._after([made])
        present = self.parts.get(made.id)
        current = 0 if present is None else present.version
        try:
            self.run(self.store.transact(lambda tx: tx.put(PARTS, made, expected_version=version)))
        except VersionError:
            assert current != version
        except ConflictError:
            assert expected is None
        else:
            assert current == version
            assert expected is not None
            self.parts = expected

    @rule(batch=BATCH, inner=BATCH, is_looked_at=st.booleans(), has_failed=st.booleans())
    def nest(self, batch: list[Part | str], inner: list[Part | str], *, is_looked_at: bool, has_failed: bool) -> None:
        """Change inside a savepoint that is kept or fails; a query may have the writes handed on."""
        if self._after(batch) is None or self._after([*batch, *inner]) is None:
            return

        def work(tx: Transaction) -> None:
            _take(tx, batch)
            try:
                with tx.savepoint():
                    tx.append(MARKS, Mark(text="inner"))
                    _take(tx, inner)
                    if is_looked_at:
                        tx.count(Query(PARTS))
                    if has_failed:
                        stop()
            except Stopped:
                pass
            tx.append(MARKS, Mark(text="outer"))

        self.run(self.store.transact(work))
        self.parts = self._after(batch if has_failed else [*batch, *inner]) or {}
        self.marks += ["outer"] if has_failed else ["inner", "outer"]

    @rule(batch=BATCH, is_looked_at=st.booleans())
    def fail(self, batch: list[Part | str], *, is_looked_at: bool) -> None:
        """Change, and then raise."""

        def work(tx: Transaction) -> None:
            tx.append(MARKS, Mark(text="lost"))
            _take(tx, batch)
            if is_looked_at:
                tx.query(Query(MARKS))
            stop()

        try:
            self.run(self.store.transact(work))
        except Stopped:
            return
        except ConflictError:
            # The query handed on what the store must refuse.
            assert is_looked_at
            assert self._after(batch) is None
            return
        raise AssertionError("the error was lost")

    @rule(query=queries())
    def ask(self, query: Query[Any]) -> None:
        """Query and count."""
        rows, number = self.run(self.store.read(lambda tx: (tx.query(query), tx.count(query))))
        assert rows == select_rows(query, self._source)
        assert number == count_rows(query, self._source)

    def _source(self, _: Query[Any]) -> list[Part]:
        return list(self.parts.values())

    @rule(keys=st.lists(KEYS, max_size=3))
    def look(self, keys: list[str]) -> None:
        """Get some of the records."""
        found = self.run(self.store.read(lambda tx: tx.get_many(PARTS, keys)))
        assert found == {key: self.parts[key] for key in keys if key in self.parts}

    @rule()
    def reopen(self) -> None:
        """Close and open again, where that keeps the records."""
        if self.is_lasting:
            self.run(self.place.close())
            self.store = self.run(self.place.open())

    @invariant()
    def all_is_there(self) -> None:
        """Compare everything."""
        parts, marks = self.run(self.store.read(lambda tx: (tx.query(Query(PARTS)), tx.query(Query(MARKS)))))
        assert parts == [self.parts[key] for key in sorted(self.parts)]
        assert marks == [Mark(number=n, text=text) for n, text in enumerate(self.marks, 1)]


def _take(tx: Transaction, batch: list[Part | str]) -> None:
    for item in batch:
        if isinstance(item, Part):
            tx.put(PARTS, item)
        else:
            tx.delete(PARTS, item)


def machine_of(fresh: Callable[[], StoreFactory]) -> type[StoreMachine]:
    """Return the machine for stores at places that `fresh` makes; run it with `run_state_machine_as_test`."""
    return type("StoreMachine", (StoreMachine,), {"fresh": staticmethod(fresh)})
