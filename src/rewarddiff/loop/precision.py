"""Which precision trains faster on this machine, by a short measurement of products."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Literal

import torch

from rewarddiff.processes import once
from rewarddiff.writing import figure

logger = logging.getLogger(__name__)

Precision = Literal["bf16", "fp32"]

SIZE = 1024
"""Rows and columns of the matrices that are multiplied: 13 ms at 160 GFLOP/s."""
REPEATS = 5
GAIN = 1.3
"""So many times as fast bf16's products have to be. Half of a step is no product."""


def faster_precision() -> Precision:
    """Return the precision that is to be expected to train faster, and say why, once."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return once(_measured)


@cache
def _measured() -> Precision:
    gain = _seconds(torch.float32) / _seconds(torch.bfloat16)
    chosen: Precision = "bf16" if gain >= GAIN else "fp32"
    logger.info(
        "precision: auto is %s here: products in bf16 are %s times as fast as in fp32",
        chosen,
        figure(gain, ".2g"),
    )
    return chosen


def _seconds(dtype: torch.dtype) -> float:
    """Return the least time of a product."""
    matrix = torch.ones(SIZE, SIZE, dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return min(seconds)
