"""A world in which the true rewards are known: prompts, responses, noisy labels, scorers of any
quality."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The same seed draws the same directions, prompts and labels; only `noise` moves labels."""
    draws = np.random.default_rng(seed)
    direction = draws.standard_normal(world.features)
    direction /= np.linalg.norm(direction)

    def responses(count: int, each: int) -> tuple[Array, Array]:
        features = draws.standard_normal((count, each, world.features))
        told = np.sqrt(1 - world.unseen) * features @ direction
        return features, told + np.sqrt(world.unseen) * draws.standard_normal((count, each))

    features, rewards = responses(world.pairs, 2)
    luck = draws.random(world.pairs)
    gap = rewards[:, 0] - rewards[:, 1]
    right = luck < expit(gap / world.noise) if world.noise else gap > 0
    better = np.where(right, 0, 1)
    places = np.arange(world.pairs)
    held_out, theirs = responses(world.prompts, world.responses)
    return Sample(
        features[places, better],
        features[places, 1 - better],
        np.where(right, gap, -gap),
        held_out,
        theirs,
    )


def cut(sample: Sample, first: int) -> tuple[Sample, Sample]:
    """The first comparisons, and the others; both with the same held-out prompts."""
    sides = (slice(None, first), slice(first, None))
    columns = [(sample.chosen[side], sample.rejected[side], sample.truth[side]) for side in sides]
    one, other = (Sample(*own, sample.held_out, sample.rewards) for own in columns)
    return one, other


def scored(sample: Sample, quality: float, seed: int) -> Array:
    """Δ̂ of a scorer whose correlation with the true difference is `quality`: 1 an oracle, 0 a
    coin.

    Its error is its own and does not know the label. Oriented by the label, as every Δ is.
    """
    spread = np.sqrt(np.mean(sample.truth**2))  # of the unoriented gap, whose mean is 0
    error = spread * np.random.default_rng([seed, 1]).standard_normal(len(sample.truth))
    return np.asarray(quality * sample.truth + np.sqrt(1 - quality**2) * error)


def share_of_wrong_labels(world: World) -> float:
    """By a large draw."""
    return float((draw(World(100_000, 1, 2, 1, world.unseen, world.noise), 0).truth < 0).mean())
