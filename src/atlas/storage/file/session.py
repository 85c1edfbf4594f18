"""One transaction on the records of a JSON file store, as the overlay asks for it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from ...errors import InputError, StoreTimeoutError
from ..collection import Collection, encode
from ..memory_session import MemorySession, State, Table
from ..query import Query
from .layout import Change

_LOOKS = 256


class FileSession(MemorySession):
    """A memory session that keeps what the file will give back, can tell what it changed, and looks at the clock.

    Queries run no longer than `deadline`, a time of the monotonic clock; then they raise `late`.
    """

    def __init__(
        self,
        state: State,
        now: datetime,
        *,
        deadline: float = math.inf,
        late: type[BaseException] = StoreTimeoutError,
    ) -> None:
        super().__init__(state, now)
        self._deadline = deadline
        self._late = late

    def candidates(self, query: Query[Any]) -> Iterable[Any]:
        """See MemorySession."""
        found = super().candidates(query)
        return found if self._deadline == math.inf else self._watched(found)

    def _watched(self, found: Iterable[Any]) -> Iterator[Any]:
        for number, record in enumerate(found):
            if number % _LOOKS == 0 and time.monotonic() > self._deadline:
                raise self._late("the work took longer than its deadline")
            yield record

    def _put(self, table: Table, key: Any, record: Any) -> None:
        super()._put(table, key, None if record is None else _as_stored(table.collection, record))

    def changes(self) -> Iterator[Change]:
        """Return each record that this transaction touched, as it is now."""
        for name, key in dict.fromkeys((table.collection.name, key) for table, key, _ in self._undo):
            table = self._state.tables[name]
            yield Change(table.collection, key, table.records.get(key))


def _as_stored(collection: Collection[Any], record: Any) -> Any:
    """Return the record as it comes back from the file: a caller's later changes to what it holds are not in it."""
    text = encode(record)
    try:
        return collection.decode(text)
    except msgspec.DecodeError as error:
        raise InputError(f"a record of {collection.name} would not come back as it is: {error}") from error
