"""Losses of policies that learn from their own samples: one value per token, or per response.

The log-ratio is log π − log π_old, of a token or of a response: π is the policy in training, π_old
the one that sampled, whose log-probabilities are data. Masked places hold any finite number; what
is in them never counts. `aggregated` sums, so that micro-batches and processes add up; the caller
divides by the global count.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from rewarddiff.losses.shapes import require, require_mask, require_same_shape

Estimator = Literal["k1", "k2", "k3"]
Aggregation = Literal[
    "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"
]

LARGEST_LOG_RATIO = 20.0
"""Nats up to which a probability ratio is followed; from there on it is held, without gradient. It
is verl's bound: e^20 is 5·10⁸, and e^89 is infinite in float32."""


def clipped_surrogate(
    log_ratio: Tensor,
    advantages: Tensor,
    *,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    delta: float | None = None,
) -> Tensor:
    r"""−min(min(ρ, δ)·A, clip(ρ, 1−ε, 1+ε_high)·A), ρ = π/π_old, one value per token or response.

    Args:
        log_ratio: log ρ, nats, any shape: of tokens, or of whole responses.
        advantages: A, same shape, in the unit of the rewards; data, taken without gradient.
        epsilon: ε in [0, 1), how far ρ may fall before it gives no gradient; TRL's name.
        epsilon_high: how far ρ may rise, ≥ 0; None: ε. DAPO takes 0.28.
        delta: δ > 1 + ε_high, what ρ counts at most where A < 0; None: no bound. TRL's name;
            verl's clip_ratio_c, 3 there.

    Raises:
        ValueError: unequal shapes, or a hyperparameter outside its range.

    Source: Schulman et al. 2017, arXiv 1707.06347, Eq. 7; ε_high: Yu et al. 2025 (DAPO), arXiv
        2503.14476; δ: Ye et al. 2020, arXiv 1912.09729, Eq. 5.

    >>> import torch
    >>> clipped_surrogate(torch.tensor([2.0, 2.0]).log(), torch.tensor([1.0, -1.0]))
    tensor([-1.2000,  2.0000])
    """
    require_same_shape(log_ratio=log_ratio, advantages=advantages)
    high = epsilon if epsilon_high is None else epsilon_high
    require(0 <= epsilon < 1, f"epsilon must lie in [0, 1), got {epsilon}")
    require(high >= 0, f"epsilon_high must not be negative, got {high}")
    ratio = log_ratio.clamp(max=LARGEST_LOG_RATIO).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + high)
    if delta is not None:
        require(delta > 1 + high, f"delta must be above 1 + epsilon_high, got {delta}")
        ratio = ratio.clamp(max=delta)
    gains = advantages.detach().to(log_ratio)
    return -torch.minimum(ratio * gains, clipped * gains)


def sequence_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    r"""(1/|y|) Σ_t log ρ_t of the response, at each of its tokens; 0 in masked places.

    In place of the token's own log-ratio it makes `clipped_surrogate` GSPO's: one ratio a response,
    that does not grow with its length.

    Args:
        log_ratio: log ρ_t, nats, shape (responses, tokens).
        mask: boolean, same shape: the response's tokens, |y| of them.

    Raises:
        ValueError: unequal shapes, a mask that is not boolean.

    Source: Zheng et al. 2025 (GSPO), arXiv 2507.18071, Eq. 7; TRL's importance_sampling_level.

    >>> import torch
    >>> mask = torch.tensor([[True, True, False]])
    >>> sequence_log_ratio(torch.tensor([[1.0, 2.0, 9.0]]), mask)
    tensor([[1.5000, 1.5000, 0.0000]])
    """
    require_same_shape(log_ratio=log_ratio, mask=mask)
    require_mask(mask)
    sums = torch.where(mask, log_ratio, 0.0).sum(-1, keepdim=True)
    means = sums / mask.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(mask, means, 0.0)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, cliprange_value: float | None = 0.2
) -> Tensor:
    r"""½·max((V − R)², (clip(V, V_old − c, V_old + c) − R)²), one value per token.

    Args:
        values: V, of the value head in training, in the unit of the rewards, any shape.
        old_values: V_old, those of the rollout, same shape; data.
        returns: R, from `advantages.gae`, same shape; data.
        cliprange_value: c > 0, in their unit; None: ½(V − R)². TRL's and verl's name.

    Raises:
        ValueError: unequal shapes, c not positive.

    Source: the PPO code of OpenAI baselines; Engstrom et al. 2020, arXiv 2005.12729, section 3; the
        ½ is that of TRL, OpenRLHF and verl.

    >>> import torch
    >>> v, old, goal = torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0])
    >>> clipped_value_loss(v, old, goal, cliprange_value=0.5)  # ½·max(1², 1.5²)
    tensor([1.1250])
    """
    require_same_shape(values=values, old_values=old_values, returns=returns)
    goals = returns.detach()
    errors = (values - goals).square()
    if cliprange_value is None:
        return 0.5 * errors
    require(cliprange_value > 0, f"cliprange_value must be positive, got {cliprange_value}")
    before = old_values.detach()
    clipped = values.clamp(before - cliprange_value, before + cliprange_value)
    return 0.5 * torch.maximum(errors, (clipped - goals).square())


