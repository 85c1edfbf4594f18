"""The pages hold together: links lead somewhere, places named are there, words are those of the code."""

from __future__ import annotations

import re

import pytest
from tests.guards.sources import DOCS, ROOT, SOURCE, blocks, modules, names_in, pages, section, tables, without_blocks

from atlas.atlas import COLLECTIONS
from atlas.interfaces.cli.main import SECTIONS
from atlas.model.task import Status, Type

GLOSSARY = pages()["docs/glossary.md"]
ARCHITECTURE = pages()["docs/architecture.md"]

UNWANTED = re.compile(
    r"(?-i:\b(?:TODO|FIXME|XXX|TBD|HACK)\b)"
    r"|\b(?:blazing(?:ly)?|world-class|cutting-edge|seamless(?:ly)?|powerful|state-of-the-art|robust|effortless(?:ly)?)\b"
    r"|(?:co-authored-by|generated (?:by|with) (?:an? )?(?:AI|model|assistant))"
    r"|(?<![\w.~])/(?:work|root|tmp|mnt|Users)/",
    re.IGNORECASE,
)
"""Marks of unfinished work, advertisement, how it was made, and places on the machine of whoever wrote it."""

WORDS = frozenset(
    {"project", "task", "path", "dependency", "note", "event", "change", "actor", "session", "agent", "store"}
    | {"transaction", "collection", "record", "verb", "interface", "version", "receipt", "cursor", "pattern"}
    | {"journal", "timeline", "plan", "import", "export"}
)
"""The words that everybody meets; one that is missing from the glossary has no meaning."""


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_link_leads_somewhere(name: str) -> None:
    """To a file of the repository, and to a heading of the page named."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(pages()[name])):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (ROOT / name).parent / file if file else ROOT / name
        assert place.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", place.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_holds_no_unwanted_words(name: str) -> None:
    """Readers want facts that hold on their own machine."""
    assert not [line for line in pages()[name].splitlines() if UNWANTED.search(line)]


def test_the_code_holds_no_places_of_the_machine_it_was_written_on() -> None:
    places = re.compile(r"[\"'`\s(]/(?:work|root|mnt|Users)/")
    assert not [m.name for m in modules() if places.search(m.text)]


def test_every_page_is_reached_from_the_first() -> None:
    """By links, from the README or from a page that it links to."""
    reached, waiting = set(), ["README.md", "CONTRIBUTING.md"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in pages():
            continue
        reached.add(name)
        for target in re.findall(r"\]\(([^)#\s]+)", without_blocks(pages()[name])):
            place = ((ROOT / name).parent / target).resolve()
            inside = sorted(place.glob("*.md")) if place.is_dir() else [place]
            waiting += [str(file.relative_to(ROOT)) for file in inside if file.is_relative_to(ROOT)]
    assert {name for name in pages() if name.startswith("docs/")} <= reached


def _rows(title: str) -> list[list[str]]:
    return tables(section(GLOSSARY, title))[0][1:]


def test_the_words_of_the_code_are_in_the_glossary() -> None:
    """Collections by the names they have in the file, and the words that every page uses."""
    known = {
        word for title in ("Work", "Code") for row in _rows(title) for word in re.findall(r"\*\*(.+?)\*\*", row[0])
    }
    assert {collection.name for collection in COLLECTIONS} <= known
    assert known >= WORDS


def test_a_word_is_explained_once() -> None:
    """In each table; the second one says what the code means by it."""
    for title in ("Work", "Code"):
        told = [row[0] for row in _rows(title)]
        assert len(told) == len(set(told))


def test_a_word_of_the_code_is_used_where_the_glossary_says() -> None:
    """The file is there, and speaks of it."""
    for shown, _, place in _rows("Code"):
        text = " ".join(f"{file} {(SOURCE / file).read_text('utf-8')}" for file in names_in(place)).lower()
        for word in re.findall(r"\*\*(.+?)\*\*", shown):
            assert all(part in text for part in word.split()), (word, place)


def test_the_statuses_and_types_are_in_the_glossary() -> None:
    work = section(GLOSSARY, "Work")
    assert all(str(each) in work for each in (*Status, *Type))


def test_the_places_of_the_architecture_are_there() -> None:
    """A page that names a file which has moved sends its readers astray."""
    named = {
        name for name in names_in(without_blocks(ARCHITECTURE)) if re.fullmatch(r"[\w./]+(?:\.py|\.md|\.toml|/)", name)
    }
    assert len(named) > 40
    assert not [name for name in named if not (SOURCE / name).exists() and not (ROOT / name).exists()]


def test_the_tree_of_the_architecture_names_every_module() -> None:
    """But those of the subjects that have a page or a name of their own: readers, interfaces, laws."""
    shape, tree = blocks(ARCHITECTURE, "")
    apart = ("work/imports/", "work/exports/", "interfaces/cli/", "interfaces/mcp/", "testing/")
    own = [m.name for m in modules() if not m.name.startswith(apart) and not m.name.endswith("__init__.py")]
    missing = [name for name in own if not re.search(rf"\b{re.escape(_stem(name))}\b", tree)]
    assert not missing
    assert all(
        layer in shape for layer in ("interfaces", "operations", "work", "journal", "storage", "model", "errors")
    )


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".py")


def test_decisions_are_numbered_without_a_gap() -> None:
    """Each says what was so, what was decided, and what follows."""
    files = sorted((DOCS / "decisions").glob("*.md"))
    assert [file.name[:5] for file in files] == [f"{number:04}-" for number in range(1, len(files) + 1)]
    for file in files:
        text = file.read_text("utf-8")
        assert re.match(rf"# {file.name[:4]}: \S", text), file.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:3] == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_every_command_that_a_page_names_is_there() -> None:
    """What is shown can be typed."""
    known = {name for names in SECTIONS.values() for name in names}
    for name, page in pages().items():
        shown = [*names_in(without_blocks(page)), *re.findall(r"^\$ (.*)$", page, re.MULTILINE)]
        words = [text.split() for text in shown if text.startswith("atlas ")]
        called = {next((word for word in rest if re.fullmatch(r"[a-z]+", word)), None) for _, *rest in words}
        assert called - {None} <= known, name
