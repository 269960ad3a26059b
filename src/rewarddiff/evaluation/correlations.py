"""Rank correlations with intervals: whole prompts are resampled, and seeds, which share them.

A resample is told by how often each prompt is in it. Two scorers measured on the same comparisons
are resampled alike, so that the gap between their correlations has an interval too.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import Bounds, floored
from rewarddiff.evaluation.metrics import spearman
from rewarddiff.results import Interval

CORRELATION: Bounds = (-1.0, 1.0)
GAP: Bounds = (-2.0, 2.0)
"""Bounds of the gap between two correlations."""

BLOCK = 2_000_000
"""Weights held at once: observations times resamples."""


def spearman_interval(
    a: ArrayLike, b: ArrayLike, groups: Sequence[Hashable], *, n: int = 1000
) -> Interval:
    """Return Spearman's ρ, with an interval over groups."""
    value = spearman(a, b)
    if math.isnan(value):
        return Interval.unbounded(value, len(groups))
    resamples = resampled(a, b, groups, n=n)
    return over_seeds([value], [resamples], len(groups), groups=len(set(groups)))


def resampled(a: ArrayLike, b: ArrayLike, groups: Sequence[Hashable], *, n: int = 1000) -> Array:
    """Return Spearman's ρ in n resamples of whole groups, (n,).

    NaN where one of the two is constant; all NaN with fewer than two groups, of whose spread
    nothing is known.
    """
    first = np.asarray(a, dtype=np.float64)
    second = np.asarray(b, dtype=np.float64)
    places: dict[Hashable, int] = {}
    group = np.array([places.setdefault(g, len(places)) for g in groups], dtype=int)
    count = len(places)
    if count < 2:
        return np.full(n, math.nan)
    draws = np.random.default_rng(0)
    block = max(1, BLOCK // first.size)
    correlations = []
    for start in range(0, n, block):
        size = min(block, n - start)
        times_drawn = draws.multinomial(count, np.full(count, 1 / count), size=size)
        weights = times_drawn[:, group].astype(np.float64)
        correlations.append(_pearson(_ranks(first, weights), _ranks(second, weights), weights))
    return np.concatenate(correlations)


def over_seeds(
    values: ArrayLike,
    resamples: ArrayLike,
    size: int,
    *,
    groups: int,
    bounds: Bounds = CORRELATION,
) -> Interval:
    """Return the mean over seeds, with an interval that carries the variance of prompts and seeds.

    The floors are those of `intervals.floored`.

    Args:
        values: of each seed, (seeds,).
        resamples: of the same prompts for each, (seeds, n).
        size: observations behind each value.
        groups: prompts that were resampled.
        bounds: of a value: `CORRELATION`, or `GAP` of the gap between two.
    """
    by_seed = np.asarray(values, dtype=np.float64)
    replicates = np.asarray(resamples, dtype=np.float64)
    seeds, n = replicates.shape
    value = math.nan
    if seeds:
        value = float(by_seed.mean())
    drawn = np.random.default_rng(0).integers(seeds, size=(seeds, n))
    means = np.take_along_axis(replicates, drawn, axis=0).mean(0)
    means = means[np.isfinite(means)]
    if math.isnan(value) or not means.size:
        return Interval.unbounded(value, seeds * size)
    return floored(value, means, by_seed, seeds * size, groups=groups, bounds=bounds)


def _ranks(values: Array, weights: Array) -> Array:
    """Return the ranks of values in every resample, ties at their average.

    Shape (resamples, observations).
    """
    levels, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts: NDArray[np.intp] = np.searchsorted(place[order], np.arange(levels.size))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks: Array = (mass.cumsum(1) - mass / 2)[:, place]
    return ranks


def _pearson(a: Array, b: Array, weights: Array) -> Array:
    """Return the weighted correlation of every row."""
    share = weights / weights.sum(1, keepdims=True)
    a = a - (share * a).sum(1, keepdims=True)
    b = b - (share * b).sum(1, keepdims=True)
    covariance = (share * a * b).sum(1)
    variances = (share * a * a).sum(1) * (share * b * b).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations: Array = covariance / np.sqrt(variances)
    return correlations