def kl_estimate(logps: Tensor, ref_logps: Tensor, *, estimator: Estimator = "k3") -> Tensor:
    r"""k1 = log π/ρ, k2 = ½k1², or k3 = ρ/π − 1 + k1; one value per token.

    Over samples of π the means of k1 and k3 are KL(π ‖ ρ); that of k2 is near it where π is near ρ.
    k2 and k3 are never negative. As a loss they differ from this: over samples of π the mean
    gradient of k1 is 0, that of k2 is that of KL(π ‖ ρ), and that of k3 is that of KL(ρ ‖ π).

    Args:
        logps: log π of the sampled tokens, nats, any shape.
        ref_logps: log ρ of the same under the reference, same shape; data.
        estimator: k1 is for rewards, k2 and k3 for losses.

    Raises:
        ValueError: unequal shapes, unknown estimator.

    Source: Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html; gradients:
        Tang and Munos 2025, arXiv 2506.09477.

    >>> import torch
    >>> half, quarter = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    >>> kl_estimate(half, quarter)  # ½ − 1 + ln 2
    tensor([0.1931])
    """
    require_same_shape(logps=logps, ref_logps=ref_logps)
    k1 = logps - ref_logps.detach()
    if estimator == "k1":
        return k1
    if estimator == "k2":
        return 0.5 * k1.square()
    if estimator == "k3":
        held = k1.clamp(min=-LARGEST_LOG_RATIO)
        return (-held).expm1() + held
    raise ValueError(f"estimator must be 'k1', 'k2' or 'k3', got {estimator!r}")


def aggregated(losses: Tensor, mask: Tensor, *, loss_agg_mode: Aggregation) -> Tensor:
    r"""Σ of losses over tokens, of responses' means, or of responses' sums: a scalar.

    The caller divides by `counted` of the whole global batch. `token-mean` weighs tokens alike
    (TRL's dapo, and bnpo for a batch in one piece), `seq-mean-token-mean` responses (TRL's grpo),
    `seq-mean-token-sum` also lets long responses count by their length; over the most tokens that a
    response may have it is `seq-mean-token-sum-norm` (TRL's dr_grpo).

    Args:
        losses: one value per token, shape (responses, tokens).
        mask: boolean, same shape: which tokens are trained on.
        loss_agg_mode: verl's names.

    Raises:
        ValueError: unequal shapes, a mask that is not boolean, unknown mode.

    Source: verl's `agg_loss`; Dr. GRPO: Liu et al. 2025, arXiv 2503.20783.

    >>> import torch
    >>> losses = torch.tensor([[1.0, 3.0], [5.0, 9.0]])
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> aggregated(losses, mask, loss_agg_mode="seq-mean-token-mean")  # 2 + 5
    tensor(7.)
    """
    require_same_shape(losses=losses, mask=mask)
    require_mask(mask)
    # `where` and not a product: 0 times what is not finite would not be 0.
    sums = torch.where(mask, losses, 0.0).sum(-1)
    if loss_agg_mode == "seq-mean-token-mean":
        sums = sums / mask.sum(-1).clamp(min=1)
    elif loss_agg_mode not in get_args(Aggregation):
        names = ", ".join(get_args(Aggregation))
        raise ValueError(f"loss_agg_mode must be one of {names}, got {loss_agg_mode!r}")
    return sums.sum()


def counted(mask: Tensor, *, loss_agg_mode: Aggregation, max_tokens: int | None = None) -> int:
    """Return how many tokens, or responses with any token, `aggregated` sums over.

    A response of which no token is trained on is no response: a mean over it would be one of
    zeros.

    Args:
        max_tokens: the most that a response may have, which each counts as in
            `seq-mean-token-sum-norm`.

    Raises:
        ValueError: that mode without max_tokens.

    >>> import torch
    >>> counted(torch.tensor([[True, True], [False, False]]), loss_agg_mode="seq-mean-token-mean")
    1
    """
    if loss_agg_mode == "token-mean":
        return int(mask.sum())
    responses = int(mask.any(-1).sum())
    if loss_agg_mode != "seq-mean-token-sum-norm":
        return responses
    require(max_tokens is not None, "seq-mean-token-sum-norm must be given max_tokens")
    assert max_tokens is not None
    return responses * max_tokens
