"""Measures where a step's time goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Counts the seconds between marks, by name."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def mark(self, name: str) -> float:
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        self.seconds[name] = round(self.seconds.get(name, 0.0) + elapsed, 3)
        return elapsed

    def finish(self) -> dict[str, float]:
        self.seconds["total"] = round(time.monotonic() - self._started, 3)
        return self.seconds
