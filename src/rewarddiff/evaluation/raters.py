"""How far raters agree: Krippendorff's α, Cohen's κ, percentage. Raters are judges or people.

What is resampled for intervals is whole items, or whole prompts where items share them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import SHARE, Bounds, bootstrap
from rewarddiff.evaluation.resampling import (
    RESAMPLES,
    Mask,
    interval_of,
    places_of,
    times_drawn,
)
from rewarddiff.results import UNKNOWN, Interval
from rewarddiff.results.win_rates import JudgeAgreement, PanelAgreement

Level = Literal["nominal", "ordinal", "interval"]

Groups = Sequence[Hashable] | None
"""The prompt of each item; None: each is its own."""

COEFFICIENT: Bounds = (-1.0, 1.0)

BLOCK = 2_000_000
"""Numbers held at once: items times resamples."""


def alpha(ratings: ArrayLike, level: Level) -> float:
    """Return Krippendorff's α: 1 − observed over expected disagreement.

    Of two ratings the disagreement is: nominal, 1 where they differ; interval, their squared
    difference; ordinal, that of their mean ranks among all ratings. Items that fewer than two
    raters rated count nothing.

    Args:
        ratings: (items, raters); NaN where a rater did not rate.

    Returns:
        1: full agreement; 0: that of ratings drawn by lot; NaN where no item has two ratings, or
        all ratings are the same, so that no disagreement could have been expected.

    Source: Krippendorff 2011, Computing Krippendorff's alpha-reliability.
    """
    counts, values = _counts(ratings)
    return float(_alphas(counts, values, level, np.ones((1, len(counts))))[0])


def alpha_interval(ratings: ArrayLike, level: Level, groups: Groups = None) -> Interval:
    """Return Krippendorff's α with an interval over items; n counts items with two ratings.

    Resamples in which all ratings are the same are left out.
    """
    counts, values = _counts(ratings)
    value = float(_alphas(counts, values, level, np.ones((1, len(counts))))[0])
    is_rated_twice = counts.sum(axis=1) >= 2
    n = int(is_rated_twice.sum())
    if math.isnan(value):
        return Interval.unbounded(value, n)
    place, size = _kept(groups, is_rated_twice)
    times = times_drawn(size)[:, place]
    replicates = _alphas(counts[is_rated_twice], values, level, times)
    return interval_of(value, replicates, n, groups=size, bounds=COEFFICIENT)


def kappa(a: ArrayLike, b: ArrayLike, *, weights: Literal["linear"] | None = None) -> float:
    """Return Cohen's κ of two raters: 1 − observed over expected disagreement.

    Args:
        a: ratings of one, (items,); items that either left out (NaN) count nothing.
        b: ratings of the other.
        weights: None: ratings differ or not. "linear": by how many places, in the order of the
            ratings that occur.

    Returns:
        NaN on no data, or where both always give one and the same rating.

    Source: Cohen 1960; weighted: Cohen 1968.
    """
    cells, disagreement = _cells(*_pairs(a, b), weights)
    return float(_kappas(cells.sum(axis=0)[None], disagreement)[0])


def kappa_interval(
    a: ArrayLike,
    b: ArrayLike,
    groups: Groups = None,
    *,
    weights: Literal["linear"] | None = None,
) -> Interval:
    """Return Cohen's κ with an interval over items."""
    first, second = _pairs(a, b)
    place, size = _kept(groups, _rated_by_both(a, b))
    value = kappa(first, second, weights=weights)
    if math.isnan(value):
        return Interval.unbounded(value, first.size)
    cells, disagreement = _cells(first, second, weights)
    by_group = np.zeros((size, cells.shape[1]))
    np.add.at(by_group, place, cells)
    replicates = _kappas(times_drawn(size) @ by_group, disagreement)
    return interval_of(value, replicates, first.size, groups=size, bounds=COEFFICIENT)


def judge_agreement(
    a: str, b: str, values_a: ArrayLike, values_b: ArrayLike, groups: Groups = None
) -> JudgeAgreement:
    """Return how far two judges say the same of the pairs that both of them scored.

    Args:
        values_a: d of every pair as the judge named a says, (pairs,); only its sign is compared.
        values_b: as the other one says.
        groups: the prompt of each pair.
    """
    outcomes = np.sign(np.stack([_numbers(values_a), _numbers(values_b)], axis=1))
    is_rated = _rated_by_both(values_a, values_b)
    place, _ = _kept(groups, is_rated)
    rated = outcomes[is_rated]
    prompts = place.tolist()
    same = rated[:, 0] == rated[:, 1]
    return JudgeAgreement(
        a=a,
        b=b,
        n=len(rated),
        percent=bootstrap(same, prompts, bounds=SHARE, n=RESAMPLES),
        kappa=kappa_interval(rated[:, 0], rated[:, 1], prompts),
        kappa_weighted=kappa_interval(rated[:, 0], rated[:, 1], prompts, weights="linear"),
        alpha=alpha_interval(rated, "nominal", prompts),
    )


