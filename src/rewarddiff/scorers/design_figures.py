"""What fewer comparisons of a group cost in quality.

A decoder reads all comparisons of a group in one token tree: prompt → first responses → second
responses. A group of k with p tokens in the prompt and r in each response takes p + k·r + n·r
tokens for n comparisons, where k stand first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rewarddiff.designs import DesignConfig, comparisons, uncertainty
from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.ranking import (
    Consistency,
    Ranking,
    agreement,
    consistency,
    mean_or_nan,
    ranking_of,
)
from rewarddiff.store import Store


@dataclass(frozen=True)
class DesignFigures(Consistency):
    """What a design costs and how good its scores are, by a method.

    Means are over groups, NaN where there are none.

    Attributes:
        right: of each group, how many of the data's comparisons are right, and `asked`, how many
            there are.
        tokens: read for a group.
        uncertainty: see `designs.uncertainty`; half of it where every pair is read in both orders.
        spearman: rank correlation with the scores of the reference design, over the groups in which
            neither's scores are all equal.
        kendall: τ-b of the same.
    """

    design: DesignConfig
    method: Method
    right: tuple[float, ...]
    asked: tuple[int, ...]
    tokens: float
    uncertainty: float
    spearman: float
    kendall: float


def compare_designs(
    scorer: NeuralScorer,
    groups: Sequence[Group],
    designs: Sequence[DesignConfig],
    methods: Sequence[Method] = ("potentials",),
    *,
    reference: DesignConfig | None = None,
    store: Store | None = None,
    progress: str | None = None,
) -> list[DesignFigures]:
    """Measure designs on groups whose order is known, so that one can be chosen.

    Every comparison is read once.

    Args:
        groups: those of fewer than two responses are left out.
        reference: with whose scores by the same method the others' are correlated; None: every pair
            in both orders.

    Returns:
        A design after the other, each by all methods; one that leaves comparisons out by potentials
        alone.

    Raises:
        UserError: a design's budget cannot join all responses of a group.
    """
    groups = [group for group in groups if len(group.responses) > 1]
    reference_pairs = _pairs(groups, reference or DesignConfig())
    pairs_by_design = [_pairs(groups, design) for design in designs]
    union = []
    for of_group in zip(reference_pairs, *pairs_by_design, strict=True):
        union.append(sorted({pair for pairs in of_group for pair in pairs}))
    read = scorer.differences(groups, union, orders="one", store=store, progress=progress)

    reference_scores = {}
    for method in methods:
        rankings = _ranked(groups, reference_pairs, read, method)
        reference_scores[method] = [ranking.scores for ranking in rankings]
    figures = []
    for design, pairs in zip(designs, pairs_by_design, strict=True):
        tokens = mean_or_nan(map(scorer.tokens, groups, pairs))
        for method in methods:
            if method == "potentials" or design.complete:
                rankings = _ranked(groups, pairs, read, method)
                truth = reference_scores[method]
                figures.append(_figures(design, method, groups, rankings, truth, tokens))
    return figures


def _pairs(groups: Sequence[Group], design: DesignConfig) -> list[list[Pair]]:
    return [comparisons(len(group.responses), design, group.id) for group in groups]


def _ranked(
    groups: Sequence[Group],
    pairs: Sequence[Sequence[Pair]],
    read: Sequence[Differences],
    method: Method,
) -> list[Ranking]:
    """Rank groups by some of the comparisons that were read."""
    ranked = []
    for group, group_pairs, differences in zip(groups, pairs, read, strict=True):
        ranked.append(ranking_of(len(group.responses), differences.oriented(group_pairs), method))
    return ranked


def _figures(
    design: DesignConfig,
    method: Method,
    groups: Sequence[Group],
    ranked: Sequence[Ranking],
    truth: Sequence[Array],
    tokens: float,
) -> DesignFigures:
    spearman = []
    kendall = []
    for ranking, reference in zip(ranked, truth, strict=True):
        if np.ptp(ranking.scores) > 0 and np.ptp(reference) > 0:
            spearman.append(stats.spearmanr(ranking.scores, reference).statistic)
            kendall.append(stats.kendalltau(ranking.scores, reference).statistic)
    # Noise averages out over the two orders of a pair.
    variance = 0.5 if design.mode == "both" else 1.0
    uncertainties = [
        variance * uncertainty(len(ranking.scores), ranking.pairs) for ranking in ranked
    ]
    right, asked = agreement(groups, ranked)
    return DesignFigures(
        **vars(consistency(groups, ranked)),
        design=design,
        method=method,
        right=tuple(right),
        asked=tuple(asked),
        tokens=tokens,
        uncertainty=mean_or_nan(uncertainties),
        spearman=mean_or_nan(spearman),
        kendall=mean_or_nan(kendall),
    )
