"""Best of n: what is gained by drawing n responses and keeping the one a scorer likes best, from one set of draws.

Of N draws kept, every n ≤ N is answered at once: a pick of n is the best of n draws without replacement out of the N,
whose distribution over the N is known exactly, so nothing is drawn again and the noise of drawing averages out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]


def kl(n: ArrayLike) -> Array:
    """log n − (n − 1)/n: nats from the policy to its best of n; exact where no two draws score alike.

    Source: Hilton 2023; Gao et al. 2022, arXiv 2210.10760.

    >>> kl([1, 4]).round(4)
    array([0.    , 0.6363])
    """
    draws = np.asarray(n, dtype=np.float64)
    return np.log(draws) - (draws - 1) / draws


def pick(scores: ArrayLike, n: int) -> Array:
    """The probability of every draw to be the pick of n, (prompts, N).

    The draw of rank i from below (1 the lowest) is the best of n with probability C(i − 1, n − 1) / C(N, n); draws that
    score alike share theirs.

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
        raise ValueError(f"n is {n}, scores are of shape {given.shape}: should be (prompts, at least n)")
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
        values: what the picks are judged by, (prompts, N); `scores` themselves, or another scorer's.
    """
    return np.asarray((pick(scores, n) * np.asarray(values, dtype=np.float64)).sum(1))


def wins(scores: ArrayLike, values: ArrayLike, n: int) -> Array:
    """How often the pick of n is better than a single draw, ties half, (prompts,)."""
    judged = np.asarray(values, dtype=np.float64)
    better = 0.5 * (1 + np.sign(judged[:, :, None] - judged[:, None, :]))
    others = (better.sum(2) - 0.5) / max(1, judged.shape[1] - 1)  # a draw against itself is left out
    return np.asarray((pick(scores, n) * (others if judged.shape[1] > 1 else 0.5)).sum(1))


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """R(d) = d(α − βd), d = √KL, and where it turns: beyond `peak` nats more picking does harm (∞: it never does)."""

    alpha: float
    beta: float
    peak: float


def overoptimisation(n: ArrayLike, gains: ArrayLike) -> Overoptimisation:
    """Least squares of the gains over n = 1 on d and d²; NaN with fewer than two values of n above 1.

    Source: Gao et al. 2022, arXiv 2210.10760, Eq. 1.
    """
    d, y = np.sqrt(kl(n)), np.asarray(gains, dtype=np.float64)
    if len(np.unique(d[d > 0])) < 2:
        return Overoptimisation(math.nan, math.nan, math.nan)
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([d, d**2], axis=1), y, rcond=None)
    beta = -float(minus_beta)
    peak = (float(alpha) / (2 * beta)) ** 2 if beta > 0 and alpha > 0 else 0.0 if alpha <= 0 else math.inf
    return Overoptimisation(float(alpha), beta, peak)


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
