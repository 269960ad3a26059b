"""The engine that asks vLLM's server with tokens, and gets tokens.

Prompts are written by the template and tokenizer of a folder that lies here, and answers are read by them, as
those of `vllm.VLLMEngine` are.

Source: vLLM 0.33, vllm/entrypoints/openai/completion/protocol.py (CompletionRequest, CompletionResponseChoice).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.endpoints.answers import Failed
from rewarddiff.endpoints.chat import MOST_STOPS
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import Sample, require_readable, row_names, stopped, until_end
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.sampling.served import PLAIN, Served, ServedModel
from rewarddiff.sampling.vllm import drawing
from rewarddiff.store import Store, fingerprint

FORMAT = 1
"""The format of what is stored for a sample, a part of its key: an earlier one is never read."""


@dataclass(frozen=True)
class _Request:
    """What is posted, and the row that it comes from."""

    body: Mapping[str, Any]
    row: str


@dataclass(frozen=True)
class _Reply:
    """What came back.

    Attributes:
        ended: whether the response ended by itself; otherwise its length did.
        prompt_tokens: None where the server does not count.
    """

    tokens: tuple[int, ...]
    ended: bool
    prompt_tokens: int | None


def served_engine(served: ServedModel) -> Served:
    """Return what asks a server: with tokens where the served model's template lies here.

    Raises:
        UserError: the address or the template is none, or the variable of the key is not set.
    """
    return Served(served) if served.template is None else ServedTokens(served, served.template)


class ServedTokens(Served):
    """A model behind vLLM that is asked with tokens: see `engines.Engine`.

    Args:
        template: folder or hub name of the model that is served.
    """

    def __init__(self, served: ServedModel, template: str) -> None:
        super().__init__(served)
        tokenizer = models.load_tokenizer(template)
        lengths = LengthConfig(max_response=1)
        self.encoder = Encoder(tokenizer, lengths, models.context_length(template))

    def samples(
        self,
        prompts: Sequence[Prompt],
        config: SamplingConfig,
        *,
        rows: Sequence[str] = (),
        store: Store | None = None,
        meter: Meter | None = None,
        name: str = "sampling",
    ) -> list[Sample]:
        """Ask for one response to each prompt: see `engines.Engine.samples`."""
        self.limits.check(config.temperature)
        names = row_names(rows, len(prompts))
        require_readable(self.encoder, prompts, names)
        ends = self.encoder.ends(prompts)
        requests = []
        for prompt, row in zip(prompts, names, strict=True):
            requests.append(_Request(self._body(prompt, ends, config), row))

        def key(request: _Request) -> str:
            return fingerprint("served tokens", FORMAT, self.identity, request.body)

        def read(reply: _Reply) -> dict[str, Any]:
            tokens = until_end(reply.tokens, ends)
            self._count(reply.prompt_tokens, len(tokens), meter)
            return stopped(self.encoder.text(tokens), config.stop, ended=reply.ended)

        return self._answered(
            requests, key, self._posted, read, store=store, meter=meter, name=name
        )

    def _body(self, prompt: Prompt, ends: Sequence[int], config: SamplingConfig) -> dict[str, Any]:
        """Return what is posted for one response."""
        tokens = self.encoder.fitting(prompt, config.max_new_tokens)
        return {
            "model": self.chat.model,
            "prompt": list(tokens),
            "return_token_ids": True,
            **PLAIN,
            **drawing(tokens, ends, config),
            # So many it takes; what stands behind a further one is cut off here.
            "stop": list(config.stop[:MOST_STOPS]),
        }

    def _posted(self, request: _Request) -> _Reply:
        try:
            return self.chat.client.post("completions", request.body, read_reply)
        except Failed as error:
            raise self.chat.explained(error, row=request.row) from error


def read_reply(answer: Any) -> _Reply:
    """Return the one reply in vLLM's answer of /completions.

    Raises:
        ValueError: saying what it holds instead.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError("no choices, or not one")
    (choice,) = choices
    tokens = choice.get("token_ids")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise ValueError("no token_ids, which vLLM gives where return_token_ids is asked for")
    finish = choice.get("finish_reason")
    if finish not in ("stop", "length"):
        raise ValueError(f"a response that was given up ({finish})")
    usage = answer.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return _Reply(tuple(tokens), finish == "stop", count if isinstance(count, int) else None)
