"""How faults are entered: a faulty part, set into an otherwise right memory store, and the law it must break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..storage.memory import MemoryStore
from ..storage.memory_session import MemorySession
from .laws import StoreFactory

Kind = TypeVar("Kind", bound=type)


class Fault(NamedTuple):
    """Makes the places of a faulty store, and names the law that it breaks."""

    fresh: Callable[[], StoreFactory]
    law: str


def breaks(faults: dict[str, Fault], law: str) -> Callable[[Kind], Kind]:
    """Enter a class among `faults`: a store, or the session or overlay of one."""

    def enter(kind: Kind) -> Kind:
        name = kind.__name__.lstrip("_")
        made: Any = kind
        if not issubclass(kind, MemoryStore):
            slot = "session_type" if issubclass(kind, MemorySession) else "overlay_type"
            made = type(name, (MemoryStore,), {slot: kind})
        faults[name] = Fault(lambda: made, law)
        return kind

    return enter
