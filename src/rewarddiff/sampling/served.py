"""The engine that asks a server: any that knows OpenAI's chat completions.

A plain prompt is sent as one turn of the user, a conversation as its turns: the server writes them by
the chat template of its model, and samples by the settings of its own that are not asked for here (a
repetition penalty, say). vLLM can be asked to set these aside; `served_tokens` sends it tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from rewarddiff.config import at_least, checked, positive
from rewarddiff.endpoints.answers import Failed
from rewarddiff.endpoints.chat import Asked, Chat, Reply, Usage
from rewarddiff.endpoints.client import Patience
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.progress import task
from rewarddiff.records import Message, Prompt, turns_and_tools
from rewarddiff.remembering import remember
from rewarddiff.sampling.batches import Sample, row_names, stopped
from rewarddiff.sampling.beams import BeamConfig
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.sampling.options import VLLM, AnyEngine, Transformers
from rewarddiff.store import Store, fingerprint

Request = TypeVar("Request")
Answer = TypeVar("Answer")

FORMAT = 1
"""The format of what is stored for a sample, a part of its key: an earlier one is never read."""

FIRST_WAIT = 0.5
"""Seconds before a request is sent again."""

CUT = frozenset(("length", "content_filter"))
"""Reasons to finish that are not the model's own; stop texts are."""

PLAIN: Mapping[str, Any] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""What vLLM is asked, so that settings of the server or of the model's generation_config.json have no part
(vllm/entrypoints/openai/chat_completion/protocol.py, `to_sampling_params`)."""


@checked
@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A language model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, OpenAI, ….

    Its answers are kept under the name of the model, wherever it is served: weights that are changed
    behind a name are not noticed.

    Attributes:
        url: where the server is, as http://host:8000.
        model: its name there.
        engine: vllm where that serves it. It then draws as a model that is read here is drawn from: the
            server's and the model's own settings (top-k, a repetition penalty) have no part. null: any server,
            with settings of its own.
        template: of vLLM, the folder or hub name of the model that is served. Prompts are then written and
            tokenised here, as in training, and sent as tokens. null: the server writes them.
        key_env: the environment variable that holds the server's key; null: it needs none. The key
            stands in no file, no error and no log.
        concurrency: requests under way together.
        timeout: seconds that one answer may take.
        attempts: how often a request is sent before it has failed, with waits that double from half a
            second on, or as long as the server asks for.
    """

    url: str
    model: str
    engine: Literal["vllm"] | None = None
    template: str | None = None
    key_env: str | None = None
    concurrency: int = 8
    timeout: float = 300.0
    attempts: int = 6

    def __post_init__(self) -> None:
        at_least(self, 1, "concurrency", "attempts")
        positive(self, "timeout")
        if self.template is not None and self.engine is None:
            raise ValueError("template is for engine: vllm: other servers take no tokens")

    @property
    def identity(self) -> str:
        """What its answers are kept under."""
        parts = [self.model]
        if self.engine is not None:
            parts.append(f"by {self.engine}")
        if self.template is not None:
            parts.append(f"as {self.template} writes it")
        return " ".join(parts)

    def __str__(self) -> str:
        return f"{self.model}@{self.url}"


@dataclass(frozen=True)
class _Request:
    """What is asked, and the row that it comes from."""

    asked: Asked
    row: str


