"""Best of n: what is gained by drawing n responses and keeping the one a scorer likes best, from
one set of draws.

Of N draws kept, every n ≤ N is answered at once: a pick of n is the best of n draws without
replacement out of the N, whose distribution over the N is known exactly, so nothing is drawn again
and the noise of drawing averages out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]


def kl(n: ArrayLike) -> Array:
    """log n − (n − 1)/n: nats from the policy to its best of n; exact where no two draws score
    alike.

    Source: Hilton 2023; Gao et al. 2022, arXiv 2210.10760.

    >>> kl([1, 4]).round(4)
    array([0.    , 0.6363])
    """
    draws = np.asarray(n, dtype=np.float64)
    return np.log(draws) - (draws - 1) / draws


def pick(scores: ArrayLike, n: int) -> Array:
    """The probability of every draw to be the pick of n, (prompts, N).

    The draw of rank i from below (1 the lowest) is the best of n with probability C(i − 1, n − 1) /
    C(N, n); draws that score alike share theirs.

    Args:
        scores: of all draws by the scorer that picks, (prompts, N).
        n: from 1 to N.

    Raises:
        ValueError: n beyond the draws, or a score that is not finite.

    >>> pick([[3.0, 1.0, 2.0]], 2).round(3)  # of three pairs the best is drawn in two, the middle one in one
    array([[0.667, 0.   , 0.333]])
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2 or not 1 <= n <= given.shape[1]:
        raise ValueError(
            f"n is {n}, scores are of shape {given.shape}: should be (prompts, at least n)"
        )
    if not np.isfinite(given).all():
        raise ValueError("scores must be finite")
    ranks = np.arange(1, given.shape[1] + 1)
    weights = np.zeros(len(ranks))
    weights[n - 1 :] = np.exp(_log_choose(ranks[n - 1 :] - 1, n - 1) - _log_choose(len(ranks), n))
    found = np.empty_like(given)
    for row, own in zip(found, given, strict=True):
        _, level, count = np.unique(own, return_inverse=True, return_counts=True)
        shared = np.add.reduceat(weights, np.cumsum(count) - count) / count
        row[:] = shared[level]
    return found


def expected(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """The expected value of the pick of n by `scores`, (prompts,).

    Args:
        values: what the picks are judged by, (prompts, N); `scores` themselves, or another
            scorer's.
    """
    return np.asarray((pick(scores, n) * np.asarray(values, dtype=np.float64)).sum(1))


def gain(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """The expected value of the pick of n less that of one draw, (prompts,); what is within
    rounding of 0 is 0.

    The sums of N products are exact to N·ε of their largest term: a smaller gain is none.
    """
    judged = np.asarray(values, dtype=np.float64)
    gains = expected(scores, judged, n) - judged.mean(1)
    rounding = judged.shape[1] * np.finfo(np.float64).eps * np.abs(judged).max(1)
    return np.where(np.abs(gains) <= rounding, 0.0, gains)


def wins(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """How often the pick of n is better than one draw more, ties half, (prompts,).

    That draw is any of the N − n that the pick was not picked from: of a pick of rank i all N − i
    above it, and of the i − 1 below it the i − n that were not drawn.

    Args:
        n: from 1 to N − 1.
    """
    given, judged = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    many = given.shape[1]
    if not 1 <= n < many:
        raise ValueError(
            f"n is {n}, should be below the {many} draws: one more is needed to win against"
        )
    rank = np.arange(1, many + 1)
    picked = np.zeros(many)
    picked[n - 1 :] = np.exp(_log_choose(rank[n - 1 :] - 1, n - 1) - _log_choose(many, n))
    below = np.where(rank > 1, (rank - n) / np.maximum(rank - 1, 1), 0.0)
    opponent = np.where(rank[None, :] < rank[:, None], below[:, None], 1.0) / (many - n)
    np.fill_diagonal(opponent, 0.0)
    found = []
    for own, value in zip(given, judged, strict=True):
        order = np.argsort(
            own, kind="stable"
        )  # draws come in no order, so of equal scores any may go first
        better = 0.5 * (1 + np.sign(value[order][:, None] - value[order][None, :]))
        found.append(float(picked @ (opponent * better).sum(1)))
    return np.array(found)


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """R(d) = d(α − βd), d = √KL, and where it turns: beyond `peak` nats more picking does harm (∞:
    it never does).

    NaN where it falls first and rises then, or is flat. What lies beyond the measured nats is no
    finding.
    """

    alpha: float
    beta: float
    peak: float


def overoptimisation(n: ArrayLike, gains: ArrayLike) -> Overoptimisation:
    """Least squares of the gains over n = 1 on d and d²; NaN with fewer than two values of n above
    1.

    Source: Gao et al. 2022, arXiv 2210.10760, Eq. 1.
    """
    d, y = np.sqrt(kl(n)), np.asarray(gains, dtype=np.float64)
    if len(np.unique(d[d > 0])) < 2:
        return Overoptimisation(math.nan, math.nan, math.nan)
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([d, d**2], axis=1), y, rcond=None)
    beta = -float(minus_beta)
    if not y.any():
        return Overoptimisation(0.0, 0.0, math.nan)
    if alpha <= 0:
        return Overoptimisation(
            float(alpha), beta, 0.0 if beta >= 0 else math.nan
        )  # it falls at once; and then rises
    return Overoptimisation(
        float(alpha), beta, (float(alpha) / (2 * beta)) ** 2 if beta > 0 else math.inf
    )


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
