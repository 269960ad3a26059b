"""Policy losses on all responses of a prompt at once."""

import torch
from torch import Tensor

from rewarddiff.losses.shapes import require, require_same_shape


def pro(logps: Tensor, rewards: Tensor) -> Tensor:
    r"""−log[ e^(s_k·T_kk) / (e^(s_k·T_kk) + Σ_i e^(s_i·T_ki)) ], one value per step.

    A step is a response k that has one below it. i runs over the responses with r_i < r_k, T_ki =
    r_k − r_i, T_kk = max_i T_ki: each response ought to win against all below it, the more clearly
    the further below they are. Responses of equal reward leave each other alone (in the authors'
    sum such a one stands as a constant e⁰). With two responses it is −log σ(T·(s_1 − s_2)), T their
    difference in reward. The authors add the likelihood of the best response: see `pointwise.nll`.

    Args:
        logps: s, mean log-probability of each response's tokens, nats per token, shape
            (responses,), any order.
        rewards: r, higher is better, same shape; data, taken without gradient.

    Returns:
        In the order of `pro_steps`, shape (steps,); empty if all rewards are equal.

    Raises:
        ValueError: unequal shapes, not one list, fewer than two responses, a reward that is not
            finite.

    Source: Song et al. 2023, arXiv 2306.17492, and its authors' code.

    >>> import torch
    >>> pro(torch.tensor([-1.0, -1.0]), torch.tensor([0.5, 2.0]))
    tensor([0.6931])
    """
    require_same_shape(logps=logps, rewards=rewards)
    require(
        logps.dim() == 1 and len(logps) >= 2,
        f"one list of two or more responses is ranked, got shape {tuple(logps.shape)}",
    )
    require(bool(rewards.isfinite().all()), "rewards must be finite")
    ranked, order = rewards.detach().sort(descending=True, stable=True)
    s = logps[order]
    gaps = ranked.unsqueeze(1) - ranked  # T_ki, positive where i is below k
    below = gaps > 0
    gaps = gaps.to(s)
    best = s * gaps.max(dim=1).values
    others = (s * gaps).masked_fill(~below, -torch.inf)
    steps = torch.cat([best.unsqueeze(1), others], dim=1).logsumexp(dim=1) - best
    return steps[below.any(dim=1)]


def pro_steps(rewards: Tensor) -> Tensor:
    """Return the places of the responses that `pro` gives a value for, best first.

    Responses of equal reward stand in the order given.

    >>> import torch
    >>> pro_steps(torch.tensor([0.5, 2.0, 1.0, 0.5]))
    tensor([1, 2])
    """
    order = rewards.argsort(descending=True, stable=True)
    return order[rewards[order] > rewards.min()]
