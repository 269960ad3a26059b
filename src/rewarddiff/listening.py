"""A server's socket, its life and its end, for whatever is served here. Needs starlette and uvicorn."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from rewarddiff.errors import UserError
from rewarddiff.writing import say

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEEP_ALIVE_SECONDS = 30
"""A connection without a request stays open so long."""

REQUEST_SECONDS = 30
"""For the whole head of a connection's next request to arrive, and for an answer to be taken."""


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


def require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be had, before what takes long. Raises UserError."""
    with bound(host, port):
        pass


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


def settings_of(application: Starlette, last_seconds: int) -> uvicorn.Config:
    """Return how an application is served; requests are not logged, links are among them.

    Args:
        last_seconds: for what is being answered when the server is ended.
    """
    return uvicorn.Config(
        application,
        http=PatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=last_seconds,
    )


def serve_until_signal(
    settings: uvicorn.Config, listener: socket.socket, announcement: Iterable[str]
) -> None:
    """Answer requests at a bound socket until a signal ends it; first say that it can be reached."""
    with address_explained(*listener.getsockname()[:2]):
        listener.listen(settings.backlog)
    server = uvicorn.Server(settings)
    with ended_by_signals(server):
        say(*announcement)
        server.run(sockets=[listener])


@contextmanager
def ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end a server, and nothing else, also before and behind its own care.

    uvicorn heeds them only while it runs, and raises them once more when it has ended.
    """

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class PatientProtocol(H11Protocol):
    """HTTP/1.1, with an end to connections on which no request arrives, be it the first or a later one.

    uvicorn's own patience ends with the first byte of a request; from there it waits for ever.
    """

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _await_request(self) -> None:
        self._forget()
        self._patience = self.loop.call_later(REQUEST_SECONDS, self._end_without_request)

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _end_without_request(self) -> None:
        is_asked = self.cycle is not None and not self.cycle.response_complete
        if not is_asked:
            # Also where the last answer was not taken: a close would wait for that.
            self.transport.abort()
