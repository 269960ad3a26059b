"""Figures on differences and rewards; NaN where there is no data.

`d` is a difference oriented by the label (`antisymmetry` takes it as read): positive where the
scorer agrees, in logits (nats of log-odds). NaN raises ValueError: it compares as wrong and would
pass for a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from rewarddiff.evaluation.arrays import Array, finite, mean, paired
from rewarddiff.evaluation.intervals import wilson
from rewarddiff.results import Antisymmetry, Bin

TEMPERATURE_BOUNDS = (1e-2, 1e2)
"""Where a temperature is looked for, in units of the mean |d|."""

PAPER_BINS = (0.0, 1.0, 2.0, 3.0, math.inf)
"""Edges of |d| in Reward Difference Optimization, arXiv 2408.09385, Table 15."""

ENOUGH = 20
"""Comparisons that each of those bins must hold to be used."""

ECE_BINS = 10


def correct(d: Array) -> Array:
    """Return 1 where the scorer agrees, ½ where it does not decide, else 0."""
    return np.asarray(0.5 * (1.0 + np.sign(d)), dtype=np.float64)


def accuracy(d: ArrayLike) -> float:
    """Return the share of d > 0; d = 0 counts a half.

    >>> accuracy([2.0, 1.0, 0.0, -1.0])
    0.625
    """
    return mean(correct(finite(d)))


def bin_edges(d: ArrayLike) -> tuple[float, ...]:
    """Return edges of |d|: the paper's where each of its bins has `ENOUGH`, else the quartiles.

    Quartiles are rounded to two digits, so that a printed edge is the edge. Each bin holds
    something: where many |d| are equal there are fewer bins.

    >>> bin_edges([0.01, -0.02, 0.031, 0.04])
    (0.0, 0.018, 0.026, 0.033, inf)
    """
    sizes = np.abs(finite(d))
    counts, _ = np.histogram(sizes, PAPER_BINS)
    if not sizes.size or counts.min() >= ENOUGH:
        return PAPER_BINS
    edges = [0.0]
    for quartile in np.quantile(sizes, (0.25, 0.5, 0.75)):
        edge = float(f"{quartile:.1e}")  # two significant digits
        is_in_bin_below = (sizes >= edges[-1]) & (sizes < edge)
        leaves_some_above = (sizes >= edge).any()
        if is_in_bin_below.any() and leaves_some_above:
            edges.append(edge)
    return (*edges, math.inf)


def accuracy_by_bin(d: ArrayLike, edges: Sequence[float] = PAPER_BINS) -> tuple[Bin, ...]:
    """Return accuracy by |d|: does a larger difference deserve more trust?

    Source: Reward Difference Optimization, arXiv 2408.09385, Table 15.
    """
    values = finite(d)
    return share_by_bin(np.abs(values), correct(values), edges)


def share_by_bin(x: ArrayLike, hits: ArrayLike, edges: Sequence[float]) -> tuple[Bin, ...]:
    """Return the mean of hits, with Wilson intervals, where x falls between consecutive edges.

    Args:
        x: what to sort by, shape (n,).
        hits: 0, ½ or 1, same shape.
        edges: rising; bins are closed below and open above, the last one closed.
    """
    x, hits = paired(x, hits)
    bins = []
    for low, high in pairwise(edges):
        inside = (x >= low) & (x < high)
        if high == edges[-1]:
            inside |= x == high
        share = wilson(float(hits[inside].sum()), int(inside.sum()))
        bins.append(Bin(float(low), float(high), share))
    return tuple(bins)


def auroc(x: ArrayLike, positive: ArrayLike) -> float:
    """Return the probability that a positive has a larger x than a negative; equal counts a half.

    NaN without either. x may be infinite.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982.

    >>> auroc([3.0, 1.0, 2.0], [True, True, False])
    0.5
    """
    values = np.asarray(x, dtype=np.float64)
    is_positive = np.asarray(positive, dtype=bool)
    if values.shape != is_positive.shape:
        raise ValueError(f"shapes differ: {values.shape} and {is_positive.shape}")
    if np.isnan(values).any():
        raise ValueError("a value is NaN")
    positives = int(is_positive.sum())
    negatives = int((~is_positive).sum())
    if not positives or not negatives:
        return math.nan
    rank_sum = float(stats.rankdata(values)[is_positive].sum())
    # Mann and Whitney's U over the number of pairs.
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def negative_log_likelihood(d: ArrayLike) -> float:
    """Return the mean of −log σ(d), nats; a scorer that knows nothing gets ln 2."""
    return mean(np.logaddexp(0.0, -finite(d)))


def ece(d: ArrayLike) -> float:
    """Return the expected calibration error: Σ_bins (n_bin/n)·|accuracy − mean confidence|.

    The label is no event to be calibrated against once d is oriented by it (it always came true),
    so each pair is read as an unlabelled one: the scorer bets on one response with confidence
    σ(|d|) in [½, 1], and is right or not. The `ECE_BINS` bins have equal width on [½, 1]. The
    result equals the two-sided error over (σ(d), 1) and (σ(−d), 0) with twice as many bins.

    Source: Guo et al. 2017, arXiv 1706.04599, Eq. 3.
    """
    values = finite(d)
    if values.size == 0:
        return math.nan
    confidence = 1.0 / (1.0 + np.exp(-np.abs(values)))
    bins = ((confidence - 0.5) * 2 * ECE_BINS).astype(int)
    bins = np.minimum(bins, ECE_BINS - 1)  # a confidence of 1 belongs to the last bin
    # (n_bin/n)·|mean gap| = |sum of gaps|/n
    gap_sums = np.bincount(bins, weights=correct(values) - confidence, minlength=ECE_BINS)
    return float(np.abs(gap_sums).sum() / values.size)


def fit_temperature(d: ArrayLike) -> float:
    """Return the T > 0 that minimises the mean of −log σ(d/T).

    Fit it on pairs held out from those it is judged on. The loss is convex in 1/T; it is minimised
    over log T within `TEMPERATURE_BOUNDS`. NaN where it has no minimum between them, so that the
    pairs do not tell T: there are none, all are 0, all are right (the more certain the better), or the scorer
    is no better than chance (the less certain the better).

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    values = finite(d)
    if values.size == 0:
        return math.nan
    unit = float(np.abs(values).mean())
    if unit < np.finfo(np.float64).tiny:  # below, a quotient by it would overflow
        return math.nan

    def loss(log_t: float) -> float:
        return negative_log_likelihood(values / unit * math.exp(-log_t))

    low, high = map(math.log, TEMPERATURE_BOUNDS)
    best = optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8}
    )
    is_least_at_a_bound = float(best.fun) >= min(loss(low), loss(high))
    if is_least_at_a_bound:
        return math.nan
    return unit * math.exp(float(best.x))


def antisymmetry(d_forward: ArrayLike, d_backward: ArrayLike) -> Antisymmetry:
    """Return how far d(x, y2, y1) is from −d(x, y1, y2).

    Args:
        d_forward: d(x, y1, y2), shape (pairs,).
        d_backward: d(x, y2, y1), as read, not oriented.
    """
    forward, backward = paired(d_forward, d_backward)
    gap = np.abs(forward + backward)
    size = mean(np.abs(np.concatenate([forward, backward])))
    if gap.size == 0:
        return Antisymmetry(math.nan, math.nan, math.nan)
    relative = math.nan
    if size > 0:
        relative = mean(gap) / size
    return Antisymmetry(mean(gap), float(gap.max()), relative)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return the rank correlation, ties at their average rank.

    NaN when either is constant, or there are fewer than two.
    """
    first, second = paired(a, b)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(stats.spearmanr(first, second).statistic)
