"""Whether the server answers: what was lost and regained is counted, and told in one line of the log each."""

from __future__ import annotations

import logging
import threading
import time

_log = logging.getLogger(__name__)


class Reach:
    """What one process knows of its way to a server."""

    def __init__(self, url: str) -> None:
        self.lost = 0
        self.regained = 0
        self._url = url
        self._away_since: float | None = None
        self._back_since = 0.0
        self._lock = threading.Lock()

    @property
    def is_away(self) -> bool:
        """Whether something was lost, and nothing new connected since."""
        return self._away_since is not None

    def lose(self, reason: str, *, born: float | None = None) -> None:
        """Take note of a lost connection that was made at `born`, or (None) of one that could not be made.

        Only the first loss is told: what is found dead after the end of an outage was lost in it.
        """
        with self._lock:
            self.lost += born is not None
            if self._away_since is not None or (born is not None and born <= self._back_since):
                return
            self._away_since = time.monotonic()
        _log.warning("the connection to %s was lost: %s", self._url, reason)

    def regain(self) -> None:
        """Take note of a connection that was made."""
        if self._away_since is None:
            return
        with self._lock:
            if self._away_since is None:
                return
            self._back_since = time.monotonic()
            seconds, self._away_since = self._back_since - self._away_since, None
            self.regained += 1
        _log.warning("%s answers again, %.1f s later", self._url, seconds)
