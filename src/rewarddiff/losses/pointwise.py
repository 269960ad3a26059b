"""Quantities and losses of single responses."""

import torch
from torch import Tensor

from rewarddiff.losses.shapes import require, require_same_shape


def log_ratio(policy: Tensor, reference: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    r"""log π(y|x)/ρ(y|x), or its mean over the response's tokens; one value per response.

    The losses of pairs read h, the log-ratio of the chosen response less that of the rejected one.

    Args:
        policy: log π, summed log-probability under the policy, nats, shape (responses,).
        reference: log ρ, the same under the reference; data, without gradient.
        lengths: tokens of each response, same shape. Given: nats per token.

    Raises:
        ValueError: unequal shapes.

    Source: Rafailov et al. 2023, arXiv 2305.18290, section 4; per token: Meng et al. 2024, arXiv
        2405.14734, table 3 (LN-DPO).

    >>> import torch
    >>> log_ratio(torch.tensor([-10.0]), torch.tensor([-12.0]))
    tensor([2.])
    """
    require_same_shape(policy=policy, reference=reference, lengths=lengths)
    ratio = policy - reference
    return ratio if lengths is None else ratio / lengths


def nll(logp: Tensor) -> Tensor:
    r"""−log π(y|x), one value per response (or token): supervised fine-tuning, RRHF's L_ft.

    Args:
        logp: log-probability of each response, nats, or its mean in nats per token; any shape.

    Source: Yuan et al. 2023 (RRHF), arXiv 2304.05302.

    >>> import torch
    >>> nll(torch.tensor([-6.0]))
    tensor([6.])
    """
    return -logp


def anchored_nll(logp: Tensor, policy: Tensor, reference: Tensor) -> Tensor:
    r"""−log π(y|x) where log π < log ρ, else 0; one value per response.

    The likelihood is defended where it has fallen: Uni-DPO's calibrated likelihood of the chosen
    response. Its authors apply it to responses of a high score only.

    Args:
        logp: log-probability of each response, nats, or its mean in nats per token, shape
            (responses,).
        policy: log π, the sum, nats, same shape; only compared.
        reference: log ρ, the sum under the reference.

    Raises:
        ValueError: unequal shapes.

    Source: Peng et al. 2025, arXiv 2506.10054, and its authors' code.

    >>> import torch
    >>> logp, reference = torch.tensor([-2.0, -2.0]), torch.tensor([-7.0, -9.0])
    >>> anchored_nll(logp, torch.tensor([-8.0, -8.0]), reference)
    tensor([2., 0.])
    """
    require_same_shape(logp=logp, policy=policy, reference=reference)
    return torch.where(policy < reference, nll(logp), torch.zeros_like(logp))


def kto(
    log_ratio: Tensor,
    desirable: Tensor,
    *,
    kl: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    r"""w·(1 − σ(±β(q − z₀))), q = log π/ρ, + for a desirable response, − for an undesirable one.

    One value per response. The weights w balance the two classes; a coefficient multiplies the
    loss from outside.

    Args:
        log_ratio: q, from `log_ratio`, nats, shape (responses,).
        desirable: boolean, same shape.
        kl: z₀ ≥ 0, a scalar from `kl_estimate`; taken without gradient.
        beta: β > 0, 1/nats; the authors take 0.1.
        desirable_weight: w ≥ 0 of desirable responses.
        undesirable_weight: w ≥ 0 of undesirable ones.

    Raises:
        ValueError: unequal shapes, labels that are not boolean, z₀ not a scalar or negative, or a
            hyperparameter outside its range.

    Source: Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 7.

    >>> import torch
    >>> labels = torch.tensor([True, False])
    >>> kto(torch.tensor([20.0, 20.0]), labels, kl=torch.tensor(20.0), beta=0.1)
    tensor([0.5000, 0.5000])
    """
    require_same_shape(log_ratio=log_ratio, desirable=desirable)
    require(desirable.dtype == torch.bool, f"desirable must be boolean, got {desirable.dtype}")
    if kl.dim() != 0 or not bool(kl >= 0):
        raise ValueError(f"kl must be one number, 0 or more, got {kl.tolist()}")
    require(beta > 0, f"beta must be positive, got {beta}")
    require(
        desirable_weight >= 0 and undesirable_weight >= 0,
        f"weights must not be negative, got {desirable_weight} and {undesirable_weight}",
    )
    gain = beta * (log_ratio - kl.detach().to(log_ratio))
    losses_if_desirable = desirable_weight * (-gain).sigmoid()
    losses_if_undesirable = undesirable_weight * gain.sigmoid()
    return torch.where(desirable, losses_if_desirable, losses_if_undesirable)


def kl_estimate(mismatched_log_ratio: Tensor) -> Tensor:
    r"""z₀ = max(0, mean of log π(y'|x)/ρ(y'|x)), a scalar without gradient, for `kto`.

    Args:
        mismatched_log_ratio: `log_ratio` of prompts x with the response y' to another prompt,
            nats, shape (responses,). Give it those of the whole batch: the mean is cut at 0 once,
            not once per process.

    Raises:
        ValueError: no value, or one that is not finite.

    Source: Ethayarajh et al. 2024, arXiv 2402.01306.

    >>> import torch
    >>> kl_estimate(torch.tensor([1.0, 2.0])), kl_estimate(torch.tensor([1.0, -2.0]))
    (tensor(1.5000), tensor(0.))
    """
    require(mismatched_log_ratio.numel() > 0, "z₀ needs at least one mismatched response")
    is_finite = bool(mismatched_log_ratio.isfinite().all())
    require(is_finite, "mismatched_log_ratio must be finite")
    return mismatched_log_ratio.detach().mean().clamp(min=0)
