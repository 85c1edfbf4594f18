"""What a store may be excused from: only what its capabilities say, and they say little."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.contract.kinds import BACKENDS, Maker, Spots

from atlas.storage.protocol import Capabilities
from atlas.storage.sqlite import SqliteStore
from atlas.testing.laws import LAWS, NotPromised, hold

EXCUSED = {
    "is_shared": {
        "a_place_may_be_opened_by_several_at_once",
        "a_read_does_not_wait_for_a_writer",
        "another_store_is_told",
        "no_increment_is_lost_between_stores",
        "what_one_store_commits_another_reads",
    },
    "durability": {
        "closing_ends_what_is_under_way",
        "numbers_go_on_after_reopening",
        "reopening_keeps_everything",
        "what_a_closing_store_acknowledges_is_there",
    },
    "is_inline": {"callers_do_not_keep_the_event_loop"},
}
"""By the flag, the laws that it excuses a store from; there are no others."""


def excuse(name: str, make: Maker) -> str | None:
    """Return the flag that excuses a store from a law, None where it keeps it."""
    try:
        asyncio.run(hold(LAWS[name], make))
    except NotPromised as reason:
        return str(reason).rpartition(": ")[2]
    return None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_is_excused_only_by_its_flags(spots: Spots, backend: str) -> None:
    """Memory is of one process and ends with it; all others keep every law."""
    flags = ("is_shared", "durability") if backend == "memory" else ()
    for flag, names in EXCUSED.items():
        for name in names:
            assert excuse(name, spots.maker(backend)) == (flag if flag in flags else None), name


def test_a_store_on_its_caller_s_thread_is_excused_from_leaving_it(tmp_path: Path) -> None:
    """The command line has nothing else to do meanwhile."""
    make = partial(SqliteStore, tmp_path / "atlas.db", is_inline=True)
    (name,) = EXCUSED["is_inline"]
    assert excuse(name, make) == "is_inline"


def test_at_most_five_flags_say_what_a_store_can_do() -> None:
    """Each is a case that every program around stores has to think of."""
    assert len(Capabilities.__struct_fields__) <= 5


def test_only_a_flag_excuses() -> None:
    """A law that is skipped for another reason is one that nobody holds the store to."""
    with pytest.raises(AssertionError):
        NotPromised("inconvenient")
