"""A store that is only looked at: for reports, for backups, for code that must not write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import msgspec

from ...errors import StoreReadOnlyError
from ..protocol import DEFAULT_TIMEOUT, Capabilities, Committed, Transaction
from .around import StoreAround

T = TypeVar("T")


class ReadOnlyStore(StoreAround):
    """Refuses every change with STORE_READ_ONLY before any of it is run; reads are those of the store inside.

    Opening is the inner store's, which may make a new place where there is none.
    """

    @property
    def capabilities(self) -> Capabilities:
        """See Store."""
        return msgspec.structs.replace(self.inner.capabilities, is_writable=False)

    async def transact(
        self,
        work: Callable[[Transaction], T],  # noqa: ARG002 - refused without running it
        *,
        timeout: timedelta = DEFAULT_TIMEOUT,  # noqa: ARG002 - the same
    ) -> Committed[T]:
        """Refuse; also work that would only read, for which there is `read`."""
        self._refuse("change")

    async def maintain(self, *, analyze: bool = True) -> dict[str, Any]:  # noqa: ARG002 - refused, however it is asked
        """Refuse: upkeep rewrites the place."""
        self._refuse("maintain")

    def _refuse(self, what: str) -> NoReturn:
        raise StoreReadOnlyError(
            f"cannot {what} {self.url}, which was opened to be read only",
            hint="Use the store without its read-only wrapper, or read().",
        )
