"""One transaction on one PostgreSQL connection, as the overlay asks for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from psycopg import Connection, Error, errors

from ...errors import AtlasError, ConflictError, InputError, StoreFormatError
from ..collection import Collection, to_scalar
from ..evaluate import aggregate_rows, count_rows, select_rows
from ..overlay import Write
from ..query import Both, Compare, Either, Negate, Query, field_value
from ..refusing import refers_to_nothing
from . import failures
from .address import Address
from .columns import TEXT, WHOLE, fitting, kind_of
from .compile import Compiler
from .failures import UnguardedError
from .line import Line
from .partitions import is_due, make_room
from .statements import Step, dangling_text, find_text, get_many_text, get_text, insertion, ordered_steps

if TYPE_CHECKING:
    from ..explaining import Step as Planned

R = TypeVar("R")

COPY_ROWS = 100
"""From so many rows on, COPY is quicker than as many inserts in one pipeline."""


_NEAR = 0.8
_LONGEST = 2_000_000_000


class PostgresSession:
    """Reads and writes inside the transaction that is open on `connection` (`overlay.Session` states the promise).

    Level 0 is not marked: undoing it is the engine's. In a pipeline, what is written is
    not waited for, and whatever the server refuses raises UnguardedError, sooner or later, perhaps in another session.
    `failure` is what the server refused, for work that swallows it.
    `limit` is for how many seconds the server runs a statement; it is lowered as the deadline comes near.
    """

    def __init__(
        self,
        line: Line,
        address: Address,
        collections: Sequence[Collection[Any]],
        *,
        now: datetime,
        seq: int,
        deadline: float,
        limit: float,
    ) -> None:
        self._line = line
        self._connection = line.connection
        self._address = address
        self._schema = address.quoted_schema
        self._collections = collections
        self.now = now
        self.seq = seq
        self.has_written = False
        self.failure: AtlasError | UnguardedError | None = None
        self._deadline = deadline
        self._is_guarded = not line.is_piped
        # The driver takes statements for prepared that a refusal before them in their pipeline kept from being so.
        self._prepare = None if line.is_piped else False
        self.limit = limit
        self._marks: dict[int, int] = {}
        self._touched: dict[str, set[Any]] = {}
        self._gone: dict[str, set[Any]] = {}

    @contextmanager
    def _noted(self, writes: Iterable[tuple[Collection[Any], Any]] = ()) -> Iterator[None]:
        """Translate the driver's errors, and keep the first: the transaction cannot go on after it."""
        try:
            yield
        except (Error, UnicodeEncodeError) as error:
            made = self._translated(error, writes)
            self.failure = self.failure or made
            raise made from error

    def _translated(
        self, error: Exception, writes: Iterable[tuple[Collection[Any], Any]]
    ) -> AtlasError | UnguardedError:
        is_lost = isinstance(error, Error) and failures.is_lost(error, self._connection)
        if not self._is_guarded and not is_lost:
            return UnguardedError(error)
        if isinstance(error, (errors.UniqueViolation, errors.CheckViolation)):
            return _refusal(error, list(writes))
        if isinstance(error, Error):
            return failures.failure(error, self._address, self._connection)
        return InputError(f"PostgreSQL cannot hold a text: {error}", hint="Remove the lone surrogates from it.")

    def _rows(self, text: str, values: Sequence[Any]) -> list[Any]:
        with self._noted():
            self._bound()
            return self._connection.execute(text, values, prepare=self._prepare).fetchall()

    def _bound(self) -> None:
        """Have the server end statements about when the transaction's time is up; told again as that comes near."""
        if self._deadline == math.inf:
            return
        left = max(0.001, self._deadline - time.monotonic())
        if not self.limit * _NEAR <= left <= self.limit:
            self.limit = left
            self._connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(millis(left)),))

    def get_many(self, collection: Collection[R], keys: Sequence[Any]) -> dict[Any, R]:
        """See Session."""
        if len(keys) == 1:
            record = self.get(collection, keys[0])
            return {} if record is None else {keys[0]: record}
        kind = str(kind_of(collection, collection.key))
        fits = [key for key in keys if fitting(kind, key) is not None]
        rows = self._rows(get_many_text(self._schema, collection, kind), (fits,))
        return {key: _decoded(collection, text) for key, text in rows}

    def get(self, collection: Collection[R], key: Any) -> R | None:
        """See Session."""
        fit = fitting(kind_of(collection, collection.key), key)
        rows = [] if fit is None else self._rows(get_text(self._schema, collection), (fit,))
        return _decoded(collection, rows[0][0]) if rows else None

    def find(self, collection: Collection[R], field: str, value: Any) -> R | None:
        """See Session."""
        kind = kind_of(collection, field)
        if kind not in {TEXT, WHOLE}:
            found = self.query(Query(collection).where(Compare(field, "eq", value)))
            return found[0] if found else None
        fit = fitting(kind, value)
        rows = [] if fit is None else self._rows(find_text(self._schema, collection, field), (fit,))
        return _decoded(collection, rows[0][0]) if rows else None

    def query(self, query: Query[R]) -> list[Any]:
        """See Session."""
        query = self.resolved(query)
        compiler = Compiler(self._schema, query.collection)
        statement = compiler.select(query)
        if statement is None:
            return select_rows(query, self._candidates)
        rows = self._rows(*statement)
        if compiler.gives_fields(query):
            return rows
        records = [_decoded(query.collection, row[0]) for row in rows]
        if not query.fields:
            return records
        return [tuple(field_value(record, field) for field in query.fields) for record in records]

    def explain(self, query: Query[Any]) -> tuple[Planned, ...]:
        """See Session."""
        from .explaining import explain

        asked = self.resolved(query)
        with self._noted():
            return explain(self._connection, self._schema, asked)

    def count(self, query: Query[Any]) -> int:
        """See Session."""
        query = self.resolved(query)
        statement = Compiler(self._schema, query.collection).count(query)
        return count_rows(query, self._candidates) if statement is None else int(self._rows(*statement)[0][0])

    def aggregate(self, query: Query[Any]) -> list[dict[str, Any]]:
        """See Session."""
        query = self.resolved(query)
        statement = Compiler(self._schema, query.collection).aggregate(query)
        if statement is None:
            return aggregate_rows(query, self._candidates)
        names = [*query.groups, *(aggregate.name for aggregate in query.aggregates)]
        ops = [""] * len(query.groups) + [aggregate.op for aggregate in query.aggregates]
        rows = self._rows(*statement)
        return [dict(zip(names, map(_finished, ops, row), strict=True)) for row in rows]

    def _candidates(self, query: Query[R]) -> list[R]:
        statement = Compiler(self._schema, query.collection).candidates(query)
        return [_decoded(query.collection, row[0]) for row in self._rows(*statement)]

    def resolved(self, query: Query[R]) -> Query[R]:
        """Put the values in the place of inner queries that SQL cannot answer, or not in the outer one's types."""
        if query.condition is None:
            return query
        return msgspec.structs.replace(query, condition=self._with_values(query.collection, query.condition))

    def _with_values(self, collection: Collection[Any], part: Any) -> Any:
        if isinstance(part, (Both, Either)):
            return type(part)(tuple(self._with_values(collection, inner) for inner in part.parts))
        if isinstance(part, Negate):
            return Negate(self._with_values(collection, part.part))
        if not isinstance(part.value, Query):
            return part
        inner = self.resolved(part.value)
        kind = kind_of(collection, part.field)
        is_alike = kind is not None and kind_of(inner.collection, inner.fields[0]) == kind
        if is_alike and Compiler(self._schema, inner.collection).among(inner) is not None:
            return Compare(part.field, "in", inner)
        return Compare(part.field, "in", tuple({row[0] for row in self.query(inner)} - {None}))

    def write(self, writes: Sequence[Write]) -> None:
        """See Session."""
        for write in writes:
            kind = self._touched if write.after is not None else self._gone
            kind.setdefault(write.collection.name, set()).add(write.key)
        written = [(w.collection, w.after) for w in writes if w.after is not None]
        self._take(ordered_steps(self._schema, writes), written)

    def append(self, collection: Collection[R], records: Sequence[R]) -> None:
        """See Session."""
        before, replace, key = self.seq, msgspec.structs.replace, collection.key
        numbered = [replace(record, **{key: before + n}) for n, record in enumerate(records, 1)]  # type: ignore[type-var]
        self.seq += len(numbered)
        if is_due(before, self.seq):
            with self._noted():
                self._bound()
                make_room(self._connection, self._schema, self._collections, self.seq)
        self._touched.setdefault(collection.name, set()).update(range(before + 1, self.seq + 1))
        written = ((collection, record) for record in records)
        made = insertion(self._schema, collection, numbered)
        if made is None:
            writes = [Write(collection, collection.key_of(record), None, record) for record in numbered]
            self._take(ordered_steps(self._schema, writes), written)
            return
        text, copied, rows = made
        self.has_written = True
        with self._noted(written):
            self._bound()
            if len(rows) >= COPY_ROWS:
                self._copy(copied, rows)
            else:
                self._pipeline([(text, rows)])

    def _take(self, steps: Sequence[Step], written: Iterable[tuple[Collection[Any], Any]]) -> None:
        """Run the steps in as few round trips as there are kinds of them: pipelines, and COPY for many rows."""
        self.has_written = True
        batches: list[tuple[str, str | None, list[tuple[Any, ...]]]] = []
        for (_, text), alike in groupby(sorted(steps, key=_batch), key=_batch):
            group = list(alike)
            batches.append((text, group[0].copied if len(group) >= COPY_ROWS else None, [step.row for step in group]))
        with self._noted(written):
            self._bound()
            for is_copied, several in groupby(batches, key=lambda batch: batch[1] is not None):
                if is_copied:
                    for _, copied, rows in several:
                        self._copy(str(copied), rows)
                else:
                    self._pipeline([(text, rows) for text, _, rows in several])

    def _copy(self, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._line.left(), self._connection.cursor() as cursor, cursor.copy(text) as copy:
            write = copy.write_row
            for row in rows:
                write(row)

    def _pipeline(self, batches: Sequence[tuple[str, list[tuple[Any, ...]]]]) -> None:
        self._line.enter()
        if not self._is_guarded or (len(batches) == 1 and len(batches[0][1]) == 1):
            self._send(batches)
        else:
            with self._connection.pipeline():
                self._send(batches)

    def _send(self, batches: Sequence[tuple[str, list[tuple[Any, ...]]]]) -> None:
        for text, rows in batches:
            if len(rows) > 1 and not self._is_guarded:
                self._connection.cursor().executemany(text, rows)
            else:
                for row in rows:
                    self._connection.execute(text, row, prepare=self._prepare)

    def check_references(self) -> None:
        """Refuse references to nothing per function: PostgreSQL itself would only do so at the commit of the group.

        Unguarded, that is soon enough.
        """
        if not self._is_guarded:
            return
        for collection in self._collections:
            for field, target in collection.references.items():
                touched, gone = self._touched.get(collection.name), self._gone.get(target)
                if touched or gone:
                    text = dangling_text(self._schema, collection, field)
                    for row in self._rows(text, (list(touched or ()), list(gone or ()))):
                        raise refers_to_nothing(collection.name, field, row[0])

    def start_over(self) -> None:
        """See Session."""
        self.has_written = True
        self.seq = 0

    def savepoint(self, level: int) -> None:
        """See Session."""
        if level:
            self._tell(f"SAVEPOINT s{level:d}")
        self._marks[level] = self.seq

    def rollback(self, level: int) -> None:
        """See Session."""
        self.seq = self._marks[level]
        if level:
            self.failure = None
            # Undone as well.
            self.limit = 0.0
            self._tell(f"ROLLBACK TO s{level:d}", f"RELEASE s{level:d}")

    def release(self, level: int) -> None:
        """See Session."""
        if level:
            self._tell(f"RELEASE s{level:d}")

    def _tell(self, *texts: str) -> None:
        if isinstance(self.failure, UnguardedError):
            return
        self._line.enter()
        with self._noted():
            for text in texts:
                self._connection.execute(text)


class SnapshotSession(PostgresSession):
    """A session that only reads; the store's time and last number are looked up when they are asked for."""

    def __init__(self, connection: Connection, address: Address, *, look: Callable[[], tuple[int, datetime]]) -> None:
        self._connection = connection
        self._address = address
        self._schema = address.quoted_schema
        self._is_guarded = True
        self._prepare = None
        self._deadline = math.inf
        self.failure = None
        self._look = look
        self._seen: tuple[int, datetime] | None = None

    @property
    def seq(self) -> int:  # type: ignore[override]
        """See Session."""
        return self._looked()[0]

    @property
    def now(self) -> datetime:  # type: ignore[override]
        """See Session."""
        return self._looked()[1]

    def _looked(self) -> tuple[int, datetime]:
        if self._seen is None:
            with self._noted():
                self._seen = self._look()
        return self._seen


def millis(seconds: float) -> int:
    """Return a time as the server takes it: a positive number of milliseconds, of three weeks at most."""
    return max(1, min(math.ceil(seconds * 1000), _LONGEST))


def _batch(step: Step) -> tuple[int, str]:
    return step.phase, step.text


def _finished(op: str, value: Any) -> Any:
    """Return an aggregate as `evaluate` gives it, of what the statement gave."""
    if op not in {"sum", "avg"} or value is None:
        return value
    if len(value) == 2 and not isinstance(value[0], float):
        total, number = value
        if total is None:
            return None
        return int(total) if op == "sum" else int(total) / int(number)
    return math.fsum(value) if op == "sum" else math.fsum(value) / len(value)


def _decoded(collection: Collection[R], text: str) -> R:
    try:
        record: R = collection.decode(text)
    except msgspec.DecodeError as error:
        raise StoreFormatError(
            f"a {collection.name} in the store cannot be read: {error}",
            hint="Run `atlas doctor`; a record was changed by another program.",
        ) from error
    return record


def _refusal(error: Error, written: list[tuple[Collection[Any], Any]]) -> AtlasError:
    """Return the error that names the field by which a record was refused."""
    name = error.diag.constraint_name or ""
    for collection, record in written:
        for field, allowed in collection.values.items():
            value = to_scalar(getattr(record, field))
            if name == f"{collection.name}__{field}_values" and value is not None and value not in allowed:
                return InputError(
                    f"{value!r} is no {field} of {collection.name}", field=field, given=value, bound=list(allowed)
                )
        for field in collection.unique:
            if name in {f"{collection.name}__by_{field}", f"{collection.name}__{field}_only"}:
                held = [to_scalar(getattr(r, field)) for c, r in written if c is collection]
                return ConflictError(
                    f"two {collection.name} cannot have the same {field}",
                    field=field,
                    given=held[0] if len(held) == 1 else None,
                    details={"constraint": name},
                )
    return ConflictError(f"the records contradict each other: {name}", details={"constraint": name})
