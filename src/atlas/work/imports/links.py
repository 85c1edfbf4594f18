"""Which dependencies of a foreign plan can stand in Atlas: the rules of dependencies, over a whole file at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ...model import limits
from ...model.path import is_below, parent_of
from .draft import Draft, Remark
from .fit import keep


class Link(msgspec.Struct, frozen=True):
    """A wish that the record `source` waits for the record `on` (None: no such record); `told` is how its file says it.

    `is_outside` marks a target that the store may know although the file does not hold it.
    """

    source: str
    on: str | None
    told: Any
    is_outside: bool = False


class Refused(msgspec.Struct, frozen=True):
    """A link that cannot stand, and why."""

    link: Link
    why: str


def settle(
    paths: Mapping[str, str], links: Iterable[Link], most: int = limits.DEPENDENCIES
) -> tuple[dict[str, list[str]], list[Refused]]:
    """Return, for the records of `paths` (source to path, parents before children), the links that can stand.

    Links are taken in their order, so that of those which close a circle the last is refused, always the same one.
    """
    links = list(links)
    order = _Order(paths, links)
    kept: dict[str, list[str]] = {}
    refused: list[Refused] = []
    for link in links:
        has = kept.setdefault(link.source, [])
        why = _refusal(link, paths, has, most) or order.add(link)
        if why is None and link.on is not None:
            has.append(link.on)
        elif why is not None:
            refused.append(Refused(link, why))
    return kept, refused


def attach(
    drafts: Sequence[Draft], links: Iterable[Link], label: str, most: int = limits.DEPENDENCIES
) -> tuple[list[Draft], list[Remark]]:
    """Return the drafts with their dependencies; a refused link stays in `metadata.<label>.dropped_dependencies`."""
    paths = {draft.source: draft.path for draft in drafts}
    kept, refused = settle(paths, links, most)
    dropped: dict[str, list[dict[str, Any]]] = {}
    remarks = []
    for item in refused:
        dropped.setdefault(item.link.source, []).append({"on": item.link.told, "why": item.why})
        message = f"the dependency on {_shown(item.link.told)} was not taken: {item.why}"
        remarks.append(Remark(source=item.link.source, path=paths[item.link.source], message=message))
    return [_with_links(draft, kept, dropped, label) for draft in drafts], remarks


def _shown(told: Any) -> str:
    if isinstance(told, Mapping) and "depends_on_id" in told:
        return repr(told["depends_on_id"])
    return repr(told)


def _with_links(
    draft: Draft, kept: Mapping[str, list[str]], dropped: Mapping[str, list[dict[str, Any]]], label: str
) -> Draft:
    if dropped.get(draft.source):
        metadata = keep(draft.metadata, label, {"dropped_dependencies": dropped[draft.source]})
        draft = msgspec.structs.replace(draft, metadata=metadata)
    if kept.get(draft.source):
        draft = msgspec.structs.replace(draft, dependencies=tuple(kept[draft.source]))
    return draft


def _refusal(link: Link, paths: Mapping[str, str], has: list[str], most: int) -> str | None:
    """Say what is wrong with a link by itself; whether it closes a circle is for `_Order` to find."""
    if link.on is None or (link.on not in paths and not link.is_outside):
        return "no such record in the file"
    if link.on in has:
        return "named twice"
    if len(has) >= most:
        return f"more than {most} dependencies"
    if link.on not in paths:
        return None
    path, other = paths[link.source], paths[link.on]
    if path == other:
        return "a task cannot wait for itself"
    if is_below(path, other):
        return "a task cannot wait for what it is part of"
    if is_below(other, path):
        return "a task cannot wait for its own part"
    return None


class _Order:
    """An order in which everything can be done, kept up link by link (Pearce and Kelly's algorithm).

    Every record has two nodes, its start and its end, which makes the waiting through containers plain edges: an end
    waits for the start of its record and the ends of its parts, a start for the start of the container and the ends
    of the dependencies. The first order obeys nearly all links, so that taking one of those costs nothing.
    """

    def __init__(self, paths: Mapping[str, str], links: Sequence[Link]) -> None:
        self.paths = list(paths.values())
        self.start = {source: 2 * index for index, source in enumerate(paths)}
        self.waits: list[list[int]] = [[] for _ in range(2 * len(paths))]
        self.wakes: list[list[int]] = [[] for _ in range(2 * len(paths))]
        number = {path: index for index, path in enumerate(self.paths)}
        for child, path in enumerate(self.paths):
            self._edge(2 * child + 1, 2 * child)
            parent = number.get(parent_of(path) or "")
            if parent is not None:
                self._edge(2 * child, 2 * parent)
                self._edge(2 * parent + 1, 2 * child + 1)
        ends = [self._ends(link) for link in links]
        self.rank = _ranks(self.waits, self.wakes, [pair for pair in ends if pair is not None])

    def _edge(self, later: int, earlier: int) -> None:
        self.waits[later].append(earlier)
        self.wakes[earlier].append(later)

    def _ends(self, link: Link) -> tuple[int, int] | None:
        if link.on is None or link.on not in self.start:
            return None
        return self.start[link.source], self.start[link.on] + 1

    def add(self, link: Link) -> str | None:
        """Take the link into the order, or say which circle it would close."""
        pair = self._ends(link)
        if pair is None:
            return None
        later, earlier = pair
        low, high = self.rank[later], self.rank[earlier]
        if high > low:
            needed = self._reach(earlier, self.waits, low, high)
            if later in needed:
                return f"waiting would never end ({' -> '.join(self._chain(later, needed))})"
            waiting = self._reach(later, self.wakes, low, high)
            self._reorder(needed, waiting)
        self._edge(later, earlier)
        return None

    def _reach(self, start: int, edges: list[list[int]], low: int, high: int) -> dict[int, int]:
        """Return every node within the ranks that `start` leads to, each with the node it was reached from."""
        came = {start: start}
        current = [start]
        while current:
            following = []
            for node in current:
                for other in edges[node]:
                    if other not in came and low <= self.rank[other] <= high:
                        came[other] = node
                        following.append(other)
            current = following
        return came

    def _reorder(self, needed: Iterable[int], waiting: Iterable[int]) -> None:
        first, second = sorted(needed, key=self.rank.__getitem__), sorted(waiting, key=self.rank.__getitem__)
        places = sorted(self.rank[node] for node in [*first, *second])
        for node, place in zip([*first, *second], places, strict=True):
            self.rank[node] = place

    def _chain(self, last: int, came: Mapping[int, int]) -> list[str]:
        nodes = [last]
        while came[nodes[-1]] != nodes[-1]:
            nodes.append(came[nodes[-1]])
        chain = [self.paths[last // 2]]
        for node in reversed(nodes):
            if self.paths[node // 2] != chain[-1]:
                chain.append(self.paths[node // 2])
        return chain


def _ranks(waits: list[list[int]], wakes: list[list[int]], links: list[tuple[int, int]]) -> list[int]:
    """Return a rank for each node that obeys all edges, and all links but some of those that go round in circles."""
    count = [len(earlier) for earlier in waits]
    woken: dict[int, list[int]] = {}
    for number, (later, earlier) in enumerate(links):
        count[later] += 1
        woken.setdefault(earlier, []).append(number)
    rank = [-1] * len(waits)
    is_open = [True] * len(links)
    ready = [node for node in range(len(waits)) if not count[node]]
    following, place = 0, 0
    while place < len(rank):
        if place == len(ready):
            # Everything left waits in a circle; the first link of the file that still holds somebody up is let go.
            while not is_open[following]:
                following += 1
            is_open[following] = False
            freed = [links[following][0]]
        else:
            node = ready[place]
            rank[node] = place
            place += 1
            freed = [*wakes[node], *(links[number][0] for number in woken.get(node, ()) if is_open[number])]
            for number in woken.get(node, ()):
                is_open[number] = False
        for later in freed:
            count[later] -= 1
            if not count[later]:
                ready.append(later)
    return rank