class Served:
    """A model behind a server: see `engines.Engine`.

    Attributes:
        usage: counts what was asked of it.
        beside: gives what is stored in one step with every answer.

    Raises:
        UserError: the address is none, or the variable of the key is not set.
    """

    def __init__(self, served: ServedModel) -> None:
        patience = Patience(served.timeout, served.attempts, FIRST_WAIT)
        self.chat = Chat(
            served.url,
            served.model,
            key_env=served.key_env,
            patience=patience,
            settings=PLAIN if served.engine == "vllm" else None,
        )
        self.limits: AnyEngine = VLLM() if served.engine == "vllm" else Transformers()
        self.identity = served.identity
        self.concurrency = served.concurrency
        self.usage = Usage()
        self.beside: Callable[[], Mapping[str, Any]] = dict

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
        """Ask for one response to each prompt: see `engines.Engine.samples`.

        A refusal is the policy's answer, and so is an empty one.
        """
        self.limits.check(config.temperature)
        requests = []
        for prompt, row in zip(prompts, row_names(rows, len(prompts)), strict=True):
            requests.append(_Request(_asked(prompt, config, row), row))

        def key(request: _Request) -> str:
            return fingerprint("served sample", FORMAT, self.identity, asdict(request.asked))

        def read(reply: Reply) -> dict[str, Any]:
            self._count(reply.prompt_tokens, reply.completion_tokens, meter)
            return _stored(reply, config)

        return self._answered(requests, key, self._reply, read, store=store, meter=meter, name=name)

    def _answered(
        self,
        requests: Sequence[Request],
        key: Callable[[Request], str],
        ask: Callable[[Request], Answer],
        read: Callable[[Answer], dict[str, Any]],
        *,
        store: Store | None,
        meter: Meter | None,
        name: str,
    ) -> list[Sample]:
        """Return the answer to each request, kept ones as they are and the others asked for.

        Each is stored as it comes, so that a kill loses none that was paid.

        Args:
            read: counts an answer, and returns what is stored of it.
        """

        def compute(missing: Sequence[Request]) -> Iterator[tuple[int, dict[str, Any]]]:
            with task(name, len(missing)) as progress:
                for place, answer in self.chat.client.each(missing, ask, self.concurrency):
                    yield place, read(answer)
                    progress.advance()

        def beside() -> dict[str, Any]:
            cost = {} if meter is None else meter.beside()
            return {**self.beside(), **cost}

        calls = self.usage.calls
        stored = remember(store, requests, key, compute, alone=True, seconds=0.0, beside=beside)
        self.usage.kept += len(requests) - (self.usage.calls - calls)
        return [Sample(**values) for values in stored]

    def beams(
        self,
        prompts: Sequence[Prompt],
        draw: BeamConfig,
        config: SamplingConfig,
        *,
        store: Store | None = None,
        meter: Meter | None = None,
    ) -> list[list[Sample]]:
        """Refuse: chat completions have no such search, and vLLM's beams are not diverse."""
        raise UserError(
            f"{self.chat.client.url}: a server searches no diverse beams; draw by temperature, or "
            "from a model's folder"
        )

    def _reply(self, request: _Request) -> Reply:
        try:
            return self.chat.reply(request.asked)
        except Failed as error:
            raise self.chat.explained(error, row=request.row) from error

    def _count(self, prompt: int | None, completion: int | None, meter: Meter | None) -> None:
        """Count a call with its tokens."""
        self.usage.calls += 1
        self.usage.count(prompt, completion)
        if meter is not None:
            meter.tokens += completion or 0


def _asked(prompt: Prompt, config: SamplingConfig, row: str) -> Asked:
    """Return what is asked of a server for one response.

    Raises:
        UserError: the conversation ends with the assistant's words.
    """
    messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    if messages[-1].role == "assistant":
        raise UserError(
            f"{row}: ends with the assistant's own words, which a server does not go on with; leave "
            "the row out, or draw from a model's folder"
        )
    turns, tools = turns_and_tools(messages)
    seed = _seed(config.seed, turns) if config.temperature else None
    return Asked(
        messages=tuple(turns),
        max_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=seed,
        stop=config.stop,
        tools=tuple(tools or ()),
    )


def _seed(seed: int, turns: Sequence[dict[str, Any]]) -> int:
    """Return a prompt's own seed, of 31 bits, which every server can read."""
    return int(fingerprint("draw", seed, turns)[:8], 16) >> 1


def _stored(reply: Reply, config: SamplingConfig) -> dict[str, Any]:
    """Return a reply as it is stored: what it says or refuses, and then what it calls."""
    parts = [reply.text or reply.refusal, reply.calls]
    text = "\n".join(part for part in parts if part)
    return stopped(text, config.stop, ended=_ended(reply, config.max_new_tokens))


def _ended(reply: Reply, most: int) -> bool:
    """Return whether the model ended by itself; where the server does not say, its length tells."""
    if reply.finish:
        return reply.finish not in CUT
    return reply.completion_tokens is not None and reply.completion_tokens < most
