"""Several policies in one order, from wins and losses between two: Bradley and Terry's model.

P(i beats j) = σ(s_i − s_j); a tie is half a win for either.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rewarddiff.evaluation.arrays import Array, mean
from rewarddiff.evaluation.intervals import floored
from rewarddiff.evaluation.resampling import Mask, TwoWay, places_of
from rewarddiff.results import Interval
from rewarddiff.results.win_rates import Rank

STEPS = 100
LONGEST_STEP = 2.0
ENOUGH = 1e-12

IMAGINARY_TIES = 1.0
"""Between every two policies that met, where the comparisons alone have no finite answer."""

NEVER_MET = "some policies were never compared, not even through others"
UNBOUNDED = (
    "some policies never lose to the others: strengths are unbounded, and stand here with one "
    "imaginary tie between every two that met"
)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Wins and losses of several policies, seed by seed and prompt by prompt.

    Attributes:
        wins: what each policy won against each, half of a tie, (seeds, prompts, policies, policies).
    """

    wins: Array

    @classmethod
    def of(
        cls,
        policies: Sequence[str],
        values: Mapping[tuple[str, str], ArrayLike],
        prompts: Sequence[Hashable],
    ) -> Comparisons:
        """Take d(a, b) of every two policies that were compared.

        Args:
            values: by the names of a and b: (prompts,) or (seeds, prompts), NaN unscored.
            prompts: their names; equal ones are resampled together.

        Raises:
            ValueError: values of another number of prompts, or of seeds.
        """
        place, count = places_of(prompts)
        row = {policy: i for i, policy in enumerate(policies)}
        signs = {pair: np.sign(np.atleast_2d(d)) for pair, d in values.items()}
        seeds = max((len(outcomes) for outcomes in signs.values()), default=1)
        wins = np.zeros((seeds, count, len(policies), len(policies)))
        for (a, b), outcomes in signs.items():
            if outcomes.shape != (seeds, len(place)):
                raise ValueError(
                    f"{a} and {b}: values of shape {outcomes.shape}, of {seeds} seeds and "
                    f"{len(place)} prompts"
                )
            for seed, of_seed in enumerate(outcomes):
                won = np.nan_to_num((1 + of_seed) / 2)
                lost = np.nan_to_num((1 - of_seed) / 2)
                wins[seed, :, row[a], row[b]] += np.bincount(place, won, count)
                wins[seed, :, row[b], row[a]] += np.bincount(place, lost, count)
        return cls(wins)


def ranking(
    judge: str,
    policies: Sequence[str],
    values: Mapping[tuple[str, str], ArrayLike],
    prompts: Sequence[Hashable],
) -> tuple[Rank, ...]:
    """Return the policies by strength, the strongest first, with intervals over prompts and seeds.

    A policy that never loses has no finite strength, nor has a group of policies that never lose to
    the others. Then, and in such resamples, `IMAGINARY_TIES` are added: strengths are finite, too
    near to each other, and the remark says so. Policies that no chain of comparisons connects have
    no strength: NaN.

    Args:
        values: d(a, b) by the names of a and b: (prompts,) or (seeds, prompts), NaN unscored.
        prompts: their names; equal ones are resampled together.
    """
    wins = Comparisons.of(policies, values, prompts).wins
    total = wins.sum(axis=(0, 1))
    remark = ""
    if not have_met(total):
        remark = NEVER_MET
    elif not has_finite_strengths(total):
        remark = UNBOUNDED
    rates = _rates(total)
    ranks = []
    for i, (policy, interval) in enumerate(zip(policies, _intervals(wins), strict=True)):
        ranks.append(Rank(judge, policy, interval, float(rates[i]), remark))
    return tuple(sorted(ranks, key=_place))


def _intervals(wins: Array) -> list[Interval]:
    """Return the strength of each policy over all seeds, with an interval over seeds and prompts.

    Args:
        wins: (seeds, prompts, policies, policies).
    """
    seeds, prompts, policies = wins.shape[:3]
    total = wins.sum(axis=(0, 1))
    together = strengths(_bounded(total[None]))[0]
    replicates = strengths(_bounded(TwoWay.draw(seeds, prompts).sums(wins)))
    by_seed = strengths(_bounded(wins.sum(axis=1)))
    intervals = []
    for i in range(policies):
        value = float(together[i])
        met = int(total[i].sum() + total[:, i].sum())
        known = replicates[np.isfinite(replicates[:, i]), i]
        if math.isnan(value) or not known.size or prompts < 2:
            intervals.append(Interval.unbounded(value, met))
            continue
        of_seeds = by_seed[np.isfinite(by_seed[:, i]), i]
        # The log-odds of all wins together are not quite the seeds' mean, round which the floor lies.
        of_seeds += value - mean(of_seeds)
        intervals.append(floored(value, known, of_seeds, met, groups=prompts, bounds=None))
    return intervals


