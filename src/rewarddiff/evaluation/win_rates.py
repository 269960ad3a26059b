"""How often one policy's response beats another's, as a judge sees it. Pure functions on arrays.

Swapping the two sides turns every figure: wins and losses change places, a rate is 1 − rate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import SHARE
from rewarddiff.evaluation.length_control import length_controlled
from rewarddiff.evaluation.resampling import Mask, TwoWay
from rewarddiff.results import Interval
from rewarddiff.results.win_rates import WinRate
from rewarddiff.verdicts import Verdicts, majority

NO_VERDICT = "no verdict"
NO_MAJORITY = "most of the panel gave no verdict"


@dataclass(frozen=True, eq=False)
class Contest:
    """What one judge says of policy a against policy b on the same prompts, for every seed.

    Attributes:
        values: d(a, b), (seeds, prompts): positive where a is better, NaN unscored.
        outcomes: 1 where a wins, 0 a tie, −1 where b wins, NaN unscored; (seeds, prompts).
        forward: the verdict with a read first, (seeds, prompts), positive where a is better; NaN
            where it was not asked or is unscored.
        backward: the same with b read first, positive where b is better.
        lengths: characters of the responses of a and of b, (seeds, prompts, 2).
        causes: why a pair is unscored, of each seed and prompt; empty where it is scored.
    """

    values: Array
    outcomes: Array
    forward: Array
    backward: Array
    lengths: Array
    causes: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, by_seed: Sequence[Sequence[Verdicts]], lengths: ArrayLike) -> Contest:
        """Take the verdicts of every seed on the pairs (a, b), prompt by prompt in one order.

        Raises:
            ValueError: the seeds have unequal numbers of pairs, or the lengths have another shape.
        """
        values = [np.concatenate([v.values for v in seed]) for seed in by_seed]
        outcomes = [np.concatenate([v.outcomes for v in seed]) for seed in by_seed]
        forward = [np.concatenate([v.readings[:, 0] for v in seed]) for seed in by_seed]
        backward = [np.concatenate([v.readings[:, 1] for v in seed]) for seed in by_seed]
        causes = []
        for seed in by_seed:
            of_seed: tuple[str, ...] = ()
            for verdicts in seed:
                of_seed += verdicts.causes
            causes.append(of_seed)
        return cls(
            np.stack(values),
            np.stack(outcomes),
            np.stack(forward),
            np.stack(backward),
            _lengths(lengths),
            tuple(causes),
        )

    @classmethod
    def of_values(cls, values: ArrayLike, lengths: ArrayLike, cause: str = NO_VERDICT) -> Contest:
        """Take d(a, b) of whoever does not mind the order, (seeds, prompts).

        Args:
            cause: why those are unscored that are NaN.
        """
        numbers = np.atleast_2d(np.asarray(values, dtype=np.float64))
        unknown = np.full(numbers.shape, math.nan)
        causes = []
        for of_seed in np.isnan(numbers).tolist():
            causes.append(tuple(cause if unscored else "" for unscored in of_seed))
        return cls(numbers, np.sign(numbers), unknown, unknown, _lengths(lengths), tuple(causes))

    def __post_init__(self) -> None:
        shape = self.values.shape
        if self.lengths.shape != (*shape, 2):
            raise ValueError(f"verdicts of shape {shape}, lengths of shape {self.lengths.shape}")

    @property
    def scored(self) -> Mask:
        return np.isfinite(self.values)

    @property
    def both(self) -> Mask:
        """Where both orders have a verdict, (seeds, prompts)."""
        return np.isfinite(self.forward) & np.isfinite(self.backward)

    @property
    def turned(self) -> Mask:
        """Where the verdict turns with the order: the same place wins twice, (seeds, prompts)."""
        return self.both & (self.forward * self.backward > 0)

    def seed(self, place: int) -> Contest:
        """Return the verdicts of one seed."""
        one = slice(place, place + 1)
        return Contest(
            self.values[one],
            self.outcomes[one],
            self.forward[one],
            self.backward[one],
            self.lengths[one],
            self.causes[one],
        )

    def swap(self) -> Contest:
        """Return b against a."""
        return replace(
            self,
            values=-self.values,
            outcomes=-self.outcomes,
            forward=self.backward,
            backward=self.forward,
            lengths=self.lengths[..., ::-1],
        )


def win_rate(
    contest: Contest,
    *,
    a: str,
    b: str,
    judge: str,
    seed: int | Literal["all"],
    used_in_training: bool,
) -> WinRate:
    """Return policy a's win rate against b, with all that tells what it is worth.

    Args:
        contest: the verdicts of one seed, or of all.
    """
    outcomes = contest.outcomes
    scored = contest.scored
    turned = contest.turned
    resamples = TwoWay.draw(*outcomes.shape)

    def share(hits: Array | Mask, counted: Mask) -> Interval:
        return resamples.share(np.asarray(hits, dtype=np.float64), counted, SHARE)

    longer = np.sign(contest.lengths[..., 0] - contest.lengths[..., 1])
    is_decided = scored & (outcomes != 0) & (longer != 0)
    worst, best = bounds(outcomes)
    return WinRate(
        a=a,
        b=b,
        judge=judge,
        seed=seed,
        used_in_training=used_in_training,
        n=outcomes.size,
        scored=int(scored.sum()),
        win=share(outcomes > 0, scored),
        tie=share(outcomes == 0, scored),
        lose=share(outcomes < 0, scored),
        rate=share((1 + outcomes) / 2, scored),
        worst=worst,
        best=best,
        # Over several seeds prompts are not all that varies, and the test knows of nothing else.
        p=sign_test(outcomes[0]) if len(outcomes) == 1 else math.nan,
        turned=share(turned, contest.both),
        first=_share(contest.forward[turned] > 0),
        longer=share(outcomes == longer, is_decided),
        length_controlled=length_controlled(
            (1 + outcomes) / 2, contest.lengths[..., 0] - contest.lengths[..., 1]
        ),
        unscored=_causes(contest),
    )


def bounds(outcomes: Array) -> tuple[float, float]:
    """Return the rate if all that is unscored were lost, and if it were won.

    >>> bounds(np.array([1.0, 0.0, -1.0, math.nan]))
    (0.375, 0.625)
    """
    if not outcomes.size:
        return math.nan, math.nan
    unscored = int(np.isnan(outcomes).sum())
    hits = float(np.nansum((1 + outcomes) / 2))
    return hits / outcomes.size, (hits + unscored) / outcomes.size


def sign_test(outcomes: ArrayLike) -> float:
    """Return p, two-sided and exact, of the wins and losses if either were as likely.

    Ties are left out.

    Args:
        outcomes: 1, 0, −1 or NaN, (prompts,).

    Returns:
        NaN on no data, 1 where nothing is decided.

    Source: Dixon and Mood 1946, The statistical sign test.

    >>> sign_test([1, 1, 1, 1, 1, 0, -1])  # 2·(1 + 6)/2⁶
    0.21875
    """
    by_prompt = np.asarray(outcomes, dtype=np.float64)
    if np.isnan(by_prompt).all():
        return math.nan
    wins = int((by_prompt > 0).sum())
    losses = int((by_prompt < 0).sum())
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses).pvalue)


def by_majority(judges: Sequence[Contest]) -> Contest:
    """Return what the panel of these judges says of the same responses."""
    values = majority(np.stack([contest.outcomes for contest in judges]))
    return Contest.of_values(values, judges[0].lengths, NO_MAJORITY)


def preferences(outcomes: ArrayLike) -> Array:
    """Return AlpacaEval's `preference` of outcomes for a, which is its `output_2`.

    2: the model's output (a) wins; 1: the baseline's (b) does; 1.5 a tie; NaN unscored.

    >>> preferences([3.0, 0.0, -0.5])
    array([2. , 1.5, 1. ])
    """
    return np.asarray(1.5 + np.sign(np.asarray(outcomes, dtype=np.float64)) / 2)


def _causes(contest: Contest) -> dict[str, int]:
    """Return why pairs are unscored, the most frequent cause first."""
    causes: Counter[str] = Counter()
    for of_seed, scored in zip(contest.causes, contest.scored.tolist(), strict=True):
        for cause, is_scored in zip(of_seed, scored, strict=True):
            if not is_scored:
                causes[cause or NO_VERDICT] += 1
    return dict(causes.most_common())


def _share(hits: Mask) -> float:
    if not hits.size:
        return math.nan
    return float(hits.mean())


def _lengths(lengths: ArrayLike) -> Array:
    numbers = np.asarray(lengths, dtype=np.float64)
    if numbers.ndim == 2:
        return numbers[None]
    return numbers
