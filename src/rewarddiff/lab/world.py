"""A world with known true rewards: prompts, responses, noisy labels, scorers of any quality."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rewarddiff.config import at_least

Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What there is to learn, and from how much.

    Attributes:
        pairs: labelled comparisons, each of a prompt of its own.
        prompts: held-out prompts. responses: to each of those.
        features: of a response; the policy is linear in them.
        unseen: share of the true reward's variance that no feature tells.
        noise: τ: a label says a ≻ b with probability σ((r*(a) − r*(b))/τ), so that close pairs are
            labelled worse; rewards have standard deviation 1. 0: no wrong label.
    """

    pairs: int = 300
    prompts: int = 200
    responses: int = 8
    features: int = 16
    unseen: float = 0.2
    noise: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, 1, "pairs", "prompts", "features")
        at_least(self, 2, "responses")
        at_least(self, 0, "unseen", "noise")
        if self.unseen >= 1:
            raise ValueError(f"unseen is {self.unseen}, should be below 1")


@dataclass(frozen=True)
class Sample:
    """One draw of a world.

    Attributes:
        chosen, rejected: features of the labelled pairs, (pairs, features).
        truth: r*(chosen) − r*(rejected), negative where the label is wrong, (pairs,).
        held_out: features of the held-out responses, (prompts, responses, features).
        rewards: their true rewards, (prompts, responses).
    """

    chosen: Array
    rejected: Array
    truth: Array
    held_out: Array
    rewards: Array


def draw(world: World, seed: int) -> Sample:
    """Draw a sample: the same seed draws the same prompts and responses, whatever the noise."""
    generator = np.random.default_rng(seed)
    direction = generator.standard_normal(world.features)
    direction /= np.linalg.norm(direction)

    def responses(prompts: int, each: int) -> tuple[Array, Array]:
        """Return features and true rewards."""
        features = generator.standard_normal((prompts, each, world.features))
        seen = np.sqrt(1 - world.unseen) * features @ direction
        unseen = np.sqrt(world.unseen) * generator.standard_normal((prompts, each))
        return features, seen + unseen

    features, rewards = responses(world.pairs, 2)
    # Drawn also without noise, so that all that comes after it stays the same.
    luck = generator.random(world.pairs)
    gap = rewards[:, 0] - rewards[:, 1]
    right = luck < expit(gap / world.noise) if world.noise else gap > 0
    better = np.where(right, 0, 1)
    places = np.arange(world.pairs)
    held_out, held_out_rewards = responses(world.prompts, world.responses)
    return Sample(
        chosen=features[places, better],
        rejected=features[places, 1 - better],
        truth=np.where(right, gap, -gap),
        held_out=held_out,
        rewards=held_out_rewards,
    )


def cut(sample: Sample, first: int) -> tuple[Sample, Sample]:
    """Return the first comparisons, and the others; both with the same held-out prompts."""
    return _part(sample, slice(None, first)), _part(sample, slice(first, None))


def _part(sample: Sample, pairs: slice) -> Sample:
    return replace(
        sample,
        chosen=sample.chosen[pairs],
        rejected=sample.rejected[pairs],
        truth=sample.truth[pairs],
    )


def scored(truth: Array, quality: float, seed: int) -> Array:
    """Return Δ̂ of a scorer of some quality: its correlation with the true difference.

    1 is an oracle, 0 a coin. Its error is its own and does not know the label. Oriented by the label, as every Δ is.

    Args:
        truth: true differences, oriented by the label, (pairs,).
    """
    spread = np.sqrt(np.mean(truth**2))  # of the unoriented gap, whose mean is 0
    error = spread * np.random.default_rng([seed, 1]).standard_normal(len(truth))
    return np.asarray(quality * truth + np.sqrt(1 - quality**2) * error)


def share_of_wrong_labels(world: World) -> float:
    """Return how many labels contradict the truth, by a large draw."""
    large = replace(world, pairs=100_000, prompts=1, responses=2, features=1)
    return float((draw(large, 0).truth < 0).mean())
