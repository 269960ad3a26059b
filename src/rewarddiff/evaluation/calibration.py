"""A scorer's temperature: σ(d / T) is the probability that a response is the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.arrays import Array, array
from rewarddiff.evaluation.scored import Scored, clusters, decided, differences, scored_by_all
from rewarddiff.hashing import number
from rewarddiff.results import Calibrated

FOLDS = 10
"""Parts of the prompts, each of which is left out once when a temperature is tried."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scorer's temperature as held-out comparisons tell it.

    Attributes:
        temperature: None where they do not.
        remark: why there is none, or why it is 1; empty: it was fitted.
    """

    temperature: float | None
    remark: str = ""


def calibrate(comparisons: Scored) -> Calibration:
    """Fit a scorer's temperature, and keep it where it serves comparisons not fitted on.

    It is tried on each of `FOLDS` parts of the prompts as fitted on the others. Where they do not
    all tell one it hangs on too few comparisons: None. Where their NLL is no lower than that of d
    as it is, d stays as it is: 1. Comparisons of which the scorer says nothing tell none.
    """
    (scored,) = scored_by_all(comparisons)
    if comparisons and not scored:
        return Calibration(None, f"it says nothing of any of {len(comparisons)} comparisons")
    held_out = [c for c in decided(scored) if not c.trained_on]
    d = differences(held_out)
    if not d.any():
        return Calibration(None, "no comparison that it was not trained on tells a temperature")
    temperature = metrics.fit_temperature(d)
    untold = f"{d.size} held-out comparisons do not tell a temperature"
    if math.isnan(temperature) and (d > 0).all():
        return Calibration(None, f"{untold}: all are right")
    if math.isnan(temperature):
        return Calibration(None, f"{untold}: it is no better than chance on them")
    d_tempered = tempered(d, clusters(held_out), folds=FOLDS)
    if not d_tempered.size:
        return Calibration(None, f"{untold}: it hangs on a few of them")
    if metrics.negative_log_likelihood(d_tempered) >= metrics.negative_log_likelihood(d):
        return Calibration(
            1.0,
            f"the temperature stays 1: none improves the probabilities of {d.size} held-out comparisons",
        )
    return Calibration(temperature)


def tempered(d: Array, prompts: Sequence[str], *, folds: int) -> Array:
    """Return each d over the temperature of the other folds of the prompts.

    Empty where they do not all tell one.
    """
    fold = np.array([number(prompt, bits=8) % folds for prompt in prompts], dtype=int)
    d_tempered = np.empty_like(d)
    for left_out in np.unique(fold):
        inside = fold == left_out
        d_tempered[inside] = d[inside] / metrics.fit_temperature(d[~inside])
    if not np.isfinite(d_tempered).all():
        return array([])
    return d_tempered


def calibrated(d: Array, temperature: float | None) -> Calibrated:
    """Return what the probabilities at a scorer's own temperature are worth on these d."""
    if temperature is None:
        return Calibrated(math.nan, math.nan, math.nan)
    d_tempered = d / temperature
    nll = metrics.negative_log_likelihood(d_tempered)
    return Calibrated(temperature, nll, metrics.ece(d_tempered))
