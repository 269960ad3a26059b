"""A server on loopback that scores texts by a rule, in the protocols of real ones, and fails to order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loopback import Answering, Loopback, listening

NAME = "org/reward"


def reward(text: Any) -> float:
    """A number between −4.8 and 4.8 that differs between texts; it stands for a model."""
    content = json.dumps(text).encode()
    return sum((i + 1) * byte for i, byte in enumerate(content)) % 97 / 10 - 4.8


class RewardServer(Loopback):
    """What a test can set and look at, beside what every server has.

    Attributes:
        owner: what its list of models says it is: vllm, sglang, or "" for `rewarddiff serve`.
        fault: called with the handler, the number of the request and its answer before each answer
            to a POST; returns True where it has answered in its own way.
        rule: text (or tokens, or turns) → reward.
        posted: path and body of every POST.
    """

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner
        self.fault: Callable[[Handler, int, Any], bool] | None = None
        self.rule: Callable[[Any], float] = reward

    def record(self, path: str, body: Any) -> tuple[str, Any]:
        return path, body

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


class Handler(Answering):
    """Answers one request."""

    state: RewardServer

    def do_GET(self) -> None:
        if self.path == "/health" and not self.state.owner:
            self.send(200, {"status": "ok", "model": NAME, "fingerprint": "f" * 32})
        elif self.path == "/health":
            self.send(200, b"")
        elif self.path == "/v1/models" and self._allowed():
            model = {"id": NAME, "object": "model"}
            if self.state.owner:
                model["owned_by"] = self.state.owner
            self.send(200, {"object": "list", "data": [model]})
        elif self.path != "/v1/models":
            self.send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        state = self.state
        with state.request(self) as (number, body):
            if not self._allowed():
                return
            try:
                answer = state.answer(self.path, body)
            except KeyError:
                self.send(404, {"detail": "Not Found"})
                return
            if state.fault is None or not state.fault(self, number, answer):
                self.send(200, answer)

    def _allowed(self) -> bool:
        if self.bears(self.state.key):
            return True
        self.send(401, {"error": f"wrong key: {self.headers.get('Authorization')}"})
        return False


@contextmanager
def serving(owner: str) -> Iterator[RewardServer]:
    """Serve rewards in the protocol of this owner while the block runs."""
    state = RewardServer(owner)
    with listening(Handler, state) as state.url:
        yield state
