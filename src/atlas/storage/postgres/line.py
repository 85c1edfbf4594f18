"""A connection as a transaction uses it: what is written goes in one pipeline, or is answered one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from psycopg import Connection, Error, OperationalError
from psycopg.errors import error_from_result
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

T = TypeVar("T")


class Line:
    """A connection and its pipeline, which begins with the first write, and which COPY has to leave."""

    def __init__(self, connection: Connection, *, is_piped: bool) -> None:
        self.connection = connection
        self.is_piped = is_piped
        self._is_entered = False
        self._pipe = ExitStack()

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` and wait for all answers; its own error goes before those that follow from it."""
        raised: BaseException | None = None
        value: T | None = None
        try:
            try:
                value = work()
            except BaseException as error:  # noqa: BLE001 - raised below, once the pipeline is left
                raised = error
            self._pipe.close()
        except Error as error:
            # On its way out of a pipeline the driver may hide that a person interrupted it.
            hidden = error.__context__
            raised = raised or (hidden if isinstance(hidden, KeyboardInterrupt) else error)
        if raised is not None:
            raise raised
        return value  # type: ignore[return-value]

    def enter(self) -> None:
        """Wait for no answers from here on, but for those of questions."""
        if self.is_piped and not self._is_entered:
            self._is_entered = True
            self._pipe.enter_context(self.connection.pipeline())

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave the pipeline for a while; raises what was refused in it."""
        self._pipe.close()
        self._is_entered = False
        yield
        self.enter()


def ask(connection: Connection, text: str) -> PGresult:
    """Run statements that have no parameters in one round trip; returns what the last gave, raises the first refusal.

    It goes past the driver's cursors, which would take several times as long.
    """
    found = connection.pgconn.exec_(text.encode())
    if found.status in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
        return found
    # What has no code is not the server's word but libpq's: the connection broke, though it may not count as closed.
    if connection.closed or found.error_field(DiagnosticField.SQLSTATE) is None:
        raise OperationalError(connection.pgconn.get_error_message())
    raise error_from_result(found)
