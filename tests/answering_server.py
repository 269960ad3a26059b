"""A server on loopback that answers chat completions by a rule of the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loopback import Answering, Loopback, listening

Answer = Mapping[str, Any]
Rule = Callable[[dict[str, Any]], "str | Answer | tuple[int, Answer]"]
"""Body of a request → the text of the reply, or what a server answers, with its status if not 200."""


def completion(text: str | None, finish: str | None = "stop", **message: Any) -> Answer:
    """What OpenAI's API answers."""
    turn = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": turn, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


class AnsweringServer(Loopback):
    """Answers by `rule`, whoever asks."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule


class Handler(Answering):
    """Answers one request."""

    state: AnsweringServer

    def do_POST(self) -> None:
        with self.state.request(self) as (_, body):
            answer: Any = self.state.rule(body)
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            if isinstance(content, str):
                content = completion(content)
            self.send(status, content)


@contextmanager
def answering(rule: Rule) -> Iterator[AnsweringServer]:
    """Serve on a free port while the block runs."""
    state = AnsweringServer(rule)
    with listening(Handler, state) as state.url:
        yield state
