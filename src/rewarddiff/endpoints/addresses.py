"""Addresses of servers, and of the models behind them. Imports nothing heavy."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from rewarddiff.errors import UserError

PORTS = {"http": 80, "https": 443}


_SERVED = re.compile(r"(?P<model>.+)@(?P<url>https?://.*)")


def served_model(text: str) -> tuple[str, str] | None:
    """Return model and address of a text that is MODEL@URL; None: it is none.

    >>> served_model("@cf/meta/llama-3@http://host:1")
    ('@cf/meta/llama-3', 'http://host:1')
    """
    match = _SERVED.fullmatch(text)
    return None if match is None else (match["model"], match["url"])


def base(url: str) -> str:
    """Return the address of an OpenAI-compatible API: /v1 behind an address without a path.

    >>> base("http://localhost:8000/")
    'http://localhost:8000/v1'
    """
    trimmed = url.rstrip("/").removesuffix("/chat/completions")
    if urlsplit(trimmed).path in ("", "/"):
        return f"{trimmed}/v1"
    return trimmed


def normalised(url: str) -> str:
    """Return one spelling of an address of an API, so that equal texts are one place.

    >>> normalised("HTTPS://Api.OpenAI.com:443/v1/chat/completions")
    'https://api.openai.com/v1'
    """
    parts = urlsplit(base(url))
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    port = PORTS.get(scheme)
    if port is not None:
        host = host.removesuffix(f":{port}")
    return urlunsplit((scheme, host, parts.path, parts.query, parts.fragment))


def require_address(url: str) -> None:
    """Raise a UserError unless a text is the address of a server, without a password in it."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"url is {url}, should be the address of a server, as http://host:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            f"url: {parts.scheme}://{parts.hostname} has a key or options in it, which errors and "
            "files would repeat; put the key into an environment variable, and name that as key_env"
        )
