"""Who may ask, how much and how fast."""

from __future__ import annotations

import asyncio
import hmac
import math
import time

from starlette.requests import ClientDisconnect, Request

from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.failures import Failure

MOST_CLIENTS = 10_000
"""Clients whose rate is remembered."""


class Rates:
    """At most `rate` requests a second of each client: a bucket of so many, refilled steadily."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def require(self, client: str) -> None:
        """Count a request of this client.

        Raises:
            Failure: it has asked too often.
        """
        if self._rate is None:
            return
        now = time.monotonic()
        most = max(1.0, self._rate)
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - since) * self._rate)
        is_allowed = left >= 1
        self._buckets[client] = (left - is_allowed, now)
        if len(self._buckets) > MOST_CLIENTS:
            # The one that has not asked for longest stands first.
            del self._buckets[next(iter(self._buckets))]
        if not is_allowed:
            raise Failure(
                429,
                f"more than {self._rate:g} requests a second; ask more slowly",
                retry_after=math.ceil((1 - left) / self._rate),
            )


def require_key(request: Request, key: str | None) -> None:
    """Raise a Failure unless the request bears the server's key, where it has one."""
    if key is None:
        return
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise Failure(401, "send the server's key: Authorization: Bearer KEY")


async def body_of(request: Request, config: ServeConfig) -> bytes:
    """Return the body of a request.

    Raises:
        Failure: it is too long, takes too long, or is cut.
    """
    too_long = Failure(413, f"the body is longer than {config.body} bytes; send it in parts")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > config.body:
        raise too_long
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(config.body_seconds):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > config.body:
                    raise too_long
    except TimeoutError:
        raise Failure(
            408, f"the body did not arrive within {config.body_seconds:g} s; send it at once"
        ) from None
    except ClientDisconnect:
        raise Failure(400, "the body is cut") from None
    return b"".join(parts)
