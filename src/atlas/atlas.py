"""The composition: opens a store, builds the services over one journal, and owns their lifetime."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from .journal import EVENTS, ONCE, Journal
from .model.limits import Limits
from .storage.collection import Collection
from .storage.open import open_store
from .storage.protocol import Store
from .storage.slow import SLOW
from .work.collections import NOTES, ORIGINS, READY, TALLIES, TASKS

if TYPE_CHECKING:
    from .work.lists import Lists
    from .work.plans import Plans
    from .work.tasks import Tasks
    from .work.timeline import Timeline
    from .work.upkeep import Upkeep

COLLECTIONS: tuple[Collection[Any], ...] = (TASKS, NOTES, TALLIES, READY, ORIGINS, EVENTS, ONCE)


class Atlas:
    """One open store with its services; use it as `async with atlas.open(url) as a`."""

    def __init__(self, store: Store, *, limits: Limits, actor: str | None, source: str | None) -> None:
        self.store = store
        self.journal = Journal(store, source=source)
        self._limits = limits
        self._actor = actor

    # A service is loaded when it is first used: a command of one verb would start a fifth slower with all of them.

    @cached_property
    def tasks(self) -> Tasks:
        """What can be done with a task."""
        from .work.tasks import Tasks

        return Tasks(self.journal, bounds=self._limits, actor=self._actor)

    @cached_property
    def lists(self) -> Lists:
        """Which tasks there are, and which come next."""
        from .work.lists import Lists

        return Lists(self.journal)

    @cached_property
    def timeline(self) -> Timeline:
        """What happened."""
        from .work.timeline import Timeline

        return Timeline(self.journal)

    @cached_property
    def plans(self) -> Plans:
        """Imports and exports."""
        from .work.plans import Plans

        return Plans(self.journal, bounds=self._limits, actor=self._actor)

    @cached_property
    def upkeep(self) -> Upkeep:
        """Figures, repair, and what else keeps a store well."""
        from .work.upkeep import Upkeep

        return Upkeep(self.journal, bounds=self._limits, actor=self._actor)

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()


def open(  # noqa: A001 - `atlas.open` is the door
    url: str,
    *,
    actor: str | None = None,
    source: str | None = "python",
    limits: Limits | None = None,
    slow_query: timedelta = SLOW,
    is_inline: bool = False,
) -> Atlas:
    """Return Atlas on the store at `url` (`sqlite:///work.db`, `sqlite:////abs/work.db`, `memory:`), not yet opened.

    `actor` is who is named in the journal. Queries that take longer than `slow_query` are kept in
    `Atlas.store.slow_queries`. `is_inline` runs everything on the calling thread, for programs that do one
    thing and end.
    """
    store = open_store(url, COLLECTIONS, is_inline=is_inline)
    store.slow_queries.after = slow_query
    return Atlas(store, limits=limits or Limits(), actor=actor, source=source)
