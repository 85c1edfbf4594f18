"""What lets a command start and end fast; `main` imports it before anything heavy (docs/decisions has the figures)."""

from __future__ import annotations

import gc
import sys
from typing import Any, cast


def _load_msgspec_alone() -> None:
    """Load msgspec without typing_extensions: it prefers it where it is installed, and does as well without."""
    name = "typing_extensions"
    if name in sys.modules or "msgspec" in sys.modules:
        return
    cast("dict[str, Any]", sys.modules)[name] = None
    try:
        import msgspec  # noqa: F401 - loaded for those who import it later
    finally:
        del sys.modules[name]


def last() -> None:
    """Collect garbage as usual after all: this process stays."""
    gc.set_threshold(*_USUAL)


def leave_garbage() -> None:
    """Take everything out of the collector's sight, since the process ends: it would look through all of it twice."""
    gc.freeze()


_USUAL = gc.get_threshold()
# Collecting while modules are loaded finds nothing.
gc.set_threshold(100_000)
_load_msgspec_alone()
