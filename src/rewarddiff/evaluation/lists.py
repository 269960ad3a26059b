"""Lists of three responses and more: how often a scorer puts one of the best first."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.evaluation.arrays import array, mean
from rewarddiff.evaluation.intervals import SHARE, bootstrap
from rewarddiff.evaluation.scored import Scored, ScoredComparison
from rewarddiff.results import FirstOfList


def by_group(comparisons: Scored) -> dict[str, list[ScoredComparison]]:
    """Return the comparisons of every list."""
    lists: dict[str, list[ScoredComparison]] = {}
    for c in comparisons:
        lists.setdefault(c.group, []).append(c)
    return lists


def first_of_list(comparisons: Scored, resamples: int) -> FirstOfList:
    """Return how often a scorer puts one of the data's best responses first.

    Lists are groups with comparisons of three responses or more; the best are those that never
    lose. The scorer puts one of them first where it is held above all others; where best ones are
    held equal to some others, all of these share the first place. Lists in which a best one was not
    compared with every other that is not are left out: an order that is known in part is easier to
    hit than by a blind draw.
    """
    shares = []
    prompts = []
    chances = []
    sizes = []
    partial = 0
    for of_list in by_group(comparisons).values():
        responses = {place for c in of_list for place in c.pair}
        best = responses - {c.pair[1] for c in of_list if c.decided}
        if len(responses) < 3 or not best or best == responses:
            continue
        others = sorted(responses - best)
        leads = [_leads(of_list, place) for place in best]
        if any(set(others) - lead.keys() for lead in leads):
            partial += 1
            continue
        shares.append(_share_of_first_place([[lead[i] for i in others] for lead in leads]))
        prompts.append(of_list[0].cluster)
        chances.append(len(best) / len(responses))
        sizes.append(len(responses))
    return FirstOfList(
        first=bootstrap(shares, prompts, bounds=SHARE, n=resamples),
        chance=mean(array(chances)),
        n=mean(array(sizes)),
        partial=partial,
    )


def _leads(comparisons: Scored, place: int) -> dict[int, float]:
    """Return by how much a response is held above each that it was compared with."""
    leads = {c.pair[1]: c.difference for c in comparisons if c.pair[0] == place}
    for c in comparisons:
        if c.pair[1] == place:
            leads[c.pair[0]] = -c.difference
    return leads


def _share_of_first_place(leads: Sequence[Sequence[float]]) -> float:
    """Return the share of the first place that the best ones have.

    Args:
        leads: of each best one over each of the others.
    """
    if any(min(lead) > 0 for lead in leads):
        return 1.0
    level = [lead for lead in leads if min(lead) == 0]
    if not level:
        return 0.0
    equals = set()
    for lead in level:
        equals |= {other for other, d in enumerate(lead) if d == 0}
    return len(level) / (len(level) + len(equals))
