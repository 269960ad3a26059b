"""Best of n: what is gained by drawing n responses and keeping the one a scorer likes best.

Of N draws kept, every n ≤ N is answered at once: a pick of n is the best of n draws without
replacement out of the N, whose distribution over the N is known exactly, so nothing is drawn again
and the noise of drawing averages out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from rewarddiff.evaluation.arrays import Array


def kl(n: ArrayLike) -> Array:
    """Return log n − (n − 1)/n: nats from the policy to its best of n.

    Exact where no two draws score alike.

    Source: Hilton 2023; Gao et al. 2022, arXiv 2210.10760.

    >>> kl([1, 4]).round(4)
    array([0.    , 0.6363])
    """
    draws = np.asarray(n, dtype=np.float64)
    return np.log(draws) - (draws - 1) / draws


def pick(scores: ArrayLike, n: int) -> Array:
    """Return the probability of every draw to be the pick of n, (prompts, N).

    Draws that score alike share their probabilities, see `_by_rank`.

    Args:
        scores: of all draws by the scorer that picks, (prompts, N).
        n: from 1 to N.

    Raises:
        ValueError: n beyond the draws, or a score that is not finite.

    >>> pick([[3.0, 1.0, 2.0]], 2).round(3)  # of three pairs the best is drawn in two
    array([[0.667, 0.   , 0.333]])
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not 1 <= n <= scores.shape[1]:
        raise ValueError(
            f"n is {n}, scores are of shape {scores.shape}: should be (prompts, at least n)"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    by_rank = _by_rank(scores.shape[1], n)
    probabilities = np.empty_like(scores)
    for row, of_prompt in enumerate(scores):
        _, level, count = np.unique(of_prompt, return_inverse=True, return_counts=True)
        shared = np.add.reduceat(by_rank, np.cumsum(count) - count) / count
        probabilities[row] = shared[level]
    return probabilities


def expected(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """Return the expected value of the pick of n by `scores`, (prompts,).

    Args:
        values: what the picks are judged by, (prompts, N); `scores` themselves, or another
            scorer's.
    """
    return np.asarray((pick(scores, n) * np.asarray(values, dtype=np.float64)).sum(1))


def gain(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """Return the expected value of the pick of n less that of one draw, (prompts,).

    The sums of N products are exact to N·ε of their largest term: a smaller gain is none, 0.
    """
    values = np.asarray(values, dtype=np.float64)
    gains = expected(scores, values, n) - values.mean(1)
    rounding = values.shape[1] * np.finfo(np.float64).eps * np.abs(values).max(1)
    return np.where(np.abs(gains) <= rounding, 0.0, gains)


def wins(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """Return how often the pick of n is better than one draw more, ties half, (prompts,).

    That draw is any of the N − n that the pick was not picked from: of a pick of rank i all N − i
    above it, and of the i − 1 below it the i − n that were not drawn.

    Args:
        n: from 1 to N − 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    many = scores.shape[1]
    if not 1 <= n < many:
        raise ValueError(
            f"n is {n}, should be below the {many} draws: one more is needed to win against"
        )
    by_rank = _by_rank(many, n)
    rank = np.arange(1, many + 1)
    below = np.where(rank > 1, (rank - n) / np.maximum(rank - 1, 1), 0.0)
    opponent = np.where(rank[None, :] < rank[:, None], below[:, None], 1.0) / (many - n)
    np.fill_diagonal(opponent, 0.0)
    shares = []
    for of_prompt, judged in zip(scores, values, strict=True):
        # Draws come in no order, so of equal scores any may go first.
        rising = judged[np.argsort(of_prompt, kind="stable")]
        better = 0.5 * (1 + np.sign(rising[:, None] - rising[None, :]))
        shares.append(float(by_rank @ (opponent * better).sum(1)))
    return np.array(shares)


def _by_rank(many: int, n: int) -> Array:
    """Return the probability of each rank, the lowest first, to be the best of n draws.

    Rank i of N is the best of n with probability C(i − 1, n − 1) / C(N, n).
    """
    ranks = np.arange(n, many + 1)
    probabilities = np.zeros(many)
    probabilities[n - 1 :] = np.exp(_log_choose(ranks - 1, n - 1) - _log_choose(many, n))
    return probabilities


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n = np.asarray(n, dtype=np.float64)
    k = np.asarray(k, dtype=np.float64)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """The law R(d) = d(α − βd), d = √KL, and where it turns.

    Beyond `peak` nats more picking does harm (∞: it never does). NaN where R falls first and rises
    then, or is flat. What lies beyond the measured nats is no finding.
    """

    alpha: float
    beta: float
    peak: float


def overoptimisation(n: ArrayLike, gains: ArrayLike) -> Overoptimisation:
    """Fit the gains over n = 1 on d and d² by least squares.

    NaN with fewer than two values of n above 1.

    Source: Gao et al. 2022, arXiv 2210.10760, Eq. 1.
    """
    d = np.sqrt(kl(n))
    y = np.asarray(gains, dtype=np.float64)
    if len(np.unique(d[d > 0])) < 2:
        return Overoptimisation(math.nan, math.nan, math.nan)
    solution, *_ = np.linalg.lstsq(np.stack([d, d**2], axis=1), y, rcond=None)
    alpha = float(solution[0])
    beta = -float(solution[1])
    if not y.any():
        return Overoptimisation(0.0, 0.0, math.nan)
    return Overoptimisation(alpha, beta, _peak(alpha, beta))


def _peak(alpha: float, beta: float) -> float:
    falls_later = beta > 0
    rises_first = alpha > 0
    if rises_first and falls_later:
        return (alpha / (2 * beta)) ** 2
    if rises_first:
        return math.inf
    if beta >= 0:  # it falls at once
        return 0.0
    return math.nan
