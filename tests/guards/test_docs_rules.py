"""The page of rules says what the code does: every table is compared with the model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest
from tests.guards.sources import names_in, pages, section, tables

from atlas.errors import PathError
from atlas.journal.ledger import KEY_LIFETIME
from atlas.model import limits
from atlas.model.lifecycle import FINISHED, HOLDS, ORDER, TRANSITIONS, Change, roll_up
from atlas.model.path import parse_path, parse_pattern
from atlas.model.task import Cause, Status, Type

PAGE = pages()["docs/rules.md"]
MEANS = {
    "yes": Change.ALLOWED,
    "if free": Change.IF_FREE,
    "refused": Change.REFUSED,
    "no change": Change.NONE,
}


def test_the_table_of_statuses_is_the_one_in_force() -> None:
    """Every pair of statuses, in the order of the model."""
    heading, *rows = tables(section(PAGE, "Statuses"))[0]
    assert heading[1:] == [str(status) for status in ORDER]
    assert {row[0] for row in rows} == set(heading[1:])
    told = {
        (Status(row[0]), Status(end)): MEANS[cell]
        for row in rows
        for end, cell in zip(heading[1:], row[1:], strict=True)
    }
    assert told == TRANSITIONS


def test_the_table_of_types_is_the_one_in_force() -> None:
    """Who may hold whom."""
    rows = tables(section(PAGE, "Types"))[0][1:]
    told = {Type(row[0]): {Type(word) for word in row[1].split(", ") if word != "nothing"} for row in rows}
    assert told == {kind: set(held) for kind, held in HOLDS.items()}


def test_the_table_of_blocks_names_every_cause() -> None:
    """A cause that the page does not know could not be understood."""
    rows = tables(section(PAGE, "Blocks"))[0][1:]
    assert {names_in(row[0])[0] for row in rows} == set(Cause)


@pytest.mark.parametrize("chosen", range(1, 2 ** len(ORDER)))
def test_the_table_of_containers_is_the_roll_up(chosen: int) -> None:
    """For every set of statuses that the leaves below can have."""
    present = {status for index, status in enumerate(ORDER) if chosen >> index & 1}
    leaves = [int(status in present) for status in ORDER]
    assert roll_up(leaves) is _told(present)


def test_an_empty_container_is_as_the_table_says() -> None:
    assert roll_up([0] * len(ORDER)) is _told(set())


def _told(present: set[Status]) -> Status:
    """Read the table from the top, as the page says."""
    for condition, status in tables(section(PAGE, "Containers"))[0][1:]:
        quantity, _, words = condition.partition(" ")
        named = {Status(word) for word in words.replace(",", "").split() if word in Status.__members__}
        holds = {
            "none": not present,
            "all": bool(present) and present <= named,
            "any": bool(present & named),
            "else": True,
        }
        if holds[quantity]:
            return Status(status)
    raise AssertionError("the table has no last row")


def test_finished_is_what_the_page_says() -> None:
    told = section(PAGE, "Statuses").partition("*finished* when it is ")[2].partition(".")[0]
    assert {Status(word) for word in told.split(" or ")} == FINISHED


def test_every_limit_is_on_the_page_with_its_number() -> None:
    """Fixed limits and those that an operator may set."""
    rows = tables(section(PAGE, "Limits"))[0][1:]
    told = {names_in(row[2])[0]: float(row[1].split()[0].replace(",", "")) for row in rows}
    assert told == {name: float(value) for name, value in vars(limits).items() if _is_limit(name, value)}


def _is_limit(name: str, value: object) -> bool:
    return name.isupper() and isinstance(value, (int, float)) and not name.startswith("_")


def test_keys_are_kept_as_long_as_the_page_says() -> None:
    assert timedelta(days=1) == KEY_LIFETIME
    assert "kept for a day" in PAGE


def test_the_paths_are_right_and_wrong_as_the_page_says() -> None:
    """The examples show each rule of the grammar."""
    rows = tables(section(PAGE, "Paths"))[0][1:]
    told = {names_in(row[0])[0]: row[1] == "yes" for row in rows}
    assert told == {path: _is_path(path) for path in told}


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except PathError:
        return False
    return True


def test_the_patterns_match_as_the_page_says() -> None:
    """The one matcher decides."""
    for pattern, matched, unmatched in tables(section(PAGE, "Patterns"))[0][1:]:
        parsed = parse_pattern(names_in(pattern)[0])
        assert _all(parsed.matches(path) for path in names_in(matched))
        assert not any(parsed.matches(path) for path in names_in(unmatched))


def _all(answers: Iterable[bool]) -> bool:
    found = list(answers)
    return bool(found) and all(found)
