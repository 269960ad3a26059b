"""Likelihood of one response."""

from torch import Tensor

from rewarddiff.losses.shapes import require_same_shape


def sft(logps: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    r"""−Σ_t log P(y_t | x, y_<t), or its mean over the response's tokens; one value per response.

    Args:
        logps: summed log-probability of the response, nats, shape (responses,).
        lengths: tokens in each response, positive, same shape. Given: nats per token. Absent: the
            sum, as in RRHF's L_ft.

    Raises:
        ValueError: unequal shapes, a length below 1.

    Source: Yuan et al. 2023 (RRHF), arXiv 2304.05302.

    >>> import torch
    >>> sft(torch.tensor([-6.0]), lengths=torch.tensor([3]))
    tensor([2.])
    """
    if lengths is None:
        return -logps
    require_same_shape(logps=logps, lengths=lengths)
    if bool((lengths < 1).any()):
        raise ValueError("lengths must be at least 1: an empty response has no mean")
    return -logps / lengths
