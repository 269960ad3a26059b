"""What scorers that read nothing would get: one that goes by length, and one that knows nothing."""

from __future__ import annotations

import math
from dataclasses import replace

from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.agreement import agreement
from rewarddiff.evaluation.arrays import Array, array
from rewarddiff.evaluation.calibration import tempered
from rewarddiff.evaluation.scored import Scored, ScoredComparison, clusters, decided, differences
from rewarddiff.results import Baseline, Baselines


def baselines(comparisons: Scored, resamples: int) -> Baselines:
    """Return the figures of length and of a constant on the same comparisons."""
    by_length = [replace(c, d=_log_ratio(c), d_swapped=None) for c in comparisons]
    by_nothing = [replace(c, d=0.0, d_swapped=None) for c in comparisons]
    ordered = decided(by_length)
    length_d = tempered(differences(ordered), clusters(ordered), folds=2)
    length = _baseline(by_length, length_d, resamples)
    constant = _baseline(by_nothing, array([0.0] * len(ordered)), resamples)
    return Baselines(longer_wins=length.accuracy, length=length, constant=constant)


def _baseline(comparisons: Scored, d: Array, resamples: int) -> Baseline:
    return Baseline(
        nll=metrics.negative_log_likelihood(d),
        ece=metrics.ece(d),
        **vars(agreement(comparisons, resamples)),
    )


def _log_ratio(c: ScoredComparison) -> float:
    return math.log1p(c.chosen_length) - math.log1p(c.rejected_length)
