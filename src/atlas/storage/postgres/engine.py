"""The heart of the PostgreSQL store: committing a group of functions at once, and reading a snapshot."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from psycopg import Connection, Cursor, Error
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult

from ...errors import (
    StorageError,
    StoreBusyError,
    StoreClosedError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from ..collection import to_scalar
from ..jobs import Job
from ..overlay import Overlay
from ..protocol import Transaction
from ..slow import SlowQueries
from .database import Database, insisting
from .failures import AGAIN, UnguardedError, is_lost, translated
from .line import Line, ask
from .schema import check_number
from .session import PostgresSession, SnapshotSession, millis

T = TypeVar("T")

IDLE_GRACE = 5.0
"""How long beyond its deadline a transaction may go on before the server ends it, in seconds: its client is gone."""


class Engine:
    """Runs functions on a database."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self.database = database
        self.lock_waits = 0.0
        self._undone = 0
        self.commits = 0
        self.slow = SlowQueries()
        self._clock = clock
        self._schema = database.address.quoted_schema
        self._id = str(uuid.uuid4())
        self._number = 0
        self._in_doubt: int | None = None
        self._ending = (
            f'WITH told AS (UPDATE {self._schema}."meta" SET "seq" = %s, "now" = %s),'
            f' signed AS (INSERT INTO {self._schema}."writer" VALUES (%s, %s, %s)'
            ' ON CONFLICT ("id") DO UPDATE SET "number" = excluded."number", "at" = excluded."at")'
            " SELECT pg_notify(channel, %s) FROM (SELECT %s::text AS channel) AS c WHERE channel IS NOT NULL"
        )
        self._looking = f'SELECT "seq", "now", "schema" FROM {self._schema}."meta"'
        self._started: list[Job] = []

    @property
    def is_open(self) -> bool:
        """See CommitEngine."""
        return self.database.is_open

    @property
    def is_untidy(self) -> bool:
        """See CommitEngine: the server looks after itself."""
        return False

    def check_open(self) -> None:
        """See durable.Engine."""
        self.database.check_process()
        if not self.database.is_open:
            raise StoreClosedError("the store is closed")

    def stop(self) -> None:
        """See durable.Engine."""
        self.database.is_open = False

    def tidy(self) -> None:
        """See CommitEngine."""

    def run_short(self, _: Job) -> bool:
        """See CommitEngine: what goes over a network is never short enough for an event loop."""
        return False

    def run(self, jobs: Sequence[Job], *, wait: float | None = None) -> None:
        """Run the jobs one after the other in one transaction, each alone in its failure, and commit once.

        A group whose connection is lost before it committed runs again on a new one, until its callers' time is up.
        """
        del wait  # the deadlines of the jobs say it
        until = max(job.deadline for job in jobs)
        self._in_doubt, self._started = None, []
        try:
            insisting(lambda: self._run(jobs, until), until, is_wanted=self._is_wanted)
        except Exception as error:  # noqa: BLE001 - handed to every caller: the thread that runs this must live on
            for job in jobs:
                job.error = job.error or self._told(error)

    def _is_wanted(self) -> bool:
        """Have jobs that ran in vain wait again, so that their callers can give up; says whether to go on."""
        if self._in_doubt is None:
            self._postpone()
        return self.is_open

    def _postpone(self) -> None:
        while self._started:
            self._started.pop().postpone()

    def _told(self, error: Exception) -> Exception:
        """Return what a caller hears of a group that failed."""
        if self._in_doubt is None:
            return error
        return StorageError(
            f"the connection to {self.database.address.url} was lost while committing",
            hint="Whether the change was made is not known. Read it again before repeating it.",
        )

    def _run(self, jobs: Sequence[Job], until: float) -> None:
        if not self.database.is_writable:
            raise StoreReadOnlyError(f"{self.database.address.url} cannot be written", hint="Name the primary server.")
        connection = self.database.writer()
        try:
            with translated(self.database.address, connection):
                if self._in_doubt is not None:
                    if self._has_committed(connection, until):
                        return
                    self._postpone()
                if not self._commit_all(connection, jobs, until, is_guarded=False):
                    self._commit_all(connection, jobs, until, is_guarded=True)
        except StoreUnreachableError as error:
            self.database.drop_writer(error.message)
            raise
        except BaseException:
            self._leave(connection)
            raise

    def _leave(self, connection: Connection) -> None:
        """Undo what is open, on a connection that may be gone."""
        try:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except Error as error:
            self.database.drop_writer(error)

    def _commit_all(self, connection: Connection, jobs: Sequence[Job], until: float, *, is_guarded: bool) -> bool:
        """Run the jobs and commit; says False when unguarded ones have to run again, each guarded by a savepoint.

        Unguarded, nothing that is written is waited for: a refusal may come up anywhere, and ends them all.
        """
        line = Line(connection, is_piped=not is_guarded)
        try:
            ended = line.run(lambda: self._run_all(line, jobs, until))
        except (Error, UnguardedError) as error:
            if isinstance(error, Error) and is_lost(error, connection):
                raise
            self._in_doubt = None
            if is_guarded:
                raise
            self._undo(connection)
            return False
        self._in_doubt = None
        if ended is None:
            self._undo(connection)
            return len(self._started) == 1
        if ended.statusmessage != "COMMIT":
            raise StorageError(f"{self.database.address.url} gave the transaction up")
        self.commits += 1
        return True

    def _undo(self, connection: Connection) -> None:
        """Undo a transaction, and have the driver forget what it prepared: behind a refusal the server did not.

        The driver does so at a rollback only if the text is new to it.
        """
        self._undone += 1
        connection.execute(f"ROLLBACK -- {self._undone}")

    def _run_all(self, line: Line, jobs: Sequence[Job], until: float) -> Cursor | None:
        """Run the jobs and ask for the commit; None when one that failed left something behind."""
        connection = line.connection
        seq, now = self._begin(connection, until)
        if not self._started:
            self._started = [job for job in jobs if job.start()]
        has_written, before, limit = False, seq, until - time.monotonic()
        for job in self._started:
            if not line.is_piped:
                connection.execute("SAVEPOINT job")
            session = self._session(line, seq, now, job.deadline, limit)
            self._run_one(job, session)
            limit = session.limit
            if job.error is None:
                seq, has_written = session.seq, has_written or session.has_written
            elif not line.is_piped:
                connection.execute("ROLLBACK TO job")
                limit = 0.0
            elif session.has_written:
                return None
            job.seq = seq
        return self._commit(line, seq if has_written else None, now, is_news=seq > before)

    def _session(self, line: Line, seq: int, now: datetime, deadline: float, limit: float) -> PostgresSession:
        database = self.database
        return PostgresSession(
            line, database.address, database.collections, now=now, seq=seq, deadline=deadline, limit=limit
        )

    def _begin(self, connection: Connection, until: float) -> tuple[int, datetime]:
        """Wait for the turn among all writers of the store, and look where it stands."""
        asked = time.perf_counter()
        left = millis(until - time.monotonic())
        # A client that is gone counts as idle only between its pipelines; what ends it always came with PostgreSQL 17.
        whole = "transaction" if connection.info.server_version >= 170_000 else "idle_in_transaction_session"
        text = (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
            # The wait for the turn heeds what was set just before it.
            f" SELECT set_config('lock_timeout', '{left:d}', true), set_config('statement_timeout', '{left:d}', true),"
            f" set_config('{whole}_timeout', '{left + int(IDLE_GRACE * 1000):d}', true),"
            f" pg_advisory_xact_lock({self.database.address.turn:d});"
            # Last, and so of a moment when the turn was had.
            f" {self._looking}"
        )
        try:
            with translated(self.database.address, connection):
                found = ask(connection, text)
        except StoreTimeoutError as error:
            raise StoreBusyError("other writers held the store for all of the time given") from error
        self.lock_waits += time.perf_counter() - asked
        return self._seen(found)

    def _seen(self, found: PGresult) -> tuple[int, datetime]:
        row = [(found.get_value(0, column) or b"").decode() for column in range(3)] if found.ntuples else ["0", "", "0"]
        check_number(int(row[2]), self.database.address)
        return int(row[0]), max(self._clock(), datetime.fromisoformat(row[1]).astimezone(UTC))

    def _run_one(self, job: Job, session: PostgresSession) -> None:
        overlay = Overlay(session, deadline=job.deadline, slow=self.slow)
        job.error = None
        try:
            job.value = job.work(overlay)
            overlay.finish(session.check_references)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whose function raised it
            job.error = error
        if isinstance(session.failure, (*AGAIN, UnguardedError)):
            # Not the work's to answer for, whatever it made of it.
            raise session.failure
        job.error = job.error or session.failure

    def _commit(self, line: Line, seq: int | None, now: datetime, *, is_news: bool) -> Cursor:
        connection = line.connection
        if seq is None:
            return connection.execute("COMMIT")
        line.enter()
        self._number += 1
        self._in_doubt = self._number
        now_text, channel = to_scalar(now), self.database.address.channel if is_news else None
        connection.execute(self._ending, (seq, now_text, self._id, self._number, now_text, str(seq), channel))
        return connection.execute("COMMIT")

    def _has_committed(self, connection: Connection, until: float) -> bool:
        """Say what became of a commit whose answer was lost, once its own connection is surely at an end."""
        self._begin(connection, until)
        found = connection.execute(f'SELECT "number" FROM {self._schema}."writer" WHERE "id" = %s', (self._id,))
        row = found.fetchone()
        connection.execute("ROLLBACK")
        is_there = row is not None and row[0] == self._in_doubt
        self._in_doubt = None
        return is_there

    def forget(self) -> None:
        """Take this writer's own line out of the store: nobody will ask about its commits any more."""
        if self._number and self.database.has_writer:
            connection = self.database.writer()
            with translated(self.database.address, connection):
                connection.execute(f'DELETE FROM {self._schema}."writer" WHERE "id" = %s', (self._id,))

    def read(self, work: Callable[[Transaction], T], until: float, *, answered: Callable[[T], None] | None = None) -> T:
        """Run `work` on a snapshot, again where the connection is lost; raises StoreBusyError when time is up.

        `answered` is given the answer before the transaction is ended, which takes another round trip.
        """

        def attempt() -> T:
            with self.database.reader(until - time.monotonic()) as connection:
                return self._snapshot(connection, work, answered)

        return insisting(attempt, until, is_wanted=lambda: self.is_open)

    def _snapshot(
        self, connection: Connection, work: Callable[[Transaction], T], answered: Callable[[T], None] | None
    ) -> T:
        session = SnapshotSession(
            connection, self.database.address, look=lambda: self._seen(ask(connection, self._looking))
        )
        try:
            with translated(self.database.address, connection):
                ask(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                answer = work(Overlay(session, is_writable=False, slow=self.slow))
        except Exception as error:  # noqa: BLE001 - raised below, unless what was lost goes before it
            failed: BaseException = session.failure or error
        else:
            if session.failure is None:
                if answered is not None:
                    answered(answer)
                return answer
            failed = session.failure
        finally:
            self._end(connection)
        if isinstance(failed, AGAIN):
            connection.close()
        raise failed

    def _end(self, connection: Connection) -> None:
        try:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                # Of what was refused, it undoes: which is all the same for a read.
                ask(connection, "COMMIT")
        except Error:
            connection.close()
