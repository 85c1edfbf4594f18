"""A way to a PostgreSQL server that loses what it is told to lose."""

from __future__ import annotations

import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


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


class TlsFront:
    """What speaks TLS for a server that cannot: as libpq asks for it, on a port of this machine; `crypt` None refuses.

    The server behind it hears the same bytes unencrypted. `turns` counts the round trips.
    """

    def __init__(self, server: str, crypt: ssl.SSLContext | None) -> None:
        there = conninfo_to_dict(server)
        self._server = f"{there['host']}/.s.PGSQL.{there.get('port') or 5432}"
        self._crypt = crypt
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.heard = b""
        self.turns = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            first = client.recv(8)
            if first != _SSL_REQUEST:
                self._pass(client, first)
            elif self._crypt is None:
                client.sendall(b"N")
                self._pass(client, b"")
            else:
                client.sendall(b"S")
                with self._crypt.wrap_socket(client, server_side=True) as secured:
                    self._pass(secured, b"")

    def _pass(self, client: socket.socket, first: bytes) -> None:
        """Hand bytes over until one end has no more; one thread, since a TLS socket is not for two."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            server.sendall(first)
            has_answered = True
            while True:
                is_pending = isinstance(client, ssl.SSLSocket) and client.pending()
                for end in [client] if is_pending else select.select([client, server], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is client:
                        self.heard += data
                        self.turns += has_answered
                        server.sendall(data)
                    else:
                        client.sendall(data)
                    has_answered = end is server

    def close(self) -> None:
        """Let nobody in any more."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@contextmanager
def tls_front(server: str, certificate: Path | None) -> Iterator[TlsFront]:
    """Give a front with a certificate and its key in one file; without one it refuses TLS, as a plain server does."""
    crypt = None
    if certificate is not None:
        crypt = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        crypt.load_cert_chain(certificate)
    made = TlsFront(server, crypt)
    try:
        yield made
    finally:
        made.close()
