"""Policy losses that read by how much the chosen response is better.

h is the policy's difference, as in `pairwise`. The strength Δ is the difference of the pair
oriented by the label, in the unit of the scores: r_w − r_l where scores are given. It is data and
carries no gradient. Where a loss takes Δ of either sign, Δ < 0 says that the scorer disagrees with
the label.
"""

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from rewarddiff.losses.shapes import require, require_same_shape

Divergence = Literal["sq", "bwd", "fwd"]


def odpo(h: Tensor, strength: Tensor, *, beta: float, alpha: float) -> Tensor:
    r"""−log σ(βh − α·log Δ), one value per pair: the chosen one's odds ought to exceed Δ^α.

    Args:
        h: nats, shape (pairs,).
        strength: Δ > 0, same shape; drop ties before.
        beta: β > 0, 1/nats.
        alpha: α ≥ 0; 0 is DPO.

    Raises:
        ValueError: unequal shapes, Δ not positive and finite, or a hyperparameter outside its
            range.

    Source: Amini et al. 2024, arXiv 2402.10571.

    >>> import torch
    >>> odpo(torch.tensor([0.0]), torch.tensor([3.0]), beta=0.1, alpha=1.0)  # −log ¼
    tensor([1.3863])
    """
    _check(h, strength, beta=beta)
    if not bool((strength > 0).all()):
        least = strength.min().item()
        raise ValueError(
            f"strength must be positive, got {least}: drop ties and flip or drop the rest"
        )
    require(alpha >= 0, f"alpha must not be negative, got {alpha}")
    return -logsigmoid(beta * h - alpha * strength.log())


def rpo(h: Tensor, strength: Tensor, *, beta: float, eta: float, kind: Divergence) -> Tensor:
    r"""D(βh, ηΔ), one value per pair: 0 where the policy's difference in rewards is the given one.

    "sq" is (βh − ηΔ)², the form of REBEL. "bwd" is KL(σ(ηΔ) ‖ σ(βh)), from the target to the
    policy: `mmpo` less the entropy of σ(ηΔ). "fwd" is KL(σ(βh) ‖ σ(ηΔ)), from the policy to the
    target. KL is between Bernoullis; the names are the authors'.

    Args:
        h: nats, shape (pairs,).
        strength: Δ of either sign, same shape.
        beta: β > 0, 1/nats; the authors take 0.2.
        eta: η > 0, logits per unit of Δ; the authors take 1.
        kind: "sq", "bwd" or "fwd".

    Raises:
        ValueError: unequal shapes, Δ not finite, a hyperparameter outside its range, unknown kind.

    Source: Sun et al. 2025, arXiv 2502.00203; REBEL: Gao et al. 2024, arXiv 2404.16767.

    >>> import torch
    >>> rpo(torch.tensor([20.0]), torch.tensor([3.0]), beta=0.1, eta=1.0, kind="sq")
    tensor([1.])
    """
    _check(h, strength, beta=beta, eta=eta)
    policy_logit = beta * h
    target_logit = eta * strength
    if kind == "sq":
        return (policy_logit - target_logit).square()
    if kind == "bwd":
        return _bernoulli_kl(target_logit, policy_logit)
    if kind == "fwd":
        return _bernoulli_kl(policy_logit, target_logit)
    raise ValueError(f"kind must be 'sq', 'bwd' or 'fwd', got {kind!r}")


def mmpo(h: Tensor, strength: Tensor, *, beta: float, gamma: float) -> Tensor:
    r"""−p·log σ(βh) − (1−p)·log σ(−βh), p = σ(γΔ), one value per pair: DPO with soft labels.

    Args:
        h: nats, shape (pairs,).
        strength: Δ of either sign, same shape.
        beta: β > 0, 1/nats.
        gamma: γ > 0, logits per unit of Δ.

    Raises:
        ValueError: unequal shapes, Δ not finite, or a hyperparameter outside its range.

    Source: Kim et al. 2024, arXiv 2410.03145.

    >>> import torch
    >>> mmpo(torch.tensor([10.0, 10.0]), torch.tensor([0.0, 9.0]), beta=0.1, gamma=1.0)
    tensor([0.8133, 0.3134])
    """
    _check(h, strength, beta=beta, gamma=gamma)
    logit = beta * h
    target = gamma * strength
    return -target.sigmoid() * logsigmoid(logit) - (-target).sigmoid() * logsigmoid(-logit)


def rdpo(h: Tensor, strength: Tensor, *, beta: float, beta1: float) -> Tensor:
    r"""−log σ(βh − (β/β₁)·Δ), one value per pair: DPO with the tilted reference ρ·e^(r/β₁).

    Args:
        h: nats, shape (pairs,).
        strength: Δ of either sign, same shape.
        beta: β > 0, 1/nats.
        beta1: β₁ > 0, how little the ratings are trusted; ∞ is DPO.

    Raises:
        ValueError: unequal shapes, Δ not finite, or a hyperparameter outside its range.

    Source: Viano et al. 2026, arXiv 2602.00603, as quoted by others: the text at hand had lost its
        formulas.

    >>> import torch
    >>> rdpo(torch.tensor([20.0]), torch.tensor([2.0]), beta=0.1, beta1=0.1)
    tensor([0.6931])
    """
    _check(h, strength, beta=beta, beta1=beta1)
    return -logsigmoid(beta * h - beta / beta1 * strength)


def ml_rdpo(
    h: Tensor, strength: Tensor, *, beta: float, variance: float, beta1: float = math.inf
) -> Tensor:
    r"""−log σ(βh − (β/β₁)·Δ) + (βh − Δ)²/(2V), one value per pair.

    It is the joint likelihood of the label and of its rating. With β₁ = ∞ the label is a Bernoulli
    draw of σ(βh) and Δ an independent normal one of mean βh and variance V: the paper's derivation.
    A finite β₁ tilts the reference as well, as in `rdpo`.

    Args:
        h: nats, shape (pairs,).
        strength: Δ of either sign, same shape, in logits: it is compared with βh itself.
        beta: β > 0, 1/nats.
        variance: V > 0, of the ratings' difference; ∞ is `rdpo`.
        beta1: β₁ > 0.

    Raises:
        ValueError: unequal shapes, Δ not finite, or a hyperparameter outside its range.

    Source: Viano et al. 2026, arXiv 2602.00603, rebuilt: the text at hand had lost its formulas.

    >>> import torch
    >>> ml_rdpo(torch.tensor([0.0]), torch.tensor([2.0]), beta=0.1, variance=2.0)  # ln 2 + 1
    tensor([1.6931])
    """
    _check(h, strength, variance=variance)  # `rdpo` checks the others
    label_loss = rdpo(h, strength, beta=beta, beta1=beta1)
    rating_loss = (beta * h - strength).square() / (2 * variance)
    return label_loss + rating_loss


def _bernoulli_kl(p_logit: Tensor, q_logit: Tensor) -> Tensor:
    """KL(p ‖ q) of the Bernoulli distributions with these logits."""
    of_ones = p_logit.sigmoid() * (logsigmoid(p_logit) - logsigmoid(q_logit))
    of_zeros = (-p_logit).sigmoid() * (logsigmoid(-p_logit) - logsigmoid(-q_logit))
    return of_ones + of_zeros


def _check(h: Tensor, strength: Tensor, **positive: float) -> None:
    """Raise a ValueError unless shapes agree, strengths are finite and the others are positive."""
    require_same_shape(h=h, strength=strength)
    require(bool(strength.isfinite().all()), "strength must be finite")
    for name, value in positive.items():
        require(value > 0, f"{name} must be positive, got {value}")
