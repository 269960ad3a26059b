"""Policies held against each other: gaps in reward, who judges them, and how they were trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import models
from rewarddiff.coefficients import COLUMN
from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import SHARE, two_way_bootstrap
from rewarddiff.model_files import ABOUT
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.policy_recipe import COLUMNS, PolicyRecipe
from rewarddiff.pipeline.recipe import BASE, Recipe
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.results import (
    ELSEWHERE,
    WEIGHTS_OF_DATA,
    Contrast,
    Interval,
    PolicyResult,
    Unequal,
)
from rewarddiff.sampling import Sample
from rewarddiff.scorers.judging.options import Panel
from rewarddiff.scorers.marks import marks

Pair = tuple[str, str]

Rewards = Mapping[int, Mapping[str, Mapping[str, Sequence[float]]]]
"""seed → scorer → policy → one reward per held-out prompt."""

Samples = Mapping[int, Mapping[str, Sequence[Sample]]]
"""seed → policy → one sample per held-out prompt."""

SAME_AMOUNT = 1.01
"""Steps or tokens that differ by no more than this factor are the same."""


def compared_pairs(recipe: Recipe) -> list[Pair]:
    """Return which policies a run holds against each other.

    Each weighted one, or one in a scorer's order, against each policy of its objective without
    strengths (unweighted, constant, shuffled, inverse); online each with a relative reward against
    each of its estimator with the score; each against each that was trained elsewhere, and all
    against the base model.
    """
    policies = recipe.trained_here
    pairs = []
    for a, treated in policies.items():
        for b, plain in policies.items():
            same_objective = treated.method == plain.method
            if treated.treated and not plain.treated and same_objective:
                pairs.append((a, b))
    elsewhere = list(recipe.trained_elsewhere)
    pairs += product(policies, elsewhere)
    pairs += combinations(elsewhere, 2)
    return pairs + [(name, BASE) for name in recipe.policies]


def contrasts(
    run: Run,
    pairs: Iterable[Pair],
    rewards: Rewards,
    samples: Samples,
    trained: Sequence[PolicyResult],
) -> Iterator[Contrast]:
    """Yield every pair under every scorer, by seed where there are several, and over all.

    Args:
        trained: all policies of the run.
    """
    if not rewards:
        return
    for a, b in pairs:
        differences = _differences(run.recipe, trained, a, b)
        # A judge gives no rewards: what it says of policies are win rates.
        for scorer in rewards[run.recipe.seeds[0]]:
            used = used_in_training(run.recipe, a, scorer) or used_in_training(
                run.recipe, b, scorer
            )
            gaps = {s: reward_gaps(rewards[s][scorer], samples[s], a, b) for s in rewards}
            if len(gaps) > 1:
                for seed, of_seed in gaps.items():
                    shares = win_tie_lose(np.array([of_seed]))
                    mean_gap = two_way_bootstrap([of_seed])
                    rate = win_rate(np.array([of_seed]))
                    yield Contrast(a, b, scorer, used, differences, seed, mean_gap, *shares, rate)
            together = np.array(list(gaps.values()))
            mean_gap = two_way_bootstrap(together)
            shares = win_tie_lose(together)
            rate = win_rate(together)
            yield Contrast(a, b, scorer, used, differences, "all", mean_gap, *shares, rate)


def _differences(
    recipe: Recipe, trained: Sequence[PolicyResult], a: str, b: str
) -> tuple[Unequal, ...]:
    """Return in what two policies differ besides what they are compared for, as far as it is known.

    Of one that was trained elsewhere that alone is known. Coefficients that the data brings may be
    anybody's, a scorer's of this recipe too.
    """
    unknown = _weights_of_data(recipe, a, b)
    elsewhere = recipe.trained_elsewhere
    if a in elsewhere or b in elsewhere:
        return (Unequal(ELSEWHERE, elsewhere.get(a), elsewhere.get(b)), *unknown)
    if BASE in (a, b):
        return unknown
    return (*unequal(recipe.policies, trained, a, b), *unknown)


def _weights_of_data(recipe: Recipe, a: str, b: str) -> tuple[Unequal, ...]:
    """Return which of two policies has coefficients that the data brings, if one has."""
    of_a, of_b = (COLUMN if recipe.has_weights_of_data(name) else None for name in (a, b))
    if of_a is None and of_b is None:
        return ()
    return (Unequal(WEIGHTS_OF_DATA, of_a, of_b),)


def reward_gaps(
    rewards: Mapping[str, Sequence[float]], samples: Mapping[str, Sequence[Sample]], a: str, b: str
) -> list[float]:
    """Return the reward of a less that of b for every prompt; 0 where both say the same."""
    gaps = []
    pairs = zip(rewards[a], rewards[b], samples[a], samples[b], strict=True)
    for reward_a, reward_b, sample_a, sample_b in pairs:
        if sample_a.text == sample_b.text:
            gaps.append(0.0)
        else:
            gaps.append(reward_a - reward_b)
    return gaps


def win_tie_lose(gaps: Array) -> tuple[float, float, float]:
    """Return the shares of gaps above, at and below 0."""
    return float((gaps > 0).mean()), float((gaps == 0).mean()), float((gaps < 0).mean())


def win_rate(gaps: Array) -> Interval:
    """Return the share of gaps above 0 and half of those at 0, over seeds and prompts."""
    return two_way_bootstrap((np.sign(gaps) + 1) / 2, bounds=SHARE)


# --- who is no independent judge ------------------------------------------------------------------


def used_in_training(recipe: Recipe, policy: str, scorer: str) -> bool:
    """Whether this scorer, or one that shares a start with it, had a part in training a policy."""
    if policy == BASE:
        return False
    starts = _starts(recipe, scorer)
    return any(starts & _starts(recipe, source) for source in recipe.sources_of(policy))


def _starts(recipe: Recipe, scorer: str) -> set[str]:
    """Return what a scorer's training goes back to.

    Scorers of the recipe by name, trained models by place and content, and what is not trained here
    by its `marks`. A panel goes back to all that its members do. A backbone is none of these, unless
    another scorer of the recipe is taken from it as it is.
    """
    config = recipe.scorers[scorer]
    starts = {f"scorers.{scorer}"}
    if isinstance(config, Panel):
        return starts.union(*(_starts(recipe, member) for member in config.of))
    if not isinstance(config, ScorerRecipe):
        return starts | marks(config)
    if config.trained is not None:
        return starts | _lineage(config.trained)
    if config.warm_start is not None and config.warm_start in recipe.scorers:
        return starts | _starts(recipe, config.warm_start)
    if config.warm_start is not None:
        return starts | _lineage(config.warm_start)
    trained: set[str] = set()
    for other in recipe.scorer_models.values():
        if other.trained is not None:
            trained |= _lineage(other.trained)
    if trained:
        starts |= _lineage(config.backbone) & trained
    return starts


def _lineage(name: str) -> set[str]:
    """Return a trained model's place and fingerprint, and those of what it began from.

    What it began from counts as far as that is still there.
    """
    folder = models.resolve(name)
    lineage = {str(folder), models.fingerprint(folder)}
    about = Path(folder) / ABOUT
    if not about.is_file():
        return lineage
    began = json.loads(about.read_text())["config"].get("warm_start")
    if began is None:
        return lineage
    if Path(began).is_dir():
        return lineage | _lineage(began)
    return lineage | {began}


# --- in what two trainings differ -----------------------------------------------------------------


def unequal(
    policies: Mapping[str, PolicyRecipe], trained: Sequence[PolicyResult], a: str, b: str
) -> tuple[Unequal, ...]:
    """Return in what the training of two policies differs, besides what they are compared for.

    That is coefficient, strength and order, and online the reward. Options of the objective count
    where both have the same one; steps and tokens where they differ by more than a per cent. What
    a policy samples itself has a length of its own, so that its tokens are no amount of training.
    """
    ours = _compared_settings(policies[a])
    theirs = _compared_settings(policies[b])
    objectives = [settings.get("objective", {}) for settings in (ours, theirs)]
    if len({objective.get("name") for objective in objectives}) > 1:
        for settings, objective in zip((ours, theirs), objectives, strict=True):
            settings["objective"] = {"name": objective.get("name")}
    differences = list(_differing(ours, theirs))
    amounts = {"steps": _steps}
    if policies[a].online is None or policies[b].online is None:
        amounts["tokens"] = _tokens
    for key, amount in amounts.items():
        of_a = sum(amount(policy) for policy in trained if policy.name == a)
        of_b = sum(amount(policy) for policy in trained if policy.name == b)
        if max(of_a, of_b) > SAME_AMOUNT * min(of_a, of_b):
            differences.append(Unequal(key, of_a, of_b))
    return tuple(differences)


def _compared_settings(policy: PolicyRecipe) -> dict[str, Any]:
    settings = {key: value for key, value in policy.settings.items() if key not in COLUMNS}
    if policy.online is not None:
        of_reward = ("reward", "baseline")
        settings["online"] = {k: v for k, v in settings["online"].items() if k not in of_reward}
    return settings


def _differing(a: Any, b: Any, place: str = "") -> Iterator[Unequal]:
    """Yield dotted keys with both values; where one side has no such part, the part as a whole."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            yield from _differing(a.get(key), b.get(key), f"{place}.{key}".removeprefix("."))
    elif a != b:
        yield Unequal(place, a, b)


def _steps(policy: PolicyResult) -> int:
    steps = [line["step"] for line in policy.curve if line["split"] == "train"]
    return max(steps, default=0)  # type: ignore[return-value]


def _tokens(policy: PolicyResult) -> int:
    return policy.cost.tokens or 0
