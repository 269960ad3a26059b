"""How much of what scores vary by lies between prompts, with its interval over prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import SHARE, floored
from rewarddiff.results import Interval
from rewarddiff.rewards.difficulty import share_between

RESAMPLES = 1000


def interval_between(scores: ArrayLike) -> Interval:
    """Return the share of the variance that lies between prompts, resampling whole prompts.

    Args:
        scores: r, (prompts, k); prompts whose responses were not all scored are left out.

    Returns:
        The share, and the percentiles of resamples. NaN with one response a prompt; ends of NaN with
        one prompt alone, or where nothing varies. Of few prompts they are somewhat narrow: simulated
        with normal scores they hold the share in 87 to 92 % of cases with 24 prompts, in 94 % with 100.
    """
    given = np.asarray(scores, dtype=np.float64)
    complete: Array = given[np.isfinite(given).all(1)]
    value = share_between(complete)
    prompts = len(complete)
    if not np.isfinite(value):
        return Interval.unbounded(value, prompts)
    draws = np.random.default_rng(0)
    shares = []
    for _ in range(RESAMPLES):
        shares.append(share_between(complete[draws.integers(prompts, size=prompts)]))
    # A resample of one prompt alone, many times over, tells no share.
    known = np.array([share for share in shares if np.isfinite(share)])
    return floored(value, known, [value], prompts, groups=prompts, bounds=SHARE)
