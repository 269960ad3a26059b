"""A server's life: its address, its scorer, its start-up line, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rewarddiff.errors import UserError
from rewarddiff.scorers.opening import GRADES, fingerprint_of, open_scorer
from rewarddiff.serve.app import Application
from rewarddiff.serve.baseline import Baseline, read_baseline
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.protocols import PROTOCOLS
from rewarddiff.serve.served import Served
from rewarddiff.writing import say

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEEP_ALIVE_SECONDS = 30
"""A connection without a request stays open so long."""

HEADER_SECONDS = 30
"""For a new connection's first request to arrive."""


def serve(
    scorer: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    policy_baseline: str | Path | None = None,
    key_env: str | None = None,
    config: ServeConfig | None = None,
) -> None:
    """Serve a scorer until a signal ends it; what was accepted by then is answered.

    Args:
        scorer: a folder, a hub name, …
        port: 0: any that is free.
        policy_baseline: rows of prompt and responses; rewards are mean differences to these.
        key_env: the environment variable with the key that requests must bear.

    Raises:
        UserError: there is no such scorer, key or baseline, or the port is taken.
    """
    if scorer == GRADES:
        raise UserError("grades are the data's own, and what is sent has none: name a model")
    key = None if key_env is None else _key(key_env)
    with bound(host, port) as listener:
        # It is read before the scorer, which takes longer.
        responses = None if policy_baseline is None else read_baseline(policy_baseline)
        served = Served(open_scorer(scorer), fingerprint=fingerprint_of(scorer))
        if responses is not None:
            served.baseline = Baseline(responses, served.scorer, served.chat)
        application = Application(served, config or ServeConfig(), key)
        options = uvicorn.Config(
            application.starlette(),
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        with address_explained(host, port):
            listener.listen(options.backlog)
        say(*announcement(served, listener, host))
        with signals_end_quietly():
            uvicorn.Server(options).run(sockets=[listener])
    say("stopped: all that was accepted is answered")


def announcement(served: Served, listener: socket.socket, host: str) -> list[str]:
    """Return what is said once the server can be reached."""
    name, port = listener.getsockname()[:2]
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    routes = ", ".join(f"{protocol.route} ({protocol.serves})" for protocol in PROTOCOLS)
    parts = [f"serving {served.name} at http://{address}", f"fingerprint {served.fingerprint}"]
    if served.baseline is not None:
        parts.append(f"rewards over the responses to {len(served.baseline)} prompts")
    lines = ["  ".join(parts), f"POST {routes}  GET /health, /metrics"]
    if host not in LOOPBACK:
        lines.append(
            f"{host} can be reached from other machines, and nothing is encrypted: "
            "texts and key are sent as they are"
        )
    return lines


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket with this address, which takes no connection yet.

    Raises:
        UserError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with address_explained(host, port):
            listener.bind((host, port))
        yield listener


@contextmanager
def address_explained(host: str, port: int) -> Iterator[None]:
    """Raise a UserError where an address cannot be had."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or error
        raise UserError(
            f"{host}:{port}: cannot be served at ({cause}); choose another --port or --host"
        ) from error


@contextmanager
def signals_end_quietly() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server, and nothing else.

    uvicorn raises them once more when it has ended.
    """

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    handlers = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class PatientProtocol(H11Protocol):
    """HTTP/1.1, with an end to connections on which no request arrives."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEADER_SECONDS, self._end_without_request)

    def _end_without_request(self) -> None:
        if self.cycle is None:
            self.transport.close()


def _key(variable: str) -> str:
    """Return the key in an environment variable."""
    key = os.environ.get(variable, "")
    if not key:
        raise UserError(f"--key-env {variable}: no such variable, or an empty one; set it first")
    return key
