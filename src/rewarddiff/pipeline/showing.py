"""What a report shows of policies' samples: the first, those that gains pick out, and all rewards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from rewarddiff.evaluation.arrays import array
from rewarddiff.evaluation.histograms import distribution, histograms_on_one_axis
from rewarddiff.pipeline.contrasts import (
    Pair,
    Rewards,
    Samples,
    compared_pairs,
    reward_gaps,
    used_in_training,
)
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.judging import held_out
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.records import prompt_text
from rewarddiff.results import CaseStudy, Extreme, PromptSamples, RewardDistribution


def first_samples(run: Run, rewards: Rewards, samples: Samples) -> Iterator[PromptSamples]:
    """Yield the first held-out prompts with every policy's sample, first seed."""
    if not rewards:
        return
    for place in range(min(run.recipe.evaluation.shown, len(held_out(run)))):
        yield _sample(run, rewards, samples, place)


def case_studies(run: Run, rewards: Rewards, samples: Samples) -> Iterator[CaseStudy]:
    """Yield the prompts on which the first compared policy gains most, least and in the middle.

    The scorer is one without a part in their training, where there is one; the seed is the first.
    """
    pairs = compared_pairs(run.recipe)
    seed = run.recipe.seeds[0]
    if not rewards or not rewards[seed] or not pairs:
        return
    a, b = pairs[0]
    scorer, used = _most_independent(run.recipe, rewards[seed], (a, b))
    gains = reward_gaps(rewards[seed][scorer], samples[seed], a, b)
    for pick, place in picked(gains).items():
        sample = _sample(run, rewards, samples, place)
        yield CaseStudy(a, b, scorer, used, seed, pick, gains[place], sample)


def picked(gains: list[float]) -> dict[Extreme, int]:
    """Return the places of the largest, the median and the smallest gain, where they differ.

    Of an even number the median is the lower one of the two in the middle; of equal gains the first
    stands for all. What is not finite is not picked.
    """
    ordered = sorted(
        (place for place, gain in enumerate(gains) if np.isfinite(gain)), key=gains.__getitem__
    )
    if not ordered:
        return {}
    candidates: dict[Extreme, int] = {
        "largest": max(ordered, key=gains.__getitem__),
        "smallest": ordered[0],
        "median": ordered[(len(ordered) - 1) // 2],
    }
    places: dict[Extreme, int] = {}
    for pick, place in candidates.items():
        if gains[place] not in [gains[other] for other in places.values()]:
            places[pick] = place
    in_order: tuple[Extreme, ...] = ("largest", "median", "smallest")
    return {pick: places[pick] for pick in in_order if pick in places}


def _most_independent(recipe: Recipe, scorers: Iterable[str], pair: Pair) -> tuple[str, bool]:
    """Return the first scorer without a part in training either policy, else the first of all."""
    names = list(scorers)
    for scorer in names:
        if not any(used_in_training(recipe, policy, scorer) for policy in pair):
            return scorer, False
    return names[0], True


def _sample(run: Run, rewards: Rewards, samples: Samples, place: int) -> PromptSamples:
    """Return a held-out prompt with every policy's sample and its rewards, first seed."""
    seed = run.recipe.seeds[0]
    policies = (BASE, *run.recipe.policies)
    by_policy = {}
    for policy in policies:
        by_policy[policy] = {s: values[policy][place] for s, values in rewards[seed].items()}
    return PromptSamples(
        prompt=prompt_text(held_out(run)[place].prompt),
        responses={policy: samples[seed][policy][place].text for policy in policies},
        rewards=by_policy,
    )


def reward_distributions(rewards: Rewards) -> Iterator[RewardDistribution]:
    """Yield how the rewards of every policy's samples are spread under every scorer."""
    for seed, by_scorer in rewards.items():
        for scorer, by_policy in by_scorer.items():
            values = [array(of_policy) for of_policy in by_policy.values()]
            histograms = histograms_on_one_axis(values)
            for policy, of_policy, histogram in zip(by_policy, values, histograms, strict=True):
                yield RewardDistribution(policy, seed, scorer, distribution(of_policy), histogram)
