"""Losses of scorers that read by how much a response is better, or that neither is.

The gap Δ is that of `scoring`, in logits; by how much is a strength, in the data's own unit.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewarddiff.losses.shapes import require, require_same_shape


def scaled(gap: Tensor, strength: Tensor) -> Tensor:
    r"""−m·log σ(Δ), one value per pair: the strength is the weight.

    Args:
        gap: Δ, logits, shape (pairs,).
        strength: m ≥ 0, same shape.

    Raises:
        ValueError: unequal shapes.

    Source: HelpSteer2-Preference, Wang et al. 2024, arXiv 2410.01257, "scaled Bradley–Terry".

    >>> import torch
    >>> scaled(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0]))
    tensor([0.6931, 2.0794])
    """
    require_same_shape(gap=gap, strength=strength)
    return -strength * logsigmoid(gap)


def batch_margin(gap: Tensor, mean: float, threshold: float) -> Tensor:
    r"""−log σ(Δ − F·μ), one value per pair, F = 1 where Δ is below the threshold, else 0.

    The paper's method is the threshold μ itself: pairs that are already further apart than the
    batch's mean are left at −log σ(Δ), those below it are pushed by it.

    Args:
        gap: Δ, logits, shape (pairs,).
        mean: μ of the batch.
        threshold: below it a pair is shifted; ∞ shifts all.

    Source: Qin et al. 2024, arXiv 2404.04932.

    >>> import torch
    >>> batch_margin(torch.tensor([2.0, 0.0]), 1.0, 1.0)  # −log σ(2), −log σ(0 − 1)
    tensor([0.1269, 1.3133])
    """
    shift = (gap.detach() < threshold) * mean
    return -logsigmoid(gap - shift)


def soft(gap: Tensor, target: Tensor) -> Tensor:
    r"""−z·log σ(Δ) − (1−z)·log(1−σ(Δ)), one value per pair: cross-entropy against a soft label.

    Args:
        gap: Δ, logits, shape (pairs,).
        target: z in [0, 1], the probability that the label was meant, ½ a tie, same shape.

    Raises:
        ValueError: unequal shapes, or a target that is no probability.

    Source: Liu et al. 2024, arXiv 2411.12843.

    >>> import torch
    >>> soft(torch.tensor([0.0]), torch.tensor([0.8]))
    tensor([0.6931])
    """
    require_same_shape(gap=gap, target=target)
    is_probability = bool(((target >= 0) & (target <= 1)).all())
    require(is_probability, "target must be a probability, from 0 to 1")
    return -target * logsigmoid(gap) - (1 - target) * logsigmoid(-gap)


def rao_kupper(gap: Tensor, tie: Tensor, tau: Tensor) -> Tensor:
    r"""−log P, one value per pair, P(1≻2) = σ(Δ − τ) and P(tie) = 1 − σ(Δ − τ) − σ(−Δ − τ).

    P(tie) is computed as (e^{2τ} − 1)·σ(Δ − τ)·σ(−Δ − τ): no difference of near numbers.

    Args:
        gap: Δ, logits, of a tie either way round, shape (pairs,).
        tie: whether neither was better, bool, same shape.
        tau: τ > 0, a scalar: how far apart two must be to be told apart.

    Raises:
        ValueError: unequal shapes, or τ not positive.

    Source: Rao and Kupper 1967; for reward models Liu et al. 2024, arXiv 2410.05328.

    >>> import torch
    >>> ties = torch.tensor([True, False])
    >>> rao_kupper(torch.zeros(2), ties, torch.tensor(1.0))  # −log(1 − 2σ(−1)), −log σ(−1)
    tensor([0.7719, 1.3133])
    """
    require_same_shape(gap=gap, tie=tie)
    if not bool(tau > 0):
        raise ValueError(f"tau must be positive, got {float(tau)}")
    log_first_wins = logsigmoid(gap - tau)
    log_second_wins = logsigmoid(-gap - tau)
    return -log_first_wins - tie * (log_second_wins + (2 * tau).expm1().log())


def ordinal(gap: Tensor, level: Tensor, cuts: Tensor) -> Tensor:
    r"""−log P(z = k), one value per pair, of a cumulative link: P(z ≤ k) = σ(ζ_k − Δ).

    Cut-points ζ are symmetric about 0. A pair's grade is k ∈ {−K, …, K}: k > 0 the chosen one is
    better by the k-th grade, 0 a tie. Above 0 the cut-points are ζ = `cuts` (c_1 ≤ c_2 ≤ …, grade k
    between c_k and c_{k+1}); those below are their mirror image.

    Args:
        gap: Δ, logits, shape (pairs,).
        level: k ≥ 0 (the pair is oriented by its label), whole numbers, same shape.
        cuts: c, rising, (K,); c_1 > 0 where there are ties, else 0.

    Raises:
        ValueError: unequal shapes, a grade without cut-points.

    Source: cumulative links, McCullagh 1980; for preferences arXiv 2603.02232.

    >>> import torch
    >>> grades, cuts = torch.tensor([1, 2]), torch.tensor([0.0, 1.0])
    >>> ordinal(torch.zeros(2), grades, cuts)  # −log(σ(1) − σ(0)), −log(1 − σ(1))
    tensor([1.4651, 1.3133])
    """
    require_same_shape(gap=gap, level=level)
    if len(level) and not 0 <= int(level.min()) <= int(level.max()) <= len(cuts):
        raise ValueError(
            f"grades {int(level.min())} to {int(level.max())}, cut-points for 0 to {len(cuts)}"
        )
    ends = cuts.new_full((1,), float("inf"))
    bounds = torch.cat((-cuts[:1], cuts, ends))  # grade k lies between bounds[k] and bounds[k + 1]
    low = bounds[level]
    high = bounds[level + 1]
    # σ(a) − σ(b) = σ(a)·σ(−b)·(1 − e^{b − a})
    return -logsigmoid(high - gap) - logsigmoid(gap - low) - (-(low - high).expm1()).log()


def centering(chosen: Tensor, rejected: Tensor) -> Tensor:
    r"""(r_w + r_l)², one value per pair: keeps rewards about 0, which the gap alone leaves open.

    Args:
        chosen: r_w, shape (pairs,).
        rejected: r_l, same shape.

    Raises:
        ValueError: unequal shapes.

    Source: Eisenstein et al. 2023, arXiv 2312.09244, with weight 0.01.

    >>> import torch
    >>> centering(torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([9.])
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    return (chosen + rejected).square()
