"""From rewards to advantages: pure functions on tensors, none with a gradient.

Sequences of tokens are (responses, tokens), with a boolean mask of the response's own tokens, its
end included. What stands in masked places is not read, and 0 comes out there. Rewards of groups
are (prompts, num_generations). In a group a reward that is not finite was not given: it is in no
mean, and its response has the advantage 0 and moves nothing, as in TRL.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rewarddiff.losses.shapes import require, require_mask, require_same_shape

Scaling = Literal["group", "batch", "none"]

STD_EPSILON = 1e-4
"""TRL adds it to a standard deviation before it divides by it."""
VARIANCE_EPSILON = 1e-8
"""TRL's and verl's whitening add it to a variance."""


def token_rewards(
    scores: Tensor, mask: Tensor, *, kl: Tensor | None = None, kl_coef: float = 0.0
) -> Tensor:
    r"""−β·k_t at every token, and the score at the last one of the response as well.

    Args:
        scores: one per response, (responses,): the reward of the whole.
        mask: the response's tokens, (responses, tokens).
        kl: k_t, an estimate per token, nats, same shape; k1 makes the sum that of KL(π ‖ ρ).
        kl_coef: β ≥ 0, rewards per nat.

    Returns:
        (responses, tokens), in the unit of the scores. A response without a token has none.

    Raises:
        ValueError: other shapes, a mask that is not boolean, β negative.

    Source: Ziegler et al. 2019, arXiv 1909.08593, Eq. 2; Ouyang et al. 2022, arXiv 2203.02155.

    >>> import torch
    >>> token_rewards(torch.tensor([5.0]), torch.tensor([[True, True, False]]))
    tensor([[0., 5., 0.]])
    """
    _check_rows(scores, mask)
    require(kl_coef >= 0, f"kl_coef must not be negative, got {kl_coef}")
    tokens_from_here = mask.flip(-1).cumsum(-1).flip(-1)
    is_last = mask & (tokens_from_here == 1)
    rewards = torch.where(is_last, scores.detach().unsqueeze(-1), 0.0)
    if kl is None:
        return rewards
    require_same_shape(kl=kl, mask=mask)
    return torch.where(mask, rewards - kl_coef * kl.detach(), 0.0)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    r"""A_t = δ_t + γλ·A_{t+1}, δ_t = r_t + γ·V_{t+1} − V_t, and the returns A_t + V_t.

    Behind the last token A and V are 0: a response ends there, also a truncated one. Places that
    are masked within a response (what a tool wrote) are passed over: t + 1 is the next token of the
    response.

    Args:
        rewards: r_t, (responses, tokens), from `token_rewards`.
        values: V_t, what the value head says before the token is drawn, same shape and unit.
        mask: the response's tokens, same shape.
        gamma: γ in [0, 1], what the next token's worth counts.
        lam: λ in [0, 1]: 0 is the TD error, 1 the sum of rewards to come, less V.

    Returns:
        Advantages and returns, of the same shape and unit.

    Raises:
        ValueError: unequal shapes, a mask that is not boolean, a token whose reward or value is
            not finite (leave its response out of the mask), or a hyperparameter outside its range.

    Source: Schulman et al. 2016, arXiv 1506.02438, Eqs. 11, 12 and 16.

    >>> import torch
    >>> row = torch.tensor([[True, True]])
    >>> gae(torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 2.0]]), row, lam=0.5)
    (tensor([[2., 2.]]), tensor([[3., 4.]]))
    """
    require_same_shape(rewards=rewards, values=values, mask=mask)
    require_mask(mask)
    require(0 <= gamma <= 1, f"gamma must lie in [0, 1], got {gamma}")
    require(0 <= lam <= 1, f"lam must lie in [0, 1], got {lam}")
    rewards = torch.where(mask, rewards.detach(), 0.0)
    values = torch.where(mask, values.detach(), 0.0)
    is_finite = bool((rewards.isfinite() & values.isfinite()).all())
    require(is_finite, "rewards and values must be finite where mask is true")
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in reversed(range(values.shape[1])):
        td_error = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = td_error + gamma * lam * next_advantage
        is_token = mask[:, t]
        advantages[:, t] = torch.where(is_token, advantage, 0.0)
        next_value = torch.where(is_token, values[:, t], next_value)
        next_advantage = torch.where(is_token, advantage, next_advantage)
    return advantages, advantages + values


def reinforce(rewards: Tensor) -> Tensor:
    r"""r_i − mean over the batch of r: one advantage per response.

    Args:
        rewards: of the whole global batch, any shape.

    Returns:
        The same shape and unit.

    Source: Williams 1992, Machine Learning 8 (reinforcement baselines).

    >>> import torch
    >>> reinforce(torch.tensor([[1.0, 2.0], [6.0, torch.nan]]))
    tensor([[-2., -1.],
            [ 3.,  0.]])
    """
    given = _above_least(rewards.reshape(1, -1)).reshape(rewards.shape)
    return (given - given.nanmean()).nan_to_num(nan=0.0)


def rloo(rewards: Tensor) -> Tensor:
    r"""r_i − mean over j ≠ i of r_j: one advantage per response; 0 where there is no other.

    Args:
        rewards: (prompts, num_generations).

    Returns:
        The same shape and unit.

    Raises:
        ValueError: not two axes.

    Source: Kool et al. 2019, ICLR workshop "Buy 4 REINFORCE samples"; Ahmadian et al. 2024, arXiv
        2402.14740, Eq. 7.

    >>> import torch
    >>> rloo(torch.tensor([[1.0, 2.0, 6.0]]))
    tensor([[-3.0000, -1.5000,  4.5000]])
    """
    _check_groups(rewards)
    given = _above_least(rewards)
    others = given.isfinite().sum(1, keepdim=True) - 1
    baselines = (given.nansum(1, keepdim=True) - given) / others
    # 0/0 where there is no other, NaN where there is no reward: both stay NaN up to here.
    return (given - baselines).nan_to_num(nan=0.0)


def grpo(rewards: Tensor, *, scale_rewards: Scaling = "group") -> Tensor:
    r"""(r_i − mean of the group) / (s + 10⁻⁴): one advantage per response.

    Args:
        rewards: (prompts, num_generations).
        scale_rewards: s is the standard deviation, with n − 1, of the `group` or of all rewards of
            the `batch`; `none` does not divide (Dr. GRPO). TRL's name.

    Returns:
        The same shape; without unit, but for `none`.

    Raises:
        ValueError: not two axes, an unknown scaling.

    Source: Shao et al. 2024, arXiv 2402.03300, section 4.1; `none`: Liu et al. 2025, arXiv
        2503.20783; the 10⁻⁴ is TRL's (verl has 10⁻⁶).

    >>> import torch
    >>> grpo(torch.tensor([[1.0, 2.0, 6.0]]), scale_rewards="none")
    tensor([[-2., -1.,  3.]])
    """
    _check_groups(rewards)
    given = _finite_or_nan(rewards)
    above_least = _above_least(rewards)
    advantages = above_least - above_least.nanmean(1, keepdim=True)
    if scale_rewards == "group":
        advantages = advantages / (_nanstd(above_least, dim=1) + STD_EPSILON)
    elif scale_rewards == "batch":
        advantages = advantages / (_nanstd(given.reshape(1, -1), dim=1) + STD_EPSILON)
    elif scale_rewards != "none":
        raise ValueError(f"scale_rewards must be group, batch or none, got {scale_rewards!r}")
    return advantages.nan_to_num(nan=0.0)


def standardised(advantages: Tensor, given: Tensor) -> Tensor:
    r"""(A − mean) / (s + 10⁻⁴) over the responses that have an advantage; 0 for the others.

    Args:
        advantages: one per response of the global batch, any shape.
        given: boolean, same shape.

    Raises:
        ValueError: unequal shapes.

    Source: TRL's `normalize_advantages`, also for s with n − 1.

    >>> import torch
    >>> two = torch.tensor([True, True, False])
    >>> standardised(torch.tensor([1.0, 3.0, 0.0]), two)
    tensor([-0.7071,  0.7071,  0.0000])
    """
    require_same_shape(advantages=advantages, given=given)
    values = torch.where(given, advantages, torch.nan)
    spread = _nanstd(values.reshape(1, -1), dim=1).squeeze() + STD_EPSILON
    return ((values - values.nanmean()) / spread).nan_to_num(nan=0.0)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    r"""(v − mean) / √(variance + 10⁻⁸) over all tokens of the mask, + mean if it is not shifted.

    Args:
        values: of the whole global batch, any shape.
        mask: boolean, same shape.
        shift_mean: take the mean off. Advantages are whitened with it, and rewards (TRL's
            `whiten_rewards`) without, since a shift would pay for length. TRL's and verl's name.

    Returns:
        The same shape; 0 in masked places. The variance has n − 1, and is 0 for a single value.

    Raises:
        ValueError: unequal shapes, a mask that is not boolean.

    Source: `masked_whiten` of TRL's PPO and of verl. torchtune's `whiten` adds the mean where it
        should be removed.

    >>> import torch
    >>> whiten(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor([-0.7071,  0.7071,  0.0000])
    """
    require_same_shape(values=values, mask=mask)
    require_mask(mask)
    tokens = int(mask.sum())
    # Above the least, so that equal values have a mean that is theirs: see `_above_least`.
    least = torch.where(mask, values, torch.inf).min() if tokens else torch.zeros(())
    above_least = torch.where(mask, values - least, 0.0)
    mean = above_least.sum() / max(tokens, 1)
    centred = torch.where(mask, above_least - mean, 0.0)
    variance = centred.square().sum() / max(tokens - 1, 1)
    whitened = centred * (variance + VARIANCE_EPSILON).rsqrt()
    return whitened if shift_mean else torch.where(mask, whitened + mean + least, 0.0)


def _nanstd(values: Tensor, *, dim: int) -> Tensor:
    """Return the standard deviation with n − 1 of what is not NaN, NaN of a single value."""
    count = values.isfinite().sum(dim, keepdim=True)
    squares = (values - values.nanmean(dim, keepdim=True)).square().nansum(dim, keepdim=True)
    return (squares / (count - 1)).sqrt()


def _above_least(rewards: Tensor) -> Tensor:
    """Return by how much each reward is above the least of its row, NaN where it was not given.

    Equal rewards are then 0 to the bit, and so is their mean. The mean of 0.7 three times is not
    0.7: what is left, 10⁻¹⁶, is a direction that Adam would take a whole step in.
    """
    given = _finite_or_nan(rewards)
    least = torch.where(given.isnan(), torch.inf, given).amin(1, keepdim=True)
    return given - least


def _finite_or_nan(rewards: Tensor) -> Tensor:
    given = rewards.detach()
    return torch.where(given.isfinite(), given, torch.nan)


def _check_rows(scores: Tensor, mask: Tensor) -> None:
    require_mask(mask)
    is_row_each = mask.dim() == 2 and tuple(scores.shape) == (mask.shape[0],)
    require(
        is_row_each,
        f"one score per row of the mask, got scores {tuple(scores.shape)} and mask "
        f"{tuple(mask.shape)}",
    )


def _check_groups(rewards: Tensor) -> None:
    require(
        rewards.dim() == 2,
        f"rewards must be (prompts, num_generations), got shape {tuple(rewards.shape)}",
    )
