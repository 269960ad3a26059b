"""What a scorer is worth: every figure on its differences over a held-out set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rewarddiff.evaluation import metrics
from rewarddiff.evaluation.agreement import agreement, share
from rewarddiff.evaluation.arrays import Array, array, mean, std
from rewarddiff.evaluation.baselines import baselines
from rewarddiff.evaluation.calibration import calibrated, tempered
from rewarddiff.evaluation.histograms import histogram, reward_histograms
from rewarddiff.evaluation.scored import (
    Scored,
    ScoredComparison,
    clusters,
    decided,
    differences,
    held_out_comparisons,
    overlap,
    scored_by_all,
)
from rewarddiff.results import AspectAccuracy, ByOrder, Evaluation, HeadSpread


def evaluate_differences(
    comparisons: Scored, *, temperature: float | None = None, resamples: int = 1000
) -> Evaluation:
    """Return every figure on the differences; NaN where there is no data.

    A comparison read in both orders enters with d̄ = ½(d − d_swapped). Comparisons that the data
    calls ties have no right answer: they are counted, enter only `spearman_strength`, and
    `mean_abs_ties` says how decided the scorer was on them. Intervals are 95 %: bootstrap over
    prompts, or Wilson in the tables by bin, which treats comparisons as independent. `temperature`
    is fitted on all comparisons; `ece_tempered` divides each by a temperature fitted on the other
    half of the prompts, so that no comparison is judged by a temperature it helped to fit. Both are
    NaN where comparisons do not tell a temperature.

    Comparisons of prompts that the scorer was trained on are left out, unless there are no others.
    Those of which it says nothing are counted, and are in no other figure.

    Args:
        temperature: of the scorer, fitted on other comparisons.
        resamples: of the prompts.
    """
    trained_on = overlap(comparisons)
    (comparisons,) = held_out_comparisons(comparisons)
    unscored = sum(not c.scored for c in comparisons)
    (comparisons,) = scored_by_all(comparisons)
    ordered = decided(comparisons)
    ties = [c for c in comparisons if not c.decided]
    prompts = clusters(ordered)
    d = differences(ordered)
    twice = [c for c in ordered if c.d_swapped is not None]
    forward = array([c.d for c in twice])
    backward = array([c.d_swapped for c in twice if c.d_swapped is not None])
    return Evaluation(
        trained_on=trained_on,
        n=len(ordered),
        n_groups=len(set(prompts)),
        ties=len(ties),
        undecided=int((d == 0).sum()),
        unscored=unscored,
        **vars(agreement(comparisons, resamples)),
        accuracy_by_order=ByOrder(metrics.accuracy(forward), metrics.accuracy(-backward)),
        mean=mean(d),
        std=std(d),
        mean_abs=mean(np.abs(d)),
        mean_abs_ties=mean(np.abs(differences(ties))),
        nll=metrics.negative_log_likelihood(d),
        by_bin=metrics.accuracy_by_bin(d, metrics.bin_edges(d)),
        ece=metrics.ece(d),
        temperature=metrics.fit_temperature(d),
        ece_tempered=metrics.ece(tempered(d, prompts, folds=2)),
        calibrated=calibrated(d, temperature),
        antisymmetry=metrics.antisymmetry(forward, backward),
        spread=_spread(ordered),
        by_aspect=_by_aspect(ordered, resamples),
        rewards=reward_histograms(comparisons),
        baselines=baselines(comparisons, resamples),
        histogram=histogram(d),
        cut=None,
    )


def _by_aspect(ordered: Scored, resamples: int) -> tuple[AspectAccuracy, ...]:
    by_own_head: dict[str, list[ScoredComparison]] = {}
    by_all_heads: dict[str, list[ScoredComparison]] = {}
    for c in ordered:
        if c.aspect is not None:
            by_all_heads.setdefault(c.subset, []).append(c)
            alone = replace(c, d=c.aspect, d_swapped=None)
            by_own_head.setdefault(c.subset, []).append(alone)
    accuracies = []
    for part in sorted(by_all_heads):
        own = share(by_own_head[part], resamples)
        weighted = share(by_all_heads[part], resamples)
        accuracies.append(AspectAccuracy(part, own, weighted))
    return tuple(accuracies)


def _spread(ordered: Scored) -> HeadSpread:
    with_spread = [c for c in ordered if c.spread is not None]
    d = differences(with_spread)
    size = np.abs(d)
    spread = array([c.spread for c in with_spread if c.spread is not None])
    # Heads that all say the same are sure of it, unless what they say is 0.
    sure: Array = np.where(size > 0, np.inf, 0.0)
    np.divide(size, spread, out=sure, where=spread > 0)
    return HeadSpread(
        mean=mean(spread),
        auroc=metrics.auroc(sure, d > 0),
        auroc_alone=metrics.auroc(size, d > 0),
    )
