"""A response's reward, relative to a baseline of its prompt or to the rest of its group.

| function                 | reward of y_i                      | in estimators that take off a group's mean |
|--------------------------|------------------------------------|--------------------------------------------|
| (none)                   | r(y_i)                             | as it is                                   |
| `contrastive`            | r(y_i) − g over j of r(b_j)        | the baseline cancels: the same as r        |
| `contrastive_difference` | g over j of d(y_i, b_j)            | acts, unless d is a difference of rewards  |
| `group_difference`       | mean over j ≠ i of d(y_i, y_j)     | acts, unless d is a difference of rewards  |

y are the sampled responses, b the stored ones of the baseline, all to one prompt; g is the mean, as
in the paper, the median or the maximum. Where d is a difference of rewards, d(a, b) = r(a) − r(b),
all four put the responses to a prompt in the same order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from rewarddiff.differences import Array, Differences, Mask
from rewarddiff.rankings import potentials

Baseline = Literal["mean", "median", "max"]

STATISTICS: dict[str, Callable[..., Any]] = {
    "mean": np.nanmean,
    "median": np.nanmedian,
    "max": np.nanmax,
}


def contrastive(
    rewards: ArrayLike, baseline_rewards: ArrayLike, *, baseline: Baseline = "mean"
) -> Array:
    """Return r(x, y_i) − g(r(x, b_1), …, r(x, b_k)).

    Args:
        rewards: r of the sampled responses, shape (…, responses): of one prompt, or of several in
            the leading axes.
        baseline_rewards: r of the prompt's stored responses, shape (…, baselines), same unit. Those
            that are not finite are left out.
        baseline: g.

    Returns:
        Shape (…, responses), in the unit of r; NaN for a response that was not scored, and for all
        of a prompt without a scored baseline.

    Raises:
        ValueError: other leading axes, an unknown g.

    Source: Shen et al. 2024, arXiv 2403.07708, section 3: g is the mean of k ∈ {1, 3, 5}.

    >>> contrastive([1.0, 4.0], [0.0, 1.0, 5.0])
    array([-1.,  2.])
    """
    scored = _finite_or_nan(rewards)
    stored = _finite_or_nan(baseline_rewards)
    if scored.shape[:-1] != stored.shape[:-1]:
        raise ValueError(
            f"rewards {scored.shape} and baseline_rewards {stored.shape} are of other prompts"
        )
    return np.asarray(scored - statistic(stored, baseline)[..., None])


def contrastive_difference(
    differences: Differences, responses: int, *, baseline: Baseline = "mean"
) -> Array:
    """Return g over j of d(x, y_i, b_j): a contrastive reward of a scorer that has no r.

    Args:
        differences: of one prompt's group, in which the sampled responses stand first and its
            stored ones behind them. Pairs may stand either way round; one that is read twice counts
            by its mean; those within either part are not used.
        responses: how many are sampled ones.
        baseline: g, as for `contrastive`: the mean or the median of d, or the least, which is
            against the best of the baseline.

    Returns:
        Shape (responses,), in the unit of d; NaN for a response with no finite difference.

    Raises:
        ValueError: an unknown g.

    >>> pairs = [(0, 2), (0, 3), (1, 2), (3, 1)]
    >>> contrastive_difference(Differences.of([1.0, 2.0, -1.0, 3.0], pairs), 2)
    array([ 1.5, -2. ])
    """
    against_stored = _matrix(differences, responses)[:responses, responses:]
    # The best of the baseline is what a response does worst against: −max_j(−d) = min_j d.
    return -statistic(-against_stored, baseline)


def group_difference(differences: Differences, responses: int) -> Array:
    """Return mean over j ≠ i of d(x, y_i, y_j), from all comparisons or from some of them.

    Where every pair was read it is that mean. Where some were not (`designs.comparisons` with
    anchor or budget, or a judge without a verdict), it is the mean of s_i − s_j, where s are the
    scores of least squares (`rankings.potentials`). With all pairs both are the same: s_i is 1/n
    of the sum of d(y_i, y_j). Of pointwise rewards it is r_i − mean over j ≠ i of r_j, for any
    design that joins all responses.

    Args:
        differences: of one prompt's group, in which the sampled responses stand first, any pairs;
            those with others are not used.
        responses: n, how many are sampled ones.

    Returns:
        Shape (responses,), in the unit of d, with sum 0; NaN for a response that no chain of
        finite differences joins to the most others. All are NaN if there is no finite difference.

    Source: HodgeRank, Jiang, Lim, Yao and Ye 2011, Mathematical Programming 127.

    >>> group_difference(Differences.of([1.0, 2.0, 3.0], [(0, 1), (1, 2), (0, 2)]), 3)
    array([ 2. ,  0.5, -2.5])
    """
    matrix = _matrix(differences, responses)[:responses, :responses]
    joined = _most_joined(np.isfinite(matrix))
    size = int(joined.sum())
    rewards = np.full(responses, np.nan)
    if size < 2:
        return rewards
    among = matrix[np.ix_(joined, joined)]
    upper = np.triu(np.isfinite(among), 1)
    pairs = [(int(a), int(b)) for a, b in np.argwhere(upper)]
    # Scores have mean 0, so that of the others is −s_i/(n − 1): s_i less it is s_i·n/(n − 1).
    rewards[joined] = potentials(size, pairs, among[upper]) * size / (size - 1)
    return rewards


def statistic(values: Array, baseline: Baseline) -> Array:
    """Return g over the last axis, without what is NaN; NaN where nothing else is there.

    Raises:
        ValueError: an unknown g.
    """
    if baseline not in STATISTICS:
        raise ValueError(f"baseline must be mean, median or max, got {baseline!r}")
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of a row of NaN
        return np.asarray(STATISTICS[baseline](values, axis=-1), dtype=np.float64)


def _matrix(differences: Differences, responses: int) -> Array:
    """Return d(a, b) of every two responses of a group, NaN where it is not there.

    A group has at least this many responses, and all that its pairs name.
    """
    pairs = np.array(differences.pairs, dtype=int).reshape(-1, 2)
    size = max(responses, int(pairs.max(initial=-1)) + 1)
    values = differences.mean
    stated = np.isfinite(values)
    first, second = pairs[stated].T
    sums = np.zeros((size, size))
    readings = np.zeros((size, size))
    np.add.at(sums, (first, second), values[stated])
    np.add.at(sums, (second, first), -values[stated])
    np.add.at(readings, (first, second), 1)
    np.add.at(readings, (second, first), 1)
    means = np.full((size, size), np.nan)
    np.divide(sums, readings, out=means, where=readings > 0)
    return means


def _most_joined(compared: Mask) -> Mask:
    """Return which responses belong to the largest set that comparisons join, the first of such."""
    if not compared.size:
        return np.zeros(0, dtype=bool)
    _, component = connected_components(compared, directed=False)
    sizes = np.bincount(component)
    return np.asarray(component == sizes.argmax())


def _finite_or_nan(values: ArrayLike) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)
