"""The refusals that every store words alike."""

from __future__ import annotations

from typing import Any

from ..errors import ConflictError, InputError, StoreClosedError


def refers_to_nothing(name: str, field: str | None, key: Any) -> ConflictError:
    """Return the error of a reference that leads nowhere, from a record of the collection `name`."""
    return ConflictError(
        f"{name} refer to {key!r}, which does not exist",
        field=field,
        given=key,
        hint="Create what is referred to in the same transaction, or remove what refers to it as well.",
    )


def not_text(error: UnicodeEncodeError) -> InputError:
    """Return the error of a text that no store can keep or compare with."""
    return InputError(
        f"half a surrogate pair at {error.start} is no text",
        given=ascii(error.object[error.start : error.end]),
        bound="Unicode text",
    )


def of_the_parent() -> StoreClosedError:
    """Return the error of a forked child that goes on with its parent's connections and locks."""
    return StoreClosedError("the store was opened by the parent process", hint="Open it again in this one.")
