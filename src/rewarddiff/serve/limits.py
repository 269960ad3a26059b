"""Who may ask, how much and how fast."""

from __future__ import annotations

import asyncio
import hmac
import os

from starlette.requests import ClientDisconnect, Request

from rewarddiff.rates import Rates
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.failures import Failure


def require_rate(rates: Rates, client: str) -> None:
    """Raise a Failure where a client asks too often; count its request."""
    wait = rates.wait_of(client)
    if wait:
        message = f"more than {rates.rate:g} requests a second; ask more slowly"
        raise Failure(429, message, retry_after=wait)


def require_key(request: Request, key: str | None) -> None:
    """Raise a Failure unless the request bears the server's key, where it has one."""
    if key is None:
        return
    # Both as the bytes that they are: headers are read as Latin-1, the environment as it is encoded.
    given = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(given, b"Bearer " + os.fsencode(key)):
        raise Failure(401, "send the server's key: Authorization: Bearer KEY")


async def body_of(request: Request, config: ServeConfig) -> bytes:
    """Return the body of a request.

    Raises:
        Failure: it is compressed, too long, takes too long, or is cut.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Failure(415, "the body is compressed; send it as it is")
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
