"""Several responses to each prompt: by diverse beams, by temperature, or by rejection from many of
these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from transformers import PreTrainedModel

from rewarddiff.config import at_least, positive
from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.progress import task
from rewarddiff.records import Prompt
from rewarddiff.sampling.beams import BeamConfig, diverse_beams
from rewarddiff.sampling.generate import Sample, SamplingConfig, cut_at, sample
from rewarddiff.store import Store, fingerprint, remember

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Beams(BeamConfig):
    """Diverse beam search with RRHF's settings (arXiv 2304.05302)."""

    name: Literal["beams"] = "beams"


@dataclass(frozen=True)
class Temperature:
    """k independent draws."""

    name: Literal["temperature"] = "temperature"
    k: int = 4
    temperature: float = 0.8
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        at_least(self, 1, "k", "max_new_tokens")
        positive(self, "temperature")


@dataclass(frozen=True)
class Rejection(Temperature):
    """k of `candidates` draws, accepted with probability exp((r − r_max)/β): towards the optimum of
    the reward r.

    Source: Liu et al. 2023 (RSO), arXiv 2309.06657, algorithm 1.
    """

    name: Literal["rejection"] = "rejection"  # type: ignore[assignment]
    candidates: int = 16
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        if self.candidates < self.k:
            raise ValueError(f"candidates is {self.candidates}, should be at least k, {self.k}")


Draw = Beams | Temperature | Rejection


def several(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    draw: Draw,
    config: SamplingConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: Meter | None = None,
) -> list[list[Sample]]:
    """Responses to each prompt; of `Rejection` all its candidates (`accept` chooses among them).

    Args:
        config: stop texts, batch size and seed; number of tokens and temperature are those of
            `draw`.
        weights: fingerprint of the model, part of the store's key.
    """
    if isinstance(draw, Beams):
        return _beams(
            model, encoder, prompts, draw, config, weights=weights, store=store, meter=meter
        )
    count = draw.candidates if isinstance(draw, Rejection) else draw.k
    own = replace(config, temperature=draw.temperature, max_new_tokens=draw.max_new_tokens)
    rounds = [
        sample(
            model, encoder, prompts, replace(own, seed=config.seed + j), weights=weights, store=store, meter=meter,
            name=f"samples {j + 1} of {count}",
        )
        for j in range(count)
    ]  # fmt: skip
    return [list(samples) for samples in zip(*rounds, strict=True)]


def _beams(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    draw: Beams,
    config: SamplingConfig,
    *,
    weights: str,
    store: Store | None,
    meter: Meter | None,
) -> list[list[Sample]]:
    encoded = [encoder.fitting(prompt, draw.max_new_tokens) for prompt in prompts]
    ends = encoder.ends(prompts)
    pad = encoder.tokenizer.pad_token_id
    pad = ends[0] if pad is None else pad

    def key(tokens: Tokens) -> str:
        return fingerprint(
            "beams", weights, str(model.dtype), asdict(draw), list(config.stop), ends, tokens
        )

    def compute(missing: Sequence[Tokens]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        order = sorted(range(len(missing)), key=lambda i: len(missing[i]))
        with task("beams", len(missing)) as progress:
            for start in range(0, len(order), config.batch_size):
                indices = order[start : start + config.batch_size]
                found = diverse_beams(
                    model, [missing[i] for i in indices], draw, end_tokens=ends, pad=pad
                )
                for i, beams in zip(indices, found, strict=True):
                    texts = [encoder.text(beam.tokens) for beam in beams]
                    stopped = [any(stop in text for stop in config.stop) for text in texts]
                    yield (
                        i,
                        [
                            asdict(Sample(cut_at(text, config.stop), beam.ended or stop))
                            for text, beam, stop in zip(texts, beams, stopped, strict=True)
                        ],
                    )
                if meter is not None:
                    meter.tokens += sum(len(beam.tokens) for beams in found for beam in beams)
                progress.advance(len(indices))

    return [[Sample(**kept) for kept in own] for own in remember(store, encoded, key, compute)]


def accept(rewards: ArrayLike, k: int, *, beta: float, seed: int = 0) -> list[int]:
    """Which k candidates rejection sampling takes, in the order of acceptance.

    In rounds: each candidate left is accepted with probability exp((r − r_max)/β), r_max the
    largest reward left; accepted ones are taken out.

    Args:
        rewards: one per candidate, (candidates,).
        beta: β > 0; towards 0 the best k are taken, towards ∞ any k.

    Raises:
        ValueError: fewer than k candidates, a reward that is not finite, β not positive.

    Source: Liu et al. 2023 (RSO), arXiv 2309.06657, algorithm 1.
    """
    r = np.asarray(rewards, dtype=np.float64)
    if r.ndim != 1 or len(r) < k:
        raise ValueError(f"{k} of candidates with rewards of shape {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError("rewards must be finite")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    draws = np.random.default_rng(seed)
    left, taken = list(range(len(r))), list[int]()
    while len(taken) < k:
        best = max(r[i] for i in left)
        accepted = [i for i in left if draws.random() < np.exp((r[i] - best) / beta)]
        taken += accepted
        left = [i for i in left if i not in accepted]
    return taken[:k]
