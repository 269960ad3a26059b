"""Confidence intervals of 95 %, and a test: what is resampled is whole prompts, and seeds.

No interval is a point by accident: where all resamples are alike there is a floor, `all_alike`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rewarddiff.evaluation.arrays import Array, finite, mean, paired
from rewarddiff.results import Interval

LEVEL = 0.95

Bounds = tuple[float, float]
"""The least and the largest value that an observation can have."""

SHARE: Bounds = (0.0, 1.0)
"""Bounds of an accuracy or a win rate, whose observations are right or wrong."""

SHARE_GAP: Bounds = (-1.0, 1.0)
"""Bounds of the gap between two of these."""

SEED_RESAMPLES = 2000

SIGN_FLIPS = 9999


def wilson(successes: float, n: int) -> Interval:
    """Return Wilson's score interval of a share; half successes (ties) are allowed.

    Source: Wilson 1927. (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    """
    if n == 0:
        return Interval.unbounded(math.nan)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    share = successes / n
    z = _z()
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = (centre - half) / (1 + z**2 / n)
    high = (centre + half) / (1 + z**2 / n)
    # Rounding may put an end beyond 0 or 1, or on the wrong side of the share itself.
    return Interval(share, min(max(low, 0.0), share), max(min(high, 1.0), share), n)


def bootstrap(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    bounds: Bounds | None = None,
    n: int = 1000,
) -> Interval:
    """Return the mean with the percentile interval of resampled groups (prompts).

    Comparisons of one prompt stand or fall together, so groups are resampled as wholes.

    Args:
        values: shape (observations,).
        groups: the group of each observation; None: each is its own.
        weights: of each observation in the mean; None: all alike.
        bounds: of an observation.
        n: resamples.

    Returns:
        The mean of the values as they are, the interval, and the number of observations. With fewer
        than two groups nothing is known of the spread: the interval's ends are NaN. Where all
        resamples are alike (an accuracy of 1) the interval is that of `all_alike`.

    Source: Efron and Tibshirani 1993, ch. 13; cluster bootstrap: Field and Welsh 2007.
    """
    data = finite(values)
    if weights is None:
        weights = np.ones_like(data)
    data, weight = paired(data, weights)
    members = _members(data.size, groups)
    if not data.size:
        return Interval.unbounded(math.nan)
    value = float((weight * data).sum() / weight.sum())
    if len(members) < 2:
        return Interval.unbounded(value, data.size)
    sizes = np.array([weight[places].sum() for places in members])
    sums = np.array([(weight[places] * data[places]).sum() for places in members])
    draws = np.random.default_rng(0)
    means = np.empty(n)
    for i in range(n):
        drawn = draws.integers(len(members), size=len(members))
        means[i] = sums[drawn].sum() / sizes[drawn].sum()
    return floored(value, means, [value], data.size, groups=len(members), bounds=bounds)


def two_way_bootstrap(
    sums: ArrayLike, sizes: ArrayLike | None = None, *, bounds: Bounds | None = None
) -> Interval:
    """Return the mean over seeds that share their prompts, with the variance of both.

    Seeds and prompts are resampled independently of each other. The percentiles of so few seeds as
    one can afford are too narrow (of three, a quarter of the draws holds one seed alone or leaves
    nothing to the tails), so Student's t interval over the means of the seeds is the floor: of the
    two the wider one is returned. One seed has no such floor: its interval is that of its prompts,
    and says nothing of other seeds. Where all resamples are alike the interval is that of
    `all_alike`.

    Args:
        sums: of the observations of every prompt, shape (seeds, prompts).
        sizes: observations behind each prompt's sum, shape (prompts,); None: one each.
        bounds: of an observation, and so of the mean.

    Source: Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
    """
    data = np.asarray(sums, dtype=np.float64)
    if data.ndim != 2:
        raise ValueError(f"sums must be of shape (seeds, prompts), got {data.shape}")
    finite(data.ravel())
    seeds, prompts = data.shape
    counts = np.ones(prompts)
    if sizes is not None:
        counts = finite(sizes)
    if counts.shape != (prompts,):
        raise ValueError(f"{prompts} prompts but sizes of shape {counts.shape}")
    size = int(counts.sum())
    n = seeds * size
    if not n:
        return Interval.unbounded(math.nan)
    value = float(data.sum() / n)
    if prompts < 2:
        return Interval.unbounded(value, n)
    draws = np.random.default_rng(0)
    means = np.empty(SEED_RESAMPLES)
    for i in range(SEED_RESAMPLES):
        by_prompt = data[0]
        if seeds > 1:
            by_prompt = data[draws.integers(seeds, size=seeds)].mean(axis=0)
        drawn = draws.integers(prompts, size=prompts)
        means[i] = by_prompt[drawn].sum() / counts[drawn].sum()
    by_seed = data.sum(axis=1) / size
    return floored(value, means, by_seed, n, groups=prompts, bounds=bounds)


def seeds_interval(values: ArrayLike, *, bounds: Bounds | None = None) -> Interval:
    """Return the mean over seeds with Student's t interval; one seed has no bounds (NaN).

    Args:
        bounds: of a value, at which the interval is cut: of few seeds it is wide, and knows of none.
    """
    data = finite(values)
    value = mean(data)
    if data.size < 2:
        return Interval.unbounded(value, data.size)
    t = float(stats.t.ppf(0.5 + LEVEL / 2, data.size - 1))
    half = t * float(data.std(ddof=1)) / math.sqrt(data.size)
    least, largest = bounds or (-math.inf, math.inf)
    return Interval(value, max(value - half, least), min(value + half, largest), data.size)


def floored(
    value: float,
    replicates: Array,
    by_seed: ArrayLike,
    n: int,
    *,
    groups: int,
    bounds: Bounds | None,
) -> Interval:
    """Return the percentiles of replicates, with the floors of all intervals here.

    Student's t interval over the seeds' values, cut at the bounds, where that is the wider one; where
    no replicate differs from another, `all_alike`.
    """
    ends = np.quantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    low, high = float(ends[0]), float(ends[1])
    floor = seeds_interval(by_seed, bounds=bounds)
    if high - low < floor.high - floor.low:
        low, high = floor.low, floor.high
    rounding = 1e-12 * max(abs(low), abs(high))
    if high - low <= rounding:
        return all_alike(value, n, groups, bounds)
    return Interval(value, low, high, n)


def all_alike(value: float, n: int, groups: int, bounds: Bounds | None) -> Interval:
    """Return the interval of a mean where no group differs from another.

    Resampling such groups shows no spread at all, so what bounds it is what was not seen. Of groups
    without one exception the share of exceptions may be up to u = z²/(groups + z²), the upper end
    of Wilson's interval of none; an exception may lie anywhere within the bounds of an observation.
    The interval is [value − u·(value − least), value + u·(largest − value)], for a share of 0 or 1
    Wilson's own. Without bounds nothing is known: NaN.

    Args:
        n: observations, for the record.
        groups: that were resampled; comparisons of one stand or fall together.

    >>> interval = all_alike(1.0, 28, 14, SHARE)  # wilson(14, 14)
    >>> round(interval.low, 4), interval.high
    (0.7847, 1.0)
    """
    if bounds is None or groups < 2:
        return Interval.unbounded(value, n)
    z = _z()
    unseen = z**2 / (groups + z**2)
    least, largest = bounds
    return Interval(value, value - unseen * (value - least), value + unseen * (largest - value), n)


def sign_flip_test(sums: ArrayLike) -> float:
    """Return p, two-sided, of paired differences whose signs are a coin's if scorers are equal.

    Exact where so many signs can all be tried, else by `SIGN_FLIPS` draws of them, so that p is at
    least 1/(SIGN_FLIPS + 1). NaN on no data, 1 where all differences are 0.

    Args:
        sums: one difference a prompt (of the comparisons that either agrees with), shape
            (prompts,).

    Source: Fisher 1935, The Design of Experiments, section 21; of differences ±1 the exact test of
        McNemar.
    """
    data = finite(sums)
    if data.size == 0:
        return math.nan
    data = data[data != 0]  # those say the same under either sign
    if data.size == 0:
        return 1.0
    threshold = abs(float(data.sum())) * (1 - 1e-9)
    if 2**data.size <= SIGN_FLIPS:
        signs = np.array(list(product((1, -1), repeat=data.size)))
        return float((np.abs(signs @ data) >= threshold).mean())
    draws = np.random.default_rng(0)
    as_far = 0
    for _ in range(SIGN_FLIPS):
        as_far += abs(float(draws.choice((-1, 1), data.size) @ data)) >= threshold
    return (1 + as_far) / (1 + SIGN_FLIPS)


def _z() -> float:
    return float(stats.norm.ppf(0.5 + LEVEL / 2))


def _members(size: int, groups: Sequence[Hashable] | None) -> list[NDArray[np.int64]]:
    """Return the places of each group's observations, groups in order of appearance."""
    if groups is None:
        groups = range(size)
    if len(groups) != size:
        raise ValueError(f"{size} values but {len(groups)} groups")
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    return [np.array(of_group) for of_group in places.values()]
