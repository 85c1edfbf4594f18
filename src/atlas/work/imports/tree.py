"""Where the records of a foreign file go: valid paths out of ids or titles, and parents that hold together."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ...model import limits
from ...model.path import depth_of, parent_of, slug
from .draft import Remark


class Node(msgspec.Struct, frozen=True):
    """A record that wants a place: `parent` is the key of another one, None (or unknown) puts it under the root."""

    key: str
    parent: str | None
    segment: str


class Placed(msgspec.Struct, frozen=True):
    """The path of every key, parents before children and siblings in their order, and what could not be as told."""

    paths: dict[str, str]
    remarks: list[Remark]


def segment_of(text: str, fallback: str = "item") -> str:
    """Return `text` as a path segment; accents are dropped before what else is not ASCII."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return slug(plain if plain.strip() else text, fallback)


def as_project(segment: str) -> str:
    """Return `segment` as the first of a path, which begins with a letter."""
    return segment if segment[0].isascii() and segment[0].isalpha() else f"p-{segment}"[: limits.SEGMENT]


def roots_of(wanted: Mapping[str, str], project: str | None) -> tuple[dict[str, str], str | None]:
    """Return the root path of each project that a file tells of, and the path of the one that holds them all, if any.

    `wanted` gives the segment for each name. Without `project` every name makes a project of its own. With it, a single
    one is called that; several lie below it.
    """
    if project is not None and len(wanted) == 1:
        return dict.fromkeys(wanted, project), None
    taken: dict[str, int] = {}
    if project is None:
        return {name: free(as_project(segment), taken) for name, segment in wanted.items()}, None
    return {name: f"{project}/{free(segment, taken)}" for name, segment in wanted.items()}, project


def free(segment: str, taken: dict[str, int]) -> str:
    """Return `segment`, or the first of `segment-2`, `segment-3`, … that is not taken, and take it."""
    made, number = segment, taken.get(segment, 0)
    while made in taken:
        number += 1
        ending = f"-{number}"
        made = segment[: limits.SEGMENT - len(ending)] + ending
    taken[segment] = max(number, 1)
    taken.setdefault(made, 1)
    return made


def place(root: str, nodes: Sequence[Node]) -> Placed:
    """Return the places of `nodes` below `root`: circles of parents broken at their first member, depth kept to 8.

    What would lie deeper than the limit becomes a later sibling of its parent.
    """
    parents, remarks = _without_circles(nodes)
    below: dict[str | None, list[Node]] = {}
    for node in nodes:
        below.setdefault(parents[node.key], []).append(node)
    paths: dict[str, str] = {}
    taken: dict[str, dict[str, int]] = {}
    waiting = [(node, root) for node in reversed(below.get(None, []))]
    while waiting:
        node, above = waiting.pop()
        if depth_of(above) >= limits.DEPTH:
            above = parent_of(above) or above
            message = f"deeper than {limits.DEPTH} levels; put beside its parent"
            remarks.append(Remark(source=node.key, path=None, message=message))
        path = f"{above}/{free(node.segment, taken.setdefault(above, {}))}"
        paths[node.key] = path
        waiting.extend((child, path) for child in reversed(below.get(node.key, [])))
    told = [msgspec.structs.replace(remark, path=paths[remark.source]) for remark in remarks]
    return Placed(paths, told)


def _without_circles(nodes: Sequence[Node]) -> tuple[dict[str, str | None], list[Remark]]:
    number = {node.key: index for index, node in enumerate(nodes)}
    parents: dict[str, str | None] = {node.key: node.parent if node.parent in number else None for node in nodes}
    remarks = []
    safe: set[str] = set()
    for node in nodes:
        walk: dict[str, None] = {}
        key: str | None = node.key
        while key is not None and key not in safe and key not in walk:
            walk[key] = None
            key = parents[key]
        if key is not None and key in walk:
            walked = list(walk)
            first = min(walked[walked.index(key) :], key=number.__getitem__)
            message = f"its parents go round in a circle; taken from {parents[first]!r} and put under the project"
            remarks.append(Remark(source=first, message=message))
            parents[first] = None
        safe.update(walk)
    return parents, remarks


def with_parents_first(paths: Iterable[str]) -> list[int]:
    """Return the order in which no path comes before the one above it; an order that is right already stays."""
    listed = list(paths)
    present = set(listed)
    seen: set[str] = set()
    for path in listed:
        above = parent_of(path)
        if above in present and above not in seen:
            return sorted(range(len(listed)), key=lambda index: depth_of(listed[index]))
        seen.add(path)
    return list(range(len(listed)))
