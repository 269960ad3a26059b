"""Scorers side by side on the same comparisons, each with all its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.agreement import strengths
from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.correlations import GAP, over_seeds, resampled
from rewarddiff.evaluation.intervals import SHARE, SHARE_GAP, two_way_bootstrap
from rewarddiff.evaluation.scored import (
    Scored,
    clusters,
    decided,
    differences,
    held_out_comparisons,
    scored_by_all,
)
from rewarddiff.results import Interval


@dataclass(frozen=True)
class SeedsAgreement:
    """What the seeds of a scorer have in common with people on one test set.

    Attributes:
        right: answers of every prompt, (seeds, prompts).
        sizes: comparisons of every prompt, (prompts,).
        correlation: of |d| with the strength in the data, (seeds,).
        resampled: the same in resamples of prompts, (seeds, resamples).
        graded: comparisons with a strength.
    """

    right: Array
    sizes: Array
    correlation: Array
    resampled: Array
    graded: int

    def accuracy(self) -> Interval:
        return two_way_bootstrap(self.right, self.sizes, bounds=SHARE)

    def spearman(self) -> Interval:
        return over_seeds(self.correlation, self.resampled, self.graded, groups=len(self.sizes))

    def accuracy_gap(self, other: SeedsAgreement) -> Interval:
        return two_way_bootstrap(self.right - other.right, self.sizes, bounds=SHARE_GAP)

    def spearman_gap(self, other: SeedsAgreement) -> Interval:
        return over_seeds(
            self.correlation - other.correlation,
            self.resampled - other.resampled,
            self.graded,
            groups=len(self.sizes),
            bounds=GAP,
        )


def side_by_side(*scorers: Sequence[Scored]) -> list[SeedsAgreement]:
    """Return the agreement of each scorer, on the comparisons none of them was trained on.

    Comparisons of which one of them says nothing are left out for all.

    Args:
        scorers: what every seed of each said of the same comparisons.
    """
    every_seed = [comparisons for scorer in scorers for comparisons in scorer]
    held_out = scored_by_all(*held_out_comparisons(*every_seed))
    agreements = []
    for scorer in scorers:
        of_scorer, held_out = held_out[: len(scorer)], held_out[len(scorer) :]
        agreements.append(_agreement(of_scorer))
    return agreements


def _agreement(by_seed: Sequence[Scored]) -> SeedsAgreement:
    right = []
    correlations = []
    resamples = []
    for comparisons in by_seed:
        right.append(_right_by_prompt(comparisons))
        graded = [c for c in comparisons if c.strength is not None]
        size = np.abs(differences(graded))
        strength = strengths(graded)
        correlations.append(metrics.spearman(size, strength))
        resamples.append(resampled(size, strength, clusters(graded)))
    prompts, sizes = np.unique(clusters(decided(by_seed[0])), return_counts=True)
    return SeedsAgreement(
        right=np.array(right).reshape(len(by_seed), len(prompts)),
        sizes=sizes.astype(np.float64),
        correlation=np.array(correlations),
        resampled=np.array(resamples),
        graded=len(graded),
    )


def _right_by_prompt(comparisons: Scored) -> Array:
    """Return how many decided comparisons of every prompt the scorer agrees with."""
    ordered = decided(comparisons)
    prompts, place = np.unique(clusters(ordered), return_inverse=True)
    hits = metrics.correct(differences(ordered))
    return np.asarray(np.bincount(place, hits, len(prompts)), dtype=np.float64)
