"""Several responses to each prompt: by diverse beams, by temperature, or by rejection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.config import at_least, positive
from rewarddiff.machine import Meter
from rewarddiff.records import Prompt
from rewarddiff.sampling.batches import Sample
from rewarddiff.sampling.beams import BeamConfig
from rewarddiff.sampling.engines import Engine
from rewarddiff.sampling.generate import SamplingConfig
from rewarddiff.store import Store


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
    """k of `candidates` draws, accepted with probability exp((r − r_max)/β), r the reward.

    So they come closer to the optimum under r.

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
    engine: Engine,
    prompts: Sequence[Prompt],
    draw: Draw,
    config: SamplingConfig,
    *,
    rows: Sequence[str] = (),
    store: Store | None = None,
    meter: Meter | None = None,
) -> list[list[Sample]]:
    """Draw responses to each prompt; of `Rejection` all candidates (`accept` chooses among them).

    Args:
        config: stop texts, batch size and seed; number of tokens and temperature are those of
            `draw`.
        rows: where the prompts come from, for errors.
    """
    if isinstance(draw, Beams):
        return engine.beams(prompts, draw, config, store=store, meter=meter)
    count = draw.candidates if isinstance(draw, Rejection) else draw.k
    rounds = []
    for turn in range(count):
        settings = replace(
            config,
            temperature=draw.temperature,
            max_new_tokens=draw.max_new_tokens,
            seed=config.seed + turn,
        )
        samples = engine.samples(
            prompts,
            settings,
            rows=rows,
            store=store,
            meter=meter,
            name=f"samples {turn + 1} of {count}",
        )
        rounds.append(samples)
    return [list(samples) for samples in zip(*rounds, strict=True)]


def accept(rewards: ArrayLike, k: int, *, beta: float, seed: int = 0) -> list[int]:
    """Return which k candidates rejection sampling takes, in the order of acceptance.

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
    generator = np.random.default_rng(seed)
    left = list(range(len(r)))
    taken: list[int] = []
    while len(taken) < k:
        best = max(r[i] for i in left)
        accepted = [i for i in left if generator.random() < np.exp((r[i] - best) / beta)]
        taken += accepted
        left = [i for i in left if i not in accepted]
    return taken[:k]
