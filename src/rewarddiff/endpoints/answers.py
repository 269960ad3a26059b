"""What an answer over HTTP is: JSON that is whole, or a failure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

PASSING = frozenset((408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529))
"""Statuses after which the same request may succeed."""
OF_CONTENT = frozenset((400, 413, 422))
"""Statuses that say something of what was sent."""


class Failed(Exception):
    """A request that got no answer.

    Attributes:
        cause: what happened, without the address.
        status: of the answer; None where there was none.
        passes: whether the same request may succeed later.
        wait: seconds that the server asks to wait; None: it does not say.
    """

    def __init__(
        self,
        cause: str,
        *,
        status: int | None = None,
        passes: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status
        self.passes = passes
        self.wait = wait

    @property
    def kind(self) -> str:
        """What happened in a few words, by which failures are counted."""
        if self.status is None:
            return "no answer"
        return "a reply that is none" if self.status == 200 else f"status {self.status}"


def parsed(content: bytes) -> Any:
    """Return JSON; NaN and infinities, which Python would read, are none.

    Raises:
        ValueError: saying what it is instead.
    """
    if not content.strip():
        raise ValueError("nothing")
    if content.lstrip()[:1] == b"<":
        raise ValueError("a page, not JSON")
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("cut or malformed JSON") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} in the JSON, which is no number")


def message_in(content: bytes) -> str:
    """Return what the JSON of an error says; empty where it says nothing, or is a page.

    >>> message_in(b'{"error": {"message": "no such model"}}')
    'no such model'
    >>> message_in(b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}')
    'seed: Extra inputs are not permitted'
    """
    try:
        message = json.loads(content)
    except ValueError:
        return ""
    # {"error": {"message": …}} of OpenAI's kind, {"detail": …} of FastAPI's, either in a list.
    for _ in range(4):
        if isinstance(message, list) and message:
            message = message[0]
        if isinstance(message, dict) and "msg" in message:
            return _of_a_place(message)
        if isinstance(message, dict):
            keys = [key for key in ("error", "message", "detail") if key in message]
            message = message[keys[0]] if keys else ""
    return message if isinstance(message, str) else ""


def _of_a_place(entry: Mapping[str, Any]) -> str:
    """Return what FastAPI says of one part of a request."""
    path = entry.get("loc")
    place = path[-1] if isinstance(path, list) and path else "request"
    return f"{place}: {entry['msg']}"


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date; None where it says none."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds == seconds else None
