"""What a scorer says of the comparisons that the data makes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rewarddiff.differences import Differences, weighed
from rewarddiff.errors import UserError
from rewarddiff.evaluation.scored import Scored, ScoredComparison
from rewarddiff.records import Comparison, Group, prompt_text
from rewarddiff.scorers.overlap import trained_on
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import Store, fingerprint


def compare(
    scorer: Scorer,
    groups: Iterable[Group],
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> list[ScoredComparison]:
    """Return every labelled comparison with what a scorer says of it.

    Ties are among them, with strength 0, and those of which it says nothing, with d NaN. Lengths are
    in characters. Groups of one prompt have one `prompt`.
    """
    groups = list(groups)
    comparisons = [list(group.known_comparisons()) for group in groups]
    pairs = [[(c.chosen, c.rejected) for c in of_group] for of_group in comparisons]
    differences = scorer.differences(groups, pairs, store=store, progress=progress)
    compared: list[ScoredComparison] = []
    for group, of_group, d in zip(groups, comparisons, differences, strict=True):
        compared += _compared(group, of_group, d, trained_on(scorer, group))
    return compared


def require_scored(scorer: Scorer, comparisons: Scored) -> None:
    """Raise a UserError where a scorer says nothing of any comparison."""
    if comparisons and not any(comparison.scored for comparison in comparisons):
        raise UserError(
            f"{scorer.name}: says nothing of any of {len(comparisons)} comparisons; check what it "
            "was asked, or measure it on others"
        )


def _compared(
    group: Group, comparisons: Sequence[Comparison], d: Differences, seen: bool | None
) -> Iterator[ScoredComparison]:
    prompt = fingerprint(prompt_text(group.prompt))
    forward = weighed(d.forward, d.weights)
    backward = None if d.backward is None else weighed(d.backward, d.weights)
    scored = d.scored
    spread = d.spread if d.ensemble else None
    aspect = None
    if group.subset in d.aspects:
        aspect = d.by_head[:, d.aspects.index(group.subset)]
    for place, comparison in enumerate(comparisons):
        chosen, rejected = comparison.chosen, comparison.rejected
        rewards = None
        if d.rewards is not None:
            rewards = (float(d.rewards[place, 0]), float(d.rewards[place, 1]))
        styles = None
        if group.styles:
            styles = (group.styles[chosen], group.styles[rejected])
        yield ScoredComparison(
            group=group.id,
            prompt=prompt,
            # One of the heads may say something where together they do not.
            d=float(forward[place]) if scored[place] else math.nan,
            d_swapped=None if backward is None else float(backward[place]),
            spread=None if spread is None else float(spread[place]),
            aspect=None if aspect is None else float(aspect[place]),
            strength=comparison.strength,
            chosen_length=len(group.responses[chosen]),
            rejected_length=len(group.responses[rejected]),
            pair=(chosen, rejected),
            rewards=rewards,
            subset=group.subset,
            styles=styles,
            trained_on=seen,
        )
