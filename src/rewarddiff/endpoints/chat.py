"""Chat completions of an OpenAI-compatible server: OpenAI, vLLM, SGLang, llama.cpp, `transformers serve`.

Source: the OpenAI API reference, "Create chat completion"; docs.vllm.ai, "OpenAI-Compatible Server".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rewarddiff.endpoints.client import Client, Patience

Turn = Mapping[str, Any]
"""A message as the API has it: `role`, `content`."""


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        messages: the conversation.
        seed: of servers that heed one.
        top_logprobs: alternatives to give with every token; 0: no log-probabilities.
    """

    messages: tuple[Turn, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0


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
        tokens: where log-probabilities were asked for and given.
        prompt_tokens, completion_tokens: None where the server does not count.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    tokens: tuple[TokenChoice, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass
class Usage:
    """What was asked for and paid so far; counted by the one who asks, under a lock of its own."""

    calls: int = 0
    kept: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failures: dict[str, int] = field(default_factory=dict)


class Chat:
    """A model behind a server.

    Args:
        url: of the API, as https://api.openai.com/v1 or http://host:8000; /v1 is put behind an
            address without a path.
        model: its name there.
        key_env: the environment variable that holds the key; None: no key.

    Raises:
        UserError: the address is none, or the variable is not set.
    """

    def __init__(self, url: str, model: str, *, key_env: str | None, patience: Patience) -> None:
        self.client = Client(base(url), key_env=key_env, patience=patience)
        self.model = model

    def reply(self, asked: Asked) -> Reply:
        """Return the reply to one request.

        Raises:
            Failed: there is none, after all attempts.
        """
        return self.client.post("chat/completions", self._body(asked), read_reply)

    def _body(self, asked: Asked) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(turn) for turn in asked.messages],
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
        }
        if asked.seed is not None:
            body["seed"] = asked.seed
        if asked.stop:
            body["stop"] = list(asked.stop)
        if asked.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": asked.top_logprobs}
        return body


def base(url: str) -> str:
    """Return the address of the API: /v1 behind an address without a path."""
    trimmed = url.rstrip("/").removesuffix("/chat/completions")
    if urlsplit(trimmed).path in ("", "/"):
        return f"{trimmed}/v1"
    return trimmed


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
        tokens=_tokens(choice.get("logprobs")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


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


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
