"""Several heads on one body: which numbers are whose, and what trains each of them.

The heads are rows of one linear layer, so that one reading serves them all.
"""

from __future__ import annotations

import math
from itertools import accumulate

from torch import Tensor

from rewarddiff.hashing import uniform
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.config import ScorerConfig

POISSON = tuple(accumulate(math.exp(-1) / math.factorial(k) for k in range(20)))
"""P(k or fewer) of a Poisson variable of mean 1."""


def cut(values: Tensor, width: int) -> Tensor:
    """Cut what a layer gives by heads, into (readings, heads, width).

    Args:
        values: (readings,) or (readings, heads · width).
    """
    return values.reshape(len(values), -1, width)


def resampled(seed: int, group: str, comparison: Comparison, head: int) -> int:
    """Return how often a comparison stands in a head's resample: Poisson of mean 1.

    It is the same whenever and wherever asked.

    Source: Oza and Russell 2001, online bagging: how often one of n is among n draws with
    replacement, as n grows.
    """
    text = f"{seed}/{group}/{comparison.chosen}/{comparison.rejected}/head {head}"
    drawn = uniform(text)
    return sum(drawn >= share for share in POISSON)


def shares(
    config: ScorerConfig, group: Group, comparison: Comparison, *, seed: int | None
) -> tuple[float, ...]:
    """Return what a comparison counts in each head's part of the loss.

    With aspects it counts in that of its own alone.

    Args:
        seed: of the resamples; None: no head has one, as on data that is not trained on.
    """
    if config.aspects:
        return tuple(float(name == group.subset) for name in config.aspects)
    if config.heads == 1 or seed is None:
        return config.head_weights
    weighed = []
    for head, weight in enumerate(config.head_weights):
        weighed.append(weight * resampled(seed, group.id, comparison, head))
    return tuple(weighed)
