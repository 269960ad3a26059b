"""Figures that depend on the order of differences only, so that a baseline has them too."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.arrays import Array, array, mean
from rewarddiff.evaluation.correlations import spearman_interval
from rewarddiff.evaluation.intervals import SHARE, bootstrap
from rewarddiff.evaluation.lists import first_of_list
from rewarddiff.evaluation.rm_bench import rm_bench
from rewarddiff.evaluation.scored import Scored, ScoredComparison, clusters, decided, differences
from rewarddiff.results import Agreement, Bin, ByLength, Interval, SubsetAccuracy

MAX_LEVELS = 10
"""Up to so many distinct strengths each is its own level; beyond, the strengths are cut at their
quintiles."""

MAX_SUBSETS = 50
"""Beyond so many a column does not name parts of a collection."""


def agreement(comparisons: Scored, resamples: int) -> Agreement:
    """Return how far a scorer's order is the data's, ties among the comparisons."""
    ordered = decided(comparisons)
    graded = [c for c in comparisons if c.strength is not None]
    graded_ordered = decided(graded)
    names = sorted({c.subset for c in ordered})
    by_subset = _by_subset(comparisons, names, resamples)
    return Agreement(
        accuracy=share(ordered, resamples),
        by_strength=_by_strength(graded_ordered),
        spearman_strength=spearman_interval(
            np.abs(differences(graded)), strengths(graded), clusters(graded), n=resamples
        ),
        spearman_strength_oriented=spearman_interval(
            differences(graded_ordered),
            strengths(graded_ordered),
            clusters(graded_ordered),
            n=resamples,
        ),
        by_length=_by_length(ordered, resamples),
        subsets=len(names),
        by_subset=by_subset,
        macro_accuracy=mean(array([part.accuracy.value for part in by_subset])),
        best_of_n=first_of_list(comparisons, resamples),
        rm_bench=rm_bench(ordered, resamples),
    )


def share(comparisons: Scored, resamples: int) -> Interval:
    """Return the share of decided comparisons in which the scorer agrees; d = 0 counts a half."""
    hits = metrics.correct(differences(comparisons))
    return bootstrap(hits, clusters(comparisons), bounds=SHARE, n=resamples)


def strengths(graded: Iterable[ScoredComparison]) -> Array:
    return array([c.strength for c in graded if c.strength is not None])


def _by_length(ordered: Scored, resamples: int) -> ByLength:
    shorter = [c for c in ordered if c.chosen_length < c.rejected_length]
    longer = [c for c in ordered if c.chosen_length > c.rejected_length]
    return ByLength(
        shorter=share(shorter, resamples),
        longer=share(longer, resamples),
        equal=len(ordered) - len(shorter) - len(longer),
    )


def _by_subset(comparisons: Scored, names: list[str], resamples: int) -> tuple[SubsetAccuracy, ...]:
    if not 2 <= len(names) <= MAX_SUBSETS:
        return ()
    parts = []
    for name in names:
        of_part = [c for c in comparisons if c.subset == name]
        accuracy = share(decided(of_part), resamples)
        first = first_of_list(of_part, resamples).first
        parts.append(SubsetAccuracy(name or "(none)", accuracy, first))
    return tuple(parts)


def _by_strength(graded: Scored) -> tuple[Bin, ...]:
    by = strengths(graded)
    hits = metrics.correct(differences(graded))
    levels = np.unique(by)
    if levels.size > MAX_LEVELS:
        quintiles = np.unique(np.quantile(by, np.linspace(0, 1, 6)))
        return metrics.share_by_bin(by, hits, quintiles.tolist())
    bins: list[Bin] = []
    for level in levels.tolist():
        bins += metrics.share_by_bin(by, hits, (level, level))
    return tuple(bins)
