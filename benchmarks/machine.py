"""The machine that a result comes from: enough to judge it by, nothing that names anybody."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import apsw
import msgspec

from .clock import sync_seconds


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures depend on; `load` is the average of the minute before."""

    cores: int
    processor: str
    memory_gib: int
    kernel: str
    python: str
    sqlite: str
    sync_us: int
    load: float


def described(folder: Path) -> Machine:
    """Look at this machine, and at the disk that holds `folder`."""
    return Machine(
        cores=os.cpu_count() or 1,
        processor=_line("/proc/cpuinfo", "model name") or platform.machine(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        sync_us=round(sync_seconds(folder) * 1e6),
        load=round(os.getloadavg()[0], 2),
    )


def _line(path: str, name: str) -> str:
    place = Path(path)
    if not place.exists():
        return ""
    return next(
        (line.partition(":")[2].strip() for line in place.read_text().splitlines() if line.startswith(name)), ""
    )


def revision() -> str:
    """Return the short name of the revision at hand, with a plus where something is not committed."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")
