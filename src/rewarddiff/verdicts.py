"""What a judge says of pairs of responses, read with either first; what several say together.

A verdict is a number in the judge's unit, positive where the response that was read first is better, 0 a
tie, NaN unscored: the judge was asked and gave none. Nothing unscored ever counts as a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from rewarddiff.differences import Array, Differences, Mask, Pair


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a judge says of the pairs (a, b) of one group.

    Attributes:
        pairs: places of responses in their group.
        forward: the verdict with a read first, (pairs,): positive where a is better; NaN where it
            is unscored, or this order was not asked.
        backward: the verdict with b read first, (pairs,): positive where b is better.
        asked: which orders were asked, (pairs, 2): forward, backward.
        causes: why a pair is unscored, for each pair; empty where it is scored.
        steps: forward and backward to the nearest step of the judge's scale, (pairs, 2): whoever reads
            an expectation off log-probabilities never says 0 exactly, and means a tie all the same.
            None: as they are. Who wins, and whether a verdict turns, is read from these; d is not.
    """

    pairs: tuple[Pair, ...]
    forward: Array
    backward: Array
    asked: Mask
    causes: tuple[str, ...]
    steps: Array | None = None

    @property
    def readings(self) -> Array:
        """The verdicts from which it is read who wins, (pairs, 2): with a first, with b first."""
        if self.steps is not None:
            return self.steps
        return np.stack([self.forward, self.backward], axis=1)

    @property
    def scored(self) -> Mask:
        """Where every order that was asked has a verdict, (pairs,)."""
        forward = np.isfinite(self.forward) | ~self.asked[:, 0]
        backward = np.isfinite(self.backward) | ~self.asked[:, 1]
        return np.asarray(forward & backward)

    @property
    def both(self) -> Mask:
        """Where both orders have a verdict, (pairs,)."""
        return np.asarray(np.isfinite(self.forward) & np.isfinite(self.backward))

    @property
    def turned(self) -> Mask:
        """Where the verdict turns with the order: the same place wins twice, (pairs,)."""
        return np.asarray(self.both & (self.readings.prod(axis=1) > 0))

    @property
    def values(self) -> Array:
        """d(a, b), (pairs,): the mean of both orders; 0 where it turns, NaN where it is unscored."""
        return self._means(np.stack([self.forward, self.backward], axis=1))

    @property
    def outcomes(self) -> Array:
        """1 where a wins, −1 where b wins, 0 a tie, NaN unscored, (pairs,).

        A tie in one order and a win in the other is a win, as the mean of both has it; MT-Bench counts
        it as a tie.
        """
        return np.sign(self._means(self.readings))

    def _means(self, verdicts: Array) -> Array:
        """Return the mean of both orders in favour of a, (pairs,), of verdicts (pairs, 2)."""
        oriented = np.where(self.asked, verdicts * [1.0, -1.0], 0.0)
        means = oriented.sum(axis=1) / np.maximum(self.asked.sum(axis=1), 1)
        means = np.where(self.turned, 0.0, means)
        return np.where(self.scored, means, np.nan)

    @property
    def differences(self) -> Differences:
        """The verdicts as a scorer states them."""
        return Differences.of(self.values, self.pairs, apart=False)

    def swap(self) -> Verdicts:
        """Return the verdicts on the pairs (b, a)."""
        pairs = tuple((b, a) for a, b in self.pairs)
        return replace(
            self,
            pairs=pairs,
            forward=self.backward,
            backward=self.forward,
            asked=self.asked[:, ::-1],
            steps=None if self.steps is None else self.steps[:, ::-1],
        )

    @classmethod
    def of(cls, pairs: Sequence[Pair], values: Array) -> Verdicts:
        """Take d(a, b) of whoever was not asked in two orders: nothing can turn with the order."""
        numbers = np.asarray(values, dtype=np.float64)
        asked = np.tile([True, False], (len(numbers), 1))
        backward = np.full(len(numbers), np.nan)
        causes = tuple("" if finite else "no verdict" for finite in np.isfinite(numbers).tolist())
        return cls(tuple(pairs), numbers, backward, asked, causes)


def joined(verdicts: Sequence[Verdicts]) -> Verdicts:
    """Return the verdicts of several groups, one group's behind the other's."""
    if not verdicts:
        none = np.zeros(0)
        return Verdicts((), none, none, np.zeros((0, 2), dtype=bool), ())
    return Verdicts(
        pairs=tuple(pair for of_group in verdicts for pair in of_group.pairs),
        forward=np.concatenate([of_group.forward for of_group in verdicts]),
        backward=np.concatenate([of_group.backward for of_group in verdicts]),
        asked=np.concatenate([of_group.asked for of_group in verdicts]),
        causes=tuple(cause for of_group in verdicts for cause in of_group.causes),
        steps=np.concatenate([of_group.readings for of_group in verdicts]),
    )


def majority(votes: ArrayLike) -> Array:
    """Return what several say: a side wins with more than half of all votes, abstentions counted.

    Args:
        votes: d(a, b) of every voter, (voters, …); only the sign counts, NaN is an abstention.

    Returns:
        (votes for a − votes for b) / voters where a side has its majority; 0, a tie, where none has;
        NaN where more than half abstain, or nobody votes.

    >>> majority([[1.0, 1.0, 1.0], [2.0, -1.0, np.nan], [-1.0, 0.0, np.nan]])
    array([0.33333333, 0.        ,        nan])
    """
    signs = np.sign(np.asarray(votes, dtype=np.float64))
    voters = len(signs)
    for_a = (signs > 0).sum(axis=0)
    for_b = (signs < 0).sum(axis=0)
    abstained = np.isnan(signs).sum(axis=0)
    has_majority = np.maximum(for_a, for_b) * 2 > voters
    shares = np.where(has_majority, (for_a - for_b) / max(voters, 1), 0.0)
    is_silent = (abstained * 2 > voters) | (voters == 0)
    return np.asarray(np.where(is_silent, np.nan, shares))
