"""What policies are trained on: groups as trees, with one coefficient per comparison.

The baseline is this same code with every coefficient at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress

from rewarddiff.encoded import Encoded
from rewarddiff.errors import UserError
from rewarddiff.rankings import potentials
from rewarddiff.records import LARGEST, Comparison, Group
from rewarddiff.trees import Tree, group_tree

NUMBERS = ("coefficients", "strengths", "scores", "reference")
"""The columns of an item that losses read: one number for each comparison, or for each response."""

ITEM_COMPARISONS = 8
"""A group with more comparisons or labels is cut: a batch is never one group's alone."""


@dataclass(frozen=True)
class Pairs:
    """Comparisons of one group with their columns.

    Attributes:
        coefficients: one weight each.
        strengths: by how much the chosen response is better, signed; () where no objective asks.
    """

    comparisons: tuple[Comparison, ...]
    coefficients: tuple[float, ...]
    strengths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.comparisons)
        if len(self.coefficients) != count:
            raise ValueError(f"{count} comparisons, {len(self.coefficients)} coefficients")
        if self.strengths and len(self.strengths) != count:
            raise ValueError(f"{count} comparisons, {len(self.strengths)} strengths")

    @classmethod
    def unweighted(cls, comparisons: Sequence[Comparison]) -> Pairs:
        """Return comparisons with coefficient 1 each: the baseline."""
        return cls(tuple(comparisons), (1.0,) * len(comparisons))

    def where(self, keep: Sequence[bool]) -> Pairs:
        """Return the comparisons that are marked."""
        if all(keep):
            return self
        return Pairs(
            tuple(compress(self.comparisons, keep)),
            tuple(compress(self.coefficients, keep)),
            tuple(compress(self.strengths, keep)),
        )

    def weighed(
        self, weights: Sequence[float], flip: Sequence[bool], keep: Sequence[bool]
    ) -> Pairs:
        """Return the comparisons with coefficients; turned, or left out, as these say.

        Args:
            weights, flip, keep: one each, as `coefficients.weigh` gives them.
        """
        turned = []
        for comparison, is_flipped in zip(self.comparisons, flip, strict=True):
            if is_flipped:
                comparison = replace(
                    comparison, chosen=comparison.rejected, rejected=comparison.chosen
                )
            turned.append(comparison)
        strengths = []
        # There are none where no objective reads them.
        for strength, is_flipped in zip(self.strengths, flip, strict=False):
            strengths.append(-strength if is_flipped else strength)
        return Pairs(tuple(turned), tuple(weights), tuple(strengths)).where(keep)

    def part(self, places: slice) -> Pairs:
        """Return a run of the comparisons."""
        return Pairs(self.comparisons[places], self.coefficients[places], self.strengths[places])


@dataclass(frozen=True)
class PreferenceItem:
    """A group as a tree and the comparisons trained on, with one coefficient for each.

    Attributes:
        comparisons: places of chosen and rejected among the tree's responses.
        strengths: by how much the chosen one is better, signed; () where no objective asks.
        scores: of every response of the tree, higher is better; () where unknown.
        labels: responses labelled by themselves: place, whether desirable, coefficient.
        reference: log ρ(y|x) of every response, nats, summed over its tokens; () where it has not
            been read.
        mismatch: the prompt with a response to another prompt.
        mismatch_reference: log ρ of that response.
    """

    id: str
    tree: Tree
    comparisons: tuple[tuple[int, int], ...] = ()
    coefficients: tuple[float, ...] = ()
    strengths: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    labels: tuple[tuple[int, bool, float], ...] = ()
    reference: tuple[float, ...] = ()
    mismatch: Tree | None = None
    mismatch_reference: float = 0.0

    def __post_init__(self) -> None:
        if len(self.comparisons) != len(self.coefficients):
            raise ValueError(
                f"{self.id}: {len(self.comparisons)} comparisons, "
                f"{len(self.coefficients)} coefficients"
            )
        for name in NUMBERS:
            numbers = getattr(self, name)
            if not all(abs(number) <= LARGEST for number in numbers):
                raise UserError(
                    f"{self.id}: its {name} are {list(numbers)}, and each has to be finite, also in "
                    "float32; mend what they come from, or leave the row out"
                )

    @property
    def responses(self) -> int:
        """How many responses the tree holds."""
        return len(self.tree.nodes) - 1

    @property
    def best(self) -> int:
        """The response of the highest score, or else that wins most often; of several, the first."""
        values = list(self.scores)
        if not self.scores:
            values = [0.0] * self.responses
            for chosen, rejected in self.comparisons:
                values[chosen] += 1
                values[rejected] -= 1
        return values.index(max(values))


def preference_items(
    encoded: Encoded, pairs: Pairs, *, whole: bool = False
) -> list[PreferenceItem]:
    """Return items of a group with its labels; trees hold the responses an item speaks of.

    Args:
        whole: leave the group in one item: it is a list.
    """
    labels = encoded.labelled()
    longest = max(len(pairs.comparisons), len(labels))
    if longest == 0:
        return []
    size = longest if whole else ITEM_COMPARISONS
    items = []
    for start in range(0, longest, size):
        part = slice(start, start + size)
        items.append(_item(encoded, pairs.part(part), labels[part]))
    return items


def _item(encoded: Encoded, pairs: Pairs, labels: Sequence[tuple[int, bool]]) -> PreferenceItem:
    spoken_of = {response for response, _ in labels}
    for comparison in pairs.comparisons:
        spoken_of |= {comparison.chosen, comparison.rejected}
    used = sorted(spoken_of)
    place = {response: i for i, response in enumerate(used)}
    comparisons = tuple((place[c.chosen], place[c.rejected]) for c in pairs.comparisons)
    return PreferenceItem(
        id=encoded.group.id,
        tree=group_tree(encoded.prompt, [encoded.responses[response] for response in used]),
        comparisons=comparisons,
        coefficients=pairs.coefficients,
        strengths=pairs.strengths,
        scores=_scores(encoded.group, pairs, used, comparisons),
        labels=tuple((place[response], desirable, 1.0) for response, desirable in labels),
    )


def _scores(
    group: Group, pairs: Pairs, used: Sequence[int], comparisons: Sequence[tuple[int, int]]
) -> tuple[float, ...]:
    """Return the data's own scores of the used responses, or those that explain the comparisons.

    Scores that contradict a comparison, as where coefficients flip it, are not used. () where
    nothing is known of the order.
    """
    if group.scores is not None and _agree(group.scores, pairs.comparisons):
        return tuple(group.scores[response] for response in used)
    if not pairs.comparisons:
        return ()
    strengths = list(pairs.strengths)
    if not strengths:
        for comparison in pairs.comparisons:
            strengths.append(1.0 if comparison.strength is None else comparison.strength)
    return _potentials(len(used), tuple(comparisons), tuple(strengths))


@lru_cache(maxsize=4096)  # most groups are pairs with the same strength
def _potentials(
    responses: int, comparisons: tuple[tuple[int, int], ...], strengths: tuple[float, ...]
) -> tuple[float, ...]:
    return tuple(potentials(responses, comparisons, strengths).tolist())


def _agree(scores: Sequence[float], comparisons: Sequence[Comparison]) -> bool:
    return all(scores[c.chosen] >= scores[c.rejected] for c in comparisons)
