"""Which precision trains faster on this machine, by a short measurement of products."""

from __future__ import annotations

import logging
from functools import cache
from typing import Literal

import torch

from rewarddiff.devices import matmul_rate
from rewarddiff.processes import once
from rewarddiff.writing import figure

logger = logging.getLogger(__name__)

Precision = Literal["bf16", "fp32"]

SECONDS = 0.1
"""How long products are timed in either precision: one takes 13 ms at 160 GFLOP/s."""
GAIN = 1.3
"""So many times as fast bf16's products have to be. Half of a step is no product."""


def faster_precision() -> Precision:
    """Return the precision that is to be expected to train faster, and say why, once."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return once(_measured)


@cache
def _measured() -> Precision:
    in_bf16 = matmul_rate(torch.bfloat16, "cpu", seconds=SECONDS)
    gain = in_bf16 / matmul_rate(torch.float32, "cpu", seconds=SECONDS)
    chosen: Precision = "bf16" if gain >= GAIN else "fp32"
    logger.info(
        "precision: auto is %s here: products in bf16 are %s times as fast as in fp32",
        chosen,
        figure(gain, ".2g"),
    )
    return chosen
