"""A connection as a transaction uses it: in one pipeline throughout, or answer by answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from psycopg import Connection, Error

T = TypeVar("T")


class Line:
    """A connection and its pipeline, which COPY has to leave."""

    def __init__(self, connection: Connection, *, is_piped: bool) -> None:
        self.connection = connection
        self.is_piped = is_piped
        self._pipe = ExitStack()

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the pipeline and wait for all answers; its own error goes before those that follow from it."""
        raised: BaseException | None = None
        value: T | None = None
        try:
            self._enter()
            try:
                value = work()
            except BaseException as error:  # noqa: BLE001 - raised below, once the pipeline is left
                raised = error
            self._pipe.close()
        except Error as error:
            raised = raised or error
        if raised is not None:
            raise raised
        return value  # type: ignore[return-value]

    def _enter(self) -> None:
        if self.is_piped:
            self._pipe.enter_context(self.connection.pipeline())

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave the pipeline for a while; raises what was refused in it."""
        self._pipe.close()
        yield
        self._enter()
