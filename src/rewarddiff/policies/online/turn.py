"""One turn: rewards of all rollouts become advantages, with counts and means over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewarddiff.differences import Array
from rewarddiff.errors import TrainingError, UserError
from rewarddiff.losses.online import kl_estimate
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import estimate
from rewarddiff.policies.online.group_rewards import Reward, require_finite
from rewarddiff.policies.online.rollouts import Rollout, flat_of, rows_of
from rewarddiff.records import LARGEST
from rewarddiff.rewards import RunningScale, penalised


class Scored(NamedTuple):
    """A rollout with its reward.

    Attributes:
        place: among those of the turn.
    """

    place: int
    rollout: Rollout
    reward: Reward


class Turn(NamedTuple):
    """What all rollouts of a turn are trained with.

    Attributes:
        rollouts: with advantages.
        rewards: after λ and penalties, before the KL, (prompts, num_generations).
        original: r of the same; None where it is not known.
        kl: k of every response token, nats, (responses, tokens); None without a reference.
        mask: tokens that are trained on, same shape.
    """

    rollouts: list[Rollout]
    rewards: Array
    original: Array | None
    kl: Tensor | None
    mask: Tensor

    @property
    def kl_of_responses(self) -> float:
        """The mean of Σ k over the responses that are trained on; NaN without a reference."""
        if self.kl is None:
            return float("nan")
        trained = self.mask.any(-1)
        return float(torch.where(self.mask, self.kl, 0.0).sum(-1)[trained].mean())


def require_usable(scored: Sequence[Scored], config: OnlineConfig) -> None:
    """Raise a TrainingError where rewards are not numbers that a policy can learn from."""
    for _, rollout, reward in scored:
        require_finite(rollout.id, "rewards", reward.relative)
        if config.unscored == "stop" and np.isnan(reward.relative).any():
            raise UserError(
                f"{rollout.id}: its rewards are {reward.relative.tolist()}; stopped before an "
                "update: mend what scores it, or leave such responses out with unscored: leave_out"
            )
    if not any(np.isfinite(reward.relative).any() for _, _, reward in scored):
        raise UserError(
            f"{scored[0].rollout.id}: neither its responses nor any other of the rollout have a "
            "reward; stopped before an update: mend what scores them"
        )


def _require_finite(rollout: Rollout) -> None:
    """Raise a TrainingError where the policy no longer says a number of its own samples."""
    for name in ("logps", "reference", "values"):
        if not np.isfinite(getattr(rollout, name)).all():
            raise TrainingError(
                f"{rollout.id}: {name} of its samples are not finite: training diverged; stopped "
                "before an update. A lower lr may help"
            )


def turn_of(
    scored: Sequence[Scored], scale: RunningScale, config: OnlineConfig, *, kl_coef: float
) -> tuple[Turn, RunningScale]:
    """Return rollouts with advantages, and λ after them.

    Args:
        scored: all rollouts of the turn, in order.
        kl_coef: β of this turn.

    Raises:
        UserError: a reward is not usable.
        TrainingError: what the policy says of its samples is not finite.
    """
    for _, rollout, _ in scored:
        _require_finite(rollout)
    require_usable(scored, config)
    rollouts = [rollout for _, rollout, _ in scored]
    relative = np.stack([reward.relative for _, _, reward in scored])
    original = _originals(scored)
    scale = scale.update(relative, original=original)
    truncated = ~np.array([rollout.ended for rollout in rollouts])
    rewards = penalised(relative * scale.factor, truncated, config.reward.truncation)
    for rollout, of_rollout in zip(rollouts, rewards, strict=True):
        if (np.abs(of_rollout) > LARGEST).any():
            raise UserError(
                f"{rollout.id}: its rewards are {of_rollout.tolist()} after λ = {scale.factor:.3g}; "
                "stopped before an update: mend what scores it, or the scale"
            )

    lengths = [length for rollout in rollouts for length in rollout.lengths]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    kl = _kl(rollouts, lengths, config)
    result = estimate(
        config.advantage,
        torch.from_numpy(rewards),
        mask,
        kl=kl if config.kl.placement == "reward" else None,
        kl_coef=kl_coef,
        values=_rows([rollout.values for rollout in rollouts], lengths),
    )
    trained = _by_rollout(result.mask.any(-1), [len(rollout.ended) for rollout in rollouts])
    tokens = [sum(rollout.lengths) for rollout in rollouts]
    advantages = _by_rollout(flat_of(result.advantages, lengths), tokens)
    returns: list[tuple[float, ...]] = [()] * len(rollouts)
    if result.returns is not None:
        returns = _by_rollout(flat_of(result.returns, lengths), tokens)
    complete = []
    for rollout, *columns in zip(rollouts, trained, advantages, returns, strict=True):
        complete.append(rollout.having(["trained", "advantages", "returns"], columns))
    return Turn(complete, rewards, original, kl, result.mask), scale


def _originals(scored: Sequence[Scored]) -> Array | None:
    """Return r of all responses, (prompts, num_generations); None where one has none."""
    originals = []
    for _, _, reward in scored:
        if reward.original is None:
            return None
        originals.append(reward.original)
    return np.stack(originals)


def _kl(rollouts: Sequence[Rollout], lengths: Sequence[int], config: OnlineConfig) -> Tensor | None:
    """Return k of every response token, by the estimate that is trained on."""
    logps = _rows([rollout.logps for rollout in rollouts], lengths)
    reference = _rows([rollout.reference for rollout in rollouts], lengths)
    if logps is None or reference is None:
        return None
    return kl_estimate(logps, reference, estimator=config.kl.kl_estimator)


def _rows(columns: Sequence[tuple[float, ...]], lengths: Sequence[int]) -> Tensor | None:
    """Return numbers of all response tokens as one row a response; None where there are none."""
    flat = list(chain.from_iterable(columns))
    if not flat:
        return None
    return rows_of(torch.tensor(flat, dtype=torch.float64), lengths)


def _by_rollout(values: Tensor, sizes: Sequence[int]) -> list[tuple[float, ...]]:
    return [tuple(part.tolist()) for part in values.split(list(sizes))]
