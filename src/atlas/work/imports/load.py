"""Takes the files of a plan from disk: one file, or the pages of a Backlog.md folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import ImportFormatError
from ...model import limits
from .atlas1 import LOG
from .backlog import CONFIG
from .decode import clean
from .draft import Source

FOLDERS = ("tasks", "completed", "drafts", "archive/tasks", "archive/drafts")
ROOTS = (".", "backlog", ".backlog")


def load(path: Path) -> Source:
    """Return what there is to read at `path`; an SQLite file comes with its write-ahead log.

    Raises ImportFormatError naming the path when nothing is there, or when it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise _refused(path, "is no file", "a file, or a folder of Backlog.md")
    files = {_name(path.name): _bytes(path)}
    log = path.with_name(path.name + LOG)
    if log.is_file():
        files[_name(log.name)] = _bytes(log)
    return Source(name=_name(path.name), files=files)


def _folder(path: Path) -> Source:
    """Return the pages below `path`, or below the folder in it that Backlog.md makes."""
    root = next((path / name for name in ROOTS if (path / name / "tasks").is_dir()), None)
    if root is None:
        raise _refused(path, "is a folder without tasks of Backlog.md", "a folder with tasks/*.md, or a file")
    files: dict[str, bytes] = {}
    total = 0
    for page in _pages(root):
        files[_name(page.relative_to(root).as_posix())] = data = _bytes(page)
        total += len(data)
        if total > limits.IMPORT_BYTES:
            raise _refused(path, f"holds more than {limits.IMPORT_BYTES} bytes", limits.IMPORT_BYTES)
    if not any(name.endswith(".md") for name in files):
        raise _refused(path, "holds no page", "tasks/*.md")
    above = path / CONFIG[-1]
    if above.is_file():
        files.setdefault(CONFIG[-1], _bytes(above))
    return Source(name=_name(path.resolve().name), files=files)


def _pages(root: Path) -> Iterator[Path]:
    for name in CONFIG:
        if (root / name).is_file():
            yield root / name
    for folder in FOLDERS:
        yield from sorted(page for page in (root / folder).glob("*.md") if page.is_file())


def _name(name: str) -> str:
    """Return a name of the file system as text that can be stored; it may hold bytes that are not UTF-8."""
    return str(clean(name)[0])


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > limits.IMPORT_BYTES:
            raise _refused(path, f"has {path.stat().st_size} bytes", limits.IMPORT_BYTES)
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}", "a readable file") from error


def _refused(path: Path, what: str, bound: str | int) -> ImportFormatError:
    return ImportFormatError(
        f"{path} {what}",
        field="file",
        given=str(path),
        bound=bound,
        hint="Name a Markdown plan, tasks.json, issues.jsonl, a Backlog.md folder, or an export of Atlas.",
    )
