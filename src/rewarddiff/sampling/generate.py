"""Greedy and temperature samples through transformers' own generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from rewarddiff.config import at_least
from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import Sample, Tokens, answers, left_padded, padding, stopped
from rewarddiff.store import Store, fingerprint


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


FORMAT = 2
"""The format of what is stored for a sample, a part of its key: an earlier one is never read."""


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
    """Draw one response to each prompt.

    Args:
        weights: fingerprint of the model, part of the store's key.
        name: of the progress that is shown.
    """
    encoded = [encoder.fitting(prompt, config.max_new_tokens) for prompt in prompts]
    ends = encoder.ends(prompts)
    settings = asdict(config) | {"batch_size": None, "dtype": str(model.dtype)}

    def key(tokens: Tokens) -> str:
        return fingerprint("sample", FORMAT, weights, settings, ends, tokens)

    def answer(batch: Sequence[Tokens]) -> list[dict[str, Any]]:
        responses = _continue(model, batch, ends, encoder.tokenizer, config)
        if meter is not None:
            meter.tokens += sum(map(len, responses))
        return [
            stopped(encoder.text(tokens), config.stop, ended=len(tokens) < config.max_new_tokens)
            for tokens in responses
        ]

    stored = answers(encoded, answer, key=key, store=store, batch_size=config.batch_size, name=name)
    return [Sample(**values) for values in stored]


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    ends: list[int],
    tokenizer: Any,
    config: SamplingConfig,
) -> list[list[int]]:
    """Return new tokens for each prompt, up to and without the end token."""
    pad = padding(tokenizer, ends)
    ids, mask = left_padded(prompts, pad, model.device)
    options: dict[str, Any] = {}
    if config.stop:
        options |= {"stop_strings": list(config.stop), "tokenizer": tokenizer}
    if config.temperature:
        options["logits_processor"] = LogitsProcessorList([_Draw(prompts, config)])
    generate: Any = model.generate
    model_settings: Any = model.generation_config
    model.eval()
    try:
        # The model's own settings (a repetition penalty, top-k) are set aside: samples are to be
        # the model's.
        model.generation_config = GenerationConfig()
        with torch.no_grad():
            output = generate(
                ids,
                attention_mask=mask,
                max_new_tokens=config.max_new_tokens,
                eos_token_id=ends,
                pad_token_id=pad,
                do_sample=False,
                **options,
            )
    finally:
        model.generation_config = model_settings
    new = output[:, ids.shape[1] :].tolist()
    return [_until_end(tokens, [*ends, pad]) for tokens in new]


class _Draw(LogitsProcessor):
    """Make the largest logit a draw from softmax(logits / temperature), by Gumbel noise.

    Each prompt has a generator of its own, so a sample depends on its prompt and the seed, and not
    on the prompts it shares a batch with.
    """

    def __init__(self, prompts: Sequence[Tokens], config: SamplingConfig) -> None:
        self.temperature = config.temperature
        self.seeds = [int(fingerprint("draw", config.seed, prompt)[:15], 16) for prompt in prompts]
        self.generators: list[torch.Generator] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        device = scores.device
        if not self.generators:
            self.generators = [torch.Generator(device).manual_seed(seed) for seed in self.seeds]
        # −log of an exponential draw is a Gumbel draw.
        waits = [
            torch.empty(scores.shape[-1], device=device).exponential_(generator=generator)
            for generator in self.generators
        ]
        return scores.float() / self.temperature - torch.stack(waits).log()


def _until_end(tokens: list[int], ends: list[int]) -> list[int]:
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[:place]
    return tokens
