"""Addresses of servers, and of the models behind them. Imports nothing heavy."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

PORTS = {"http": 80, "https": 443}


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
