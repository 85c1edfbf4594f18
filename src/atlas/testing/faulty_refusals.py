"""Stores that take what a declaration forbids, refuse without saying what, or let refused work go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..errors import ConflictError, InputError
from ..storage.collection import Collection
from ..storage.memory_session import MemorySession, Table
from ..storage.overlay import Overlay, Write
from .faults import Fault, breaks

T = TypeVar("T")

REFUSAL_FAULTS: dict[str, Fault] = {}
_breaks = partial(breaks, REFUSAL_FAULTS)


# Declarations


@_breaks("a_unique_value_is_held_once")
class _AllowsDoubles(MemorySession):
    def _check(self, table: Table, record: Any) -> None:
        try:
            super()._check(table, record)
        except ConflictError:
            return


@_breaks("unique_values_may_change_hands")
class _WritesOneByOne(MemorySession):
    def write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            super().write([write])


@_breaks("only_declared_values_are_kept")
class _AllowsAnyValue(MemorySession):
    def _check(self, table: Table, record: Any) -> None:
        try:
            super()._check(table, record)
        except InputError:
            return


@_breaks("a_reference_leads_to_a_record")
class _AllowsDanglingReferences(MemorySession):
    def check_references(self) -> None:
        return


@_breaks("a_record_referred_to_stays")
class _DeletesWhatIsReferredTo(MemorySession):
    def _check_left(self, *_: Any) -> None:
        return


@_breaks("references_are_judged_at_the_end")
class _JudgesReferencesAtOnce(MemorySession):
    def write(self, writes: Sequence[Write]) -> None:
        super().write(writes)
        self.check_references()


@_breaks("only_declared_values_are_kept")
class _AllowsAnyValueInSequences(MemorySession):
    def append(self, collection: Collection[T], records: Sequence[T]) -> None:
        table = self._table(collection)
        for record in records:
            self._state.seq += 1
            numbered = msgspec.structs.replace(record, **{collection.key: self._state.seq})  # type: ignore[type-var]
            self._put(table, self._state.seq, numbered)


# What a refusal names


@_breaks("a_taken_value_is_named")
class _HidesWhatIsTaken(MemorySession):
    def _check(self, table: Table, record: Any) -> None:
        try:
            super()._check(table, record)
        except ConflictError as error:
            raise ConflictError(error.message, field=error.field) from error


@_breaks("an_undeclared_value_is_named")
class _HidesWhatWouldDo(MemorySession):
    def _check(self, table: Table, record: Any) -> None:
        try:
            super()._check(table, record)
        except InputError as error:
            raise InputError(error.message, field=error.field, given=error.given) from error


@_breaks("a_reference_to_nothing_is_named")
class _HidesWhatIsMissing(MemorySession):
    def check_references(self) -> None:
        try:
            super().check_references()
        except ConflictError as error:
            raise ConflictError(error.message) from error


# What may follow a refusal


@_breaks("refused_work_cannot_go_on")
class _GoesOnAfterARefusal(Overlay):
    def flush(self) -> None:
        try:
            super().flush()
        finally:
            self._spoiled = None


@_breaks("work_that_swallows_a_refusal_commits_nothing")
class _CommitsWhatIsLeft(Overlay):
    def finish(self, check: Callable[[], None] | None = None) -> None:
        if self._spoiled is None:
            super().finish(check)


@_breaks("leaving_its_savepoint_mends_a_refusal")
class _NeverForgives(Overlay):
    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with super().savepoint():
            try:
                yield
            finally:
                if self._spoiled is not None:
                    self._spoiled = (0, self._spoiled[1])


@_breaks("a_refusal_of_what_came_before_a_savepoint_outlasts_it")
class _ForgivesTooMuch(Overlay):
    @contextmanager
    def savepoint(self) -> Iterator[None]:
        try:
            with super().savepoint():
                yield
        except ConflictError:
            self._spoiled = None
            raise
