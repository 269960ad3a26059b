"""Greedy and temperature samples through transformers' own generation, batched by length, kept in
the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from rewarddiff.config import at_least
from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.progress import task
from rewarddiff.records import Prompt
from rewarddiff.store import Store, fingerprint, remember


@dataclass(frozen=True)
class SamplingConfig:
    """How responses are drawn.

    Attributes:
        max_new_tokens: a response is cut there.
        temperature: 0 is greedy.
        stop: texts before which a response is cut, such as the next turn of a dialogue.
        batch_size: prompts that are continued side by side.
        seed: of temperature sampling, together with the prompt.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    stop: tuple[str, ...] = ("\n\nHuman:", "\n\nAssistant:")
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "max_new_tokens", "batch_size")
        at_least(self, 0, "temperature")


@dataclass(frozen=True)
class Sample:
    """A response, and whether it ended by itself: by its end token or a stop text, not by
    `max_new_tokens`."""

    text: str
    ended: bool


FORMAT = 2
"""Of what is stored for a sample, a part of its key: what an earlier format left behind is never
read."""


def sample(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    config: SamplingConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: Meter | None = None,
    name: str = "sampling",
) -> list[Sample]:
    """One response per prompt. `weights` is the fingerprint of the model, part of the store's
    key."""
    encoded = [encoder.fitting(prompt, config.max_new_tokens) for prompt in prompts]
    ends = encoder.ends(prompts)
    settings = asdict(config) | {"batch_size": None, "dtype": str(model.dtype)}

    def key(tokens: tuple[int, ...]) -> str:
        return fingerprint("sample", FORMAT, weights, settings, ends, tokens)

    def compute(missing: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, dict[str, Any]]]:
        order = sorted(range(len(missing)), key=lambda i: len(missing[i]))
        with task(name, len(missing)) as progress:
            for start in range(0, len(order), config.batch_size):
                indices = order[start : start + config.batch_size]
                outputs = _continue(
                    model, [missing[i] for i in indices], ends, encoder.tokenizer, config
                )
                for i, tokens in zip(indices, outputs, strict=True):
                    text = encoder.text(tokens)
                    ended = len(tokens) < config.max_new_tokens or any(
                        stop in text for stop in config.stop
                    )
                    yield i, asdict(Sample(cut_at(text, config.stop), ended))
                if meter is not None:
                    meter.tokens += sum(map(len, outputs))
                progress.advance(len(indices))

    return [Sample(**kept) for kept in remember(store, encoded, key, compute)]


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[tuple[int, ...]],
    ends: list[int],
    tokenizer: Any,
    config: SamplingConfig,
) -> list[list[int]]:
    """New tokens for each prompt, up to and without the end token.

    The model's own generation settings (a repetition penalty, top-k) are set aside: samples are the
    model's.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device
    )
    stops = {"stop_strings": list(config.stop), "tokenizer": tokenizer} if config.stop else {}
    own: Any = model.generation_config
    model.eval()
    try:
        model.generation_config = GenerationConfig()
        with torch.no_grad():
            generate: Any = model.generate
            output = generate(
                ids,
                attention_mask=mask,
                max_new_tokens=config.max_new_tokens,
                eos_token_id=ends,
                pad_token_id=pad,
                do_sample=False,
                logits_processor=LogitsProcessorList(
                    [_Draw(prompts, config)] if config.temperature else []
                ),
                **stops,
            )
    finally:
        model.generation_config = own
    return [_until_end(row[width:].tolist(), [*ends, pad]) for row in output]


class _Draw(LogitsProcessor):
    """Makes the largest logit a draw from softmax(logits / temperature), by Gumbel noise of a
    generator per prompt.

    So a sample depends on its prompt and the seed, and not on the prompts it shares a batch with.
    """

    def __init__(self, prompts: Sequence[tuple[int, ...]], config: SamplingConfig) -> None:
        self.temperature = config.temperature
        self.seeds = [int(fingerprint("draw", config.seed, prompt)[:15], 16) for prompt in prompts]
        self.generators: list[torch.Generator] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        device = scores.device
        if not self.generators:
            self.generators = [torch.Generator(device).manual_seed(seed) for seed in self.seeds]
        waits = [
            torch.empty(scores.shape[-1], device=device).exponential_(generator=g)
            for g in self.generators
        ]
        return scores.float() / self.temperature - torch.stack(waits).log()


def _until_end(tokens: list[int], ends: list[int]) -> list[int]:
    stop = next((i for i, t in enumerate(tokens) if t in ends), len(tokens))
    return tokens[:stop]


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop, without the space at its end."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text.rstrip()
