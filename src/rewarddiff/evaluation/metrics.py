"""Figures on differences and rewards, with intervals. numpy and scipy only; NaN where there is no
data.

`d` is always a difference oriented by the label: positive where the scorer agrees, in logits (nats
of log-odds). Values that are not finite raise ValueError: a NaN compares as wrong and would pass
for a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]

TEMPERATURE_BOUNDS = (1e-2, 1e2)
"""Where a temperature is looked for, in units of the mean |d|."""

PAPER_BINS = (0.0, 1.0, 2.0, 3.0, math.inf)
"""Edges of |d| in Reward Difference Optimization, arXiv 2408.09385, Table 15."""

ENOUGH = 20
"""Comparisons that each of those bins must hold to be used."""

SHARE = (0.0, 1.0)
"""Bounds of an accuracy, a win rate: of each of its observations."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Accuracy of the comparisons with low ≤ x < high (the last bin of all includes its upper
    end)."""

    low: float
    high: float
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Antisymmetry:
    """|d(1,2) + d(2,1)|: mean and largest, and the mean relative to the mean |d|; 0 is
    antisymmetric."""

    mean: float
    max: float
    relative: float


def correct(d: Array) -> Array:
    """Of every difference 1 where the scorer agrees, ½ where it does not decide, else 0."""
    return np.asarray(0.5 * (1.0 + np.sign(d)), dtype=np.float64)


def accuracy(d: ArrayLike) -> float:
    """Share of d > 0; d = 0 counts a half.

    >>> accuracy([2.0, 1.0, 0.0, -1.0])
    0.625
    """
    return _mean(correct(_finite(d)))


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share; half successes (ties) are allowed.

    Source: Wilson 1927. (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    """
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    share, z = successes / n, float(stats.norm.ppf(0.5 + level / 2))
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return Interval(share, min(max(low, 0.0), share), max(min(high, 1.0), share), n)


def bin_edges(d: ArrayLike) -> tuple[float, ...]:
    """Edges of |d|: the paper's where each of its bins has `ENOUGH` comparisons, else at the
    quartiles of |d|.

    Quartiles are rounded to two digits, so that a printed edge is the edge. Each bin holds
    something: where many |d| are equal there are fewer bins.

    >>> bin_edges([0.01, -0.02, 0.031, 0.04])
    (0.0, 0.018, 0.026, 0.033, inf)
    """
    sizes = np.abs(_finite(d))
    held, _ = np.histogram(sizes, PAPER_BINS)
    if not sizes.size or held.min() >= ENOUGH:
        return PAPER_BINS
    edges = [0.0]
    for quartile in np.quantile(sizes, (0.25, 0.5, 0.75)):
        edge = float(f"{quartile:.1e}")
        below = (sizes >= edges[-1]) & (sizes < edge)
        if below.any() and (sizes >= edge).any():
            edges.append(edge)
    return (*edges, math.inf)


def accuracy_by_bin(d: ArrayLike, edges: Sequence[float] = PAPER_BINS) -> list[Bin]:
    """Accuracy by |d| with Wilson intervals: does a larger difference deserve more trust?

    Source: Reward Difference Optimization, arXiv 2408.09385, Table 15.
    """
    values = _finite(d)
    return share_by_bin(np.abs(values), correct(values), edges)


