"""The arguments of the verbs of work, as annotated types: shape, limits and the words that explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..model import limits
from ..model.task import Criterion, Priority, Status, Type

# Bounds of paths are told in the schema and enforced by the grammar, which answers with its own code.
_PATH_BOUNDS = {"minLength": 1, "maxLength": limits.PATH}
Path = Annotated[str, Meta(description="path (project/area/task) or id", extra_json_schema=_PATH_BOUNDS)]
NewPath = Annotated[
    str, Meta(description="path, at most 8 segments of A-Z a-z 0-9 - _ .", extra_json_schema=_PATH_BOUNDS)
]
Sibling = Annotated[str, Meta(description="sibling to stand next to", extra_json_schema=_PATH_BOUNDS)]
Pattern = Annotated[
    str, Meta(description="glob: * in a segment, ? one character, ** any segments", extra_json_schema=_PATH_BOUNDS)
]
Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME)]
Description = Annotated[str, Meta(max_length=limits.DESCRIPTION)]
Reasoning = Annotated[str, Meta(max_length=limits.REASONING)]
Reason = Annotated[str, Meta(description="why it is blocked", max_length=limits.REASON)]
NoteText = Annotated[str, Meta(min_length=1, max_length=limits.NOTE)]
Notes = Annotated[tuple[NoteText, ...], Meta(max_length=limits.NOTES)]
NoteIds = Annotated[tuple[Annotated[str, Meta(max_length=limits.KEY)], ...], Meta(max_length=limits.NOTES)]
Tags = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=limits.TAG)], ...], Meta(max_length=limits.TAGS)]
Dependencies = Annotated[
    tuple[Path, ...], Meta(description="paths to finish first", max_length=limits.DEPENDENCIES_MOST)
]
Line = Annotated[str, Meta(min_length=1, max_length=limits.CRITERION)]
Acceptance = Annotated[
    tuple[Line | Criterion, ...], Meta(description="lines, or {text, done}", max_length=limits.CRITERIA)
]
Capabilities = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=limits.CAPABILITY)], ...],
    Meta(description="capabilities needed", max_length=limits.CAPABILITIES),
]
Assignee = Annotated[str, Meta(min_length=1, max_length=limits.ASSIGNEE)]
Hours = Annotated[float, Meta(ge=0, le=limits.ESTIMATE_HOURS)]
Due = Annotated[datetime, Meta(tz=True, description="ISO 8601 with zone")]
Metadata = Annotated[dict[str, Any], Meta(description="JSON object, 64 KiB, 8 levels")]
MetadataPatch = Annotated[dict[str, Any], Meta(description="merged (RFC 7396): null removes a key")]
Limit = Annotated[int, Meta(ge=1, le=limits.PAGE_MOST)]
Cursor = Annotated[str, Meta(description="next_cursor of the page before", max_length=4_000)]
Tokens = Annotated[int, Meta(ge=50, le=1_000_000, description="cut the list to about so many tokens")]
Seq = Annotated[int, Meta(ge=0, description="only what changed after this seq")]
Version = Annotated[int, Meta(ge=1, description="refuse if the version differs")]
Key = Annotated[str, Meta(min_length=1, max_length=limits.KEY, description="repeats return the first answer for a day")]
Actor = Annotated[str, Meta(min_length=1, max_length=limits.ACTOR)]
Text = Annotated[str, Meta(max_length=limits.TEXT, description="words in name, description, notes")]
FieldName = Annotated[str, Meta(max_length=40)]
Fields = Literal["brief", "full"] | Annotated[tuple[FieldName, ...], Meta(max_length=40)]
Order = Literal[
    "path", "-path", "created_at", "-created_at", "updated_at", "-updated_at", "position", "due_at", "-due_at", "name"
]


class TaskFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may be created with, beside its path."""

    name: Name | None = None
    type: Type = Type.TASK
    description: Description = ""
    parents: bool = False
    before: Sibling | None = None
    after: Sibling | None = None
    dependencies: Dependencies = ()
    acceptance: Acceptance = ()
    requires: Capabilities = ()
    priority: Priority = Priority.MEDIUM
    assignee: Assignee | None = None
    estimated_hours: Hours | None = None
    due_at: Due | None = None
    tags: Tags = ()
    notes: Notes = ()
    reasoning: Reasoning = ""
    metadata: Metadata = {}