def panel_agreement(
    who: str,
    values: ArrayLike,
    groups: Groups = None,
    *,
    outcomes: ArrayLike | None = None,
    comparable: bool,
) -> PanelAgreement:
    """Return how far all of a panel, or all annotators, say the same.

    Args:
        who: "judges" or "people".
        values: d of every pair by each rater, (pairs, raters); NaN where one gave none.
        groups: the prompt of each pair.
        outcomes: for whom each rater is, of the same shape; None: the sign of its value.
        comparable: whether all grade on one scale; if not, only outcomes can be compared.
    """
    grades = np.asarray(values, dtype=np.float64)
    outcomes = np.sign(grades if outcomes is None else np.asarray(outcomes, dtype=np.float64))
    is_rated_twice = np.isfinite(grades).sum(axis=1) >= 2
    place, _ = _kept(groups, np.asarray(is_rated_twice))
    rated = outcomes[is_rated_twice]
    agree: Mask = np.nanmin(rated, axis=1, initial=2) == np.nanmax(rated, axis=1, initial=-2)
    ordinal = interval = UNKNOWN
    if comparable:
        ordinal = alpha_interval(grades, "ordinal", groups)
        interval = alpha_interval(grades, "interval", groups)
    return PanelAgreement(
        who=who,
        raters=int(np.isfinite(grades).any(axis=0).sum()),
        items=len(rated),
        nominal=alpha_interval(outcomes, "nominal", groups),
        ordinal=ordinal,
        interval=interval,
        full=bootstrap(agree, place.tolist(), bounds=SHARE, n=RESAMPLES),
    )


def _numbers(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).ravel()


def _rated_by_both(a: ArrayLike, b: ArrayLike) -> Mask:
    return np.asarray(np.isfinite(_numbers(a)) & np.isfinite(_numbers(b)))


def _pairs(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Return the ratings of the items that both rated."""
    both = _rated_by_both(a, b)
    return _numbers(a)[both], _numbers(b)[both]


def _kept(groups: Groups, is_kept: Mask) -> tuple[NDArray[np.int_], int]:
    """Return the place of the prompt of each kept item, and how many prompts there are."""
    if groups is None:
        groups = range(len(is_kept))
    if len(groups) != len(is_kept):
        raise ValueError(f"{len(is_kept)} items but {len(groups)} groups")
    kept = [group for group, keep in zip(groups, is_kept.tolist(), strict=True) if keep]
    return places_of(kept)


def _counts(ratings: ArrayLike) -> tuple[Array, Array]:
    """Return how many raters gave each value to each item, (items, values), and the values."""
    table = np.asarray(ratings, dtype=np.float64)
    item, _ = is_rated = np.nonzero(np.isfinite(table))
    values, place = np.unique(table[is_rated], return_inverse=True)
    shape = (len(table), len(values))
    cells = np.bincount(item * len(values) + place, minlength=shape[0] * shape[1])
    return cells.reshape(shape).astype(np.float64), values


def _alphas(counts: Array, values: Array, level: Level, times: Array) -> Array:
    """Return α of every resample, in which each item is as often as `times` says, (resamples,)."""
    counts = np.where(counts.sum(axis=1, keepdims=True) >= 2, counts, 0.0)
    block = max(1, BLOCK // max(counts.size, 1))
    alphas = [np.empty(0)]
    for start in range(0, len(times), block):
        alphas.append(_alphas_of_block(counts, values, level, times[start : start + block]))
    return np.concatenate(alphas)


def _alphas_of_block(counts: Array, values: Array, level: Level, times: Array) -> Array:
    raters = counts.sum(axis=1)
    totals = times @ counts
    ratings = totals.sum(axis=1)
    if level == "nominal":
        within = raters**2 - (counts**2).sum(axis=1)
        between = ratings**2 - (totals**2).sum(axis=1)
        observed = times @ (within / np.maximum(raters - 1, 1))
    else:
        numbers = values[None] - values.mean() if values.size else values[None]
        if level == "ordinal":
            numbers = _mean_ranks(totals)
        within = _squared_gaps(counts[None], numbers[:, None])
        between = _squared_gaps(totals, numbers)
        observed = (times * (within / np.maximum(raters - 1, 1))).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alphas = 1 - observed * (ratings - 1) / between
    return np.asarray(np.where(between > 0, alphas, math.nan))


def _mean_ranks(totals: Array) -> Array:
    """Return the mean rank of every value among all ratings, from the middle of them.

    Krippendorff's ordinal disagreement of two values, the ratings from the one to the other with
    half of both ends, is the gap between their mean ranks.
    """
    below = totals.cumsum(axis=1) - totals
    return np.asarray(below + totals / 2 - totals.sum(axis=1, keepdims=True) / 2)


def _squared_gaps(counts: Array, numbers: Array) -> Array:
    """Return Σ (x − y)² over all ordered pairs of ratings; values are the last axis."""
    n = counts.sum(axis=-1)
    sums = (counts * numbers).sum(axis=-1)
    squares = (counts * numbers**2).sum(axis=-1)
    return np.asarray(2 * (n * squares - sums**2))


def _cells(a: Array, b: Array, weights: Literal["linear"] | None) -> tuple[Array, Array]:
    """Return in which cell of the table (ratings of a, of b) each item is, (items, cells).

    And by how much the two ratings of a cell disagree, (ratings, ratings).
    """
    labels = np.unique(np.concatenate([a, b]))
    size = len(labels)
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    if weights is None:
        steps = np.minimum(steps, 1)
    cell = np.searchsorted(labels, a) * size + np.searchsorted(labels, b)
    return np.eye(size**2)[cell], steps.astype(np.float64)


def _kappas(tables: Array, disagreement: Array) -> Array:
    """Return κ of every table of counts, (tables, cells)."""
    size = len(disagreement)
    table = tables.reshape(len(tables), size, size)
    observed = (table * disagreement).sum(axis=(1, 2)) * table.sum(axis=(1, 2))
    of_a, of_b = table.sum(axis=2), table.sum(axis=1)
    expected = ((of_a @ disagreement) * of_b).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - observed / expected, math.nan))
