"""Every failure Atlas reports: a fact with a code, a way out, and whether a retry can help.

AtlasError
├── InputError                    INVALID_INPUT            a value outside its bound or of the wrong shape
│   ├── PathError                 TASK_INVALID_PATH        not a path of the grammar
│   └── ImportFormatError         IMPORT_FORMAT            a file that is not of the named format
├── NotFoundError                 NOT_FOUND                nothing there by that name
│   ├── TaskNotFoundError         TASK_NOT_FOUND
│   └── ParentNotFoundError       TASK_PARENT_NOT_FOUND
├── ConflictError                 CONFLICT                 somebody was there before
│   ├── DuplicateError            TASK_DUPLICATE
│   ├── VersionError              CONCURRENT_MODIFICATION
│   └── IdempotencyError          IDEMPOTENCY_MISMATCH
├── RuleError                     RULE                     the rules of work forbid it
│   ├── StatusError               TASK_STATUS
│   ├── DependencyError           TASK_DEPENDENCY
│   ├── CycleError                TASK_CYCLE
│   ├── ParentTypeError           TASK_PARENT_TYPE
│   └── ArchivedError             TASK_ARCHIVED
├── StorageError                  STORAGE_ERROR            the place where records live failed
│   ├── StoreBusyError            STORE_BUSY               (retry)
│   ├── StoreUnreachableError     STORE_UNREACHABLE        (retry) the server is away
│   ├── StoreTimeoutError         TIMEOUT                  (retry)
│   ├── StoreClosedError          STORE_CLOSED
│   ├── StoreFormatError          STORE_FORMAT             not a store, or damaged
│   ├── StoreNewerError           STORE_NEWER              written by a newer Atlas
│   ├── StoreReadOnlyError        STORE_READ_ONLY
│   ├── StoreFullError            STORE_FULL               (retry)
│   └── StoreLocationError        STORE_LOCATION           a place where locks or syncs cannot be trusted
├── ConfigError                   CONFIG_INVALID           a setting that is unknown or out of bounds
├── WrongProjectError             WRONG_PROJECT            the client works in another folder than the project's
└── InternalError                 INTERNAL_ERROR           a fault of Atlas itself
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

Severity = Literal["warning", "error", "critical"]


class AtlasError(Exception):
    """What every refusal and failure carries; `code` is stable, `message` is for reading."""

    code: ClassVar[str] = "ATLAS_ERROR"
    severity: ClassVar[Severity] = "error"
    retryable: ClassVar[bool] = False
    hint: str = "See docs/errors.md."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        field: str | None = None,
        given: Any = None,
        bound: Any = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        self.field = field
        self.given = given
        self.bound = bound
        self.details: dict[str, Any] = dict(details or {})
        self.request_id: str | None = None

    def told(self) -> str:
        """Return the message; of one among many (`operations[1].path`) it names the place first."""
        field = self.field or ""
        return self.message if "[" not in field or self.message.startswith(field) else f"{field}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts in the shape every interface answers with."""
        facts: dict[str, Any] = {
            "code": self.code,
            "message": shorten(self.told(), 2_000),
            "hint": shorten(self.hint, 2_000),
            "field": shorten(self.field),
            "given": shorten(self.given),
            "bound": self.bound,
            "retryable": self.retryable,
            "severity": self.severity,
            "details": self.details,
        }
        if self.request_id is not None:
            facts["request_id"] = self.request_id
        return facts


def shorten(value: Any, limit: int = 200) -> Any:
    """Return `value` cut to `limit` characters, so that an error never floods the one who reads it."""
    if isinstance(value, str) and len(value) > limit:
        return f"{value[:limit]}… ({len(value)} characters)"
    if isinstance(value, (list, tuple)) and len(value) > 20:
        return [*[shorten(item, limit) for item in value[:20]], f"… ({len(value)} items)"]
    if isinstance(value, (list, tuple)):
        return [shorten(item, limit) for item in value]
    if isinstance(value, Mapping):
        text = repr(value)
        return dict(value) if len(text) <= limit * 4 else f"{text[:limit]}… ({len(value)} keys)"
    return value


