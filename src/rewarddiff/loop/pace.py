"""When a checkpoint is written: as often as writing costs little of the time."""

from __future__ import annotations

import time

SHARE = 50
"""Between two checkpoints lies this many times what writing one takes: 2 % of the time, or less."""
LEAST_SECONDS = 30.0
"""A training that is over sooner is made again rather than kept."""
LONGEST_WAIT = 3600.0
"""Seconds until writing is tried again, however often it has failed; a larger checkpoint may take longer."""
ASSUMED_BYTES_PER_SECOND = 2.5e8
"""How fast the first checkpoint is taken to be written and hashed, on a slow disk; the others are measured by the
last one."""


class Pace:
    """When the next checkpoint is due.

    Args:
        every: steps between checkpoints; 0: none; None: as often as writing them costs at most one
            `SHARE`-th of the time.
        size: bytes of a checkpoint.
    """

    def __init__(self, every: int | None, size: float) -> None:
        self.every = every
        self._seconds = max(LEAST_SECONDS, SHARE * size / ASSUMED_BYTES_PER_SECOND)
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether a checkpoint is to be written after `step`."""
        if self.every is None:
            return time.monotonic() - self._last >= self._seconds
        return self.every > 0 and step % self.every == 0

    def written(self, seconds: float) -> None:
        """Take notice that a checkpoint has been written in so many seconds."""
        self._seconds = max(LEAST_SECONDS, SHARE * seconds)
        self._last = time.monotonic()

    def failed(self) -> float:
        """Take notice that no checkpoint could be written; return in how many seconds the next one is due.

        That is twice as long as before: a disk that is full may have room later.
        """
        self._seconds = max(self._seconds, min(2 * self._seconds, LONGEST_WAIT))
        self._last = time.monotonic()
        return self._seconds
