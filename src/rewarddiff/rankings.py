"""From differences between responses to one order of them. numpy only.

A list's comparisons are pairs (a, b) of indices with d(a, b), positive where a is better; what was
not compared is not used. Every method gives one score per response, higher is better, so that d
itself can be checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.differences import Array, Pair

Method = Literal["borda", "copeland", "sum", "potentials"]

ROUNDING = 1e-12
"""Of the largest difference: potentials nearer to each other are a tie."""


def rank(n: int, pairs: Sequence[Pair], d: ArrayLike, method: Method = "potentials") -> Array:
    """Return scores of n responses.

    Args:
        method: `borda` the mean of σ(d) over a response's comparisons, its chance to win one;
            `copeland` wins less losses; `sum` the sum of its differences; `potentials` see
            `potentials`.

    Raises:
        ValueError: a pair points outside, or there are not as many differences as pairs.

    >>> rank(3, [(0, 1), (1, 2), (0, 2)], [1.0, 1.0, 2.0], "sum")
    array([ 3.,  0., -3.])
    """
    values = _checked(n, pairs, d)
    if method == "potentials":
        return potentials(n, pairs, values)
    matrix = np.full((n, n), np.nan)
    for (a, b), value in zip(pairs, values, strict=True):
        matrix[a, b] = value
        matrix[b, a] = -value
    compared = ~np.isnan(matrix)
    filled = np.where(compared, matrix, 0.0)
    if method == "sum":
        return np.asarray(filled.sum(1), dtype=np.float64)
    if method == "copeland":
        return np.asarray(np.sign(filled).sum(1), dtype=np.float64)
    chances = np.where(compared, 0.5 * (1.0 + np.tanh(0.5 * filled)), 0.0)
    mean_chances = chances.sum(1) / np.maximum(compared.sum(1), 1)
    return np.where(compared.any(1), mean_chances, 0.5)


def potentials(n: int, pairs: Sequence[Pair], d: ArrayLike) -> Array:
    """Return the scores s of least Σ (s_a − s_b − d(a, b))², with mean 0.

    Of all such these are the ones of least Σ s². Responses that no chain of comparisons joins have
    their own zero each.

    Source: Jiang, Lim, Yao and Ye 2011 (HodgeRank), Mathematical Programming 127.

    >>> potentials(3, [(0, 1), (1, 2)], [1.0, 2.0]).round(3)
    array([ 1.333,  0.333, -1.667])
    """
    values = _checked(n, pairs, d)
    if not values.any():
        return np.zeros(n)
    incidence = np.zeros((len(values), n))
    for row, (a, b) in enumerate(pairs):
        incidence[row, a] = 1.0
        incidence[row, b] = -1.0
    scores, *_ = np.linalg.lstsq(incidence, values, rcond=None)
    # Of differences near the least number there is, a unit would be 0.
    unit = max(ROUNDING * np.abs(values).max(), np.finfo(np.float64).tiny)
    # Adding 0 makes 0 of −0.
    return np.asarray(np.round(scores / unit) * unit, dtype=np.float64) + 0.0


def mean_differences(n: int, pairs: Sequence[Pair], d: ArrayLike) -> Array:
    """Return the mean of d(y, y') over the other responses y', for every response y.

    Of every two responses there is one pair. Where some d are NaN, the others are explained by scores
    first (`potentials`), so that a response is not the worse for lacking a comparison that it would
    have won. NaN of all responses where these do not join them.

    >>> mean_differences(3, [(0, 1), (0, 2), (1, 2)], [1.0, 3.0, 2.0])
    array([ 2. ,  0.5, -2.5])
    >>> mean_differences(3, [(0, 1), (0, 2), (1, 2)], [1.0, np.nan, 2.0]).round(6)
    array([ 2. ,  0.5, -2.5])
    """
    known_pairs, values = known(pairs, d)
    others = max(1, n - 1)
    if len(known_pairs) == len(pairs):
        return rank(n, pairs, d, "sum") / others
    if not joins(n, known_pairs):
        return np.full(n, np.nan)
    # Over all pairs a sum of differences is n times the potential.
    return potentials(n, known_pairs, values) * n / others


def known(pairs: Sequence[Pair], d: ArrayLike) -> tuple[list[Pair], Array]:
    """Return the pairs without those whose d is NaN, and their d.

    >>> known([(0, 1), (0, 2)], [np.nan, 3.0])
    ([(0, 2)], array([3.]))
    """
    values = np.asarray(d, dtype=np.float64)
    is_known = ~np.isnan(values)
    return [pair for pair, keep in zip(pairs, is_known, strict=True) if keep], values[is_known]


def joins(n: int, pairs: Sequence[Pair]) -> bool:
    """Tell whether a chain of comparisons leads from every response to every other.

    >>> joins(4, [(0, 1), (2, 1), (2, 3)]), joins(4, [(0, 1), (2, 3)])
    (True, False)
    """
    part = list(range(n))  # responses of one number are joined
    for a, b in pairs:
        earlier, later = sorted((part[a], part[b]))
        part = [earlier if number == later else number for number in part]
    return len(set(part)) <= 1


def inconsistency(n: int, pairs: Sequence[Pair], d: ArrayLike) -> float:
    """Return the share of Σ d² that no scores explain, in [0, 1].

    0 where d(a, b) = s_a − s_b, 1 for a pure cycle. NaN where there is nothing to explain: no comparison, or all d = 0.

    >>> inconsistency(3, [(0, 1), (1, 2), (2, 0)], [1.0, 1.0, 1.0])  # a ≻ b ≻ c ≻ a
    1.0
    """
    values = _checked(n, pairs, d)
    total = float(np.square(values).sum())
    if total == 0:
        return float("nan")
    scores = potentials(n, pairs, values)
    explained = np.array([scores[a] - scores[b] for a, b in pairs])
    return float(np.square(values - explained).sum() / total)


def cyclic_triples(n: int, pairs: Sequence[Pair], d: ArrayLike) -> tuple[int, int]:
    """Count the triples that go round (a ≻ b ≻ c ≻ a), and those with all three comparisons.

    Where a difference is 0 the triple does not go round.

    >>> cyclic_triples(3, [(0, 1), (1, 2), (0, 2)], [1.0, 1.0, -1.0])
    (1, 1)
    """
    values = _checked(n, pairs, d)
    sign: dict[Pair, float] = {}
    for (a, b), value in zip(pairs, values, strict=True):
        sign[a, b] = np.sign(value)
        sign[b, a] = -sign[a, b]
    cyclic = triples = 0
    for a, b, c in combinations(range(n), 3):
        around = [sign.get(pair) for pair in ((a, b), (b, c), (c, a))]
        if None not in around:
            triples += 1
            cyclic += around in ([1, 1, 1], [-1, -1, -1])
    return cyclic, triples


def _checked(n: int, pairs: Sequence[Pair], d: ArrayLike) -> Array:
    values = np.asarray(d, dtype=np.float64)
    if values.shape != (len(pairs),):
        raise ValueError(f"{len(pairs)} pairs but differences of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite")
    if any(a == b or not (0 <= a < n and 0 <= b < n) for a, b in pairs):
        raise ValueError(f"a pair of one response, or outside the {n} responses")
    return values
