"""Which comparisons of a group to read, so that its responses get one order. numpy only.

A comparison is a pair (a, b) of indices, a read first. Of k responses, with noise of variance σ² in
every reading:

| mode     | readings   | variance of s_a − s_b, mean over pairs | responses that stand first |
|----------|------------|----------------------------------------|----------------------------|
| `both`   | k(k − 1)   | σ²/k                                   | k                          |
| `all`    | k(k − 1)/2 | 2σ²/k                                  | k (of two, 1)              |
| `budget` | n          | between those beside it                | at most k                  |
| `anchor` | k − 1      | 2σ²(k − 1)/k                           | 1                          |

Where comparisons that begin alike share their beginning, the tokens read are the prompt's, those of
every response that stands first, and those of the second response of every comparison.

A scorer may like whatever stands first. So that this favours no response, each is read first as
often as second, or once more or less where its comparisons are an odd number; which response gets
which place in the design is drawn by the seed and the group, since data often lists the best one
first. `anchor` reads its one response first in all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations
from typing import Literal

import numpy as np

from rewarddiff.differences import Array, Pair
from rewarddiff.errors import UserError

Mode = Literal["both", "all", "anchor", "budget"]


@dataclass(frozen=True, slots=True)
class DesignConfig:
    """Which comparisons of a group are read.

    Attributes:
        mode: `both` every pair in both orders; `all` every pair in one; `anchor` every response
            against one, which the seed draws for each group; `budget` as many pairs as `budget`
            says, those that determine the scores best.
        budget: comparisons of a group, at least one fewer than it has responses; a group that has
            not so many pairs has all of them read.
        seed: draws the anchor, the pairs of a budget, and which response of a pair is read first.
    """

    mode: Mode = "both"
    budget: int | None = None
    seed: int = 0

    @property
    def complete(self) -> bool:
        """Whether every pair is read: where some are not, only potentials weigh what is there
        rightly."""
        return self.mode in ("both", "all")

    def __post_init__(self) -> None:
        if (self.budget is not None) != (self.mode == "budget"):
            raise ValueError("budget is the number of comparisons of mode budget, and of no other")
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget is {self.budget}, should be at least 1")


def comparisons(n: int, design: DesignConfig, group: str = "") -> list[Pair]:
    """Return the comparisons of a group of n responses, in rising order.

    Args:
        group: its name: with the seed it draws what is left to chance.

    Raises:
        UserError: the budget cannot join all responses.

    >>> comparisons(3, DesignConfig("both"))
    [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    """
    if n < 2:
        return []
    if design.mode == "both":
        return list(permutations(range(n), 2))
    star = [(0, i) for i in range(1, n)]
    pairs = star if design.mode == "anchor" else _balanced(n, _graph(n, design))
    place = list(range(n))
    random.Random(f"{design.seed}/{group}").shuffle(place)
    return sorted((place[a], place[b]) for a, b in pairs)


def uncertainty(n: int, pairs: Sequence[Pair]) -> float:
    """Return the mean over all pairs (a, b) of the variance of s_a − s_b.

    Every comparison has noise of variance 1. s are the scores of least squares
    (`rankings.potentials`). It is 2·tr(L⁺)/(n − 1), with L the Laplacian of the graph of
    comparisons: the mean of its effective resistances. Infinite where some response is joined to
    none of the others; NaN where there are no two responses.

    Source: Klein and Randić 1993, Journal of Mathematical Chemistry 12 (n·tr(L⁺) is the sum of all
    resistances).

    >>> round(uncertainty(3, [(0, 1), (1, 2)]), 3)  # 1, 1 and, from end to end, 2
    1.333
    """
    if n < 2:
        return math.nan
    values = np.linalg.eigvalsh(_laplacian(n, pairs))[1:]
    is_joined = values[0] > 1e-9
    return float(2 * (1 / values).sum() / (n - 1)) if is_joined else math.inf


def _graph(n: int, design: DesignConfig) -> tuple[Pair, ...]:
    every = n * (n - 1) // 2
    size = every if design.budget is None else min(design.budget, every)
    if size < n - 1:
        raise UserError(
            f"design.budget: {size} comparisons cannot join {n} responses; give at least {n - 1}"
        )
    return _best(n, size)


@lru_cache(maxsize=256)
def _best(n: int, size: int) -> tuple[Pair, ...]:
    """Return `size` pairs a < b that leave little uncertainty.

    For up to 6 responses that is at most 7 % more than the best do. Of all trees the star is the
    best. From the star and from the ring on, pairs are added one by one, and the better of the two
    results is taken.
    """
    if size == n * (n - 1) // 2:
        return tuple(combinations(range(n), 2))
    star = [(0, i) for i in range(1, n)]
    ring = [*((i, i + 1) for i in range(n - 1)), (0, n - 1)]
    graphs = [_grown(n, start, size) for start in (ring, star) if len(start) <= size]
    best = min(graphs, key=lambda pairs: round(uncertainty(n, pairs), 9))
    return tuple(best)


def _grown(n: int, start: Sequence[Pair], size: int) -> list[Pair]:
    """Return the start and, one by one, the pair that lowers tr(L⁺) most (A-optimality).

    Adding (a, b) lowers it by ‖L⁺(e_a − e_b)‖² / (1 + (e_a − e_b)ᵀL⁺(e_a − e_b)).
    """
    pairs = list(start)
    inverse = np.asarray(np.linalg.pinv(_laplacian(n, pairs), hermitian=True), dtype=np.float64)
    is_left = np.triu(np.ones((n, n), dtype=bool), 1)
    for pair in pairs:
        is_left[pair] = False
    while len(pairs) < size:
        gain = np.where(is_left, _spread(inverse @ inverse) / (1 + _spread(inverse)), -1.0)
        # Of several alike the first; rounded, so that they are alike on every machine.
        a, b = divmod(int(gain.round(9).argmax()), n)
        change = inverse[:, a] - inverse[:, b]
        inverse = inverse - np.outer(change, change) / (1 + change[a] - change[b])
        is_left[a, b] = False
        pairs.append((a, b))
    return sorted(pairs)


def _spread(matrix: Array) -> Array:
    """Return (e_a − e_b)ᵀ M (e_a − e_b) for all a, b."""
    diagonal = matrix.diagonal()
    return np.asarray(diagonal[:, None] + diagonal - 2 * matrix)


def _laplacian(n: int, pairs: Sequence[Pair]) -> Array:
    laplacian = np.zeros((n, n))
    for a, b in pairs:
        laplacian[[a, b], [a, b]] += 1
        laplacian[[a, b], [b, a]] -= 1
    return laplacian


def _balanced(n: int, pairs: Sequence[Pair]) -> list[Pair]:
    """Turn pairs so that every response stands first as often as second, or once more or less.

    Responses with an odd number of pairs are paired with one that is not there; then all numbers
    are even, the graph falls into closed walks, and a walk enters each response as often as it
    leaves it.
    """
    neighbours: list[set[int]] = [set() for _ in range(n + 1)]
    for a, b in pairs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    for a in range(n):
        if len(neighbours[a]) % 2:
            neighbours[a].add(n)
            neighbours[n].add(a)
    turned = []
    for start in range(n + 1):
        a = start
        while neighbours[a]:
            b = min(neighbours[a])
            neighbours[a].remove(b)
            neighbours[b].remove(a)
            turned.append((a, b))
            a = b
    return [pair for pair in turned if n not in pair]
