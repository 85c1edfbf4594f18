"""The examples do what they say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.guards.sources import ROOT

import atlas

EXAMPLES = ROOT / "examples"


def test_workers_finish_what_is_ready_each_task_once(tmp_path: Path) -> None:
    """Two of them on one store, as the example says."""
    url = f"sqlite:///{tmp_path}/garden.db"
    asyncio.run(_filled(url))
    program = [sys.executable, str(EXAMPLES / "worker.py"), url]
    running = [subprocess.Popen([*program, name], stdout=subprocess.PIPE, text=True) for name in ("first", "second")]
    said = [worker.communicate(timeout=60)[0] for worker in running]
    assert [worker.returncode for worker in running] == [0, 0]
    finished = [line.split()[1] for text in said for line in text.splitlines()]
    left = asyncio.run(_open_tasks(url))
    assert len(finished) == len(set(finished)) > 10
    assert not left


async def _filled(url: str) -> None:
    async with atlas.open(url) as a:
        report = await a.plans.load(file=str(EXAMPLES / "plan.md"))
        assert report.notes == []
        reopened: Any = {"status": "PENDING"}
        await a.tasks.update("web-shop/foundations/choose-the-payment-provider", reopened)


async def _open_tasks(url: str) -> list[dict[str, Any]]:
    async with atlas.open(url) as a:
        page = await a.lists.by_path("**", limit=500, fields=("path", "status"))
        return [task for task in page.tasks if task["status"] not in {"COMPLETED", "CANCELLED"}]


def test_every_example_is_named_on_their_page() -> None:
    page = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"({file.name})" in page for file in EXAMPLES.iterdir() if file.is_file() and file.name != "README.md")
