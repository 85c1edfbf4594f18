"""Where a project keeps its store: the nearest `.atlas/` upwards; a git worktree shares its main checkout's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

NAME = ".atlas"


class Project(msgspec.Struct, frozen=True):
    """A folder with an `.atlas/` in it."""

    folder: Path

    @property
    def place(self) -> Path:
        """The folder that holds the store."""
        return self.folder / NAME


def find_project(here: Path) -> Project | None:
    """Return the project that `here` belongs to, if any."""
    for folder in (here, *here.parents):
        for place in (folder, *_shared(folder, here)):
            if (place / NAME).is_dir():
                return Project(place)
    return None


def project_root(here: Path) -> Path:
    """Return where a project that is started `here` belongs: the main checkout when `here` is in a git worktree."""
    for folder in (here, *here.parents):
        main = _main_checkout(folder)
        if main is not None:
            return main
        if (folder / ".git").exists():
            break
    return here


def make_project(folder: Path) -> Project:
    """Make `.atlas/` in the folder, readable by its owner only and invisible to git; one that exists stays as it is."""
    place = folder / NAME
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = place / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return Project(folder)


def store_url(path: Path) -> str:
    """Return the URL of a SQLite store at an absolute path."""
    from urllib.parse import quote

    return f"sqlite:///{quote(str(path))}"


def anchored(url: str, folder: Path) -> str:
    """Return the URL as it means the same store from anywhere: a relative file is one of `folder`."""
    from urllib.parse import quote

    for start in ("sqlite:///", "file:"):
        path = url.removeprefix(start)
        if path != url and not path.startswith(("/", "~")):
            return f"{start}{quote(str(folder))}/{path}"
    return url


def _shared(folder: Path, here: Path) -> Iterator[Path]:
    """Yield, for the root of a git worktree, the folders of the main checkout from the one like `here` upwards."""
    main = _main_checkout(folder)
    if main is None:
        return
    same = main / here.relative_to(folder)
    yield same
    while same != main:
        same = same.parent
        yield same


def _main_checkout(folder: Path) -> Path | None:
    """Return the main checkout of the git worktree at `folder`; None for anything else, a submodule included."""
    link = folder / ".git"
    try:
        if not link.is_file():
            return None
        git = folder / link.read_text().removeprefix("gitdir:").strip()
        common = (git / (git / "commondir").read_text().strip()).resolve()
    except (OSError, UnicodeDecodeError):
        return None
    return common.parent if common.name == ".git" else None
