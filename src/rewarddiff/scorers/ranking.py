"""Scores of a group's responses from comparisons of them, and what fewer comparisons cost in
quality.

A decoder reads all comparisons of a group in one token tree: prompt → first responses → second
responses. A group of k with p tokens in the prompt and r in each response takes p + k·r + n·r
tokens for n comparisons, where k stand first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rewarddiff import rankings
from rewarddiff.coefficients import both_orders
from rewarddiff.designs import DesignConfig, Pair, comparisons, uncertainty
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.store import Store

if TYPE_CHECKING:
    from rewarddiff.scorers.neural.scorer import Scorer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """One order of a group's responses.

    Attributes:
        scores: one per response, higher is better.
        pairs: what was compared; of pairs read in both orders, one.
        differences: d(a, b) of every pair, the mean over both orders where both were read.
        inconsistency: share of the squared differences that no scores explain
            (`rankings.inconsistency`).
        cyclic: triples that go round, and triples of which all three pairs were compared.
        readings: texts read for it: comparisons, or of a reward model the responses.
    """

    scores: Array
    pairs: tuple[Pair, ...]
    differences: Array
    inconsistency: float
    cyclic: tuple[int, int]
    readings: int


def rank(
    scorer: Scorer,
    groups: Sequence[Group],
    design: DesignConfig | None = None,
    method: Method = "potentials",
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> list[Ranking]:
    """Rank the responses of each group by the comparisons of a design (None: every pair in both
    orders).

    A reward model gives r(a) − r(b) for each of them, and so the same potentials by every design: r
    less its mean.

    Raises:
        UserError: the design's budget cannot join all responses of a group.
    """
    design = design or DesignConfig()
    pairs = [comparisons(len(group.responses), design, group.id) for group in groups]
    read = scorer.differences(groups, pairs, orders="one", store=store, progress=progress)
    return [
        _ranking(
            len(group.responses),
            dict(zip(own, d.tolist(), strict=True)),
            method,
            readings=len(scorer.shown(own)),
        )
        for group, own, d in zip(groups, pairs, read, strict=True)
    ]


def tokens(scorer: Scorer, group: Group, pairs: Sequence[Pair]) -> int:
    """Tokens that reading these comparisons takes, what they share counted once where it is read
    once."""
    texts = scorer.reader.texts
    page = texts.page(group)
    return scorer.reader.cost(
        sorted({texts.reading(page, *indices) for indices in scorer.shown(pairs)})
    )


@dataclass(frozen=True)
class Consistency:
    """How far what was read has one order at all, and how far it is the data's. NaN where there is
    nothing to average.

    Attributes:
        groups: of two responses or more. readings: texts read for them.
        inconsistency: mean over the groups that have more comparisons than it takes to join them.
        cyclic: share of the triples compared that go round, and `triples`, how many those are.
        agreement: share of the data's comparisons, ties left out, whose better response scores
            higher; equal scores count a half. `comparisons`: how many those are.
    """

    groups: int
    readings: int
    inconsistency: float
    cyclic: float
    triples: int
    agreement: float
    comparisons: int


def consistency(groups: Sequence[Group], found: Sequence[Ranking]) -> Consistency:
    """Of groups and their rankings."""
    return _consistency(found, *agreement(groups, found))


def _consistency(
    found: Sequence[Ranking], right: Sequence[float], asked: Sequence[int]
) -> Consistency:
    loops = [
        ranking.inconsistency for ranking in found if len(ranking.pairs) >= len(ranking.scores)
    ]
    cyclic, triples = (sum(ranking.cyclic[i] for ranking in found) for i in (0, 1))
    return Consistency(
        groups=sum(len(ranking.scores) > 1 for ranking in found),
        readings=sum(ranking.readings for ranking in found),
        inconsistency=_mean(value for value in loops if not math.isnan(value)),
        cyclic=cyclic / triples if triples else math.nan,
        triples=triples,
        agreement=sum(right) / sum(asked) if sum(asked) else math.nan,
        comparisons=sum(asked),
    )


def agreement(groups: Sequence[Group], found: Sequence[Ranking]) -> tuple[list[float], list[int]]:
    """Of each group, how many of the data's comparisons are right, a tie of scores by half, and how
    many there are."""
    right, asked = [], []
    for group, ranking in zip(groups, found, strict=True):
        gaps = [
            ranking.scores[c.chosen] - ranking.scores[c.rejected]
            for c in group.known_comparisons()
            if not c.tie
        ]
        right.append(float(sum(0.5 * (1 + np.sign(gap)) for gap in gaps)))
        asked.append(len(gaps))
    return right, asked


@dataclass(frozen=True)
class DesignFigures(Consistency):
    """What a design costs and how good its scores are, by a method. Means over groups, NaN where
    there are none.

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
    scorer: Scorer,
    groups: Sequence[Group],
    designs: Sequence[DesignConfig],
    methods: Sequence[Method] = ("potentials",),
    *,
    reference: DesignConfig | None = None,
    store: Store | None = None,
    progress: str | None = None,
) -> list[DesignFigures]:
    """Measure designs on groups whose order is known, so that one can be chosen; every comparison
    is read once.

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
    reference = reference or DesignConfig()
    asked = [
        [comparisons(len(g.responses), design, g.id) for g in groups]
        for design in (reference, *designs)
    ]
    union = [sorted({pair for own in lists for pair in own}) for lists in zip(*asked, strict=True)]
    read = scorer.differences(groups, union, orders="one", store=store, progress=progress)
    known = [dict(zip(own, d.tolist(), strict=True)) for own, d in zip(union, read, strict=True)]

    def ranked(pairs: Sequence[Sequence[Pair]], method: Method) -> list[Ranking]:
        return [
            _ranking(
                len(g.responses), {p: d[p] for p in own}, method, readings=len(scorer.shown(own))
            )
            for g, own, d in zip(groups, pairs, known, strict=True)
        ]

    truth = {method: [ranking.scores for ranking in ranked(asked[0], method)] for method in methods}
    figures = []
    for design, pairs in zip(designs, asked[1:], strict=True):
        cost = _mean(tokens(scorer, group, own) for group, own in zip(groups, pairs, strict=True))
        suited = [m for m in methods if m == "potentials" or design.complete]
        figures += [_figures(design, m, groups, ranked(pairs, m), truth[m], cost) for m in suited]
    return figures


def _ranking(n: int, read: Mapping[Pair, float], method: Method, *, readings: int) -> Ranking:
    """From single orders as read, which took so many readings."""
    pairs = tuple((a, b) for a, b in read if a < b or (b, a) not in read)
    d = np.array(
        [both_orders(read[a, b], read[b, a]) if (b, a) in read else read[a, b] for a, b in pairs]
    )
    return Ranking(
        rankings.rank(n, pairs, d, method),
        pairs,
        d,
        rankings.inconsistency(n, pairs, d),
        rankings.cyclic_triples(n, pairs, d),
        readings,
    )


def _figures(
    design: DesignConfig,
    method: Method,
    groups: Sequence[Group],
    found: Sequence[Ranking],
    truth: Sequence[Array],
    cost: float,
) -> DesignFigures:
    both = [
        (r.scores, own)
        for r, own in zip(found, truth, strict=True)
        if np.ptp(r.scores) > 0 and np.ptp(own) > 0
    ]
    halved = 0.5 if design.mode == "both" else 1.0
    right, asked = agreement(groups, found)
    return DesignFigures(
        **vars(_consistency(found, right, asked)),
        design=design,
        method=method,
        right=tuple(right),
        asked=tuple(asked),
        tokens=cost,
        uncertainty=_mean(
            halved * uncertainty(len(ranking.scores), ranking.pairs) for ranking in found
        ),
        spearman=_mean(stats.spearmanr(a, b).statistic for a, b in both),
        kendall=_mean(stats.kendalltau(a, b).statistic for a, b in both),
    )


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else math.nan
