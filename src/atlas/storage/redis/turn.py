"""One writer's turn: standing in line, keeping the lease, and the commit that ends it."""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ...errors import StorageError, StoreClosedError, StoreUnreachableError
from ..collection import to_scalar
from ..jobs import TooLongError
from . import scripts
from .layout import Layout
from .link import Link, UnreachedError
from .snapshot import FORMAT, Moment, MovedError, Snapshot, moment_of

LEASE_SECONDS = 5.0
LONGEST_LEASE_SECONDS = 40.0
"""For so long at most others wait for a writer that died."""
"""A writer that neither asks nor commits for so long loses its turn."""

SETTLE_SECONDS = 5.0
"""For so long it is asked what became of a commit whose answer was lost."""

SETTLE_AGAIN_SECONDS = 0.05

Batch = tuple[Sequence[Any], Sequence[Any], Sequence[str]]
"""Records to put and to remove, members of indexes to put and to remove, and keys to remove as a whole."""


_PROGRAM = uuid.uuid4().hex[:16]
_numbers = itertools.count(1)


class Turn:
    """The turn to write. It keeps others from working in vain; that they did not is decided at the commit."""

    def __init__(self, link: Link, layout: Layout, *, closing: threading.Event) -> None:
        self.is_in_line = False
        self._link = link
        self._layout = layout
        self._closing = closing
        self._token = f"{_PROGRAM}.{os.getpid()}.{next(_numbers)}"
        self._commits = 0
        self._lease = LEASE_SECONDS
        self._renewed = 0.0
        self._moment: Moment | None = None
        self._sent: tuple[tuple[Any, ...], Moment] | None = None

    def wait(self, end: float, *, is_checked: bool = True) -> Moment | None:
        """Return where the store stands once it is this writer's turn; None when that is not so before `end`."""
        while True:
            place, moment = self._take(is_checked=is_checked)
            if place == 0:
                self._moment = moment
                return moment
            left = end - time.monotonic()
            if left <= 0:
                return None
            if self._closing.wait(min(0.001 * place, 0.02, left)):
                raise StoreClosedError("the store was closed while others held the turn to write")

    def assume(self, moment: Moment) -> None:
        """Take the store to be at `moment`, as it was last; the first question, or the commit, finds out.

        Only work that goes on asking stands in line: what is soon done would wait for that as long as for itself.
        """
        self._moment = moment
        self._renewed = time.monotonic()

    def _take(self, *, is_checked: bool = True) -> tuple[int, Moment]:
        layout = self._layout
        keys = (layout.meta, layout.line, layout.alive, layout.ticket)
        was_in_line, self.is_in_line = self.is_in_line, True
        try:
            place, *found = self._link.run(scripts.TAKE, keys, (self._token, int(self._lease * 1000)))
        except UnreachedError:
            self.is_in_line = was_in_line
            raise
        self._renewed = time.monotonic()
        return int(place), moment_of(found, layout.digest if is_checked else None)

    def snapshot(self, held: dict[str, dict[Any, Any]]) -> Snapshot:
        """Return the moment of this turn, to be read from."""
        return Snapshot(self._link, self._layout, at=self._moment, kept=self._keep, held=held)

    def _keep(self) -> None:
        """Renew the lease while the work goes on asking; raises MovedError when the turn was lost."""
        if time.monotonic() - self._renewed > self._lease / 4:
            place, moment = self._take()
            if place or moment != self._moment:
                raise MovedError

    def lengthen(self) -> None:
        """Ask for a longer lease, now that others came between."""
        self._lease = min(2 * self._lease, LONGEST_LEASE_SECONDS)

    def leave(self) -> None:
        """Leave the line, having committed nothing; raises StorageError, and then the lease runs out by itself."""
        self.is_in_line = False
        self._link.run(scripts.DROP, (self._layout.line, self._layout.alive), (self._token,))

    def commit(self, batch: Batch, *, seq: int, now: datetime, until: float) -> Moment:
        """Apply the batch, end the turn and return where the store then stands.

        Raises MovedError when something was committed since the turn began, or when it is another's by now. Where the
        answer is lost, it is asked until the time `until` what became of it; where it takes too long, `settle` asks.
        """
        assert self._moment is not None
        before, layout = self._moment, self._layout
        self._commits += 1
        token = f"{self._token}.{self._commits}"
        which = (before.commit, before.last, before.commit + 1, f"by{before.commit % scripts.SLOTS}", token)
        keys = (layout.meta, layout.images, layout.weight, layout.feed, layout.line, layout.alive)
        rest = (self._token, seq, to_scalar(now), FORMAT, layout.digest, scripts.packed(batch))
        made = Moment(before.commit + 1, token, seq, now)
        self._sent = which, made
        try:
            is_in = self._link.run(scripts.COMMIT, keys, (*which, *rest), is_repeatable=False)
        except UnreachedError:
            raise
        except StoreUnreachableError as error:
            if self._link.until is not None:
                raise TooLongError from error
            is_in = self._settle(which, until, error)
        self._sent = None
        if not is_in:
            raise MovedError
        self.is_in_line = False
        return made

    def go_on(self, link: Link) -> None:
        """Ask over another link from now on, one that waits."""
        self._link = link

    def settle(self, until: float) -> Moment | None:
        """Return where the store stood after the commit that was not waited for; None when it is not in."""
        assert self._sent is not None
        (which, made), self._sent = self._sent, None
        is_in = self._settle(which, until, _unknown())
        self.is_in_line = self.is_in_line and not is_in
        return made if is_in else None

    def _settle(self, which: tuple[Any, ...], until: float, lost: StoreUnreachableError) -> bool:
        """Find out what became of a commit whose answer was lost; says whether it is in."""
        end = min(until, time.monotonic() + SETTLE_SECONDS)
        found: int | None = None
        while found is None:
            try:
                found = self._link.run(scripts.SETTLE, (self._layout.meta,), which)
            except StorageError as error:
                if time.monotonic() > end or self._closing.wait(SETTLE_AGAIN_SECONDS):
                    raise _unknown() from error
        if found < 0:
            raise _unknown() from lost
        return bool(found)


def _unknown() -> StoreUnreachableError:
    return StoreUnreachableError(
        "the connection was lost during the commit, and the server does not say what became of it",
        hint="Read whether the change is there before you make it again, or repeat it with the same idempotency key.",
    )
