"""The plans service: bringing in what other tools know, and taking out what Atlas knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import InputError
from ..journal import Call, Journal, Recording, Written
from ..model import limits
from ..model.limits import Limits
from ..storage.protocol import Transaction
from ..storage.query import Query, glob, isin
from ..verb import PROGRESS, Effect, Progress, verb
from .arguments import Actor, Key, Pattern, Receipt
from .board import Board
from .collections import NOTES, TASKS
from .imports.draft import Draft, DraftNote, Reading, Remark, Source
from .planting import STEPS, Planting, Step, in_order

Content = Annotated[str, Meta(description="the text of the plan", max_length=limits.IMPORT_BYTES)]
File = Annotated[str, Meta(description="a file or folder to read instead", min_length=1, max_length=4_096)]
Project = Annotated[
    str,
    Meta(
        description="name of the project, the first segment of its paths",
        extra_json_schema={"minLength": 1, "maxLength": limits.SEGMENT},
    ),
]
Format = Literal["auto", "atlas", "markdown", "taskmaster", "beads", "backlog", "atlas1"]
ExportFormat = Literal["lines", "markdown"]

LONG = timedelta(minutes=10)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import came to: numbers of records, and a note for each that could not be taken as it stood."""

    format: str
    created: int
    updated: int
    skipped: int
    notes: list[dict[str, Any]]
    projects: list[str]
    dry_run: bool
    receipt: Receipt


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks as text."""

    format: str
    content: str
    tasks: int
    seq: int


class _DryRunError(Exception):
    """Carries the report of a dry run out of the transaction that is thrown away."""

    def __init__(self, report: Imported) -> None:
        super().__init__("dry run")
        self.report = report


class Plans:
    """Imports and exports. `can_read_files` is False where callers are not those who own the machine's files."""

    def __init__(self, journal: Journal, *, bounds: Limits, actor: str | None, can_read_files: bool = True) -> None:
        self._journal = journal
        self._limits = bounds
        self._actor = actor
        self.can_read_files = can_read_files

    @verb(Effect.WRITE)
    async def load(
        self,
        content: Content | None = None,
        *,
        file: File | None = None,
        format: Format = "auto",  # noqa: A002 - the field's name on every interface
        project: Project | None = None,
        dry_run: bool = False,
        idempotency_key: Key | None = None,
        actor: Actor | None = None,
    ) -> Imported:
        """Import a plan: Markdown headings and lists, Taskmaster tasks.json, beads JSONL, Backlog.md, Atlas JSON lines.

        Importing the same plan again updates what changed in it and never duplicates; what was changed here stays.
        """
        from .imports.formats import read_plan

        source = self._source(content, file)
        reading = read_plan(source, format=format, project=project, most=self._limits.dependencies)
        call = Call(
            action="import_plan",
            actor=actor or self._actor,
            idempotency_key=idempotency_key,
            arguments=[content, file, format, project, dry_run],
        )
        if len(reading.drafts) > limits.IMPORT_RECORDS and not dry_run:
            return await self._load_in_parts(reading, call)
        return await self._load_at_once(reading, call, dry_run=dry_run)

    def _source(self, content: str | None, file: str | None) -> Source:
        if (content is None) == (file is None):
            raise InputError("pass either content or file", field="content", bound="exactly one of content and file")
        if content is not None:
            return Source(name="content", files={"content": content.encode()})
        if not self.can_read_files:
            raise InputError("this server reads no files", field="file", given=file, hint="Pass the text as content.")
        from .imports.load import load

        return load(FilePath(file or "").expanduser())

    async def _load_at_once(self, reading: Reading, call: Call, *, dry_run: bool) -> Imported:
        drafts = in_order(reading.drafts)
        tell = _Counter(len(drafts), PROGRESS.get())

        def work(recording: Recording) -> Imported:
            tell.done = 0
            planting = Planting(Board(recording, self._limits), reading, tell)
            for step in STEPS:
                step(planting, drafts)
            report = _report(reading, [planting], dry_run=dry_run, seq=recording.seq)
            if dry_run:
                raise _DryRunError(report)
            return report

        try:
            return await self._write(work, call)
        except _DryRunError as outcome:
            return outcome.report

    async def _write(self, work: Callable[[Recording], Imported], call: Call) -> Imported:
        return _received(await self._journal.write(work, call=call, answer=Imported, timeout=LONG))

    async def _load_in_parts(self, reading: Reading, call: Call) -> Imported:
        """Import in transactions of 10,000 records; an import that was cut short goes on when it is run again.

        The key is kept by a transaction of its own, at the end.
        """
        known = await self._journal.answered(call, Imported)
        if known is not None:
            return _received(known)
        drafts = in_order(reading.drafts)
        tell = _Counter(len(drafts), PROGRESS.get())
        plantings: list[Planting] = []
        for step in STEPS:
            for start in range(0, len(drafts), limits.IMPORT_RECORDS):
                part = drafts[start : start + limits.IMPORT_RECORDS]
                plantings.append(await self._part(reading, step, part, plantings, tell, call))
        report = _report(reading, plantings, dry_run=False, seq=0)
        return await self._write(lambda _: report, call)

    async def _part(
        self, reading: Reading, step: Step, part: list[Draft], before: list[Planting], tell: _Counter, call: Call
    ) -> Planting:
        """Take one step with some of the drafts, in a transaction of its own."""
        made = before[-1].created if before else ()
        done = tell.done

        def work(recording: Recording) -> Planting:
            tell.done = done
            planting = Planting(Board(recording, self._limits), reading, tell, made)
            step(planting, part)
            return planting

        bare = msgspec.structs.replace(call, idempotency_key=None)
        return (await self._journal.write(work, call=bare, answer=Planting, timeout=LONG)).value

    @verb(Effect.READ)
    async def export(
        self,
        pattern: Pattern = "**",
        *,
        format: ExportFormat = "lines",  # noqa: A002 - the field's name on every interface
    ) -> Exported:
        """Export tasks, archived ones too: JSON lines hold everything, Markdown is for reading; both import again."""
        drafts, seq = await self._journal.read(lambda tx: (_drafts(tx, pattern), tx.seq))
        if format == "lines":
            from .exports.lines import write_lines

            content = "".join(f"{line.rstrip()}\n" for line in write_lines(drafts))
        else:
            from .exports.markdown import write_markdown

            content = write_markdown(drafts)
        return Exported(format=format, content=content, tasks=len(drafts), seq=seq)


