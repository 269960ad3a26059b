"""What the log shows of a rollout and of an update, under the names of TRL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rewarddiff.policies.online.rollouts import Rollout
from rewarddiff.policies.online.turn import Turn
from rewarddiff.writing import figure


def of_turn(turn: Turn, *, kl_coef: float, kl_in_reward: bool) -> dict[str, float]:
    """Return the metrics of a turn's rollouts.

    Args:
        kl_coef: β of this turn.
        kl_in_reward: β·KL was taken off the rewards.
    """
    metrics = {
        **_of_rewards(turn),
        **of_lengths(turn.rollouts),
        "objective/entropy": entropy(turn.rollouts),
    }
    non_score = 0.0
    if turn.kl is not None:
        metrics["objective/kl"] = turn.kl_of_responses
        metrics["objective/kl_coef"] = kl_coef
        if kl_in_reward:
            non_score = -kl_coef * turn.kl_of_responses
    metrics["objective/non_score_reward"] = non_score
    metrics["objective/rlhf_reward"] = metrics["reward"] + non_score
    return metrics


def note(line: Mapping[str, float]) -> str:
    """Return what a step's progress shows: the scores of the turn's samples, and their KL.

    >>> note({"loss": 0.0, "reward": -0.02, "objective/scores": 0.125, "objective/kl": 1.5})
    'score 0.125, KL 1.500'
    """
    shown = [f"reward {figure(line['reward'], '.3f')}"] if "reward" in line else []
    if "objective/scores" in line:
        shown = [f"score {figure(line['objective/scores'], '.3f')}"]
    if "objective/kl" in line:
        shown.append(f"KL {figure(line['objective/kl'], '.3f')}")
    return ", ".join(shown)


def _of_rewards(turn: Turn) -> dict[str, float]:
    given = np.isfinite(turn.rewards)
    spreads = []
    are_equal = []
    for rewards in turn.rewards:
        finite = rewards[np.isfinite(rewards)]
        if len(finite) > 1:
            spreads.append(float(finite.std(ddof=1)))
            are_equal.append(finite.min() == finite.max())  # their spread may be 1e-16
    metrics = {
        "reward": float(turn.rewards[given].mean()),
        "objective/unscored": float(np.size(given) - given.sum()),
    }
    if spreads:
        metrics["reward_std"] = float(np.mean(spreads))
        metrics["frac_reward_zero_std"] = float(np.mean(are_equal))
    if turn.original is not None:
        finite = turn.original[np.isfinite(turn.original)]
        metrics["objective/scores"] = float(finite.mean())
    return metrics


def of_lengths(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return how long the responses are, and how many were cut off."""
    lengths = np.array([rollout.lengths for rollout in rollouts])
    ended = np.array([rollout.ended for rollout in rollouts])
    return {
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float((~ended).mean()),
    }


def entropy(rollouts: Sequence[Rollout]) -> float:
    """Return the mean over responses of −log π of the whole, as TRL's PPO estimates it."""
    total = sum(sum(rollout.logps) for rollout in rollouts)
    return -total / sum(len(rollout.ended) for rollout in rollouts)


def of_policy(
    log_ratio: Tensor,
    clipped_log_ratio: Tensor,
    advantages: Tensor,
    mask: Tensor,
    losses: Tensor,
    *,
    bounds: tuple[float, float],
) -> dict[str, tuple[float, float]]:
    """Return sums and counts over the tokens of a micro-batch.

    Args:
        log_ratio, advantages, mask, losses: (responses, tokens).
        clipped_log_ratio: what the bounds are of, same shape: of the token, or of its response.
        bounds: of the probability ratio.
    """
    ratio = clipped_log_ratio.detach()[mask].exp()
    # Where the ratio has left its bounds in the direction that the advantage pushes it.
    is_clipped = (ratio - ratio.clamp(*bounds)) * advantages[mask] > 0
    return {
        "policy/approxkl_avg": _summed(0.5 * log_ratio.detach()[mask].square()),
        "policy/clipfrac_avg": _summed(is_clipped),
        "val/ratio": _summed(ratio),
        "loss/policy_avg": _summed(losses.detach()[mask]),
    }


def of_values(
    values: Tensor, old_values: Tensor, mask: Tensor, losses: Tensor, *, clip: float | None
) -> dict[str, tuple[float, float]]:
    """Return sums and counts over the tokens of a micro-batch, of its value head."""
    moved = (values.detach() - old_values)[mask].abs()
    is_clipped = moved > (torch.inf if clip is None else clip)
    return {
        "loss/value_avg": _summed(losses.detach()[mask]),
        "val/clipfrac_avg": _summed(is_clipped),
    }


def _summed(values: Tensor) -> tuple[float, float]:
    return values.sum().item(), float(values.numel())