def strengths(wins: ArrayLike) -> Array:
    """Return the strengths of greatest likelihood, log-odds in nats, whose mean is 0.

    Newton's method on log L = Σ_ij wins_ij·log σ(s_i − s_j), concave up to a shift of all s.

    Args:
        wins: how often i beat j, half of the ties; (…, policies, policies), tables side by side.

    Returns:
        (…, policies); NaN in tables without a finite answer (see `has_finite_strengths`).

    Source: Bradley and Terry 1952, Biometrika 39.

    >>> strengths([[0, 3], [1, 0]])  # log-odds of 3 to 1, half to either side
    array([ 0.54930614, -0.54930614])
    """
    tables = np.asarray(wins, dtype=np.float64)
    policies = tables.shape[-1]
    tables = tables.reshape(-1, policies, policies)
    s = np.zeros((len(tables), policies))
    is_finite = has_finite_strengths(tables)
    s[~is_finite] = math.nan
    tables = tables[is_finite]
    games = tables + tables.swapaxes(1, 2)
    found = s[is_finite]
    for _ in range(STEPS):
        rates = special.expit(found[:, :, None] - found[:, None, :])
        gradient = (tables - games * rates).sum(axis=2)
        curvature = games * rates * (1 - rates)
        # The Laplacian of the curvatures; ones in place of its null space, the shift of all s.
        hessian = curvature.sum(axis=2)[:, :, None] * np.eye(policies) - curvature + 1 / policies
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        longest = np.abs(step).max(initial=0.0, axis=1, keepdims=True)
        found = found + step * np.minimum(1.0, LONGEST_STEP / np.maximum(longest, ENOUGH))
        if longest.max(initial=0.0) < ENOUGH:
            break
    centred = found - found.mean(axis=1, keepdims=True)
    # What is below the steps' own tolerance is rounding: a policy in the middle has strength 0.
    s[is_finite] = np.where(np.abs(centred) < ENOUGH, 0.0, centred)
    return s.reshape(*np.shape(wins)[:-1])


def has_finite_strengths(wins: ArrayLike) -> Mask:
    """Return whether everyone beats everyone, if only through others.

    If the policies fall into two groups one of which never lost to the other, its strength grows
    without bound.

    Args:
        wins: (…, policies, policies).

    Returns:
        (…,).

    Source: Ford 1957, Solution of a ranking problem from binary comparisons.
    """
    return _reach_all(np.asarray(wins) > 0)


def have_met(wins: Array) -> Mask:
    """Return whether every two policies met, if only through others; shapes as above."""
    return _reach_all(wins + wins.swapaxes(-1, -2) > 0)


def _reach_all(steps: Mask) -> Mask:
    """Return whether steps lead from everywhere to everywhere."""
    policies = steps.shape[-1]
    reached = (steps | np.eye(policies, dtype=bool)).astype(np.float64)
    length = 1
    while length < policies:
        reached = np.minimum(reached @ reached, 1.0)
        length *= 2
    return np.asarray(reached.all(axis=(-1, -2)))


def _bounded(tables: Array) -> Array:
    """Return the tables, with imaginary ties in those that have no finite answer by themselves."""
    met = tables + tables.swapaxes(1, 2) > 0
    is_finite = has_finite_strengths(tables)[:, None, None]
    return np.where(is_finite, tables, tables + IMAGINARY_TIES / 2 * met)


def _rates(wins: Array) -> Array:
    """Return the mean of each policy's win rates against those it met, (policies,)."""
    games = wins + wins.T
    with np.errstate(invalid="ignore"):
        return np.asarray(_mean_of_known(wins / games))


def _mean_of_known(table: Array) -> Array:
    known = np.isfinite(table)
    counts = known.sum(axis=1)
    sums = np.where(known, table, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def _place(rank: Rank) -> tuple[bool, float]:
    """Return what ranks are sorted by: the strongest first, unknown strengths last."""
    if not rank.strength.known:
        return True, -rank.rate
    return False, -rank.strength.value
