"""Who wants to be told of commits; one that fails harms nobody."""

from __future__ import annotations

from collections.abc import Callable


class Listeners:
    """The callbacks of a store's subscribers."""

    def __init__(self) -> None:
        self._told: dict[object, Callable[[int], None]] = {}

    def __bool__(self) -> bool:
        return bool(self._told)

    def add(self, told: Callable[[int], None]) -> Callable[[], None]:
        """Add a callback, also one that is there already; returns how to take it away."""
        token = object()
        self._told[token] = told

        def stop() -> None:
            self._told.pop(token, None)

        return stop

    def tell(self, seq: int) -> None:
        """Call each with the newest number."""
        for told in list(self._told.values()):
            try:
                told(seq)
            except Exception:
                import logging

                logging.getLogger(__name__).exception("a subscriber failed at %d", seq)

    def close(self, seq: int) -> None:
        """Call each for the last time."""
        self.tell(seq)
        self._told.clear()
