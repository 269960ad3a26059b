"""Responses by diverse beams: the search of `beams` from prompts to kept samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from transformers import PreTrainedModel

from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import Sample, Tokens, answers, padding, stopped
from rewarddiff.sampling.beams import BeamConfig, diverse_beams
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.store import Store, fingerprint


def beam_samples(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    draw: BeamConfig,
    config: SamplingConfig,
    *,
    weights: str,
    store: Store | None,
    meter: Meter | None,
) -> list[list[Sample]]:
    """Return the beams of each prompt, the best first.

    Args:
        config: stop texts and batch size; the rest is that of `draw`.
        weights: fingerprint of the model, part of the store's key.
    """
    encoded = [encoder.fitting(prompt, draw.max_new_tokens) for prompt in prompts]
    ends = encoder.ends(prompts)
    pad = padding(encoder.tokenizer, ends)
    settings = [str(model.dtype), asdict(draw), list(config.stop), ends]

    def key(tokens: Tokens) -> str:
        return fingerprint("beams", weights, *settings, tokens)

    def answer(batch: Sequence[Tokens]) -> list[list[dict[str, Any]]]:
        responses = []
        for beams in diverse_beams(model, batch, draw, end_tokens=ends, pad=pad):
            if meter is not None:
                meter.tokens += sum(len(beam.tokens) for beam in beams)
            samples = [
                stopped(encoder.text(beam.tokens), config.stop, ended=beam.ended) for beam in beams
            ]
            responses.append(samples)
        return responses

    stored = answers(
        encoded,
        answer,
        key=key,
        store=store,
        batch_size=config.batch_size,
        name="beams",
        meter=meter,
    )
    return [[Sample(**values) for values in samples] for samples in stored]
