"""Policy losses on single responses."""

import torch
from torch import Tensor

from rewarddiff.losses.shapes import require_same_shape


def kto(
    log_ratio: Tensor,
    desirable: Tensor,
    *,
    kl: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    r"""w_d·(1 − σ(β(q − z₀))) of a desirable response, w_u·(1 − σ(β(z₀ − q))) of an undesirable
    one, q = log π/ρ.

    One value per response. The weights balance the two classes; a coefficient multiplies the loss
    from outside.

    Args:
        log_ratio: q, summed log-probability under the policy less that under the reference, nats,
            shape (responses,).
        desirable: boolean, same shape.
        kl: z₀ ≥ 0, a scalar from `kl_estimate`; taken without gradient.
        beta: β > 0, 1/nats; the authors take 0.1.
        desirable_weight: w_d ≥ 0.
        undesirable_weight: w_u ≥ 0.

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
    if desirable.dtype != torch.bool:
        raise ValueError(f"desirable must be boolean, got {desirable.dtype}")
    if kl.dim() != 0 or not bool(kl >= 0):
        raise ValueError(f"kl must be one number, 0 or more, got {kl.tolist()}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    if not (desirable_weight >= 0 and undesirable_weight >= 0):
        raise ValueError(
            f"weights must not be negative, got {desirable_weight} and {undesirable_weight}"
        )
    gain = beta * (log_ratio - kl.detach().to(log_ratio))
    return torch.where(
        desirable, desirable_weight * (-gain).sigmoid(), undesirable_weight * gain.sigmoid()
    )


def kl_estimate(mismatched_log_ratio: Tensor) -> Tensor:
    r"""z₀ = max(0, mean of log π(y'|x)/ρ(y'|x)), a scalar without gradient, for `kto`.

    Args:
        mismatched_log_ratio: of prompts x with the response y' of another prompt (the batch's
            responses shifted by one), summed over tokens, nats, shape (responses,). Give it those
            of the whole batch: the mean is cut at 0 once, not once per process.

    Raises:
        ValueError: no value, or one that is not finite.

    Source: Ethayarajh et al. 2024, arXiv 2402.01306.

    >>> import torch
    >>> kl_estimate(torch.tensor([1.0, 2.0])), kl_estimate(torch.tensor([1.0, -2.0]))
    (tensor(1.5000), tensor(0.))
    """
    if mismatched_log_ratio.numel() == 0:
        raise ValueError("z₀ needs at least one mismatched response")
    if not bool(mismatched_log_ratio.isfinite().all()):
        raise ValueError("mismatched_log_ratio must be finite")
    return mismatched_log_ratio.detach().mean().clamp(min=0)


def anchored_nll(policy_mean: Tensor, policy: Tensor, reference: Tensor) -> Tensor:
    r"""−p where log π < log ρ, else 0; one value per response: the likelihood is defended where it
    has fallen.

    It is Uni-DPO's calibrated likelihood of the chosen response. Its authors apply it to responses
    of a high score only: a coefficient of 0 leaves out the others.

    Args:
        policy_mean: p, mean log-probability of the response's tokens under the policy, nats per
            token, shape (responses,).
        policy: log π, the sum, nats, same shape; only compared.
        reference: log ρ, the sum under the reference.

    Raises:
        ValueError: unequal shapes.

    Source: Peng et al. 2025, arXiv 2506.10054, and its authors' code.

    >>> import torch
    >>> anchored_nll(torch.tensor([-2.0, -2.0]), torch.tensor([-8.0, -8.0]), torch.tensor([-7.0, -9.0]))
    tensor([2., 0.])
    """
    require_same_shape(policy_mean=policy_mean, policy=policy, reference=reference)
    return torch.where(policy < reference, -policy_mean, torch.zeros_like(policy_mean))
