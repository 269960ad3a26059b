"""A server of chat completions on loopback, answered by a rule, which fails to order."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from loopback import Answering, Loopback, listening

from rewarddiff.hashing import number, uniform

MODEL = "org/chat"
PATH = "/v1/chat/completions"

Body = Mapping[str, Any]
Alternatives = Mapping[str, float]


def asked_text(body: Body) -> str:
    """The last turn of a request."""
    content = body["messages"][-1]["content"]
    assert isinstance(content, str)
    return content


class ChatServer(Loopback):
    """What a test can set and look at, beside what every server has.

    Attributes:
        reply: what the model says to a request; raises KeyError for a 400.
        finish: why a reply ends, by its text.
        tokens: a reply's tokens, each with alternatives and their log-probabilities; None: this server
            gives none, whoever asks.
        fault: called with the handler, the number of the request and its answer before each answer to a
            POST; returns True where it has answered in its own way.
    """

    def __init__(self, reply: Callable[[Body], str]) -> None:
        super().__init__()
        self.reply = reply
        self.finish: Callable[[str], str] = lambda text: "stop"
        self.tokens: Callable[[str], Sequence[tuple[str, Alternatives]]] | None = None
        self.models = [MODEL]
        self.fault: Fault | None = None

    @property
    def calls(self) -> int:
        return len(self.posted)

    def answer(self, body: Body) -> dict[str, Any]:
        """What the real server answers."""
        text = self.reply(body)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": self.finish(text),
        }
        if body.get("logprobs") and self.tokens is not None:
            choice["logprobs"] = {"content": [_token(*entry) for entry in self.tokens(text)]}
        read = sum(len(str(turn["content"])) for turn in body["messages"]) // 4
        written = len(text) // 4
        usage = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }


def _token(text: str, alternatives: Alternatives) -> dict[str, Any]:
    others = [{"token": other, "logprob": logprob} for other, logprob in alternatives.items()]
    return {"token": text, "logprob": alternatives.get(text, 0.0), "top_logprobs": others}


class Handler(Answering):
    """Answers one request."""

    state: ChatServer

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self.send(404, {"detail": "Not Found"})
        elif self._allowed():
            models = [{"id": name, "object": "model"} for name in self.state.models]
            self.send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        with self.state.request(self) as (count, body):
            self._answer(count, body)

    def _answer(self, count: int, body: Body) -> None:
        state = self.state
        if self.path != PATH:
            self.send(404, {"detail": "Not Found"})
            return
        if not self._allowed():
            return
        if body["model"] not in state.models:
            missing = f"The model `{body['model']}` does not exist."
            self.send(404, {"error": {"message": missing, "code": "model_not_found"}})
            return
        try:
            answer = state.answer(body)
        except KeyError as error:
            self.send(400, {"error": {"message": str(error.args[0])}})
            return
        if state.fault is None or not state.fault(self, count, answer):
            self.send(200, answer)

    def _allowed(self) -> bool:
        if self.bears(self.state.key):
            return True
        # Repeats what it was given, as some servers do.
        given = self.headers.get("Authorization")
        self.send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        return False


Fault = Callable[[Handler, int, Any], bool]

# --- faults -------------------------------------------------------------------------------------


def busy(handler: Handler, answer: Any) -> None:
    handler.send(429, {"error": {"message": "Rate limit reached"}}, Retry_After="0")


def busy_without_retry_after(handler: Handler, answer: Any) -> None:
    handler.send(429, {"error": {"message": "Rate limit reached"}})


def broken(handler: Handler, answer: Any) -> None:
    handler.send(500, {"error": {"message": "CUDA error"}})


def too_slow(handler: Handler, answer: Any) -> None:
    """Answers after the client's patience, which in tests ends within a second."""
    time.sleep(1.0)
    handler.send(200, answer)


def hung_up(handler: Handler, answer: Any) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cut(handler: Handler, answer: Any) -> None:
    handler.send(200, json.dumps(answer).encode(), cut=9)


def malformed(handler: Handler, answer: Any) -> None:
    handler.send(200, json.dumps(answer).encode()[:-5])


def off_menu(handler: Handler, answer: Any) -> None:
    """Gives verdicts that are none in any form."""
    answer["choices"][0]["message"]["content"] = "Both are fine.\nVerdict: 9\nScores: 11 0"
    handler.send(200, answer)


def refusal(handler: Handler, answer: Any) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    answer["choices"][0] |= {"message": message}
    handler.send(200, answer)


def empty(handler: Handler, answer: Any) -> None:
    answer["choices"][0]["message"]["content"] = ""
    handler.send(200, answer)


def wrong_count(handler: Handler, answer: Any) -> None:
    handler.send(200, answer | {"choices": answer["choices"] * 2})


FAULTS: tuple[Callable[[Handler, Any], None], ...] = (
    busy, busy_without_retry_after, broken, too_slow, hung_up, cut, malformed, off_menu, refusal,
    empty, wrong_count,
)  # fmt: skip
"""Ten kinds, one of them (too many requests) with Retry-After and without."""


class AtRandom:
    """A share of all requests fails, each in a way of `FAULTS`; the same ones in every run.

    What happens is drawn by the request and how often it came before, not by the order in which
    threads send.

    Attributes:
        made: how often each fault was made.
    """

    def __init__(self, share: float, seed: int = 0) -> None:
        self.share = share
        self.seed = seed
        self.made: Counter[str] = Counter()
        self._came: Counter[str] = Counter()

    def __call__(self, handler: Handler, count: int, answer: Any) -> bool:
        state = handler.state
        body = json.dumps(state.posted[count], sort_keys=True)
        with state.lock:
            self._came[body] += 1
            draw = f"{self.seed}/{self._came[body]}/{body}"
        if uniform(draw) >= self.share:
            return False
        fault = FAULTS[number(f"which/{draw}") % len(FAULTS)]
        with state.lock:
            self.made[fault.__name__] += 1
        fault(handler, answer)
        return True


# --- the server ---------------------------------------------------------------------------------


@contextmanager
def serving(reply: Callable[[Body], str]) -> Iterator[ChatServer]:
    """Serve a model that replies by this rule; `url` has its address, without /v1."""
    state = ChatServer(reply)
    with listening(Handler, state) as state.url:
        yield state
