"""How hard prompts are: what responses to each are worth, and how much they differ. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.differences import Array
from rewarddiff.rewards.relative import statistic


@dataclass(frozen=True, eq=False)
class Difficulty:
    """What k responses to each prompt say of it.

    Attributes:
        means: of r, (prompts,); NaN where no response was scored. The lowest are the hardest.
        medians: of r, (prompts,), likewise. maxima: the largest r.
        spreads: standard deviation of r within a prompt with n − 1, (prompts,); NaN of fewer than
            two scored responses.
        between: share of the variance of r that lies between prompts. NaN with one response per
            prompt.
    """

    means: Array
    medians: Array
    maxima: Array
    spreads: Array
    between: float


def difficulty(scores: ArrayLike) -> Difficulty:
    """Return what the scores of k responses to each prompt say of it.

    Args:
        scores: r, (prompts, k); what is not finite was not scored, and is left out.

    Raises:
        ValueError: another shape.

    >>> difficulty([[1.0, 3.0], [6.0, 6.0]]).spreads
    array([1.41421356, 0.        ])
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError(f"scores must be (prompts, k), got shape {given.shape}")
    given = np.where(np.isfinite(given), given, np.nan)
    return Difficulty(
        means=statistic(given, "mean"),
        medians=statistic(given, "median"),
        maxima=statistic(given, "max"),
        spreads=_spreads(given),
        between=share_between(given[np.isfinite(given).all(1)]),
    )


def _spreads(scores: Array) -> Array:
    counts = np.isfinite(scores).sum(1)
    centred = scores - statistic(scores, "mean")[:, None]
    squares = np.nansum(np.square(centred), axis=1)
    spreads = np.full(len(scores), np.nan)
    np.divide(squares, counts - 1, out=spreads, where=counts > 1)
    return np.asarray(np.sqrt(spreads))


def share_between(scores: Array) -> float:
    """Return the intraclass correlation of prompts whose k responses were all scored.

    Source: Shrout and Fleiss 1979, Psychological Bulletin 86, ICC(1, 1). An estimate below 0 is 0.
    """
    prompts, k = scores.shape
    if prompts < 2 or k < 2:
        return math.nan
    of_prompts = k * float(scores.mean(1).var(ddof=1))
    within = float(scores.var(1, ddof=1).mean())
    total = of_prompts + (k - 1) * within
    return max((of_prompts - within) / total, 0.0) if total > 0 else math.nan


def variance_left(between: float, k: int) -> float:
    """Return what is left of the variance of r where the mean of k stored responses is taken off.

    (1 − ρ)(1 + 1/k): what lies between prompts is gone, what lies within comes once more, divided
    by k. More than 1, so that the baseline adds noise, where ρ is below 1/(k + 1).

    Args:
        between: ρ, the share of the variance that lies between prompts.

    >>> variance_left(0.25, 3)
    1.0
    """
    return (1 - between) * (1 + 1 / k)
