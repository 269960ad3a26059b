"""Scores of a group's responses from comparisons of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rewarddiff import rankings
from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Array, Differences, Pair, both_orders
from rewarddiff.errors import UserError
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.store import Store


@dataclass(frozen=True)
class Ranking:
    """One order of a group's responses.

    Attributes:
        scores: one per response, higher is better.
        pairs: of which the scorer says something; a pair that was read in both orders stands once.
        differences: d(a, b) of every pair, the mean over both orders where both were read.
        inconsistency: share of the squared differences that no scores explain
            (`rankings.inconsistency`).
        cyclic: how many triples go round (a ≻ b ≻ c ≻ a), and of how many all pairs were compared.
        readings: texts read for it.
    """

    scores: Array
    pairs: tuple[Pair, ...]
    differences: Array
    inconsistency: float
    cyclic: tuple[int, int]
    readings: int


@dataclass(frozen=True)
class Consistency:
    """How well the readings fit one order, and how well that order fits the data.

    NaN where there is nothing to average.

    Attributes:
        groups: of two responses or more.
        readings: texts read for them.
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


def scores(
    scorer: Scorer,
    groups: Sequence[Group],
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> list[Array]:
    """Return one number per response, higher is better.

    A pointwise scorer gives r(x, y). For any other the score is the mean of d(y, y') over the
    group's other responses: a Borda count of differences, 0 in a group of one. Comparisons of which
    the scorer says nothing are made up for by the others, see `rankings.mean_differences`.

    Raises:
        UserError: what the scorer says of a group does not join its responses.
    """
    if isinstance(scorer, Pointwise):
        return scorer.rewards(groups, store=store, progress=progress)
    sizes = [len(group.responses) for group in groups]
    pairs = [list(combinations(range(size), 2)) for size in sizes]
    differences = scorer.differences(groups, pairs, store=store, progress=progress)
    means = []
    for group, d in zip(groups, differences, strict=True):
        _require_joined(scorer, group, d)
        means.append(rankings.mean_differences(len(group.responses), d.pairs, d.mean))
    return means


def _require_joined(scorer: Scorer, group: Group, differences: Differences) -> None:
    """Raise a UserError where what a scorer says of a group makes no order of all its responses."""
    count = len(group.responses)
    pairs, _ = rankings.known(differences.pairs, differences.mean)
    if count < 2 or len(pairs) == len(differences.pairs) or rankings.joins(count, pairs):
        return
    unscored = len(differences.pairs) - len(pairs)
    raise UserError(
        f"{group.source or group.id}: {scorer.name} says nothing of {unscored} of "
        f"{len(differences.pairs)} comparisons, and the others do not join all {count} responses; "
        "leave the row out, or rank by another scorer"
    )


def rank(
    scorer: Scorer,
    groups: Sequence[Group],
    design: DesignConfig | None = None,
    method: Method = "potentials",
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> list[Ranking]:
    """Rank the responses of each group by the comparisons of a design.

    A reward model gives r(a) − r(b) for each of them, and so the same potentials by every design: r
    less its mean. A group in which the scorer says nothing of some comparisons is ranked by the
    potentials of the others, whatever the method.

    Args:
        design: None: every pair in both orders.

    Raises:
        UserError: the design's budget, or what the scorer says, cannot join all responses of a group.
    """
    design = design or DesignConfig()
    pairs = [comparisons(len(group.responses), design, group.id) for group in groups]
    # A design that wants both orders lists both.
    differences = scorer.differences(groups, pairs, orders="one", store=store, progress=progress)
    ranked = []
    for group, d in zip(groups, differences, strict=True):
        _require_joined(scorer, group, d)
        ranked.append(ranking_of(len(group.responses), d, method))
    return ranked


def ranking_of(n: int, differences: Differences, method: Method) -> Ranking:
    """Rank n responses by differences that were read in single orders, those that are NaN left out."""
    asked, stated = _unordered(differences)
    pairs, d = rankings.known(asked, stated)
    if len(pairs) < len(asked):
        method = "potentials"
    return Ranking(
        scores=rankings.rank(n, pairs, d, method),
        pairs=tuple(pairs),
        differences=d,
        inconsistency=rankings.inconsistency(n, pairs, d),
        cyclic=rankings.cyclic_triples(n, pairs, d),
        readings=differences.readings,
    )


def _unordered(differences: Differences) -> tuple[tuple[Pair, ...], Array]:
    """Return each pair once, with the mean over both orders where both were read."""
    d_by_pair = dict(zip(differences.pairs, differences.mean.tolist(), strict=True))
    pairs: list[Pair] = []
    values: list[float] = []
    for (a, b), d in d_by_pair.items():
        if (b, a) not in d_by_pair:
            pairs.append((a, b))
            values.append(d)
        elif a < b:  # read in both orders: kept once
            pairs.append((a, b))
            values.append(float(both_orders(d, d_by_pair[b, a])))
    return tuple(pairs), np.array(values)


def consistency(groups: Sequence[Group], ranked: Sequence[Ranking]) -> Consistency:
    """Return the consistency of groups' rankings, and their agreement with the data."""
    right, compared = agreement(groups, ranked)
    inconsistencies = []
    for ranking in ranked:
        # Scores explain a tree of comparisons exactly, so its 0 says nothing. All responses are
        # joined, so that as many comparisons as responses have a loop.
        has_loops = len(ranking.pairs) >= len(ranking.scores)
        if has_loops and not math.isnan(ranking.inconsistency):
            inconsistencies.append(ranking.inconsistency)
    cyclic = sum(ranking.cyclic[0] for ranking in ranked)
    triples = sum(ranking.cyclic[1] for ranking in ranked)
    return Consistency(
        groups=sum(len(ranking.scores) > 1 for ranking in ranked),
        readings=sum(ranking.readings for ranking in ranked),
        inconsistency=mean_or_nan(inconsistencies),
        cyclic=_ratio(cyclic, triples),
        triples=triples,
        agreement=_ratio(sum(right), sum(compared)),
        comparisons=sum(compared),
    )


def agreement(groups: Sequence[Group], ranked: Sequence[Ranking]) -> tuple[list[float], list[int]]:
    """Count, for each group, the data's comparisons that are right, and all of them.

    A tie of scores counts a half; ties of the data are left out.
    """
    right = []
    compared = []
    for group, ranking in zip(groups, ranked, strict=True):
        gaps = []
        for comparison in group.known_comparisons():
            if not comparison.tie:
                chosen, rejected = comparison.chosen, comparison.rejected
                gaps.append(ranking.scores[chosen] - ranking.scores[rejected])
        right.append(float(sum(0.5 * (1 + np.sign(gap)) for gap in gaps)))
        compared.append(len(gaps))
    return right, compared


def mean_or_nan(values: Iterable[float]) -> float:
    """Return the mean; NaN of no values."""
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
