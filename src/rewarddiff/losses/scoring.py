"""Losses of the scorers: the reward model r(x, y) and the difference model d(x, y1, y2).

Scores and differences are in logits (nats of log-odds): σ(d) is the probability that the first
response is better. The gap Δ of a comparison is r(x, y_w) − r(x, y_l), or d oriented by the label.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, logsigmoid

from rewarddiff.losses.shapes import require_same_shape

Penalty = Literal["square", "abs", "huber"]


def bradley_terry(gap: Tensor, margin: Tensor | None = None) -> Tensor:
    r"""−log σ(Δ − m), one value per comparison; m = 0 where no margin is given.

    Of a difference model it is the paper's −I·log σ(d) − (1−I)·log(1−σ(d)): a comparison read with
    the better response second (I = 0) enters as Δ = −d, since 1 − σ(d) = σ(−d).

    Args:
        gap: Δ, logits, any shape.
        margin: m, by how much the chosen response ought to win, logits, same shape.

    Raises:
        ValueError: unequal shapes.

    Source: Bradley and Terry 1952; of d: Reward Difference Optimization, arXiv 2408.09385; margin:
        Touvron et al. 2023, arXiv 2307.09288, Eq. 2.

    >>> import torch
    >>> bradley_terry(torch.tensor([0.0]))
    tensor([0.6931])
    """
    require_same_shape(gap=gap, margin=margin)
    return -logsigmoid(gap if margin is None else gap - margin)


def general_gap(first: Tensor, second: Tensor) -> Tensor:
    r"""r₁ − r₂ + v₁ᵀSv₂ of responses read as (r, v), one value per pair, antisymmetric to the bit.

    S turns every plane of two entries of v by 90°: v₁ᵀSv₂ = Σ_k v₁[2k]·v₂[2k+1] − v₁[2k+1]·v₂[2k],
    which no scores explain: it can go round.

    Args:
        first, second: (…, 1 + 2K), r and then v; or (pairs,), r alone.

    Raises:
        ValueError: unequal shapes.

    Source: Zhang et al. 2024, arXiv 2410.02197, with the reward beside it.

    >>> import torch
    >>> a, b = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 0.0, 3.0]])
    >>> general_gap(a, b), general_gap(b, a)
    (tensor([3.5000]), tensor([-3.5000]))
    """
    require_same_shape(first=first, second=second)
    if first.ndim == 1:
        return first - second
    even, odd = slice(1, None, 2), slice(2, None, 2)
    turned = first[..., even] * second[..., odd] - first[..., odd] * second[..., even]
    return first[..., 0] - second[..., 0] + turned.sum(-1)


def duplication(d_same: Tensor, *, kind: Penalty = "square") -> Tensor:
    r"""d(x, y, y)², or |d(x, y, y)|, one value per response read twice.

    A response is not better than itself.

    Args:
        d_same: d(x, y, y), any shape.
        kind: "square", "abs", or "huber": the square up to 1, and 2|d| − 1 beyond, which meets it
            there with the same slope. The paper's text does not say which.

    Raises:
        ValueError: unknown kind.

    Source: Reward Difference Optimization, arXiv 2408.09385, regulariser weighted by λ1.

    >>> import torch
    >>> duplication(torch.tensor([-3.0]))
    tensor([9.])
    """
    if kind == "square":
        return d_same.square()
    if kind == "abs":
        return d_same.abs()
    if kind == "huber":
        return 2 * huber_loss(d_same, torch.zeros_like(d_same), reduction="none")
    raise ValueError(f"kind must be 'square', 'abs' or 'huber', got {kind!r}")


def reverse(d_forward: Tensor, d_backward: Tensor, *, kind: Penalty = "square") -> Tensor:
    r"""(d(x, y1, y2) + d(x, y2, y1))², or its absolute value, one value per pair.

    Swapping the responses ought to swap the sign.

    Args:
        d_forward: d(x, y1, y2), shape (pairs,).
        d_backward: d(x, y2, y1), not oriented: as the model reads it.
        kind: as of `duplication`.

    Raises:
        ValueError: unequal shapes, unknown kind.

    Source: Reward Difference Optimization, arXiv 2408.09385, regulariser weighted by λ2.

    >>> import torch
    >>> reverse(torch.tensor([2.0]), torch.tensor([-2.0]))
    tensor([0.])
    """
    require_same_shape(d_forward=d_forward, d_backward=d_backward)
    return duplication(d_forward + d_backward, kind=kind)