class InputError(AtlasError):
    """A value outside its bound or of the wrong shape."""

    code = "INVALID_INPUT"
    hint = "Correct the field named and call again; nothing was changed."

    def __init__(self, message: str, *, hint: str | None = None, bound: Any = None, **facts: Any) -> None:
        if hint is None and type(self).hint is InputError.hint:
            hint = _within(bound)
        super().__init__(message, hint=hint, bound=bound, **facts)


def _within(bound: Any) -> str | None:
    """Return the way out that a bound itself tells; a number alone does not say of what it is one."""
    if isinstance(bound, (list, tuple)) and bound:
        return f"Use one of {', '.join(str(each) for each in bound)}."
    return f"Needed: {bound}." if isinstance(bound, str) else None


class PathError(InputError):
    """Not a path, or not a pattern, of the grammar."""

    code = "TASK_INVALID_PATH"
    hint = "Segments of ASCII letters, digits, '-', '_' and '.', joined by '/', the first beginning with a letter."


class NotFoundError(AtlasError):
    """Nothing there by that name."""

    code = "NOT_FOUND"
    hint = "List what there is, and use a name from the list."


class TaskNotFoundError(NotFoundError):
    """No task has that path or id."""

    code = "TASK_NOT_FOUND"
    hint = "List the tasks there are with get_tasks_by_path (atlas list), or create this one."

    def __init__(self, given: str, *, field: str = "path", **facts: Any) -> None:
        super().__init__(f"no task {given!r}", field=field, given=given, **facts)


class ParentNotFoundError(NotFoundError):
    """The path names a parent that does not exist."""

    code = "TASK_PARENT_NOT_FOUND"

    def __init__(self, path: str, parent: str) -> None:
        super().__init__(
            f"the parent {parent!r} of {path!r} does not exist",
            field="path",
            given=path,
            hint=f"Create {parent!r} first, or pass parents=true to create missing parents as GROUP.",
            details={"parent": parent},
        )


class ConflictError(AtlasError):
    """Somebody was there before."""

    code = "CONFLICT"
    hint = "Read the record again and decide anew."


class DuplicateError(ConflictError):
    """The path is taken."""

    code = "TASK_DUPLICATE"

    def __init__(self, path: str, task_id: str, *, field: str = "path") -> None:
        super().__init__(
            f"{path!r} already exists",
            field=field,
            given=path,
            hint=f"Update {path!r} instead, or choose another last segment.",
            details={"id": task_id},
        )


class VersionError(ConflictError):
    """The record changed since the caller read it."""

    code = "CONCURRENT_MODIFICATION"
    hint = "Read `details.current`, merge your change into it, and retry with its version."

    def __init__(self, what: str, expected: int, current: int, **facts: Any) -> None:
        self.expected, self.current = expected, current
        super().__init__(
            f"{what} has version {current}, not {expected}",
            field="expected_version",
            given=expected,
            bound=current,
            **facts,
        )


class IdempotencyError(ConflictError):
    """The idempotency key was used for another call."""

    code = "IDEMPOTENCY_MISMATCH"
    hint = "Use a new key for a new call; a key repeats exactly one call for a day."


class RuleError(AtlasError):
    """The rules of work forbid it."""

    code = "RULE"
    hint = "docs/rules.md states the rules of work."


class StatusError(RuleError):
    """The change of status is not one of the table."""

    code = "TASK_STATUS"


class DependencyError(RuleError):
    """A dependency is not finished, not possible, or still needed by others."""

    code = "TASK_DEPENDENCY"


class CycleError(RuleError):
    """The dependency would make work wait for itself."""

    code = "TASK_CYCLE"
    hint = "Remove one of the dependencies along the chain."

    def __init__(self, chain: Iterable[str], *, field: str = "dependencies", given: Any = None) -> None:
        self.chain = list(chain)
        super().__init__(
            f"waiting would never end: {' -> '.join(self.chain)}",
            field=field,
            given=given,
            details={"chain": self.chain},
        )


