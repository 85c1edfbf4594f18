"""The event: an immutable fact in the journal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact. `seq` is given by the store at commit; `time` never decreases with it.

    `collection` and `key` are the target; `subject` is the record the target belongs to (the task of a note), by
    which timelines are read; `path` is where the subject stood then. `change` is as `model.change` describes.
    """

    seq: int = 0
    id: str
    time: datetime
    type: str
    action: str
    collection: str
    key: str
    subject: str
    path: str | None = None
    actor: str | None = None
    session: str | None = None
    source: str | None = None
    correlation: str | None = None
    causation: str | None = None
    payload: dict[str, Any] | None = None
    change: dict[str, Any] | None = None
