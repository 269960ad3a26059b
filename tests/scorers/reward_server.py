"""A server on loopback that scores texts by a rule, in the protocols of real ones, and fails to order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "org/reward"


def reward(text: Any) -> float:
    """A number between −4.8 and 4.8 that differs between texts; it stands for a model."""
    content = json.dumps(text).encode()
    return sum((i + 1) * byte for i, byte in enumerate(content)) % 97 / 10 - 4.8


class RewardServer:
    """What a test can set and look at.

    Attributes:
        owner: what its list of models says it is: vllm, sglang, or "" for `rewarddiff serve`.
        key: that every request but /health must bear.
        fault: called with the handler, the number of the request and its answer before each answer
            to a POST; returns True where it has answered in its own way.
        rule: text (or tokens, or turns) → reward.
        posted: path and body of every POST.
        most: requests that were under way at once.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.key = ""
        self.fault: Callable[[Handler, int, Any], bool] | None = None
        self.rule: Callable[[Any], float] = reward
        self.seconds = 0.0
        self.posted: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = 0
        self.under_way = 0
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, path: str, body: Any) -> Any:
        """What the real server answers."""
        if path == "/classify" and self.owner == "vllm":
            rows = [self._probs(text) for text in self._inputs(body)]
            return {"model": NAME, "data": [{"index": i, **row} for i, row in enumerate(rows)]}
        if path == "/pooling":
            rows = [{"data": [self.rule(text)]} for text in self._inputs(body)]
            return {"model": NAME, "data": [{"index": i, **row} for i, row in enumerate(rows)]}
        if path == "/classify":
            texts = body.get("text", body.get("input_ids"))
            return [{"embedding": [self.rule(text)], "meta_info": {}} for text in texts]
        if path == "/v1/embeddings":
            rows = [{"embedding": [self.rule(text)]} for text in body["input"]]
            listed = [{"index": i, "object": "embedding", **row} for i, row in enumerate(rows)]
            return {"model": NAME, "data": listed[::-1]}  # order is told by index
        if path == "/score":
            scores = [
                [self.rule([row["prompt"], r]) for r in row["responses"]] for row in body["rows"]
            ]
            return {"scores": scores, "model": NAME, "fingerprint": "f" * 32}
        if path == "/compare":
            (first,), (second,) = body["responses"], body["anchors"]
            gap = self.rule([body["prompt"], first]) - self.rule([body["prompt"], second])
            compared = [{"a": 0, "anchor": 0, "difference": gap}]
            return {
                "rewards": [gap],
                "comparisons": compared,
                "readings": 2,
                "fingerprint": "f" * 32,
            }
        raise KeyError(path)

    def _inputs(self, body: Any) -> list[Any]:
        assert body["use_activation"] is False  # else vLLM would give a sigmoid's value
        if "messages" in body:
            return [body["messages"]]
        return list(body["input"])

    def _probs(self, text: Any) -> dict[str, Any]:
        return {"label": "LABEL_0", "probs": [self.rule(text)], "num_classes": 1}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: RewardServer

    def do_GET(self) -> None:
        if self.path == "/health" and not self.state.owner:
            content = {"status": "ok", "model": NAME, "fingerprint": "f" * 32}
            self.send(200, json.dumps(content).encode())
        elif self.path == "/health":
            self.send(200, b"")
        elif self.path == "/v1/models" and self._allowed():
            model = {"id": NAME, "object": "model"}
            if self.state.owner:
                model["owned_by"] = self.state.owner
            self.send(200, json.dumps({"object": "list", "data": [model]}).encode())
        elif self.path != "/v1/models":
            self.send(404, b'{"detail": "Not Found"}')

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.under_way += 1
            state.most = max(state.most, state.under_way)
            number = len(state.posted)
            state.posted.append((self.path, body))
            state.headers.append(dict(self.headers))
        try:
            time.sleep(state.seconds)
            if not self._allowed():
                return
            answer = state.answer(self.path, body)
            if state.fault is None or not state.fault(self, number, answer):
                self.send(200, json.dumps(answer).encode())
        except KeyError:
            self.send(404, b'{"detail": "Not Found"}')
        finally:
            with state.lock:
                state.under_way -= 1

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization")
        if self.state.key and given != f"Bearer {self.state.key}":
            self.send(401, json.dumps({"error": f"wrong key: {given}"}).encode())
            return False
        return True

    def send(self, status: int, content: bytes, *, cut: int = 0, **headers: str) -> None:
        """Answer; without its last bytes where `cut`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])
        self.wfile.flush()
        self.close_connection = bool(cut)

    def log_message(self, *_: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is part of the tests."""


@contextmanager
def serving(owner: str) -> Iterator[RewardServer]:
    state = RewardServer(owner)
    handler = type("Served", (Handler,), {"state": state})
    server = QuietServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
