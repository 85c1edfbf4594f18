"""The tree of errors is the one that is drawn, since callers catch by it."""

from __future__ import annotations

import re

from atlas import errors
from atlas.errors import AtlasError

_LINE = re.compile(r"(?P<lead>[│ ]*)(?:├──|└──) (?P<name>\w+)\s+(?P<code>[A-Z_]+)(?:\s+(?P<said>.*))?\Z")


def _drawn() -> list[tuple[int, str, str]]:
    """Depth, name and code of each line of the drawing."""
    lines = (errors.__doc__ or "").splitlines()
    found = [_LINE.match(line) for line in lines]
    return [(len(match["lead"]) // 4 + 1, match["name"], match["code"]) for match in found if match]


def _real(kind: type[AtlasError] = AtlasError, depth: int = 1) -> list[tuple[int, str, str]]:
    made = []
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            made += [(depth, below.__name__, below.code), *_real(below, depth + 1)]
    return made


def _parents(rows: list[tuple[int, str, str]]) -> dict[str, str]:
    above: list[str] = ["AtlasError"]
    found = {}
    for depth, name, _ in rows:
        del above[depth:]
        found[name] = above[-1]
        above.append(name)
    return found


def test_the_drawing_is_the_tree() -> None:
    """Every class with its code, below the class it is of."""
    assert sorted(_drawn()) == sorted(_real())
    assert _parents(_drawn()) == _parents(_real())


def test_every_class_has_a_code_of_its_own() -> None:
    """Scripts know errors by their code alone; one inherited would say less than the class."""
    codes = [code for _, _, code in _real()]
    assert len(codes) == len(set(codes))
    assert all("code" in vars(getattr(errors, name)) for _, name, _ in _real())


def test_every_error_says_what_it_is_and_a_way_out() -> None:
    for _, name, _ in _real():
        kind = getattr(errors, name)
        assert kind.__doc__
        assert kind.hint.endswith(".")
        assert kind.severity in {"warning", "error", "critical"}


def test_the_drawing_marks_what_a_retry_helps() -> None:
    """Whoever reads the tree sees where a loop may try again."""
    marked = {
        match["name"]
        for line in (errors.__doc__ or "").splitlines()
        if (match := _LINE.match(line)) and "(retry)" in line
    }
    assert marked == {name for _, name, _ in _real() if getattr(errors, name).retryable}
