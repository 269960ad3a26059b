"""The data's own grades as a scorer: vote margins, differences of scores, confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewarddiff.differences import Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Orders
from rewarddiff.store import Store


@dataclass(frozen=True)
class DataGrades:
    """States the strength of every comparison of the data, in the data's own unit.

    Attributes:
        name: what errors call it: the key of a recipe that asks for grades.
        temperature: none: grades are no log-odds.
        prompts: none: nothing was learned from them.
    """

    name: str = "grades"
    temperature: None = None
    prompts: frozenset[str] = frozenset()

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return the strength of these pairs, negative where the data prefers the second response.

        Raises:
            UserError: the data does not say how much better one of them is.
        """
        asked = 0
        unknown: list[Group] = []
        differences = []
        for group, group_pairs in zip(groups, pairs, strict=True):
            strengths = _strengths(group)
            values = [strengths.get(pair) for pair in group_pairs]
            asked += len(values)
            unknown += [group] * values.count(None)
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                differences.append(Differences.of(known, group_pairs))
        if unknown:
            raise UserError(
                f"{self.name}, but the data gives only the order of {len(unknown)} of {asked} "
                f"comparisons, first in {unknown[0].source or unknown[0].id}; fill in their "
                "strength (margin, scores), delete their rows, or use a scorer"
            )
        return differences


def _strengths(group: Group) -> dict[Pair, float | None]:
    """Return the signed strength of every comparison that the data makes, both ways."""
    strengths: dict[Pair, float | None] = {}
    for comparison in group.known_comparisons():
        strength = comparison.strength
        strengths[comparison.chosen, comparison.rejected] = strength
        strengths[comparison.rejected, comparison.chosen] = None if strength is None else -strength
    return strengths
