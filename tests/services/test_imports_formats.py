"""Laws of finding the format of a plan, of loading it, and of refusing what cannot be read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from atlas.errors import ImportFormatError, InputError
from atlas.model import limits
from atlas.work.imports.draft import Source
from atlas.work.imports.formats import FORMATS, read_plan
from atlas.work.imports.load import load

DATA = Path(__file__).parent.parent / "data"


def source(data: bytes, name: str = "plan") -> Source:
    return Source(name=name, files={name: data})


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("taskmaster-odd.json", "taskmaster"),
        ("beads-odd.jsonl", "beads"),
        ("plan.md", "markdown"),
        ("backlog", "backlog"),
    ],
)
def test_each_sample_is_recognised_by_its_format_alone(name: str, format_: str) -> None:
    """The order of trying must not decide; only Markdown may also fit a page of another tool."""
    given = load(DATA / name)
    assert read_plan(given).format == format_
    assert [key for key, reader in FORMATS.items() if reader.recognises(given)] == [format_]


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b'{"path": "a", "name": "A"}\n', "atlas"),
        (b'{"atlas": "tasks", "version": 1}\n', "atlas"),
        (b'{"id": "x-1", "title": "t"}', "beads"),
        (b'{broken\n{"id": "x-1", "title": "t"}', "beads"),
        (b'{"tasks": []}', "taskmaster"),
        (b"---\nid: 1\ntitle: T\n---\n", "backlog"),
        (b"# T", "markdown"),
        (b"- [ ] t", "markdown"),
        (b"[x](y) link\n- t", "markdown"),
    ],
)
def test_formats_are_told_by_content(data: bytes, format_: str) -> None:
    """Names of files say little."""
    name = "x.md" if format_ == "backlog" else "x"
    assert read_plan(source(data, name)).format == format_


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"{\n broken", "line 2"),
        (b'{"a": 1}', "no format"),
        (b"just prose", "no format"),
        (b"ok\n\xff\xfe", "line 2 of plan is not UTF-8"),
        (b'{"atlas": "tasks", "version": 99}', "header"),
        (b'{"atlas": "tasks", "version": 1}\n{"path": "a b"}', "line 2"),
        (b'{"atlas": "tasks", "version": 1}\n\n[1]', "line 3"),
        (b'{"path": "a", "name": "A"}\n{"path": "a", "name": "B"}', "twice"),
        (b'{"path": "a", "name": 5}', "name"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(data: bytes, said: str) -> None:
    """An error names the field, what was given, the bound and a way out."""
    with pytest.raises(ImportFormatError, match=said) as caught:
        read_plan(source(data))
    facts = caught.value.as_dict()
    assert facts["code"] == "IMPORT_FORMAT"
    assert None not in (facts["field"], facts["given"], facts["bound"])
    assert facts["hint"]


def test_a_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read into memory where it is on disk."""
    monkeypatch.setattr(limits, "IMPORT_BYTES", 10)
    with pytest.raises(ImportFormatError, match="11 bytes"):
        read_plan(source(b"# 123456789"))
    (tmp_path / "x").write_bytes(b"# 123456789")
    with pytest.raises(ImportFormatError, match="11 bytes"):
        load(tmp_path / "x")
    monkeypatch.setattr(limits, "IMPORT_BYTES", 1_000)
    with pytest.raises(ImportFormatError, match="more than 1000 bytes"):
        load(DATA / "backlog")


def test_an_unknown_format_or_project_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(ImportFormatError) as caught:
        read_plan(source(b"# T"), "yaml")
    assert caught.value.field == "format"
    assert "markdown" in caught.value.bound
    for project in ("a/b", "5", "a b", ""):
        with pytest.raises(InputError) as refused:
            read_plan(source(b"# T"), project=project)
        assert refused.value.field == "project"


def test_a_named_format_is_held_to() -> None:
    """Whoever names the format wants that, or an error."""
    with pytest.raises(ImportFormatError):
        read_plan(source(b"# T"), "taskmaster")
    assert read_plan(source(b"plain words"), "markdown").drafts[0].description == "plain words"


def test_loading_names_what_is_missing_or_unreadable(tmp_path: Path) -> None:
    """A path that is mistyped must not read as an empty plan."""
    with pytest.raises(ImportFormatError, match="is no file") as caught:
        load(tmp_path / "missing.md")
    assert caught.value.given == str(tmp_path / "missing.md")


def test_an_unknown_field_of_an_atlas_line_is_kept() -> None:
    """Files are written by hand, and by later versions."""
    reading = read_plan(source(b'{"path": "a", "name": "A", "colour": "red", "due_at": "2026-01-01T00:00:00"}'))
    assert reading.drafts[0].metadata == {"atlas": {"unknown": {"colour": "red"}}}
    assert reading.drafts[0].source == "a"
    assert reading.drafts[0].due_at is not None
    assert reading.drafts[0].due_at.tzinfo is not None
    assert "colour" in reading.remarks[0].message


def test_atlas_lines_in_any_order_come_parents_first() -> None:
    """Lines may be sorted by anything."""
    reading = read_plan(source(b'{"path": "a/b", "name": "B"}\n{"path": "a", "name": "A"}'))
    assert [draft.path for draft in reading.drafts] == ["a", "a/b"]


def test_a_given_project_makes_a_copy_of_an_export() -> None:
    """Under another name it is another project, so that ids cannot be the same; dependencies follow."""
    text = b'{"path": "a", "name": "A", "id": "i"}\n{"path": "a/b", "name": "B", "dependencies": ["a/c"]}\n'
    text += b'{"path": "a/c", "name": "C"}'
    drafts = read_plan(source(text), project="new").drafts
    assert [(draft.path, draft.id) for draft in drafts] == [("new", None), ("new/b", None), ("new/c", None)]
    assert drafts[1].dependencies == (drafts[2].source,)
    several = read_plan(source(b'{"path": "a", "name": "A"}\n{"path": "b", "name": "B"}'), project="new")
    assert [draft.path for draft in several.drafts] == ["a", "b"]
    assert "was not used" in several.remarks[0].message


def test_a_key_given_twice_keeps_both_values() -> None:
    """Most readers of JSON drop the first one silently."""
    reading = read_plan(
        source(b'{"a": {"tasks": []}, "b": {"tasks": [{"id": 1, "x": 1, "x": 2, "x": 3}]}, "a": {"tasks": []}}')
    )
    assert [draft.path for draft in reading.drafts] == ["a", "b", "b/1", "a-2"]
    assert reading.drafts[2].metadata["taskmaster"] == {"id": 1, "x": 1, "x (2)": 2, "x (3)": 3}
    assert any("'a' is given twice" in remark.message for remark in reading.remarks)


def test_numbers_that_no_store_keeps_become_text() -> None:
    """Infinite, not a number, or longer than 64 bits."""
    data = b'{"tasks": [{"id": 1, "x": [1e999, NaN, -Infinity, 123456789012345678901, 1.5]}]}'
    kept = read_plan(source(data)).drafts[1].metadata["taskmaster"]["x"]
    assert kept == ["1e999", "NaN", "-Infinity", "123456789012345678901", 1.5]


@pytest.mark.parametrize(
    "line", ["# a" + " " * 50_000 + "b", "-" * 50_000, "Estimate: " + "1" * 50_000 + "x", "|" * 50_000]
)
def test_a_hostile_line_takes_no_longer_than_its_length(line: str) -> None:
    """A pattern that tries every split would take hours over one line."""
    start = time.process_time()
    read_plan(source(f"# T\n- a\n{line}\n{line}".encode()))
    assert time.process_time() - start < 2
