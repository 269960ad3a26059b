"""Several heads on one body: which numbers are whose, what trains each of them, and what they say
together.

The heads are rows of one linear layer, so that one reading serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rewarddiff.losses.scoring import general_gap
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.config import ScorerConfig

Array = NDArray[np.float64]

POISSON = tuple(accumulate(math.exp(-1) / math.factorial(k) for k in range(20)))
"""P(k or fewer) of a Poisson variable of mean 1."""


def cut(values: Tensor, width: int) -> Tensor:
    """What a layer gives, (readings,) or (readings, heads · width) → (readings, heads, width)."""
    return values.reshape(len(values), -1, width)


def gaps(first: Tensor, second: Tensor, width: int) -> Tensor:
    """Of responses that were read by themselves, as `cut` takes them: every head's difference,
    (pairs, heads)."""
    return general_gap(cut(first, width), cut(second, width))


def combined(values: Array, weights: Sequence[float]) -> Array:
    """Σ_j w_j·d_j over the last axis: what a scorer says.

    >>> combined(np.array([[1.0, 4.0]]), (0.5, 0.25))
    array([1.5])
    """
    return np.asarray((values * np.asarray(weights)).sum(-1), dtype=np.float64)


def spread(values: Array) -> Array:
    """Standard deviation over the heads, the last axis, with n − 1.

    >>> spread(np.array([[1.0, 3.0], [2.0, 2.0]]))
    array([1.41421356, 0.        ])
    """
    return np.asarray(values.std(-1, ddof=1), dtype=np.float64)


def resampled(seed: int, group: str, comparison: Comparison, head: int) -> int:
    """How often a comparison stands in a head's resample: Poisson of mean 1, the same whenever and
    wherever asked.

    Source: Oza and Russell 2001, online bagging: how often one of n is among n draws with
    replacement, as n grows.
    """
    text = f"{seed}/{group}/{comparison.chosen}/{comparison.rejected}/head {head}"
    draw = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    return sum(draw >= share for share in POISSON)


def shares(
    config: ScorerConfig, group: Group, comparison: Comparison, *, seed: int | None
) -> tuple[float, ...]:
    """What a comparison counts in each head's part of the loss; of aspects all in that of its own.

    Args:
        seed: of the resamples; None: no head has one, as on data that is not trained on.
    """
    if config.aspects:
        return tuple(float(name == group.subset) for name in config.aspects)
    even = config.head_weights
    if config.heads == 1 or seed is None:
        return even
    return tuple(w * resampled(seed, group.id, comparison, head) for head, w in enumerate(even))
