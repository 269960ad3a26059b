"""The one place where losses meet coefficients."""

from torch import Tensor

from rewarddiff.losses.shapes import require, require_same_shape


def weighted_sum(losses: Tensor, coefficients: Tensor, *, signed: bool = False) -> Tensor:
    r"""Σ_i c_i·l_i, a scalar.

    It is a sum, so that micro-batches and processes add up. The caller divides by the global count
    of comparisons, never by Σ c: a constant coefficient would have no effect, and small ones would
    be blown up. Coefficients are constants, detached and taken to the type and device of the
    losses: all-ones gives the unweighted sum to the bit.

    Args:
        losses: one value per comparison, any shape.
        coefficients: one per loss, same shape, non-negative and finite.
        signed: let negative coefficients through; the loss is then unbounded below.

    Raises:
        ValueError: unequal shapes; a coefficient that is negative (unless `signed`) or not finite.

    >>> import torch
    >>> weighted_sum(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0]))
    tensor(6.5000)
    """
    require_same_shape(losses=losses, coefficients=coefficients)
    is_usable = coefficients.isfinite()
    if not signed:
        is_usable = is_usable & (coefficients >= 0)
    if not bool(is_usable.all()):  # asked once: a device is waited for
        require(bool(coefficients.isfinite().all()), "coefficients must be finite")
        raise ValueError(f"coefficients must be non-negative, got {coefficients.min().item()}")
    return (losses * coefficients.detach().to(losses)).sum()
