"""A server on loopback that answers chat completions by a rule of the test's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Mapping[str, Any]
Rule = Callable[[dict[str, Any]], "str | Answer | tuple[int, Answer]"]
"""Body of a request → the text of the reply, or what a server answers, with its status if not 200."""


def completion(text: str | None, finish: str | None = "stop", **message: Any) -> Answer:
    """What OpenAI's API answers."""
    turn = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": turn, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


class AnsweringServer:
    """What a test can set and look at.

    Attributes:
        rule: what it answers.
        bodies: of all requests, in the order they came.
        most: requests that were under way at once.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seconds = 0.0
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.most = 0
        self.under_way = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: AnsweringServer

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append(body)
            state.under_way += 1
            state.most = max(state.most, state.under_way)
        time.sleep(state.seconds)
        answer: Any = state.rule(body)
        with state.lock:
            state.under_way -= 1
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        if isinstance(content, str):
            content = completion(content)
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def answering(rule: Rule) -> Iterator[AnsweringServer]:
    """Serve on a free port while the block runs."""
    state = AnsweringServer(rule)
    handler = type("Bound", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
