"""The last step of every reader: containers, dependencies and limits, the same for all formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ...model import limits
from ...model.lifecycle import ORDER, roll_up
from ...model.path import ancestors_of, parent_of
from ...model.task import Status, Type
from .draft import Draft, Reading, Remark
from .fit import fit, keep
from .links import Link, attach

_OPEN = frozenset({Status.PENDING, Status.BLOCKED})


def finish(
    label: str,
    drafts: Sequence[Draft],
    links: Iterable[Link],
    remarks: Iterable[Remark] = (),
    most: int = limits.DEPENDENCIES,
) -> Reading:
    """Return the reading of `drafts` (parents before children) once every rule and limit holds.

    What has children becomes a container: its status is derived, so its own stays in `metadata.<label>.status`, with
    a remark when the two differ.
    """
    said = list(remarks)
    held = {parent_of(draft.path) for draft in drafts}
    derived = _derived(drafts, held)
    shaped = []
    for draft in drafts:
        made, told = _shape(draft, label, derived.get(draft.path))
        shaped.append(made)
        said += told
    linked, told = attach(shaped, links, label, most)
    said += told
    fitted = []
    for draft in linked:
        made, told = fit(draft, label)
        fitted.append(made)
        said += told
    return Reading(format=label, drafts=tuple(fitted), remarks=tuple(said))


def _derived(drafts: Sequence[Draft], held: set[Any]) -> dict[str, Status]:
    counts: dict[str, list[int]] = {draft.path: [0] * len(ORDER) for draft in drafts if draft.path in held}
    for draft in drafts:
        if draft.path not in held:
            index = ORDER.index(draft.status or Status.PENDING)
            for above in ancestors_of(draft.path):
                if above in counts:
                    counts[above][index] += 1
    return {path: roll_up(leaves) for path, leaves in counts.items()}


def _shape(draft: Draft, label: str, derived: Status | None) -> tuple[Draft, list[Remark]]:
    changes: dict[str, Any] = {}
    said = []
    metadata = draft.metadata
    if draft.type is Type.MILESTONE and parent_of(draft.path) is not None:
        changes["type"] = Type.GROUP
        metadata = keep(metadata, label, {"type": str(Type.MILESTONE)})
        said.append("a MILESTONE stands at the root; made a GROUP")
    if derived is not None:
        if draft.type is Type.TASK:
            changes["type"] = Type.GROUP
        metadata = _own(draft, label, metadata)
        changes.update(status=None, reason=None)
        if draft.status is not None and draft.status is not derived and not {draft.status, derived} <= _OPEN:
            said.append(f"its own status {draft.status} stays in metadata; its children make it {derived}")
    if metadata is not draft.metadata:
        changes["metadata"] = metadata
    remarks = [Remark(source=draft.source, path=draft.path, message=message) for message in said]
    return (msgspec.structs.replace(draft, **changes) if changes else draft), remarks


def _own(draft: Draft, label: str, metadata: dict[str, Any]) -> dict[str, Any]:
    if draft.status is not None:
        metadata = keep(metadata, label, {"status": str(draft.status)})
    if draft.reason is not None:
        metadata = keep(metadata, label, {"reason": draft.reason})
    return metadata
