"""Durable work memory for AI agents: `atlas.open(url)` is the door.

async with atlas.open("sqlite:///work.db") as a:
    await a.tasks.create("shop/api", parents=True)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atlas import Atlas, open  # noqa: A004 - `atlas.open` is the door
    from .errors import AtlasError
    from .model.event import Event
    from .model.limits import Limits
    from .model.task import Note, Priority, Status, Task, Type

__version__ = "0.1.0"

__all__ = ["Atlas", "AtlasError", "Event", "Limits", "Note", "Priority", "Status", "Task", "Type", "open"]

_HOMES = {
    "Atlas": ".atlas",
    "open": ".atlas",
    "AtlasError": ".errors",
    "Event": ".model.event",
    "Limits": ".model.limits",
    **dict.fromkeys(("Note", "Priority", "Status", "Task", "Type"), ".model.task"),
}


def __getattr__(name: str) -> Any:
    """Load a name when it is asked for: a command that needs no store starts in half the time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
