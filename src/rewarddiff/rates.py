"""How fast each client may ask a server."""

from __future__ import annotations

import math
import time

MOST_CLIENTS = 10_000
"""Clients whose rate is remembered."""


class Rates:
    """At most `rate` requests a second of each client: a bucket of so many, refilled steadily."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_of(self, client: str) -> int:
        """Count a request of this client; return the whole seconds until it may ask, 0: now."""
        if self.rate is None:
            return 0
        now = time.monotonic()
        most = max(1.0, self.rate)
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - since) * self.rate)
        is_allowed = left >= 1
        self._buckets[client] = (left - is_allowed, now)
        if len(self._buckets) > MOST_CLIENTS:
            # The one that has not asked for longest stands first.
            del self._buckets[next(iter(self._buckets))]
        return 0 if is_allowed else math.ceil((1 - left) / self.rate)
