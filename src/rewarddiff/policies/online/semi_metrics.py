"""What the log shows of a turn of semi-online training, under TRL's names as far as it has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.online import metrics
from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.policies.online.semi_turn import Judged, sums_of


def of_turn(
    groups: Sequence[Judged], items: Sequence[PreferenceItem], *, missing_eos_penalty: float = 0.0
) -> dict[str, float]:
    """Return the metrics of a turn.

    Args:
        missing_eos_penalty: what is taken off the reward of a response that was cut off.
    """
    rollouts = [one.rollout for one in groups]
    coefficients = [value for item in items for value in item.coefficients]
    strengths = [value for item in items for value in item.strengths]
    return {
        **_of_rewards(groups, missing_eos_penalty),
        "objective/pairs": float(len(coefficients)),
        "objective/ties": float(sum(one.tied for one in groups)),
        "objective/unscored": float(sum(int(np.isnan(one.scores).sum()) for one in groups)),
        "objective/coefficient": _mean(coefficients),
        "objective/strength": _mean(strengths),
        **_of_policy(rollouts),
        **metrics.of_lengths(rollouts),
    }


def _of_rewards(groups: Sequence[Judged], missing_eos_penalty: float) -> dict[str, float]:
    """Return means of r after and before penalties; nothing where there is no r."""
    given: list[float] = []
    after: list[float] = []
    for one in groups:
        if one.rewards is None:
            return {}
        is_scored = ~np.isnan(one.rewards)
        penalty = np.where(one.rollout.ended, 0.0, missing_eos_penalty)
        given += one.rewards[is_scored].tolist()
        after += (one.rewards - penalty)[is_scored].tolist()
    return {"reward": _mean(after), "objective/scores": _mean(given)}


def _of_policy(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the policy's entropy, and its KL to the reference where there is one: per response."""
    shown = {"objective/entropy": metrics.entropy(rollouts)}
    if rollouts[0].reference:
        log_ratios: list[float] = []
        for rollout in rollouts:
            policy, reference = sums_of(rollout, "logps"), sums_of(rollout, "reference")
            log_ratios += [p - r for p, r in zip(policy, reference, strict=True)]
        shown["objective/kl"] = _mean(log_ratios)
    return shown


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
