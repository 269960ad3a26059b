"""Which advantages a policy learns from, and when a baseline per prompt changes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rewarddiff.config import checked
from rewarddiff.errors import UserError
from rewarddiff.losses.shapes import require, require_mask
from rewarddiff.policies.online import advantages as functions
from rewarddiff.rewards import TruncationConfig

OPTIONS_OF = {"gamma": "gae", "lam": "gae", "scale_rewards": "grpo"}
"""Options that one estimator reads."""


@checked
@dataclass(frozen=True, slots=True)
class AdvantageConfig:
    """How rewards become advantages.

    Attributes:
        estimator: `gae` with a value head (PPO); `reinforce` less the mean of the batch; `rloo`
            less the mean of the others in the group; `grpo` less the mean of the group, over a
            standard deviation.
        gamma: γ of `gae`.
        lam: λ of `gae`.
        scale_rewards: what `grpo` divides by.
        normalize_advantages: bring advantages to mean 0 and standard deviation 1 over the batch:
            over tokens with `gae`, over responses otherwise. None: as peers do, with `gae` only.
        reward_clip_range: bounds of the reward, before the KL is taken off and before any baseline
            of the estimator. None: no bounds.

    Source: names as in TRL's PPO, RLOO and GRPO.
    """

    estimator: Literal["gae", "reinforce", "rloo", "grpo"] = "gae"
    gamma: float = 1.0
    lam: float = 0.95
    scale_rewards: functions.Scaling = "group"
    normalize_advantages: bool | None = None
    reward_clip_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, should lie in [0, 1]")
        if self.reward_clip_range is not None:
            low, high = self.reward_clip_range
            if not low < high:
                raise ValueError(f"reward_clip_range is ({low}, {high}), the first should be less")
        for field in fields(self):
            estimator = OPTIONS_OF.get(field.name, self.estimator)
            if estimator != self.estimator and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{field.name}: an option of {estimator}, and estimator is {self.estimator}; "
                    "leave it out"
                )

    @property
    def normalises(self) -> bool:
        """Whether advantages are normalised over the batch."""
        if self.normalize_advantages is None:
            return self.estimator == "gae"
        return self.normalize_advantages


class Estimate(NamedTuple):
    """What a policy learns from, and its value head.

    Attributes:
        advantages: (responses, tokens).
        mask: (responses, tokens): the tokens to train on, those of responses with a reward.
        returns: goals of the value head, (responses, tokens); None where there is none.
    """

    advantages: Tensor
    mask: Tensor
    returns: Tensor | None


def estimate(
    config: AdvantageConfig,
    rewards: Tensor,
    mask: Tensor,
    *,
    kl: Tensor | None = None,
    kl_coef: float = 0.0,
    values: Tensor | None = None,
) -> Estimate:
    """Return the advantages of a whole global batch.

    Args:
        rewards: (prompts, num_generations), scaled and with penalties; one that is not finite
            leaves its response out.
        mask: the responses' tokens, (prompts · num_generations, tokens), boolean, group by group.
        kl: an estimate per token, nats, same shape: with `gae` taken off every token's reward, with
            the others its sum off the response's. None: it is not in the reward.
        kl_coef: β ≥ 0.
        values: of the value head, same shape; `gae` needs them.

    Raises:
        ValueError: other shapes, or values missing.
    """
    _check(rewards, mask)
    clipped = _clipped(rewards, config.reward_clip_range)
    trained = mask & clipped.isfinite().reshape(-1, 1)
    if config.estimator == "gae":
        require(values is not None, "gae needs the values of a value head")
        assert values is not None
        per_token = functions.token_rewards(clipped.flatten(), trained, kl=kl, kl_coef=kl_coef)
        advantages, returns = functions.gae(
            per_token, values, trained, gamma=config.gamma, lam=config.lam
        )
        if config.normalises:
            advantages = functions.whiten(advantages, trained)
        return Estimate(advantages, trained, returns)
    if kl is not None:
        kl_of_responses = torch.where(trained, kl.detach(), 0.0).sum(-1)
        clipped = clipped - kl_coef * kl_of_responses.reshape(clipped.shape)
    of_responses = _of_responses(config, clipped).reshape(-1, 1)
    return Estimate(torch.where(trained, of_responses, 0.0), trained, None)


def _check(rewards: Tensor, mask: Tensor) -> None:
    require_mask(mask)
    is_row_each = rewards.dim() == mask.dim() == 2 and rewards.numel() == mask.shape[0]
    require(
        is_row_each,
        "rewards must be (prompts, num_generations) with one row of the mask each, got "
        f"{tuple(rewards.shape)} and {tuple(mask.shape)}",
    )


def _clipped(rewards: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """Return rewards within bounds, and NaN for those that are not finite."""
    given = torch.where(rewards.isfinite(), rewards.detach(), torch.nan)
    return given if bounds is None else given.clamp(*bounds)


def _of_responses(config: AdvantageConfig, rewards: Tensor) -> Tensor:
    """Return one advantage per response, (prompts, num_generations)."""
    if config.estimator == "reinforce":
        advantages = functions.reinforce(rewards)
    elif config.estimator == "rloo":
        advantages = functions.rloo(rewards)
    else:
        advantages = functions.grpo(rewards, scale_rewards=config.scale_rewards)
    if config.normalises:
        return functions.standardised(advantages, rewards.isfinite())
    return advantages


class BaselineEffect(NamedTuple):
    """Whether a baseline per prompt changes what a policy learns from, and why.

    Attributes:
        acts: False: advantages are the same with any baseline.
        reason: a sentence without its end.
    """

    acts: bool
    reason: str


def baseline_effect(config: AdvantageConfig, truncation: TruncationConfig) -> BaselineEffect:
    """Return what becomes of a number that is taken off all rewards of a prompt.

    It is that of `rewards.contrastive`, and of `rewards.contrastive_difference` where d is a
    difference of rewards. Where it cancels, λ is left: a factor on the learning rate, if advantages
    are not divided by a standard deviation.

    >>> baseline_effect(AdvantageConfig("rloo"), TruncationConfig()).acts
    False
    """
    if config.estimator == "gae":
        return BaselineEffect(True, "a value head is learned, and takes no mean of the group off")
    if config.estimator == "reinforce":
        return BaselineEffect(True, "the mean that is taken off is that of the batch")
    if config.reward_clip_range is not None:
        return BaselineEffect(True, "reward_clip_range clips before the group's mean is taken off")
    if truncation.stop_properly_penalty_coef is not None:
        return BaselineEffect(
            True, "stop_properly_penalty_coef multiplies the reward less its baseline"
        )
    if config.estimator == "grpo" and config.scale_rewards == "batch":
        return BaselineEffect(
            True, "the group's mean cancels it, and the batch's standard deviation does not"
        )
    return BaselineEffect(False, "the mean of the group, or of the others in it, is taken off")
