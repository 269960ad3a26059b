"""By how much responses are better than others: d of comparisons, as a scorer states it. numpy only.

d(a, b) is signed: positive where response a is better than b, with d(b, a) = −d(a, b).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarddiff.errors import UserError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pair = tuple[int, int]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Differences:
    """d of comparisons of one group, or of several groups once they are joined.

    Attributes:
        pairs: (a, b), places of responses in their group, in the order in which they were read.
        forward: d(a, b) by every head, (pairs, heads), in logits or in the data's unit. NaN: the
            scorer was asked and does not say (a judge without a verdict): no tie, and no zero.
        backward: d(b, a) as read, not oriented, of the same shape; None where one order was read, or
            where the other one is its negative anyway.
        weights: what each head counts in d.
        ensemble: whether the heads state the same thing, so that their spread tells how sure it is.
        aspects: what each head rates, where each rates something of its own.
        apart: whether each response was read by itself, which makes d antisymmetric as it is.
        rewards: r of both responses, (pairs, 2); None of a scorer that has none.
    """

    pairs: tuple[Pair, ...]
    forward: Array
    backward: Array | None = None
    weights: tuple[float, ...] = (1.0,)
    ensemble: bool = False
    aspects: tuple[str, ...] = ()
    apart: bool = False
    rewards: Array | None = None

    @classmethod
    def of(
        cls, values: ArrayLike, pairs: Sequence[Pair] = (), *, apart: bool = True
    ) -> Differences:
        """Take one number per pair as it is.

        Args:
            pairs: empty: each number is of a pair by itself.

        Raises:
            ValueError: not one number per pair.

        >>> Differences.of([3.0, -1.0]).mean
        array([ 3., -1.])
        """
        numbers = np.asarray(values, dtype=np.float64)
        pairs = tuple(pairs) or ((0, 1),) * numbers.size
        if numbers.shape != (len(pairs),):
            raise ValueError(
                f"differences must be one-dimensional, one for each of {len(pairs)} pairs, "
                f"got shape {numbers.shape}"
            )
        return cls(pairs, numbers[:, None], apart=apart)

    @classmethod
    def of_rewards(cls, rewards: ArrayLike, pairs: Sequence[Pair]) -> Differences:
        """Take r(a) − r(b) of the pairs (a, b) of one group.

        Args:
            rewards: r of every response of the group.

        >>> Differences.of_rewards([1.0, 3.0, 4.0], [(1, 0), (1, 2)]).mean
        array([ 2., -1.])
        """
        numbers = np.asarray(rewards, dtype=np.float64)
        of_pairs = numbers[np.array(pairs, dtype=int).reshape(-1, 2)]
        gaps = of_pairs[:, :1] - of_pairs[:, 1:]
        return cls(tuple(pairs), gaps, apart=True, rewards=of_pairs)

    @property
    def by_head(self) -> Array:
        """d by every head, (pairs, heads): the mean of both orders where both were read."""
        if self.backward is None:
            return self.forward
        return both_orders(self.forward, self.backward)

    @property
    def mean(self) -> Array:
        """d over all heads, (pairs,)."""
        return weighed(self.by_head, self.weights)

    @property
    def spread(self) -> Array:
        """The standard deviation of d over the heads, (pairs,), with n − 1.

        Raises:
            UserError: there is one head, or none that state the same thing.

        >>> Differences(((0, 1),), np.array([[1.0, 3.0]]), weights=(0.5, 0.5), ensemble=True).spread
        array([1.41421356])
        """
        if not self.ensemble:
            cause = "a head for each aspect" if self.aspects else "one head"
            raise UserError(
                f"this scorer has {cause}, and so no spread: train one with heads, as in heads: 5"
            )
        return spread(self.by_head)

    @property
    def readings(self) -> int:
        """How many texts were read for these pairs of one group."""
        if self.apart:
            return len({response for pair in self.pairs for response in pair})
        return len(self.pairs) * (1 if self.backward is None else 2)

    @property
    def scored(self) -> Mask:
        """Where the scorer says something, (pairs,): d is not NaN."""
        return ~np.isnan(self.mean)

    def where(self, keep: Mask) -> Differences:
        """Return the differences of the pairs that are marked.

        >>> Differences.of([3.0, 1.0]).where(np.array([False, True])).mean
        array([1.])
        """
        rows = np.flatnonzero(keep)
        pairs = tuple(self.pairs[row] for row in rows.tolist())
        return self._taken(pairs, rows, np.zeros(len(pairs), dtype=bool))

    def swap(self) -> Differences:
        """Return d(b, a) of every pair.

        >>> both = Differences(((0, 1),), np.array([[3.0]]), backward=np.array([[-1.0]]))
        >>> both.mean, both.swap().mean
        (array([2.]), array([-2.]))
        """
        pairs = tuple((b, a) for a, b in self.pairs)
        rows = np.arange(len(pairs))
        return self._taken(pairs, rows, np.ones(len(pairs), dtype=bool))

    def oriented(self, pairs: Sequence[Pair]) -> Differences:
        """Return d of these pairs, turned where a pair was read the other way.

        Args:
            pairs: as (chosen, rejected) of comparisons.

        Raises:
            ValueError: a pair was read in neither way.

        >>> Differences.of([3.0, 1.0], [(0, 1), (1, 2)]).oriented([(2, 1), (0, 1)]).mean
        array([-1.,  3.])
        """
        places = {pair: place for place, pair in enumerate(self.pairs)}
        rows = []
        turned = []
        for a, b in pairs:
            is_turned = (a, b) not in places
            if is_turned and (b, a) not in places:
                raise ValueError(f"responses {a} and {b} were not compared")
            rows.append(places[(b, a) if is_turned else (a, b)])
            turned.append(is_turned)
        return self._taken(tuple(pairs), np.array(rows, dtype=int), np.array(turned, dtype=bool))

    def over(self, temperature: float) -> Differences:
        """Return d divided by a temperature: log-odds, where it was fitted to be so."""
        backward = None if self.backward is None else self.backward / temperature
        return replace(self, forward=self.forward / temperature, backward=backward)

    def _taken(self, pairs: tuple[Pair, ...], rows: NDArray[np.int_], turned: Mask) -> Differences:
        """Return d of other pairs, which stand in these rows, some of them turned."""
        forward = self.forward[rows]
        column = turned[:, None]
        rewards = None
        if self.rewards is not None:
            rewards = np.where(column, self.rewards[rows, ::-1], self.rewards[rows])
        if self.backward is None:
            forward = np.where(column, -forward, forward)
            return replace(self, pairs=pairs, forward=forward, rewards=rewards)
        backward = self.backward[rows]
        return replace(
            self,
            pairs=pairs,
            forward=np.where(column, backward, forward),
            backward=np.where(column, forward, backward),
            rewards=rewards,
        )


def both_orders(forward: ArrayLike, backward: ArrayLike) -> Array:
    """Return ½(d(a, b) − d(b, a)): antisymmetric to the bit, and 0 for a response against itself.

    Args:
        forward: d(x, a, b), any shape.
        backward: d(x, b, a), the same pairs read the other way round, not oriented.

    Raises:
        ValueError: unequal shapes.

    >>> both_orders([3.0], [-1.0])
    array([2.])
    """
    first, second = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: forward {first.shape}, backward {second.shape}")
    return 0.5 * (first - second)


def weighed(values: Array, weights: Sequence[float]) -> Array:
    """Return Σ_j w_j·v_j over the heads, the last axis.

    >>> weighed(np.array([[1.0, 4.0]]), (0.5, 0.25))
    array([1.5])
    """
    return np.asarray((values * np.asarray(weights)).sum(-1), dtype=np.float64)


def spread(values: Array) -> Array:
    """Return the standard deviation over the heads, the last axis, with n − 1.

    >>> spread(np.array([[1.0, 3.0], [2.0, 2.0]]))
    array([1.41421356, 0.        ])
    """
    return np.asarray(values.std(-1, ddof=1), dtype=np.float64)


def joined(groups: Sequence[Differences]) -> Differences:
    """Return the differences of several groups as one, in their order.

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("there are no differences to join")
    pairs: list[Pair] = []
    for differences in groups:
        pairs += differences.pairs
    return replace(
        groups[0],
        pairs=tuple(pairs),
        forward=np.concatenate([differences.forward for differences in groups]),
        backward=_joined([differences.backward for differences in groups]),
        rewards=_joined([differences.rewards for differences in groups]),
    )


def _joined(arrays: Sequence[Array | None]) -> Array | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None


def by_group(values: NDArray[Scalar], sizes: Iterable[int]) -> list[NDArray[Scalar]]:
    """Cut values that stand one behind the other into groups of these sizes.

    Raises:
        ValueError: the sizes do not add up to the values.

    >>> by_group(np.array([1.0, 2.0, 3.0]), [2, 0, 1])
    [array([1., 2.]), array([], dtype=float64), array([3.])]
    """
    parts = []
    start = 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    if start != len(values):
        raise ValueError(f"{len(values)} values for groups of {start} in all")
    return parts