class _Counter:
    """Tells how far an import is, a hundred times at most."""

    def __init__(self, total: int, told: Progress | None) -> None:
        self.done = 0
        self._total = total
        self._told = told
        self._step = max(1, total // 100)

    def __call__(self) -> None:
        self.done += 1
        if self._told is not None and (self.done % self._step == 0 or self.done == self._total):
            self._told(self.done, self._total, "records")


def _received(written: Written[Imported]) -> Imported:
    receipt = Receipt(seq=written.seq, durability=written.durability)
    return msgspec.structs.replace(written.value, receipt=receipt)


def _report(reading: Reading, plantings: Sequence[Planting], *, dry_run: bool, seq: int) -> Imported:
    created = {key for planting in plantings for key in planting.created}
    updated = {key for planting in plantings for key in planting.updated} - created
    remarks: list[Remark] = [*reading.remarks, *(r for planting in plantings for r in planting.remarks)]
    roots = dict.fromkeys(draft.path.partition("/")[0] for draft in reading.drafts)
    return Imported(
        format=reading.format,
        created=len(created),
        updated=len(updated),
        skipped=len(reading.drafts) - len(created) - len(updated),
        notes=[msgspec.to_builtins(remark) for remark in remarks],
        projects=list(roots),
        dry_run=dry_run,
        receipt=Receipt(seq=seq),
    )


def _drafts(tx: Transaction, pattern: str) -> list[Draft]:
    """Return the tasks of a pattern as drafts, depth first, with their notes.

    A dependency is the id of another draft, or the path of a task outside, which another store may know too.
    """
    from .lists import depth_first

    tasks = [task for task, _ in depth_first(tx.query(Query(TASKS).where(glob("path", pattern))))]
    notes: dict[str, list[DraftNote]] = {}
    for note in tx.query(Query(NOTES).where(isin("task", [t.id for t in tasks])).order_by("at", "id")):
        notes.setdefault(note.task, []).append(DraftNote(text=note.text, by=note.by, at=note.at, id=note.id))
    kept = {task.id for task in tasks}
    outside = tx.get_many(TASKS, {key for task in tasks for key in task.dependencies} - kept)
    containers = {task.parent for task in tasks} | {
        row[0] for row in tx.query(Query(TASKS).where(isin("parent", list(kept))).select("parent"))
    }
    return [
        _draft(
            task,
            tuple(
                key if key in kept else outside[key].path for key in task.dependencies if key in kept or key in outside
            ),
            tuple(notes.get(task.id, ())),
            task.id in containers,
        )
        for task in tasks
    ]


def _draft(task: Any, dependencies: tuple[str, ...], notes: tuple[DraftNote, ...], is_container: bool) -> Draft:
    same = ("path", "name", "type", "description", "acceptance", "requires", "priority", "assignee")
    more = ("estimated_hours", "due_at", "tags", "reasoning", "metadata", "archived", "created_at", "updated_at")
    times = ("started_at", "completed_at", "id")
    is_manual = task.block is not None and task.block.cause.value == "manual"
    by_dependency = task.block is not None and not is_manual
    return Draft(
        source=task.id,
        status=None if is_container or by_dependency else task.status,
        reason=None if task.block is None else task.block.reason,
        dependencies=dependencies,
        notes=notes,
        **{name: getattr(task, name) for name in (*same, *more, *times)},
    )
