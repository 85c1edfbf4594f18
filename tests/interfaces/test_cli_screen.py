"""Laws of text for people: it fits the terminal, keeps its columns, and shows what a terminal would obey."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atlas
from atlas.interfaces.cli import journal, plans, run, screen, texts
from atlas.interfaces.cli.options import instant
from atlas.interfaces.cli.screen import Screen, clean, columns, cut
from atlas.verb import PROGRESS


class Terminal(io.StringIO):
    """A stream that says it is a terminal of 80 columns, since it has no file to ask."""

    def isatty(self) -> bool:
        return True


def watched(*, has_color: bool = True) -> Screen:
    return Screen(Terminal(), has_color=has_color)


TEXT = st.text(max_size=120)


@given(TEXT, st.integers(1, 40))
def test_a_cut_text_is_never_wider_than_asked(text: str, width: int) -> None:
    made = cut(text, width)
    assert columns(made) <= width or columns(text) == 0
    assert made == text or made.endswith("…")


@given(TEXT)
def test_a_clean_line_is_one_line_without_orders_to_the_terminal(text: str) -> None:
    made = clean(text, is_line=True)
    assert len(made.splitlines()) <= 1
    assert not any(
        ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2069" for c in made
    )
    assert clean(made, is_line=True) == made


def test_a_text_of_several_lines_keeps_them() -> None:
    assert clean("a\n\tb\r\x1b[1m") == "a\n\tb\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[1m"


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5))
def test_a_table_on_a_terminal_is_as_wide_as_that_and_elsewhere_whole(rows: list[tuple[str, str, str]]) -> None:
    lines = list(watched(has_color=False).table(["A", "B", "C"], rows))
    assert len(lines) == len(rows) + 1
    assert all(columns(line) <= 80 for line in lines)
    whole = list(Screen(io.StringIO(), has_color=True).table(["A", "B", "C"], rows))
    assert all(
        clean(cell, is_line=True).rstrip() in line for row, line in zip(rows, whole[1:], strict=True) for cell in row
    )


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5))
def test_a_path_in_a_table_is_never_cut(rows: list[tuple[str, str, str]]) -> None:
    """It is what the next command is given; whatever stands beside it makes room."""
    _, *lines = watched(has_color=False).table(["A", "PATH", "C"], rows, whole="PATH")
    assert all(clean(row[1], is_line=True).rstrip() in line for row, line in zip(rows, lines, strict=True))


def test_wide_and_combining_characters_keep_the_columns() -> None:
    assert (columns("漢字"), columns("e\u0301"), columns("\u200d")) == (4, 1, 0)
    lines = list(Screen(io.StringIO(), has_color=False).table(["A", "B"], [["漢字", "x"], ["ab", "x"]]))
    assert [columns(line.partition("x")[0]) for line in lines[1:]] == [6, 6]


def test_colours_are_for_terminals_that_want_them() -> None:
    assert watched().paint("x", "FAILED") == "\x1b[31mx\x1b[0m"
    assert watched(has_color=False).paint("x", "FAILED") == "x"
    assert Screen(io.StringIO(), has_color=True).paint("x", "FAILED") == "x"
    assert watched().paint("x", "unknown") == "x"


def test_a_tree_on_a_terminal_without_unicode_is_drawn_with_what_it_has() -> None:
    tasks: list[dict[str, Any]] = [
        {"path": path, "name": path, "type": "GROUP", "status": "PENDING", "priority": "low", "depth": depth}
        for path, depth in (("a", 0), ("a/b", 1), ("a/b/c", 2), ("a/d", 1), ("e", 0))
    ]

    class Answer:
        left_out = None

    answer = Answer()
    answer.tasks = tasks  # type: ignore[attr-defined] # the shape of a verb's answer
    lines = [line[:12] for line in texts.tree(Screen(io.StringIO(), has_color=False), answer)]
    assert lines == ["[ ] a", "|- [ ] b  a/", "|  `- [ ] c ", "`- [ ] d  a/", "[ ] e"]


def test_the_width_of_a_terminal_without_a_file_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched().width == 80
    assert len(watched().fit("x" * 200, used=20)) == 60
    assert Screen(io.StringIO(), has_color=True).fit("x" * 200) == "x" * 200
    monkeypatch.setattr(Terminal, "fileno", lambda _: 99_999)
    assert watched().width == 80
    assert screen.MARKS.keys() == {str(status) for status in atlas.Status}


def test_progress_is_shown_to_a_person_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with plans._progress("plan.md"):
        told = PROGRESS.get()
        assert told is not None
        told(1, 4, "records")
        told(4, 4, "records")
    assert PROGRESS.get() is None
    assert "importing plan.md" in terminal.getvalue()
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with plans._progress("plan.md"):
        assert PROGRESS.get() is None


def test_a_person_may_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    with pytest.raises(click.exceptions.Exit):
        run.Run().confirm("Really?", is_yes=False)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    run.Run().confirm("Really?", is_yes=False)


class EnoughError(Exception):
    """Ends what would go on for ever."""


@pytest.mark.parametrize("since", [None, 0])
def test_following_tells_every_event_once_in_order(since: int | None) -> None:
    seen: list[int] = []

    def write(events: list[dict[str, Any]]) -> None:
        seen.extend(event["seq"] for event in events)
        if seen[-1:] == [130]:
            raise EnoughError

    async def main() -> None:
        async with atlas.open("memory:") as opened:
            for number in range(60):
                await opened.tasks.create(f"early-{number}")
            following = asyncio.ensure_future(journal._tell_news(opened, {}, since, 60, write))
            for number in range(70):
                await opened.tasks.create(f"late-{number}")
                await asyncio.sleep(0)
            with pytest.raises(EnoughError):
                await asyncio.wait_for(following, 20)

    asyncio.run(main())
    assert seen == list(range(seen[0], 131))
    assert seen[0] == 1 if since == 0 else seen[0] > 1


@pytest.mark.parametrize("text", ["2030-01-01", "2030-01-01T10:00", "2030-01-01T10:00Z", "2030-01-01 10:00:00+02:00"])
def test_a_time_always_has_a_zone(text: str) -> None:
    made = instant(text, "due_at")
    assert made is not None
    assert made.tzinfo is not None