def auroc(x: ArrayLike, positive: ArrayLike) -> float:
    """How often x of a positive one is larger than that of a negative one, equal ones by half; NaN
    without either.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982.

    >>> auroc([3.0, 1.0, 2.0], [True, True, False])
    0.5
    """
    values, mark = np.asarray(x, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != mark.shape or np.isnan(values).any():
        raise ValueError(f"shapes {values.shape} and {mark.shape}, or a value that is NaN")
    above, below = int(mark.sum()), int((~mark).sum())
    if not above or not below:
        return math.nan
    ranks = float(stats.rankdata(values)[mark].sum())
    return (ranks - above * (above + 1) / 2) / (above * below)


def share_by_bin(x: ArrayLike, correct: ArrayLike, edges: Sequence[float]) -> list[Bin]:
    """Mean of `correct` (0, ½ or 1) where `x` falls between consecutive edges.

    Args:
        x: what to sort by, shape (n,).
        correct: same shape.
        edges: rising; intervals are closed below and open above, the last one closed.
    """
    where, hits = _together(x, correct)
    bins = []
    for low, high in pairwise(edges):
        inside = (where >= low) & ((where < high) | ((where == high) & (high == edges[-1])))
        bins.append(
            Bin(float(low), float(high), wilson(float(hits[inside].sum()), int(inside.sum())))
        )
    return bins


def bootstrap(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    statistic: Callable[[Array], float] | None = None,
    bounds: tuple[float, float] | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic, resampling whole groups (prompts): their comparisons
    stand or fall together.

    Args:
        values: shape (observations,).
        groups: the group of each observation; None: each is its own.
        weights: of each observation in the mean; None: all alike. A statistic has none.
        statistic: of the pooled values of the drawn groups; None: their mean.
        bounds: the least and the largest value that an observation can have, `SHARE` of one that is
            right or wrong.
        n: resamples.
        seed: of the resampling.
        level: of confidence.

    Returns:
        The statistic of the values as they are, the interval, and the number of observations. With
        fewer than two
        groups nothing is known of the spread: the interval's ends are NaN. Where all resamples are
        alike (an accuracy of 1) the interval is that of `all_alike`.

    Source: Efron and Tibshirani 1993, ch. 13; cluster bootstrap: Field and Welsh 2007.
    """
    data = _finite(values)
    if weights is not None and statistic is not None:
        raise ValueError("weights are of a mean; give them or a statistic")
    counted, weight = _together(data, np.ones_like(data) if weights is None else weights)
    members = _members(data.size, groups)
    if not data.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float((weight * counted).sum() / weight.sum()) if statistic is None else statistic(data)
    if len(members) < 2:
        return Interval(value, math.nan, math.nan, data.size)
    draws = np.random.default_rng(seed)
    sizes = np.array([weight[m].sum() for m in members])
    sums = np.array([(weight[m] * counted[m]).sum() for m in members])
    replicates = np.empty(n)
    for i in range(n):
        drawn = draws.integers(len(members), size=len(members))
        if statistic is None:  # the mean, without copying the values
            replicates[i] = sums[drawn].sum() / sizes[drawn].sum()
        else:
            replicates[i] = statistic(data[np.concatenate([members[g] for g in drawn])])
    return floored(
        value, replicates, [value], data.size, groups=len(members), bounds=bounds, level=level
    )


def all_alike(
    value: float, n: int, groups: int, bounds: tuple[float, float] | None, *, level: float = 0.95
) -> Interval:
    """The interval of a mean where no group differs from another: resampling them shows no spread
    at all.

    What was not seen is then what bounds it. Of groups without one exception the share of
    exceptions may be up to u = z²/(groups + z²), the upper end of Wilson's interval of none; an
    exception may lie anywhere within the bounds of an observation. The interval is [value −
    u·(value − least), value + u·(largest − value)], for a share of 0 or 1 Wilson's own. Without
    bounds nothing is known: NaN.

    Args:
        n: observations, for the record. groups: that were resampled; comparisons of one stand or
            fall together.

    >>> found = all_alike(1.0, 28, 14, SHARE)  # wilson(14, 14)
    >>> round(found.low, 4), found.high
    (0.7847, 1.0)
    """
    if bounds is None or groups < 2:
        return Interval(value, math.nan, math.nan, n)
    z = float(stats.norm.ppf(0.5 + level / 2))
    unseen = z**2 / (groups + z**2)
    least, largest = bounds
    return Interval(value, value - unseen * (value - least), value + unseen * (largest - value), n)


def seeds_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean over seeds with Student's t interval; one seed has no bounds (NaN)."""
    data = _finite(values)
    if data.size < 2:
        return Interval(_mean(data), math.nan, math.nan, data.size)
    half = (
        float(stats.t.ppf(0.5 + level / 2, data.size - 1))
        * float(data.std(ddof=1))
        / math.sqrt(data.size)
    )
    return Interval(_mean(data), _mean(data) - half, _mean(data) + half, data.size)


def two_way_bootstrap(
    sums: ArrayLike,
    sizes: ArrayLike | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean over seeds that share their prompts, with an interval that carries the variance of both.

    Seeds and prompts are resampled independently of each other. The percentiles of so few seeds as
    one can afford are too narrow (of three, a quarter of the draws holds one seed alone or leaves
    nothing to the tails), so Student's t interval over the means of the seeds is the floor: of the
    two the wider one is returned. One seed has no such floor: its interval is that of its prompts,
    and says nothing of other seeds. Where all resamples are alike the interval is that of
    `all_alike`.

    Args:
        sums: of the observations of every prompt, shape (seeds, prompts).
        sizes: observations behind each prompt's sum, shape (prompts,); None: one each.
        bounds: the least and the largest value that an observation can have: `SHARE` of one that is
            right or wrong, (−1, 1) of a gap of two such.
        n: resamples.
        seed: of the resampling.
        level: of confidence.

    Source: Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
    """
    data = np.asarray(sums, dtype=np.float64)
    if data.ndim != 2:
        raise ValueError(f"sums must be of shape (seeds, prompts), got {data.shape}")
    _finite(data.ravel())
    seeds, prompts = data.shape
    counts = np.ones(prompts) if sizes is None else _finite(sizes)
    if counts.shape != (prompts,):
        raise ValueError(f"{prompts} prompts but sizes of shape {counts.shape}")
    size = int(counts.sum())
    if not seeds * size:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(data.sum() / (seeds * size))
    if prompts < 2:
        return Interval(value, math.nan, math.nan, seeds * size)
    draws = np.random.default_rng(seed)
    replicates = np.empty(n)
    for i in range(n):
        drawn = data[draws.integers(seeds, size=seeds)].mean(axis=0) if seeds > 1 else data[0]
        chosen = draws.integers(prompts, size=prompts)
        replicates[i] = drawn[chosen].sum() / counts[chosen].sum()
    by_seed = data.sum(axis=1) / size
    return floored(
        value, replicates, by_seed, seeds * size, groups=prompts, bounds=bounds, level=level
    )


def floored(
    value: float,
    replicates: Array,
    by_seed: ArrayLike,
    n: int,
    *,
    groups: int,
    bounds: tuple[float, float] | None,
    level: float = 0.95,
) -> Interval:
    """The percentiles of replicates, with the floors of all intervals here.

    Student's t interval over the seeds' values where that is the wider one; where no replicate
    differs from another, `all_alike`.
    """
    low, high = (
        float(bound) for bound in np.quantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    )
    floor = seeds_interval(by_seed, level=level)
    if high - low < floor.high - floor.low:
        low, high = floor.low, floor.high
    rounding = 1e-12 * max(abs(low), abs(high))
    if high - low <= rounding:
        return all_alike(value, n, groups, bounds, level=level)
    return Interval(value, low, high, n)


def sign_flip_test(sums: ArrayLike, *, n: int = 9999, seed: int = 0) -> float:
    """p, two-sided, of paired differences that are as likely to have either sign where two scorers
    are equally good.

    Exact where so many signs can all be tried, else by `n` draws of them, so that p is at least
    1/(n + 1). NaN on no data, 1 where all differences are 0.

    Args:
        sums: one difference a prompt (of the comparisons that either agrees with), shape
            (prompts,).

    Source: Fisher 1935, The Design of Experiments, section 21; of differences ±1 the exact test of
        McNemar.
    """
    told = _finite(sums)
    if told.size == 0:
        return math.nan
    told = told[told != 0]  # those say the same under either sign
    if told.size == 0:
        return 1.0
    flips = np.array(list(product((1, -1), repeat=told.size))) if 2**told.size <= n else None
    found = abs(float(told.sum())) * (1 - 1e-9)
    if flips is not None:
        return float((np.abs(flips @ told) >= found).mean())
    draws = np.random.default_rng(seed)
    as_far = sum(abs(float(draws.choice((-1, 1), told.size) @ told)) >= found for _ in range(n))
    return (1 + as_far) / (1 + n)


def negative_log_likelihood(d: ArrayLike) -> float:
    """Mean of −log σ(d), nats; ln 2 is what a scorer that knows nothing gets."""
    return _mean(np.logaddexp(0.0, -_finite(d)))


def ece(d: ArrayLike, n_bins: int = 10) -> float:
    """Expected calibration error: Σ_bins (n_bin/n)·|accuracy − mean confidence|.

    The label is no event to be calibrated against once d is oriented by it (it always came true),
    so each pair is read as an unlabelled one: the scorer bets on one response with confidence
    σ(|d|) in [½, 1], and is right or not. Bins have equal width on [½, 1]. The same as the
    two-sided error over (σ(d), 1) and (σ(−d), 0) with 2·n_bins bins.

    Source: Guo et al. 2017, arXiv 1706.04599, Eq. 3.
    """
    values = _finite(d)
    if values.size == 0:
        return math.nan
    confidence = 1.0 / (1.0 + np.exp(-np.abs(values)))
    which = np.minimum(((confidence - 0.5) * 2 * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(which, weights=correct(values) - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / values.size)


def fit_temperature(d: ArrayLike) -> float:
    """T > 0 that minimises the mean of −log σ(d/T): d/T is calibrated as well as one number can
    make it.

    Fit it on pairs held out from those it is judged on. The loss is convex in 1/T; it is minimised
    over log T within `TEMPERATURE_BOUNDS`. NaN where it has no minimum between them, so that the
    pairs do not tell T: there are none, all are right (the more certain the better), or the scorer
    is no better than chance (the less certain the better).

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    values = _finite(d)
    if not values.any():
        return math.nan

    unit = float(np.abs(values).mean())

    def loss(log_t: float) -> float:
        return negative_log_likelihood(values / unit * math.exp(-log_t))

    low, high = (math.log(bound) for bound in TEMPERATURE_BOUNDS)
    found = optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-8}
    )
    if float(found.fun) >= min(loss(low), loss(high)):
        return math.nan
    return unit * math.exp(float(found.x))


def antisymmetry(d_forward: ArrayLike, d_backward: ArrayLike) -> Antisymmetry:
    """How far d(x, y2, y1) is from −d(x, y1, y2).

    Args:
        d_forward: d(x, y1, y2), shape (pairs,).
        d_backward: d(x, y2, y1), as read, not oriented.
    """
    forward, backward = _together(d_forward, d_backward)
    gap = np.abs(forward + backward)
    size = _mean(np.abs(np.concatenate([forward, backward])))
    if gap.size == 0:
        return Antisymmetry(math.nan, math.nan, math.nan)
    return Antisymmetry(_mean(gap), float(gap.max()), _mean(gap) / size if size > 0 else math.nan)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Rank correlation, ties at their average rank; NaN when either is constant or there are fewer
    than two."""
    first, second = _together(a, b)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(stats.spearmanr(first, second).statistic)


def length_baseline(chosen_lengths: ArrayLike, rejected_lengths: ArrayLike) -> float:
    """Accuracy of "the longer response is better"; equal lengths count a half."""
    chosen, rejected = _together(chosen_lengths, rejected_lengths)
    return accuracy(chosen - rejected)


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite"
        )
    return array


def _together(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = _finite(a), _finite(b)
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    return first, second


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _members(size: int, groups: Sequence[Hashable] | None) -> list[NDArray[np.int64]]:
    """Positions of each group's observations, groups in order of appearance."""
    if groups is None:
        return [np.array([i]) for i in range(size)]
    if len(groups) != size:
        raise ValueError(f"{size} values but {len(groups)} groups")
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    return [np.array(place) for place in places.values()]
