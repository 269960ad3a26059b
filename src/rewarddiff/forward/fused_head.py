"""Log-probabilities without logits: the fused kernel of liger-kernel, where it is installed.

It computes what `logprobs` does chunk by chunk, by one kernel a chunk that reads logits and writes
their gradient in their place. With `reduction="none"` it gives one value a token, and takes one
gradient a token in the backward pass, where it computes the logits again as we do. Releases that
cannot (the gradient was once made before the tokens' weights were known) are found by trying.

Source: Hsu et al. 2024, "Liger Kernel", arXiv 2410.10989; its
`LigerFusedLinearCrossEntropyFunction` of release 0.8.5 was read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

LIMIT = 3e-2
"""How far its gradients may be from ours, of their size: they are in the weights' precision."""


def logps(states: Tensor, weight: Tensor, targets: Tensor, softcap: float | None = None) -> Tensor:
    """Return log π of the targets, nats, float32 (tokens,).

    Args:
        states: (tokens, hidden).
        weight: (vocabulary, hidden).
    """
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    losses: Tensor = liger_fused_linear_cross_entropy(
        states, weight, targets, reduction="none", softcap=softcap
    )
    return -losses


@cache
def works(device: str, dtype: torch.dtype, weight_dtype: torch.dtype) -> bool:
    """Tell whether the kernel is here and right: it is tried once, values and gradients."""
    if device != "cuda" or find_spec("liger_kernel") is None:
        return False
    try:
        # In a thread of its own: hooks of a checkpoint are a thread's.
        with ThreadPoolExecutor(1) as thread:
            error = thread.submit(_error, device, dtype, weight_dtype).result()
    except Exception as failure:  # whatever foreign kernels raise means: they cannot
        first_line, *_ = [*str(failure).splitlines(), ""]
        cause = f"{type(failure).__name__}: {first_line}"
    else:
        if error < LIMIT:
            return True
        cause = f"its numbers differ by {error:.1e}"
    logger.warning("liger-kernel is not used for log-probabilities (%s)", cause)
    return False


def _error(device: str, dtype: torch.dtype, weight_dtype: torch.dtype) -> float:
    """Return how far it is from torch in float32: of values and gradients, the largest."""
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(200, 128, generator=draw)
    weight = torch.randn(1000, 128, generator=draw)
    targets = torch.randint(1000, (200,), generator=draw)
    weights = torch.randn(200, generator=draw)

    def run(
        kernel: Callable[..., Tensor], place: str, dtypes: tuple[torch.dtype, torch.dtype]
    ) -> list[Tensor]:
        inputs = []
        for tensor, precision in zip((states, weight), dtypes, strict=True):
            inputs.append(tensor.to(place, precision).requires_grad_())
        values = kernel(*inputs, targets.to(place))
        gradients = torch.autograd.grad(values, inputs, weights.to(values))
        return [tensor.detach().double().cpu() for tensor in (values, *gradients)]

    with torch.autocast(device, dtype, enabled=dtype != weight_dtype):
        ours = run(logps, device, (dtype, weight_dtype))
    theirs = run(_plain, "cpu", (torch.float32, torch.float32))
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True))


def _plain(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(states @ weight.T, targets, reduction="none")
