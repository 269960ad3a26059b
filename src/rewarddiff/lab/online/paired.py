"""Ways held against each other in the same worlds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from rewarddiff.lab.online.distance import gap_at_one_distance
from rewarddiff.lab.online.results import Ended, OnlineLab, Point, Trained
from rewarddiff.lab.online.summary import over_seeds
from rewarddiff.lab.words import signed
from rewarddiff.results import Interval

Value = Callable[[Point], float]
BySeed = dict[int, Trained]

PPO = "ppo"
SHORT = {
    "ppo_unit_std": "PPO, over the std",
    "contrastive_1": "contrastive, k = 1",
    "contrastive_3": "contrastive, k = 3",
    "contrastive_5": "contrastive, k = 5",
    "contrastive_10": "contrastive, k = 10",
    "contrastive_3_constant": "contrastive 3, λ = 1",
    "contrastive_3_std": "contrastive 3, λ by std",
    "contrastive_difference": "by difference, k = 3",
    "group_difference": "group difference",
    "reinforce_contrastive_3": "REINFORCE, contrast. 3",
    "weighted_dpo": "DPO, weighted",
    "semi_online_dpo": "DPO, semi-online",
}
"""Names for figures; of others their titles are short enough."""


def short(results: OnlineLab) -> dict[str, str]:
    """Return what every way is called in figures."""
    return {ended.way: SHORT.get(ended.way, ended.title) for ended in results.ways}


def by_seed(results: OnlineLab, way: str) -> BySeed:
    """Return the trainings of a way."""
    return {training.seed: training for training in results.trained if training.way == way}


def paired(results: OnlineLab, way: str, base: str, value: Value) -> Interval:
    """Return how much larger a value is at the end of one way than of another, over worlds."""
    one, other = by_seed(results, way), by_seed(results, base)
    seeds = sorted(one.keys() & other.keys())
    return over_seeds([value(one[seed].end) - value(other[seed].end) for seed in seeds])


def at_one_distance(results: OnlineLab, way: str, base: str = PPO) -> Interval:
    """Return by how much more a way earns than another where both are as far from the start."""
    one, other = by_seed(results, way), by_seed(results, base)
    seeds = sorted(one.keys() & other.keys())
    return over_seeds([gap_at_one_distance(one[seed].curve, other[seed].curve) for seed in seeds])


def named(results: OnlineLab, ways: Iterable[str]) -> list[str]:
    """Return those of the ways that were trained, in this order."""
    trained = {ended.way for ended in results.ways}
    return [way for way in ways if way in trained]


def others(results: OnlineLab) -> list[Ended]:
    """Return the ways other than PPO, where there is one to hold them against."""
    if not named(results, [PPO]):
        return []
    return [ended for ended in results.ways if ended.way != PPO]


# --- what a gap says ------------------------------------------------------------------------------


def told(gaps: Mapping[str, Interval], base: str) -> list[str]:
    """Say which earn more than a base, which less, which cannot be told from it.

    Args:
        gaps: to the base, by name; the largest are named first.
    """
    ordered = sorted(gaps, key=lambda name: -_or_least(gaps[name].value))
    kinds: dict[str, list[str]] = {"more": [], "less": [], "alike": [], "unknown": []}
    for name in ordered:
        kinds[_kind(gaps[name])].append(f"{name} ({signed(gaps[name].value)})")
    statements = []
    for kind, words in (
        ("more", f"More than {base}"),
        ("less", f"Less than {base}"),
        ("alike", f"Not told apart from {base}"),
        ("unknown", "Without an interval"),
    ):
        if kinds[kind]:
            statements.append(f"{words}: {'; '.join(kinds[kind])}.")
    if gaps and not kinds["more"]:
        statements.insert(0, f"Nothing is shown to earn more than {base}.")
    return statements


def _kind(gap: Interval) -> str:
    if not gap.bounded:
        return "unknown"
    if gap.low > 0:
        return "more"
    if gap.high < 0:
        return "less"
    return "alike"


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
