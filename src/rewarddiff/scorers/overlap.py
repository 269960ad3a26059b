"""Which prompts a scorer learned from: of these it knows no more than their labels."""

from __future__ import annotations

from collections.abc import Iterable

from rewarddiff.data import prompt_hashes
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Scorer


def trained_on(scorer: Scorer, group: Group) -> bool | None:
    """Return whether a scorer learned from the group's prompt; None where that is not known."""
    if scorer.prompts is None:
        return None
    return not scorer.prompts.isdisjoint(prompt_hashes([group]))


def count_trained_on(scorer: Scorer, groups: Iterable[Group]) -> int | None:
    """Count the groups whose prompt a scorer learned from; None where that is not known."""
    if scorer.prompts is None:
        return None
    return sum(bool(trained_on(scorer, group)) for group in groups)
