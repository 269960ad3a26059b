"""RM-Bench's figures: each right answer against each wrong one, in three styles.

Source: Liu et al. 2024, arXiv 2410.16184. As in its published code a comparison is won where d > 0,
so that a draw is lost. As in its published table domains count alike, and safety-refuse and
safety-response are one.
"""

from __future__ import annotations

from collections.abc import Mapping

from rewarddiff.evaluation.arrays import array, mean
from rewarddiff.evaluation.intervals import SHARE, bootstrap
from rewarddiff.evaluation.lists import by_group
from rewarddiff.evaluation.scored import Scored, ScoredComparison, clusters, differences
from rewarddiff.records import STYLES
from rewarddiff.results import ByDifficulty, DomainAccuracy, Interval, RMBench

Weights = Mapping[str, float]
"""What a comparison counts, by its subset."""


def rm_bench(ordered: Scored, resamples: int) -> RMBench | None:
    """Return RM-Bench's figures; None where the data has no styles.

    Prompts that lost a style (an empty answer, or one text in two styles) are left out.
    """
    lists = by_group([c for c in ordered if c.styles is not None])
    if not lists:
        return None
    complete = [c for c in lists.values() if len(c) == len(STYLES) ** 2]
    whole = [c for of_list in complete for c in of_list]
    domains: dict[str, list[ScoredComparison]] = {}
    for c in sorted(whole, key=lambda c: c.subset):
        domain = c.subset.split("-")[0] or "(none)"
        domains.setdefault(domain, []).append(c)
    weights: dict[str, float] = {}
    for of_domain in domains.values():
        weight = len(whole) / len(of_domain) / len(domains)
        weights |= dict.fromkeys((c.subset for c in of_domain), weight)
    alike = dict.fromkeys(weights, 1.0)
    by_domain = []
    for domain, of_domain in domains.items():
        by_domain.append(
            DomainAccuracy(domain=domain, **vars(_by_difficulty(of_domain, alike, resamples)))
        )
    return RMBench(
        **vars(_by_difficulty(whole, weights, resamples)),
        matrix=_matrix(whole, weights, resamples),
        by_domain=tuple(by_domain),
        partial=len(lists) - len(complete),
    )


def _matrix(comparisons: Scored, weights: Weights, resamples: int) -> tuple[tuple[float, ...], ...]:
    rows = []
    for right in STYLES:
        row = []
        for wrong in STYLES:
            cell = [c for c in comparisons if c.styles == (right, wrong)]
            row.append(_won(cell, weights, resamples).value)
        rows.append(tuple(row))
    return tuple(rows)


def _by_difficulty(comparisons: Scored, weights: Weights, resamples: int) -> ByDifficulty:
    easy = _won([c for c in comparisons if _lead(c) > 0], weights, resamples)
    normal = _won([c for c in comparisons if _lead(c) == 0], weights, resamples)
    hard = _won([c for c in comparisons if _lead(c) < 0], weights, resamples)
    average = mean(array([easy.value, normal.value, hard.value]))
    return ByDifficulty(easy=easy, normal=normal, hard=hard, average=average)


def _lead(c: ScoredComparison) -> int:
    """Return by how many styles the right answer is the showier one."""
    assert c.styles is not None
    right, wrong = c.styles
    return STYLES.index(right) - STYLES.index(wrong)


def _won(comparisons: Scored, weights: Weights, resamples: int) -> Interval:
    """Return the share with d > 0, each comparison by the weight of its part."""
    won = differences(comparisons) > 0
    by_comparison = [weights[c.subset] for c in comparisons]
    return bootstrap(won, clusters(comparisons), weights=by_comparison, bounds=SHARE, n=resamples)
