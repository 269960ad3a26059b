"""Rank correlations with intervals: whole prompts are resampled, and seeds, which share them.

A resample is told by how often each prompt is in it. Two scorers measured on the same comparisons
are resampled alike by the same seed, so that the gap between their correlations has an interval
too.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarddiff.evaluation.metrics import Array, Interval, floored, spearman

CORRELATION = (-1.0, 1.0)
GAP = (-2.0, 2.0)
"""Bounds of a correlation, and of the gap between two."""

BLOCK = 2_000_000
"""Weights held at once: observations times resamples."""


def resampled(
    a: ArrayLike, b: ArrayLike, groups: Sequence[Hashable], *, n: int = 1000, seed: int = 0
) -> Array:
    """Spearman's ρ in n resamples of whole groups, (n,).

    NaN where one of the two is constant; all NaN with fewer than two groups, of whose spread
    nothing is known.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    places: dict[Hashable, int] = {}
    group = np.array([places.setdefault(g, len(places)) for g in groups], dtype=int)
    count = len(places)
    if count < 2:
        return np.full(n, math.nan)
    draws, block = np.random.default_rng(seed), max(1, BLOCK // first.size)
    found = []
    for start in range(0, n, block):
        often = draws.multinomial(count, np.full(count, 1 / count), size=min(block, n - start))
        weights = often[:, group].astype(np.float64)
        found.append(_weighted(_ranks(first, weights), _ranks(second, weights), weights))
    return np.concatenate(found)


def _ranks(values: Array, weights: Array) -> Array:
    """Ranks of the values in every resample, ties at their average, (resamples, observations)."""
    levels, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts: NDArray[np.intp] = np.searchsorted(place[order], np.arange(levels.size))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: Array = (mass.cumsum(1) - mass / 2)[:, place]
    return ranks


def _weighted(a: Array, b: Array, weights: Array) -> Array:
    """Pearson's correlation of every row."""
    share = weights / weights.sum(1, keepdims=True)
    a, b = (values - (share * values).sum(1, keepdims=True) for values in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (share * a * b).sum(1) / np.sqrt(
            (share * a * a).sum(1) * (share * b * b).sum(1)
        )
    return found


def over_seeds(
    values: ArrayLike,
    resamples: ArrayLike,
    size: int,
    *,
    groups: int | None = None,
    bounds: tuple[float, float] = CORRELATION,
    level: float = 0.95,
) -> Interval:
    """The mean over seeds, with an interval that carries the variance of prompts and of seeds.

    The floors are those of `metrics.floored`.

    Args:
        values: of each seed, (seeds,). resamples: of the same prompts for each, (seeds, n).
        size: observations behind each value.
        groups: prompts that were resampled; None: each observation was one.
        bounds: the least and the largest that a value can be: `CORRELATION`, or `GAP` of the gap
            between two.
    """
    known, replicates = (
        np.asarray(values, dtype=np.float64),
        np.asarray(resamples, dtype=np.float64),
    )
    seeds, n = replicates.shape
    value = float(known.mean()) if seeds else math.nan
    drawn = np.random.default_rng(0).integers(seeds, size=(seeds, n))
    means = np.take_along_axis(replicates, drawn, axis=0).mean(0)
    means = means[np.isfinite(means)]
    if math.isnan(value) or not means.size:
        return Interval(value, math.nan, math.nan, seeds * size)
    count = size if groups is None else groups
    return floored(value, means, known, seeds * size, groups=count, bounds=bounds, level=level)


def spearman_interval(
    a: ArrayLike, b: ArrayLike, groups: Sequence[Hashable], *, n: int = 1000
) -> Interval:
    """Spearman's ρ, with an interval over groups."""
    value = spearman(a, b)
    if math.isnan(value):
        return Interval(value, math.nan, math.nan, len(groups))
    return over_seeds([value], [resampled(a, b, groups, n=n)], len(groups), groups=len(set(groups)))