class Updates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields to change: `x` replaces a list, `add_x` and `remove_x` edit it; `notes` appends."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    type: Type | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    reason: Reason | UnsetType | None = UNSET
    dependencies: Dependencies | UnsetType = UNSET
    add_dependencies: Dependencies = ()
    remove_dependencies: Dependencies = ()
    acceptance: Acceptance | UnsetType = UNSET
    add_acceptance: Acceptance = ()
    remove_acceptance: Annotated[tuple[Line, ...], Meta(max_length=limits.CRITERIA)] = ()
    requires: Capabilities | UnsetType = UNSET
    add_requires: Capabilities = ()
    remove_requires: Capabilities = ()
    archived: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    assignee: Assignee | UnsetType | None = UNSET
    estimated_hours: Hours | UnsetType | None = UNSET
    due_at: Due | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    add_tags: Tags = ()
    remove_tags: Tags = ()
    notes: Notes = ()
    remove_notes: NoteIds = ()
    reasoning: Reasoning | UnsetType = UNSET
    metadata: MetadataPatch | UnsetType = UNSET


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was reached: the journal's place, the record's version, and how durable both are (`disk` or `memory`)."""

    seq: int
    version: int | None = None
    durability: str = ""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a change of one task."""

    task: dict[str, Any]
    affected: list[str]
    affected_total: int
    receipt: Receipt


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a removal: every path removed, and every path whose record changed."""

    deleted: list[str]
    affected: list[str]
    affected_total: int
    receipt: Receipt


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a bulk call, an outcome per operation in their order."""

    outcomes: list[dict[str, Any]]
    affected: list[str]
    affected_total: int
    receipt: Receipt


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One task with its children and dependents in brief; `seq` is the journal's place that was seen."""

    task: dict[str, Any]
    children: list[dict[str, Any]]
    dependents: list[dict[str, Any]]
    seq: int


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of tasks; `left_out` says what `max_tokens` cut and how to get it, `removed` what no longer belongs."""

    tasks: list[dict[str, Any]]
    total: int
    next_cursor: str | None
    seq: int
    removed: list[str] | None = None
    left_out: str | None = None


Operations = Annotated[
    tuple[dict[str, Any], ...],
    Meta(description="{op: create|update|delete|move, path, …}, in order", min_length=1, max_length=limits.BULK),
]

if TYPE_CHECKING:
    # What a program may pass; `verb` converts it to the types below before a method runs.
    AnyType = Type | Literal["TASK", "GROUP", "MILESTONE"]
    AnyStatus = Status | Literal["PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "BLOCKED", "CANCELLED"]
    AnyPriority = Priority | Literal["critical", "high", "medium", "low"]
    AnyAcceptance = Sequence[str | Criterion | Mapping[str, Any]]
    AnyDependencies = Sequence[str]
    AnyCapabilities = Sequence[str]
    AnyTags = Sequence[str]
    AnyNotes = Sequence[str]
    AnyDue = datetime | str
    AnyMetadata = Mapping[str, Any]
    AnyUpdates = Updates | Mapping[str, Any]
    AnyOperations = Sequence[Mapping[str, Any]]
    AnyFields = Literal["brief", "full"] | Sequence[str]
else:
    AnyType, AnyStatus, AnyPriority, AnyAcceptance, AnyDue = Type, Status, Priority, Acceptance, Due
    AnyDependencies, AnyCapabilities, AnyTags, AnyNotes = Dependencies, Capabilities, Tags, Notes
    AnyMetadata, AnyUpdates, AnyOperations, AnyFields = Metadata, Updates, Operations, Fields
