"""Chat completions of an OpenAI-compatible server: OpenAI, vLLM, SGLang, llama.cpp, `transformers serve`.

Source: the OpenAI API reference, "Create chat completion"; docs.vllm.ai, "OpenAI-Compatible Server".
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewarddiff.endpoints.addresses import base
from rewarddiff.endpoints.answers import OF_CONTENT, Failed
from rewarddiff.endpoints.client import Client, Patience
from rewarddiff.errors import UserError

logger = logging.getLogger(__name__)

Turn = Mapping[str, Any]
"""A message as the API has it: `role`, `content`."""

DISPENSABLE: Mapping[str, str] = {
    "max_tokens": "",  # is sent as max_completion_tokens
    "stop": "",  # whoever asks cuts at stop texts too
    "seed": "heeds no seed: what it samples with a temperature cannot be had again",
    "temperature": "takes no temperature: it samples at its own, so its answers are not greedy",
    "logprobs": "gives no log-probabilities",
    "top_logprobs": "gives no log-probabilities",
}
"""Parameters that some models refuse and that are then left out; what that changes of what was asked."""

REFUSING = re.compile(
    r"unsupported|(not|n't) (support(ed)?|allowed|enabled|permitted|accepted)|un(known|recognized|expected)"
)
"""How servers say, in lower case, that they do not take a parameter at all."""

MOST_STOPS = 4
"""So many stop texts OpenAI takes; the text behind further ones is paid for, and cut by whoever asks."""


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        messages: the conversation.
        seed: of servers that heed one.
        stop: texts before which the reply ends. Not every server takes all of them, and some leave
            them in the text.
        top_logprobs: alternatives to give with every token; 0: no log-probabilities.
        tools: what the model may call, as the API has it.
    """

    messages: tuple[Turn, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class TokenChoice:
    """A token of a reply, and what else might have stood there with which log-probability, nats."""

    text: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        finish: why it ends: stop, length, content_filter, …
        refusal: what the server's own refusal says; empty: it did not refuse.
        calls: the tools it calls, a JSON object a line: name and arguments.
        tokens: where log-probabilities were asked for and given.
        prompt_tokens, completion_tokens: None where the server does not count.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    calls: str = ""
    tokens: tuple[TokenChoice, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass
class Usage:
    """What was asked for and paid so far; counted by the one who asks, under a lock of its own.

    Attributes:
        failures: requests that failed and replies that were of no use, also those that a repeat made
            good, by cause.
        estimated_price: what was foreseen for what has been asked; None: prices are not known.
        notes: what the server does not do of what was asked.
    """

    calls: int = 0
    kept: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failures: dict[str, int] = field(default_factory=dict)
    estimated_price: float | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Add tokens; None, of a server that does not count, adds nothing."""
        self.prompt_tokens = _sum(self.prompt_tokens, prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, completion_tokens)

    def foresee(self, price: float | None) -> None:
        """Count what one more request was foreseen to cost."""
        if price is not None:
            self.estimated_price = (self.estimated_price or 0.0) + price

    def fail(self, cause: str) -> None:
        """Count a failure."""
        self.failures[cause] = self.failures.get(cause, 0) + 1


class Chat:
    """A model behind a server.

    A parameter that the model refuses is left out from then on, if that can be done at all
    (`DISPENSABLE`); where it changes what was asked, that is said once, and kept in `notes`.

    Args:
        url: of the API, as https://api.openai.com/v1 or http://host:8000; /v1 is put behind an
            address without a path.
        model: its name there.
        key_env: the environment variable that holds the key; None: no key.
        settings: what every request has besides, by the server's own names.
        on_repeat: see `Client`.

    Raises:
        UserError: the address is none, or the variable is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None,
        patience: Patience,
        settings: Mapping[str, Any] | None = None,
        on_repeat: Callable[[Failed], None] | None = None,
    ) -> None:
        self.client = Client(base(url), key_env=key_env, patience=patience, on_repeat=on_repeat)
        self.model = model
        self.settings = dict(settings or {})
        self.notes: list[str] = []
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def reply(self, asked: Asked) -> Reply:
        """Return the reply to one request.

        Raises:
            Failed: there is none, after all attempts.
        """
        while True:
            body = self._body(asked)
            try:
                reply = self.client.post("chat/completions", body, read_reply)
            except Failed as error:
                parameter = refused_parameter(error, body)
                if parameter is None:
                    raise
                self._leave_out(parameter)
                continue
            if asked.top_logprobs and reply.text and not reply.tokens:
                self._note(DISPENSABLE["logprobs"])
            return reply

    def check(self) -> None:
        """See that the model can be asked, before anything is paid.

        The server's list of models tells it for nothing. Where the model is not in it, or there is no
        list, one token is asked for: some servers answer to names that they do not list.

        Raises:
            UserError: the server is down, has no such model, or takes no such key.
        """
        try:
            if self.model in _listed(self.client.get("models", insist=False)):
                return
        except Failed:
            pass  # what is amiss, the request below tells
        asked = Asked(messages=({"role": "user", "content": "Say yes."},), max_tokens=1)
        try:
            self.reply(asked)
        except Failed as error:
            # Of a request that is too short for it, the model itself complains.
            if error.status not in OF_CONTENT | {200}:
                raise self.explained(error) from error

    def explained(self, error: Failed, *, row: str = "") -> UserError:
        """Return a failure as one line that names address, cause and mend: see `Client.explained`."""
        if error.status != 404:
            return self.client.explained(error, row=row)
        about = f" ({row})" if row else ""
        return UserError(
            f"{self.client.url}: {error.cause}{about}; correct url, or model ({self.model})"
        )

    def _body(self, asked: Asked) -> dict[str, Any]:
        """Return what is posted: without what the model has refused."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(turn) for turn in asked.messages],
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            **self.settings,
        }
        if asked.seed is not None:
            body["seed"] = asked.seed
        if asked.stop:
            body["stop"] = list(asked.stop[:MOST_STOPS])
        if asked.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": asked.top_logprobs}
        if asked.tools:
            body["tools"] = [dict(tool) for tool in asked.tools]
        with self._lock:
            refused = set(self._refused)
        if "max_tokens" in refused:
            body["max_completion_tokens"] = asked.max_tokens
        return {name: value for name, value in body.items() if name not in refused}

    def _leave_out(self, parameter: str) -> None:
        # One is of no use without the other.
        pair = {"logprobs", "top_logprobs"}
        with self._lock:
            self._refused |= pair if parameter in pair else {parameter}
        self._note(DISPENSABLE[parameter])

    def _note(self, note: str) -> None:
        """Say once what a server does not do; nothing of an empty note."""
        with self._lock:
            if not note or note in self.notes:
                return
            self.notes.append(note)
        logger.warning("%s: %s %s", self.client.url, self.model, note)


def refused_parameter(error: Failed, body: Mapping[str, Any]) -> str | None:
    """Return the dispensable parameter of a request that an answer refuses; None: it refuses none."""
    message = error.cause.lower()
    if error.status not in (400, 403, 422) or not REFUSING.search(message):
        return None
    for name in DISPENSABLE:
        if name in body and re.search(rf"\b{name}\b", message):
            return name
    return None


def read_reply(answer: Any) -> Reply:
    """Return the one reply in an answer of /chat/completions.

    Raises:
        ValueError: saying what it holds instead.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError("no choices, or not one")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ValueError("a choice without a message")
    content = message.get("content")
    if not isinstance(content, str | None):
        raise ValueError("content that is no text")
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=content or "",
        finish=str(choice.get("finish_reason") or ""),
        refusal=str(message.get("refusal") or ""),
        calls=_calls(message.get("tool_calls")),
        tokens=_tokens(choice.get("logprobs")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _listed(answer: Any) -> list[str]:
    """Return the names in an answer of /models; none of any other answer."""
    models = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        return []
    return [str(model.get("id")) for model in models if isinstance(model, dict)]


def _tokens(logprobs: Any) -> tuple[TokenChoice, ...]:
    """Return the tokens with their alternatives; none where the server gives none."""
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    tokens = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
            return ()
        alternatives: dict[str, float] = {}
        for other in entry.get("top_logprobs") or ():
            if isinstance(other, dict) and isinstance(other.get("logprob"), int | float):
                alternatives[str(other.get("token"))] = float(other["logprob"])
        tokens.append(TokenChoice(entry["token"], alternatives))
    return tuple(tokens)


def _calls(calls: Any) -> str:
    """Return the tools that are called, a line each, without ids, which no two answers share."""
    lines = []
    for call in calls if isinstance(calls, list) else ():
        called = call.get("function") if isinstance(call, dict) else None
        if not isinstance(called, dict):
            raise ValueError("a call of a tool that names none")
        wanted = {name: called.get(name) for name in ("name", "arguments")}
        lines.append(json.dumps(wanted, ensure_ascii=False))
    return "\n".join(lines)


def _sum(total: int | None, count: int | None) -> int | None:
    if count is None:
        return total
    return (total or 0) + count


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
