"""Weights that depend on the policy in training, and β-DPO's choice of β and of pairs.

All are constants without gradient. Whoever uses a weight multiplies it into the loss, like a
coefficient.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewarddiff.losses.shapes import require, require_same_shape

SMALLEST_BETA = 1e-3
"""The least β that β-DPO's authors let a batch have."""


def wpo(mean_log_weight_chosen: Tensor, mean_log_weight_rejected: Tensor) -> Tensor:
    r"""min(1, e^(m_w + m_l)), m = mean_t[log π(y_t) − log Σ_v π(v)²]; one value per pair.

    Σ_v π(v)² is the mean probability of the policy's own draws, and m compares the response's
    tokens with them: the weight is near 1 on what the policy could have written.

    Args:
        mean_log_weight_chosen: m_w of the chosen response, nats per token, shape (pairs,).
        mean_log_weight_rejected: m_l of the rejected one.

    Raises:
        ValueError: unequal shapes.

    Source: Zhou et al. 2024, arXiv 2406.11827, and its authors' code, which cuts at 1.

    >>> import torch
    >>> wpo(torch.tensor([0.5, -0.5]), torch.tensor([0.5, -0.5]))
    tensor([1.0000, 0.3679])
    """
    require_same_shape(
        mean_log_weight_chosen=mean_log_weight_chosen,
        mean_log_weight_rejected=mean_log_weight_rejected,
    )
    return (mean_log_weight_chosen + mean_log_weight_rejected).detach().clamp(max=0).exp()


def uni_dpo_quality(strength: Tensor, *, eta: float) -> Tensor:
    r"""σ(ηΔ), one value per pair: a tie weighs ½, a clear win 1.

    Args:
        strength: Δ = r_w − r_l, of either sign, shape (pairs,).
        eta: η > 0, logits per unit of Δ.

    Raises:
        ValueError: η not positive.

    Source: Peng et al. 2025, arXiv 2506.10054, and its authors' code.

    >>> import torch
    >>> uni_dpo_quality(torch.tensor([0.0, 3.0]), eta=1.0)
    tensor([0.5000, 0.9526])
    """
    require(eta > 0, f"eta must be positive, got {eta}")
    return (eta * strength.detach()).sigmoid()


def uni_dpo_performance(margin: Tensor, *, gamma: float, tau: float) -> Tensor:
    r"""(1 − σ(m − τ))^γ, one value per pair: what the policy has learned weighs little.

    The authors' code lets gradient through this weight; here it is a constant.

    Args:
        margin: m = β·(p_w − p_l) of mean log-probabilities under the policy alone, in logits, shape
            (pairs,): the authors' code subtracts no reference here.
        gamma: γ ≥ 0; 0 weighs all pairs 1.
        tau: τ, the margin that weighs 2^−γ.

    Raises:
        ValueError: γ negative.

    Source: Peng et al. 2025, arXiv 2506.10054, and its authors' code.

    >>> import torch
    >>> uni_dpo_performance(torch.tensor([0.8, 9.0]), gamma=1.0, tau=0.8)
    tensor([5.0000e-01, 2.7458e-04])
    """
    require(gamma >= 0, f"gamma must not be negative, got {gamma}")
    return (gamma * logsigmoid(tau - margin.detach())).exp()


def dynamic_beta(h: Tensor, *, beta: float, alpha: float, threshold: float) -> Tensor:
    r"""max(10⁻³, β·(1 + α·(mean h − M))), one β for a batch.

    Clear pairs hold the policy nearer to the reference.

    Args:
        h: the policy's difference on the batch's kept pairs (see `gaussian_keep`), nats, shape
            (pairs,).
        beta: β > 0, the one of a batch whose mean is M, 1/nats.
        alpha: α ≥ 0, 1/nats; the authors take 0.6.
        threshold: M, nats: the authors take the running mean of all pairs' h.

    Raises:
        ValueError: no pair, h not finite, or a hyperparameter outside its range.

    Source: Wu et al. 2024, arXiv 2407.08639, and its authors' code.

    >>> import torch
    >>> dynamic_beta(torch.tensor([0.0, 2.0]), beta=0.1, alpha=0.6, threshold=0.5)
    tensor(0.1300)
    """
    is_finite = h.numel() > 0 and bool(h.isfinite().all())
    require(is_finite, "h must hold at least one pair, all finite")
    require(beta > 0, f"beta must be positive, got {beta}")
    require(alpha >= 0, f"alpha must not be negative, got {alpha}")
    lead = h.detach().mean() - threshold
    return (beta * (1 + alpha * lead)).clamp(min=SMALLEST_BETA)


def gaussian_keep(
    h: Tensor, *, mean: float, std: float, keep: float, generator: torch.Generator
) -> Tensor:
    r"""Mask of round(keep·n) pairs, at least one, drawn in proportion to exp(−½((h − μ)/s)²).

    They are drawn without replacement, as the largest of log-weight + Gumbel noise, which no
    underflow of the weights can disturb.

    Args:
        h: the policy's difference on the whole batch, nats, shape (pairs,).
        mean: μ, nats: the authors take the running mean of h.
        std: s > 0, nats: likewise.
        keep: share of pairs to keep, in (0, 1]; the authors take 0.8.
        generator: source of the noise.

    Raises:
        ValueError: h not one row or not finite, or a hyperparameter outside its range.

    Source: Wu et al. 2024, arXiv 2407.08639, and its authors' code; the draw: Efraimidis and
        Spirakis 2006.

    >>> import torch
    >>> h, draw = torch.tensor([0.1, -0.2, 90.0, 0.3]), torch.Generator().manual_seed(0)
    >>> gaussian_keep(h, mean=0.0, std=1.0, keep=0.75, generator=draw)
    tensor([ True,  True, False,  True])
    """
    is_row = h.dim() == 1 and bool(h.isfinite().all())
    require(is_row, "h must be one row of finite values")
    require(std > 0, f"std must be positive, got {std}")
    require(0 < keep <= 1, f"keep must lie in (0, 1], got {keep}")
    noise = torch.empty(len(h), dtype=torch.float64, device=generator.device)
    noise.exponential_(generator=generator)
    log_weights = -0.5 * ((h.detach().to(noise) - mean) / std).square()
    keys = log_weights - noise.log()  # −log of exponential noise is Gumbel noise
    kept_pairs = min(len(h), max(1, round(keep * len(h))))
    mask = torch.zeros_like(noise, dtype=torch.bool)
    mask[keys.topk(kept_pairs).indices] = True
    return mask.to(h.device)
