"""Policy losses on a chosen and a rejected response, of which only the order is read.

h is the policy's difference: the log-ratio of the chosen response less that of the rejected one
(`pointwise.log_ratio`), in nats.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from rewarddiff.losses.shapes import require, require_same_shape


def dpo(h: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    r"""−(1−ε)·log σ(βh) − ε·log σ(−βh), one value per pair: DPO where ε = 0, cDPO where ε > 0.

    Args:
        h: nats, shape (pairs,).
        beta: β > 0, strength of the pull to the reference, 1/nats.
        label_smoothing: ε in [0, 0.5), how likely a label is believed to be wrong.

    Raises:
        ValueError: a hyperparameter outside its range.

    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7; label smoothing: Mitchell 2023, "A note
    on DPO with noisy preferences".

    >>> import torch
    >>> dpo(torch.tensor([0.0, 20.0]), beta=0.1)
    tensor([0.6931, 0.1269])
    """
    require(beta > 0, f"beta must be positive, got {beta}")
    require(
        0 <= label_smoothing < 0.5, f"label_smoothing must lie in [0, 0.5), got {label_smoothing}"
    )
    logits = beta * h
    if label_smoothing == 0:
        return -logsigmoid(logits)
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def robust(h: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    r"""[−(1−ε)·log σ(βh) + ε·log σ(−βh)] / (1−2ε), one value per pair: rDPO.

    Over labels flipped with probability ε its mean is the DPO loss of the true label. It is
    unbounded below in h.

    Args:
        h: nats, shape (pairs,).
        beta: β > 0, 1/nats.
        label_smoothing: ε in [0, 0.5), the share of flipped labels.

    Raises:
        ValueError: a hyperparameter outside its range.

    Source: Chowdhury et al. 2024, arXiv 2403.00409.

    >>> import torch
    >>> robust(torch.tensor([0.0]), beta=0.1, label_smoothing=0.2)
    tensor([0.6931])
    """
    loss_of_true_labels = dpo(h, beta=beta)
    require(
        0 <= label_smoothing < 0.5, f"label_smoothing must lie in [0, 0.5), got {label_smoothing}"
    )
    # log σ(−z) = log σ(z) − z, which leaves −log σ(z) − z·ε/(1−2ε) of the fraction.
    return loss_of_true_labels - label_smoothing / (1 - 2 * label_smoothing) * (beta * h)


def ipo(h: Tensor, *, tau: float) -> Tensor:
    r"""(h − 1/(2τ))², one value per pair.

    Args:
        h: nats per token, shape (pairs,): the authors advise to divide each log-ratio by the
            response's tokens.
        tau: τ > 0, strength of the pull to the reference.

    Raises:
        ValueError: τ not positive.

    Source: Azar et al. 2023, arXiv 2310.12036, Eq. 17.

    >>> import torch
    >>> ipo(torch.tensor([3.0]), tau=0.1)  # 1/(2τ) = 5
    tensor([4.])
    """
    require(tau > 0, f"tau must be positive, got {tau}")
    return (h - 1 / (2 * tau)).square()


def simpo(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float) -> Tensor:
    r"""−log σ(β·p_w − β·p_l − γ), one value per pair.

    Args:
        chosen: p_w, mean log-probability of the chosen response's tokens, nats per token, shape
            (pairs,).
        rejected: p_l, the same of the rejected response.
        beta: β > 0; the authors take 2 to 2.5, larger than DPO's as p is a mean.
        gamma: γ ≥ 0, the margin itself, in logits. The authors set the ratio γ/β: 0.55 at β = 2.5
            is γ = 1.375.

    Raises:
        ValueError: unequal shapes, or a hyperparameter outside its range.

    Source: Meng et al. 2024, arXiv 2405.14734.

    >>> import torch
    >>> simpo(torch.tensor([-1.0]), torch.tensor([-1.0]), beta=2.5, gamma=0.0)
    tensor([0.6931])
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    require(beta > 0, f"beta must be positive, got {beta}")
    require(gamma >= 0, f"gamma must not be negative, got {gamma}")
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def orpo(chosen: Tensor, rejected: Tensor, *, weight: float) -> Tensor:
    r"""−p_w − λ·log σ(log odds_w − log odds_l), odds = e^p / (1 − e^p); one value per pair.

    Odds are infinite at p = 0: from minus one rounding unit upwards they are held, without
    gradient.

    Args:
        chosen: p_w, mean log-probability of the chosen response's tokens, nats per token, shape
            (pairs,).
        rejected: p_l, the same of the rejected response.
        weight: λ ≥ 0 of the odds ratio; the authors take 0.1.

    Raises:
        ValueError: unequal shapes, λ negative.

    Source: Hong et al. 2024, arXiv 2403.07691, Eqs. 4 and 7.

    >>> import torch
    >>> half = torch.tensor([0.5]).log()
    >>> orpo(half, half, weight=1.0)  # equal odds: ln 2 + ln 2
    tensor([1.3863])
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    require(weight >= 0, f"weight must not be negative, got {weight}")
    return -chosen - weight * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _log_odds(logp: Tensor) -> Tensor:
    """log(p / (1 − p)) of log p ≤ 0, in the place of which stands at most −eps."""
    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    # log(1 − p) by the branch that keeps its digits (Mächler 2012)
    log_rest = torch.where(logp > -0.6931, (-logp.expm1()).log(), (-logp.exp()).log1p())
    return logp - log_rest


def hinge(chosen: Tensor, rejected: Tensor, *, margin: float = 0.0) -> Tensor:
    r"""max(0, δ − chosen + rejected), one value per pair.

    On mean log-probabilities with δ = 0 it is RRHF's rank term, summed there over all pairs of a
    prompt's responses of which one is better; on summed ones with δ > 0 the first term of `slic`.

    Args:
        chosen: log-probability of the chosen response, sum or mean, nats, shape (pairs,).
        rejected: the same of the rejected response.
        margin: δ ≥ 0, how far the chosen one ought to lead, in their unit.

    Raises:
        ValueError: unequal shapes, δ negative.

    Source: Yuan et al. 2023 (RRHF), arXiv 2304.05302; Zhao et al. 2023 (SLiC-HF), arXiv 2305.10425.

    >>> import torch
    >>> hinge(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0]))
    tensor([0., 1.])
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    require(margin >= 0, f"margin must not be negative, got {margin}")
    return relu(margin - chosen + rejected)


def slic(chosen: Tensor, rejected: Tensor, *, delta: float, weight: float) -> Tensor:
    r"""max(0, δ − log π_w + log π_l) − λ·log π_w, one value per pair.

    The authors' likelihood is that of the response of supervised fine-tuning; here it is the
    chosen one.

    Args:
        chosen: log π_w, summed log-probability of the chosen response, nats, shape (pairs,).
        rejected: log π_l, the same of the rejected response.
        delta: δ ≥ 0, how far the chosen response ought to lead, nats.
        weight: λ ≥ 0 of the likelihood, which keeps the policy near supervised fine-tuning.

    Raises:
        ValueError: unequal shapes, or a hyperparameter outside its range.

    Source: Zhao et al. 2023, arXiv 2305.10425.

    >>> import torch
    >>> slic(torch.tensor([-3.0]), torch.tensor([-2.5]), delta=1.0, weight=0.5)
    tensor([3.])
    """
    require(weight >= 0, f"weight must not be negative, got {weight}")
    return hinge(chosen, rejected, margin=delta) - weight * chosen
