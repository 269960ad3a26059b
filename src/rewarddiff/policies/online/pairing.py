"""From what a scorer says of a group's responses to pairs of a chosen and a rejected one. numpy only.

d orients every pair, so that a scorer never contradicts its own label. A pair of which d is 0, or
NaN, or whose responses are the same, is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.rankings import known, potentials
from rewarddiff.sampling.batches import Tokens

Choice = Literal["best_worst", "all"]


def each_once(pairs: Sequence[Pair]) -> list[Pair]:
    """Return every two responses that are compared, in whichever order, once.

    >>> each_once([(0, 1), (1, 0), (2, 0)])
    [(0, 1), (0, 2)]
    """
    return sorted({(min(pair), max(pair)) for pair in pairs})


def folded(differences: Differences) -> Differences:
    """Return every two responses once: pairs that were read in both orders become one with both.

    >>> folded(Differences.of([3.0, -1.0], [(0, 1), (1, 0)])).mean
    array([2.])
    """
    pairs = each_once(differences.pairs)
    once = differences.oriented(pairs)
    read_twice = 2 * len(pairs) == len(differences.pairs)
    if once.backward is not None or not read_twice:
        return once
    backward = differences.oriented([(b, a) for a, b in pairs])
    return replace(once, backward=backward.forward)


def less_truncated(
    differences: Differences, truncated: Sequence[bool], penalty: float
) -> Differences:
    """Return d as where every truncated response were worth `penalty` less.

    >>> less_truncated(Differences.of([3.0, 1.0], [(0, 1), (1, 2)]), [True, False, False], 2.0).mean
    array([1., 1.])
    """
    loss = penalty * np.asarray(truncated, dtype=np.float64)
    shift = np.array([loss[a] - loss[b] for a, b in differences.pairs]).reshape(-1, 1)
    shift = shift / sum(differences.weights)  # d is the weighted sum over heads
    backward = differences.backward
    return replace(
        differences,
        forward=differences.forward - shift,
        backward=None if backward is None else backward + shift,
    )


def scores_by(n: int, differences: Differences) -> Array:
    """Return potentials of n responses; NaN for one of which no difference is known."""
    pairs, d = known(differences.pairs, differences.mean)
    scores = np.full(n, np.nan)
    compared = sorted({response for pair in pairs for response in pair})
    scores[compared] = potentials(n, pairs, d)[compared]
    return scores


def preferred(
    differences: Differences,
    scores: ArrayLike,
    responses: Sequence[Tokens],
    *,
    choice: Choice = "best_worst",
) -> list[Pair]:
    """Return pairs (chosen, rejected), as d has them.

    Args:
        differences: of one group; every two responses once.
        scores: of every response, higher is better. They tell which pair is that of the best and
            the worst: of those that were compared, the one whose scores are farthest apart. Of
            several, the first.
        choice: that pair, or all that were compared.

    >>> d = Differences.of_rewards([1.0, 3.0, 0.0], [(0, 1), (0, 2), (1, 2)])
    >>> preferred(d, [1.0, 3.0, 0.0], [(5,), (6,), (7,)])
    [(1, 2)]
    """
    pairs = []
    for (a, b), value in zip(differences.pairs, differences.mean.tolist(), strict=True):
        if value > 0 and responses[a] != responses[b]:
            pairs.append((a, b))
        if value < 0 and responses[a] != responses[b]:
            pairs.append((b, a))
    if choice == "all" or not pairs:
        return pairs
    places = np.asarray(scores, dtype=np.float64)
    gaps = [abs(places[a] - places[b]) for a, b in pairs]
    return [pairs[int(np.argmax(gaps))]]
