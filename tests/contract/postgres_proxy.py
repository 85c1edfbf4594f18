"""A way to a PostgreSQL server that loses what it is told to lose."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """Passes bytes between clients and a server, until one of them says COMMIT and `loses` says how that is lost.

    "request": it never reaches the server. "answer": it does, and the client does not hear of it. While it `refuses`,
    nobody new is let through.
    """

    def __init__(self, server: str, folder: Path) -> None:
        there = conninfo_to_dict(server)
        self._server = f"{there['host']}/.s.PGSQL.{there.get('port') or 5432}"
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self.loses = ""
        self.refuses = False
        self.lost = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        self._ends: list[socket.socket] = []
        self._threads = [self._started(self._accept)]

    def _started(self, run: object, *values: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=values, daemon=True)  # type: ignore[arg-type]
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                self._ends += [client, server]
                server.connect(self._server)
                self._threads += [self._started(self._up, client, server), self._started(self._down, server, client)]

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                loses = self.loses if b"COMMIT\0" in data else ""
                if loses:
                    self.loses, self.lost = "", self.lost + 1
                    # No answer is passed on from here.
                    client.shutdown(socket.SHUT_RDWR)
                if loses != "request":
                    server.sendall(data)
                if loses:
                    break
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody in any more, and end what is left."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)
        for end in self._ends:
            end.close()


@contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    """Give a proxy to a server that listens on a socket in the file system."""
    with tempfile.TemporaryDirectory(prefix="atlas-pp-") as folder:
        made = Proxy(server, Path(folder))
        try:
            yield made
        finally:
            made.close()
