"""Losses as equations: pure functions of tensors, one value per comparison.

They neither reduce nor weigh: only `reduce.weighted_sum` multiplies losses by coefficients and
sums them, and `online.aggregated` sums losses of tokens. The functions of `weights` give constants
to multiply into a loss.
"""

from rewarddiff.losses import (
    correlation,
    grading,
    listwise,
    online,
    pairwise,
    pointwise,
    reduce,
    scoring,
    strength,
    weights,
)

__all__ = [
    "correlation",
    "grading",
    "listwise",
    "online",
    "pairwise",
    "pointwise",
    "reduce",
    "scoring",
    "strength",
    "weights",
]
