"""Servers of the tests on loopback: what they count, and how they answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Loopback:
    """What a test can set and look at on any server.

    Attributes:
        url: its address, without a path.
        key: that requests must bear, where the server asks for one.
        seconds: that an answer takes.
        posted: the body of every POST, in the order of their coming.
        headers: theirs.
        most: requests that were under way at once.
    """

    def __init__(self) -> None:
        self.url = ""
        self.key = ""
        self.seconds = 0.0
        self.posted: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.most = 0
        self.lock = threading.Lock()
        self._under_way = 0

    def record(self, path: str, body: Any) -> Any:
        """Return what is kept of a POST."""
        return body

    @contextmanager
    def request(self, handler: BaseHTTPRequestHandler) -> Iterator[tuple[int, Any]]:
        """Count a POST that is being answered; gives its number and its body, after `seconds`."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            count = len(self.posted)
            self.posted.append(self.record(handler.path, body))
            self.headers.append(dict(handler.headers))
        try:
            time.sleep(self.seconds)
            yield count, body
        finally:
            with self.lock:
                self._under_way -= 1


class Answering(BaseHTTPRequestHandler):
    """Answers with JSON, and keeps connections open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def send(self, status: int, answer: Any, *, cut: int = 0, **headers: str) -> None:
        """Answer with JSON, or with bytes as they are; without the last bytes where `cut`."""
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])
        self.wfile.flush()
        self.close_connection = bool(cut)

    def bears(self, key: str) -> bool:
        """Tell whether the request bears the key; "" asks for none."""
        return not key or self.headers.get("Authorization") == f"Bearer {key}"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is part of the tests."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], state: Any) -> Iterator[str]:
    """Serve on a free port while the block runs; gives the address.

    Args:
        state: what the handler finds as its `state`.
    """
    bound = type("Bound", (handler,), {"state": state})
    server = QuietServer(("127.0.0.1", 0), bound)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
