"""Who may ask, from where, and how much; and what every answer bears."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewarddiff.rates import Rates

MOST_BYTES = 64 * 1024
"""Of a request's body."""
BODY_SECONDS = 30.0
"""For a body to arrive."""
MOST_FIELDS = 64

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Cache-Control": "no-store",
    # Not no-referrer: a browser would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Refused(Exception):
    """A request that is not heeded: its status, a sentence for a person, and seconds to wait."""

    def __init__(self, status: HTTPStatus, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class Headers:
    """Puts the headers of this page on every answer, also on refusals and on errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, sending)


def require_host(request: Request, hosts: frozenset[str]) -> None:
    """Raise a Refused unless the request is meant for this page, by the name it was asked by."""
    if request.headers.get("host", "").lower() not in hosts:
        raise Refused(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This page is not served under that name. Open the link that you were given.",
        )


def require_rate(rates: Rates, who: str) -> None:
    """Raise a Refused where somebody asks too often; count the request."""
    wait = rates.wait_of(who)
    if wait:
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests came at once. Wait a moment, and go on.",
            retry_after=wait,
        )


def require_origin(request: Request, hosts: frozenset[str]) -> None:
    """Raise a Refused unless a form was sent by a page of ours."""
    origin = urlsplit(request.headers.get("origin", ""))
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_ours = origin.scheme in ("http", "https") and origin.netloc.lower() in hosts
    # The page it came from is the one it was sent to, where several names are ours.
    is_ours = is_ours and origin.netloc.lower() == request.headers.get("host", "").lower()
    if not is_ours or site != "same-origin":
        raise Refused(HTTPStatus.FORBIDDEN, "This was not sent by a page of this server.")


def form_key(token: str) -> str:
    """Return what every form of an annotator bears: only who knows the token can work it out."""
    return hmac.digest(token.encode(), b"form", "sha256").hex()


def require_form_key(form: Mapping[str, str], token: str) -> None:
    """Raise a Refused unless a form bears its annotator's key."""
    if not hmac.compare_digest(form.get("key", "").encode(), form_key(token).encode()):
        raise Refused(HTTPStatus.FORBIDDEN, "This form is not yours. Open your link again.")


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of fields with one name the last.

    Raises:
        Refused: it is no form, too long, takes too long, or is cut.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This page takes forms alone.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(request)
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "The form did not arrive in time.") from None
    except ClientDisconnect:
        raise Refused(HTTPStatus.BAD_REQUEST, "The form is cut.") from None
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "The form cannot be read.") from None
    return dict(fields)


async def _body(request: Request) -> bytes:
    parts = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "The form is too long. Go back, and write less.",
            )
    return b"".join(parts)
