"""The command that moves work from one store to another."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from ...errors import ConfigError
from ...settings import masked
from .options import command
from .run import Run, drive, pass_run, say

if TYPE_CHECKING:
    from ...storage.protocol import Store

_WORDS = {
    "task": "tasks",
    "note": "notes",
    "tally": "counts of containers",
    "ready": "places in the queue",
    "origin": "origins of imports",
    "event": "events",
    "once": "idempotency keys",
}
_BAR = 30


@command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--dry-run", is_flag=True, help="Only say what would be copied, and whether TO would be accepted.")
@click.option("--discard", is_flag=True, help="Take out of TO what a copy that was cut short left there.")
@pass_run
def copy(run: Run, *, source: str, target: str, dry_run: bool, discard: bool) -> None:
    """Copy all tasks and the whole journal from one store URL to another, and compare the copy record by record.

    TO must be empty, or hold what a copy that was cut short got done: then that copy goes on. FROM is not changed, and
    nobody may write to it meanwhile. Exits with 0 when the copy is the same, 1 when it was refused or differs, 130 when
    it was interrupted.
    """
    if dry_run and discard:
        raise click.UsageError("--dry-run and --discard exclude each other")
    with _opened(source, target, is_made=not (dry_run or discard)) as (first, second):
        between = {"from": masked("", source), "to": masked("", target)}
        if dry_run:
            _show(run, first, second, between)
        elif discard:
            _discard(run, first, second, between)
        else:
            _copy(run, first, second, between)


@contextmanager
def _opened(source: str, target: str, *, is_made: bool) -> Iterator[tuple[Store, Store]]:
    """Open both; the source must hold something, and no file is made unless the target `is_made`."""
    from ...atlas import COLLECTIONS
    from ...storage.memory import MemoryStore
    from ...storage.open import open_store

    first, second = (open_store(url, COLLECTIONS, is_inline=True) for url in (source, target))
    if not _is_there(first):
        raise _missing("no store", first)
    if not is_made and not _is_there(second):
        second = MemoryStore(COLLECTIONS)
    with ExitStack() as stack:
        _open(stack, first)
        # A server makes a store where there is none.
        if not drive(first.read(lambda tx: tx.seq)):
            raise _missing("nothing", first)
        _open(stack, second)
        yield first, second


def _missing(what: str, source: Store) -> ConfigError:
    place = masked("", source.url)
    hint = "Name the store to copy as its first argument, and see that its name is spelled right."
    return ConfigError(f"there is {what} at {place}", field="from", given=place, hint=hint)


def _open(stack: ExitStack, store: Store) -> None:
    drive(store.open())
    stack.callback(_close, store)


def _is_there(store: Store) -> bool:
    path = getattr(store, "path", None)
    return path is None or path.exists()


def _close(store: Store) -> None:
    drive(store.close())


def _show(run: Run, first: Store, second: Store, between: Mapping[str, str]) -> None:
    from ...atlas import COLLECTIONS
    from ...storage.copying import plan_copy

    plan = drive(plan_copy(first, second, COLLECTIONS))
    lines = [f"would copy  {_listed(plan.records)}", *_places(between), f"next number {plan.seq + 1}"]
    if plan.is_begun:
        lines.append(f"there already  {_listed(plan.present)}: the copy would go on")
    lines.append("nothing was copied; TO would be accepted")
    run.answer({**between, "plan": plan}, lambda _: lines)


def _copy(run: Run, first: Store, second: Store, between: Mapping[str, str]) -> None:
    from ...atlas import COLLECTIONS
    from ...storage.copying import copy_store

    begun = time.monotonic()
    with _progress("go on where it was") as tell:
        copied = drive(copy_store(first, second, COLLECTIONS, tell=tell))
    seconds = round(time.monotonic() - begun, 1)
    lines = [
        f"{'went on with an earlier copy; ' if copied.is_resumed else ''}copied  {_listed(copied.records)}",
        *_places(between),
        f"compared record by record: the same, digest {copied.digest}",
        f"took {seconds} s; work goes on there at number {copied.seq + 1}",
        f"to work there from now on: export ATLAS_STORE_URL='{between['to']}', or store_url in atlas.toml"
        + (" (with the password in the place of ***)" if "***" in between["to"] else ""),
    ]
    run.answer({**between, "copied": copied, "next_seq": copied.seq + 1, "seconds": seconds}, lambda _: lines)


def _discard(run: Run, first: Store, second: Store, between: Mapping[str, str]) -> None:
    from ...atlas import COLLECTIONS
    from ...storage.copying import discard_copy

    with _progress("discard what is left") as tell:
        gone = drive(discard_copy(first, second, COLLECTIONS, tell=tell))
    lines = [f"discarded  {_listed(gone.present)}", f"{between['to']} is empty as before"]
    run.answer({**between, "discarded": gone.present}, lambda _: lines)


def _places(between: Mapping[str, str]) -> list[str]:
    return [f"from  {between['from']}", f"to    {between['to']}"]


def _listed(records: Mapping[str, int]) -> str:
    """Return the counts as a person reads them, the empty ones left out."""
    return ", ".join(f"{count:,} {_WORDS.get(name, name)}" for name, count in records.items() if count) or "nothing"


@contextmanager
def _progress(again: str) -> Iterator[Any]:
    """Give what tells how far it is, on a terminal; whatever stops it says how to `again`, once something was done."""
    bar = _Bar()
    try:
        yield bar.tell
    except BaseException:
        if bar.what:
            say(f"\nTO holds a part of the copy. Run the same command again to {again}.")
        if bar.what and not bar.what.startswith("compared"):
            say("With --discard, TO is empty again.")
        raise


class _Bar:
    """One line for each collection, written over until it is done; only where a person is watching."""

    def __init__(self) -> None:
        self.what = ""
        self._is_watched = sys.stderr.isatty()

    def tell(self, done: int, total: int, what: str) -> None:
        """See copying.Tell."""
        self.what = what
        if not self._is_watched:
            return
        verb, _, name = what.rpartition(" ")
        full = _BAR * done // max(total, 1)
        label = f"{verb or 'copied'} {_WORDS.get(name, name)}"
        line = f"\r{label:<32} [{'#' * full}{'-' * (_BAR - full)}] {done:,} of {total:,}"
        click.echo(line, nl=done >= total, err=True)
