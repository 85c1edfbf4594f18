"""The tasks service: the verbs that change one task, or several at once, and the one that reads one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import AtlasError, InputError
from ..journal import Call, Journal
from ..model import limits
from ..model.limits import Limits
from ..model.task import Priority, Task, Type
from ..verb import Effect, check_arguments, explained, verb
from . import changing, moving
from .arguments import (
    Actor,
    AnyAcceptance,
    AnyCapabilities,
    AnyDependencies,
    AnyDue,
    AnyFields,
    AnyMetadata,
    AnyNotes,
    AnyOperations,
    AnyPriority,
    AnyTags,
    AnyType,
    AnyUpdates,
    Assignee,
    Deleted,
    Description,
    Hours,
    Key,
    Name,
    NewPath,
    Outcomes,
    Path,
    Read,
    Reasoning,
    Receipt,
    Sibling,
    TaskFields,
    Updates,
    Version,
    Written,
)
from .board import Board, Reading
from .views import check_fields, view

A = TypeVar("A", Written, Deleted, Outcomes)

Dependents = Literal["refuse", "detach"]


class Tasks:
    """What can be done with a task. Every change is one transaction; a refused one leaves nothing behind."""

    def __init__(self, journal: Journal, *, bounds: Limits, actor: str | None) -> None:
        self._journal = journal
        self._limits = bounds
        self._actor = actor

    @verb(Effect.WRITE)
    async def create(
        self,
        path: NewPath,
        *,
        name: Name | None = None,
        type: AnyType = Type.TASK,  # noqa: A002 - the field's name on every interface
        description: Description = "",
        parents: bool = False,
        before: Sibling | None = None,
        after: Sibling | None = None,
        dependencies: AnyDependencies = (),
        acceptance: AnyAcceptance = (),
        requires: AnyCapabilities = (),
        priority: AnyPriority = Priority.MEDIUM,
        assignee: Assignee | None = None,
        estimated_hours: Hours | None = None,
        due_at: AnyDue | None = None,
        tags: AnyTags = (),
        notes: AnyNotes = (),
        reasoning: Reasoning = "",
        metadata: AnyMetadata | None = None,
        fields: AnyFields = "brief",
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Written:
        """Create a task. Its parent must exist, or pass parents=true to create missing ones as GROUP.

        A task with unfinished dependencies starts BLOCKED and becomes PENDING by itself when they are finished.
        """
        shape: Any = TaskFields
        given: TaskFields = shape(
            name=name,
            type=type,
            description=description,
            parents=parents,
            before=before,
            after=after,
            dependencies=dependencies,
            acceptance=acceptance,
            requires=requires,
            priority=priority,
            assignee=assignee,
            estimated_hours=estimated_hours,
            due_at=due_at,
            tags=tags,
            notes=notes,
            reasoning=reasoning,
            metadata=metadata or {},
        )
        return await self._change(
            "create_task",
            lambda board: changing.create(board, path, given),
            fields=fields,
            key=idempotency_key,
            actor=actor,
            arguments=[path, given, fields],
        )

    @verb(Effect.READ)
    async def get(self, path: Path, *, fields: AnyFields = "full") -> Read:
        """Show one task in full, with its children and dependents in brief."""
        check_fields(fields)

        def work(tx: Any) -> Read:
            reading = Reading(tx)
            task = reading.find(path)
            children = reading.children(task.id)[: limits.PAGE_MOST] if reading.is_container(task) else []
            return Read(
                task=view(reading, task, fields),
                children=[view(reading, child) for child in children],
                dependents=[view(reading, other) for other in reading.dependents(task.id)[: limits.PAGE_MOST]],
                seq=tx.seq,
            )

        return await self._journal.read(work)

    @verb(Effect.WRITE)
    async def update(
        self,
        path: Path,
        updates: AnyUpdates,
        *,
        expected_version: Version | None = None,
        fields: AnyFields = "brief",
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Written:
        """Change fields of a task: lists are replaced, or edited by add_x and remove_x; notes append; metadata merges.

        Starting and completing need every dependency finished. COMPLETED, FAILED and CANCELLED reopen by PENDING.
        """
        assert isinstance(updates, Updates)
        return await self._change(
            "update_task",
            lambda board: changing.update(board, path, updates, expected_version=expected_version),
            fields=fields,
            key=idempotency_key,
            actor=actor,
            arguments=[path, updates, expected_version, fields],
        )

    @verb(Effect.WRITE)
    async def move(
        self,
        path: Path,
        to: NewPath,
        *,
        before: Sibling | None = None,
        after: Sibling | None = None,
        expected_version: Version | None = None,
        fields: AnyFields = "brief",
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Written:
        """Move or rename a task with everything below it, or reorder it among its siblings (to: its own path)."""
        return await self._change(
            "move_task",
            lambda board: moving.move(board, path, to, before=before, after=after, expected_version=expected_version),
            fields=fields,
            key=idempotency_key,
            actor=actor,
            arguments=[path, to, before, after, expected_version, fields],
        )

    @verb(Effect.DESTRUCTIVE)
    async def delete(
        self,
        path: Path,
        *,
        dependents: Dependents = "refuse",
        expected_version: Version | None = None,
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Deleted:
        """Delete a task with everything below it; refused while outsiders depend on it, unless dependents='detach'."""

        def work(board: Board) -> Deleted:
            task, gone = changing.delete(board, path, dependents=dependents, expected_version=expected_version)
            return Deleted(deleted=gone, **_affected(board), receipt=Receipt(seq=0, version=task.version))

        return await self._run(
            "delete_task", work, Deleted, idempotency_key, actor, [path, dependents, expected_version]
        )

    @verb(Effect.DESTRUCTIVE)
    async def bulk(
        self,
        operations: AnyOperations,
        *,
        fields: AnyFields = "brief",
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Outcomes:
        """Run up to 1,000 operations in order, all or nothing; each sees the ones before.

        `{op: create, path, …fields}`, `{op: update, path, updates}`, `{op: move, path, to}`, `{op: delete, path}`.
        """
        check_fields(fields)
        ready = [_operation(index, dict(given)) for index, given in enumerate(operations)]

        def work(board: Board) -> Outcomes:
            outcomes = []
            for index, (op, run) in enumerate(ready):
                try:
                    outcome = run(board)
                except AtlasError as error:
                    raise _at(error, index) from error
                if isinstance(outcome, Task):
                    outcomes.append({"op": op, "task": view(board, outcome, fields), "version": outcome.version})
                else:
                    outcomes.append({"op": op, "deleted": outcome})
            return Outcomes(outcomes=outcomes, **_affected(board), receipt=Receipt(seq=0))

        return await self._run("bulk_task_operations", work, Outcomes, idempotency_key, actor, [operations, fields])

    async def _change(
        self,
        verb_name: str,
        change: Callable[[Board], Task],
        *,
        fields: AnyFields,
        key: str | None,
        actor: str | None,
        arguments: Any,
    ) -> Written:
        check_fields(fields)

        def work(board: Board) -> Written:
            task = change(board)
            return Written(
                task=view(board, task, fields), **_affected(board), receipt=Receipt(seq=0, version=task.version)
            )

        return await self._run(verb_name, work, Written, key, actor, arguments)

    async def _run(
        self,
        verb_name: str,
        work: Callable[[Board], A],
        answer: type[A],
        key: str | None,
        actor: str | None,
        arguments: Any,
    ) -> A:
        call = Call(action=verb_name, actor=actor or self._actor, idempotency_key=key, arguments=arguments)
        written = await self._journal.write(
            lambda recording: work(Board(recording, self._limits)), call=call, answer=answer
        )
        receipt = msgspec.structs.replace(written.value.receipt, seq=written.seq, durability=written.durability)
        return msgspec.structs.replace(written.value, receipt=receipt)


def _affected(board: Board) -> dict[str, Any]:
    paths = board.affected
    return {"affected": paths[: limits.AFFECTED], "affected_total": len(paths)}


# Bulk operations.


class _Create(TaskFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: NewPath


class _Update(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Path
    updates: Updates
    expected_version: Version | None = None


class _Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Path
    to: NewPath
    before: Sibling | None = None
    after: Sibling | None = None
    expected_version: Version | None = None


class _Delete(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Path
    dependents: Dependents = "refuse"
    expected_version: Version | None = None


def _run_create(given: _Create) -> Callable[[Board], Task | list[str]]:
    return lambda board: changing.create(board, given.path, given)


def _run_update(given: _Update) -> Callable[[Board], Task | list[str]]:
    return lambda board: changing.update(board, given.path, given.updates, expected_version=given.expected_version)


def _run_move(given: _Move) -> Callable[[Board], Task | list[str]]:
    return lambda board: moving.move(
        board,
        given.path,
        given.to,
        before=given.before,
        after=given.after,
        expected_version=given.expected_version,
    )


def _run_delete(given: _Delete) -> Callable[[Board], Task | list[str]]:
    def run(board: Board) -> list[str]:
        return changing.delete(board, given.path, dependents=given.dependents, expected_version=given.expected_version)[
            1
        ]

    return run


_OPERATIONS: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Callable[[Board], Task | list[str]]]]] = {
    "create": (_Create, _run_create),
    "update": (_Update, _run_update),
    "move": (_Move, _run_move),
    "delete": (_Delete, _run_delete),
}


def _operation(index: int, given: dict[str, Any]) -> tuple[str, Callable[[Board], Task | list[str]]]:
    op = given.pop("op", None)
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise InputError(
            f"operations[{index}].op must be one of {', '.join(_OPERATIONS)}",
            field=f"operations[{index}].op",
            given=op,
            bound=list(_OPERATIONS),
            details={"index": index},
        )
    shape, run = _OPERATIONS[op]
    if op == "update" and "updates" not in given:
        # Fields beside the path are taken as the updates, since a list of flat operations is what people write.
        given = {
            **{name: given.pop(name) for name in ("path", "expected_version") if name in given},
            "updates": given,
        }
    try:
        check_arguments(given)
        return op, run(msgspec.convert(given, shape))
    except msgspec.ValidationError as error:
        raise _at(explained(error, given, shape), index) from None
    except InputError as error:
        raise _at(error, index) from error


def _at(error: AtlasError, index: int) -> AtlasError:
    """Say which operation failed; nothing of the whole list is kept."""
    error.field = f"operations[{index}]" + (f".{error.field}" if error.field else "")
    error.details["index"] = index
    return error
