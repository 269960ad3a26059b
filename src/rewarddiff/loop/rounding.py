"""Rounding to bfloat16 by chance, so that updates smaller than its steps are not lost: pure functions.

bfloat16 has 8 bits of a number, so a weight of 1 has neighbours at 0.996 and 1.008. An update of 1e-5 would be
rounded away each time. Rounded up with the probability of what is cut off, a weight moves seldom, and in the
mean as far as in float32.

Source: Gupta et al. 2015, arXiv 1502.02551, section 3.1; of bfloat16 Zamirai et al. 2020, arXiv 2010.06192.
"""

from __future__ import annotations

import torch
from torch import Tensor

CUT_OFF = 1 << 16
"""bfloat16 is the upper half of float32's 32 bits: so many numbers of float32 have the same upper half."""


def generator(device: torch.device, *of: int) -> torch.Generator:
    """Return a generator whose draws are determined by these numbers: none has to be kept."""
    return torch.Generator(device).manual_seed(hash(of) % 2**63)


def stochastically(exact: Tensor, draw: torch.Generator) -> Tensor:
    """Return float32 numbers in bfloat16, each one of its two neighbours, with the number as the mean.

    What bfloat16 has is returned as it is; so are infinities and NaN.

    Args:
        exact: float32, any shape.
        draw: on the device of `exact`.

    >>> draw = generator(torch.device("cpu"), 0)
    >>> stochastically(torch.tensor([1.0, -0.5, 3.0]), draw).tolist()
    [1.0, -0.5, 3.0]
    """
    noise = torch.randint(
        CUT_OFF, exact.shape, generator=draw, device=exact.device, dtype=torch.int32
    )
    # The lower half is carried over as often as it is large. A sign is a bit of its own, so that a
    # negative number is rounded away from zero in the same way.
    bits = noise.add_(exact.view(torch.int32)).bitwise_and_(-CUT_OFF)
    rounded = bits.view(torch.float32)
    return torch.where(exact.isfinite(), rounded, exact).to(torch.bfloat16)