class ParentTypeError(RuleError):
    """The parent's type cannot hold the child's."""

    code = "TASK_PARENT_TYPE"


class ArchivedError(RuleError):
    """The task lies in an archived subtree."""

    code = "TASK_ARCHIVED"

    def __init__(self, path: str, archived: str) -> None:
        super().__init__(
            f"{path!r} is archived (at {archived!r})" if path != archived else f"{path!r} is archived",
            field="path",
            given=path,
            hint=f"Update {archived!r} with archived=false first.",
            details={"archived": archived},
        )


class StorageError(AtlasError):
    """The place where records live failed."""

    code = "STORAGE_ERROR"
    severity: ClassVar[Severity] = "critical"
    hint = "Run `atlas doctor`; the change was not made."


class StoreBusyError(StorageError):
    """Another writer held the store for longer than the caller would wait."""

    code = "STORE_BUSY"
    severity: ClassVar[Severity] = "warning"
    retryable = True
    hint = "Retry; if it lasts, find the process that holds the store with `atlas doctor`."


class StoreUnreachableError(StorageError):
    """The server that keeps the store is away, or the connection to it was lost."""

    code = "STORE_UNREACHABLE"
    severity: ClassVar[Severity] = "error"
    retryable = True
    hint = "Retry; if it lasts, see whether the server runs and lets this program in. Nothing was changed."


class StoreTimeoutError(StorageError):
    """The work took longer than its deadline and was rolled back."""

    code = "TIMEOUT"
    severity: ClassVar[Severity] = "warning"
    retryable = True
    hint = "Retry with a smaller piece of work or a longer timeout; nothing was changed."


class StoreClosedError(StorageError):
    """The store was closed."""

    code = "STORE_CLOSED"
    severity: ClassVar[Severity] = "error"
    hint = "Open the store again."


class StoreFormatError(StorageError):
    """The file is not a store, or is damaged; it is never altered."""

    code = "STORE_FORMAT"
    hint = "Point --store at an Atlas database, or at a file that does not exist yet."


class StoreNewerError(StorageError):
    """The store was written by a newer Atlas; it is never altered."""

    code = "STORE_NEWER"
    hint = "Upgrade Atlas to open this store."


class StoreReadOnlyError(StorageError):
    """The store can be read but not written."""

    code = "STORE_READ_ONLY"
    hint = "Give yourself write permission on the file and its folder, or copy it elsewhere."


class StoreFullError(StorageError):
    """The disk is full; the change was not made."""

    code = "STORE_FULL"
    retryable = True
    hint = "Free some disk space and retry; what was acknowledged before is safe."


class StoreLocationError(StorageError):
    """Locks or syncs cannot be trusted at this place."""

    code = "STORE_LOCATION"


class ConfigError(AtlasError):
    """A setting that is unknown or out of bounds."""

    code = "CONFIG_INVALID"
    hint = "docs/settings.md lists every setting with its bounds."


class WrongProjectError(AtlasError):
    """The client works in another folder than that of the project served."""

    code = "WRONG_PROJECT"
    hint = "Run `atlas init` in the client's folder, or name the store with --store or ATLAS_STORE_URL."

    def __init__(self, folder: str, roots: list[str]) -> None:
        super().__init__(
            f"this server serves the project in {folder}, and the client works in {', '.join(roots[:3])}",
            given=roots,
            bound=folder,
        )


class ImportFormatError(InputError):
    """A file that is not of the named format."""

    code = "IMPORT_FORMAT"
    hint = "Name the format (--format): atlas, markdown, taskmaster, beads, backlog or atlas1."


class InternalError(AtlasError):
    """A fault of Atlas itself; the request id finds it in the logs."""

    code = "INTERNAL_ERROR"
    severity: ClassVar[Severity] = "critical"
    hint = "Nothing was changed. Please report it with the log lines of this request id."
