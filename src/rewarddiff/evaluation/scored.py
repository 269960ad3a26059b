"""A labelled comparison and what a scorer said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff.differences import both_orders
from rewarddiff.evaluation.arrays import Array, array
from rewarddiff.results import Overlap


@dataclass(frozen=True, slots=True)
class ScoredComparison:
    """A labelled comparison and what the scorer said of it.

    Attributes:
        group: id of the prompt with these responses.
        d: d(x, chosen, rejected) in logits; of a reward model r(x, chosen) − r(x, rejected). NaN:
            the scorer says nothing.
        strength: what the data says of how much, 0 a tie, None unknown.
        chosen_length: of the chosen response, in one unit throughout (characters or tokens).
        rejected_length: of the rejected one.
        d_swapped: d(x, rejected, chosen) as read, not oriented; None where one reading is
            antisymmetric by itself.
        pair: places of the chosen and the rejected response in their group.
        rewards: r(x, chosen) and r(x, rejected); None of a difference model.
        subset: the part of its collection that the prompt is from.
        prompt: the same for groups of the same prompt; empty: the group's id.
        styles: of the chosen and of the rejected response, each one of `STYLES`; None where
            unknown.
        spread: standard deviation of d over the scorer's heads; None where it has one.
        aspect: d of the head for the comparison's own part; None of a scorer that has none for it.
        trained_on: whether the scorer was trained on this prompt; None where that is not known.
    """

    group: str
    d: float
    chosen_length: int
    rejected_length: int
    strength: float | None = None
    d_swapped: float | None = None
    pair: tuple[int, int] = (0, 1)
    rewards: tuple[float, float] | None = None
    subset: str = ""
    prompt: str = ""
    styles: tuple[str, str] | None = None
    spread: float | None = None
    aspect: float | None = None
    trained_on: bool | None = None

    @property
    def cluster(self) -> str:
        """The prompt: its comparisons are resampled together, and share a temperature's half."""
        return self.prompt or self.group

    @property
    def difference(self) -> float:
        """d as read, or d̄ of both orders where both were read."""
        if self.d_swapped is None:
            return self.d
        return float(both_orders(self.d, self.d_swapped))

    @property
    def scored(self) -> bool:
        """Whether the scorer says anything."""
        return not math.isnan(self.difference)

    @property
    def decided(self) -> bool:
        """Whether the data says which response is better."""
        return self.strength != 0

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> ScoredComparison:
        """Return the comparison of these fields as JSON holds them, where NaN is null."""
        d = fields["d"]
        return cls(**{**fields, "d": math.nan if d is None else d})


Scored = Sequence[ScoredComparison]


def decided(comparisons: Scored) -> list[ScoredComparison]:
    """Return the comparisons without the data's ties, which have no right answer."""
    return [c for c in comparisons if c.decided]


def differences(comparisons: Scored) -> Array:
    return array([c.difference for c in comparisons])


def clusters(comparisons: Scored) -> list[str]:
    return [c.cluster for c in comparisons]


def scored_by_all(*by_scorer: Scored) -> list[list[ScoredComparison]]:
    """Return the comparisons of which every scorer says something.

    Args:
        by_scorer: what each scorer said of the same comparisons, in the same order.
    """
    scored: list[list[ScoredComparison]] = [[] for _ in by_scorer]
    for of_comparison in zip(*by_scorer, strict=True):
        if all(c.scored for c in of_comparison):
            for kept, c in zip(scored, of_comparison, strict=True):
                kept.append(c)
    return scored


def held_out_comparisons(*by_scorer: Scored) -> list[list[ScoredComparison]]:
    """Return the comparisons of prompts that no scorer was trained on; all where none is left.

    Args:
        by_scorer: what each scorer said of the same comparisons, in the same order.
    """
    held_out: list[list[ScoredComparison]] = [[] for _ in by_scorer]
    for of_comparison in zip(*by_scorer, strict=True):
        if not any(c.trained_on for c in of_comparison):
            for kept, c in zip(held_out, of_comparison, strict=True):
                kept.append(c)
    if not decided(held_out[0]):
        return [list(comparisons) for comparisons in by_scorer]
    return held_out


def overlap(comparisons: Scored) -> Overlap:
    """Return how much of the data a scorer was trained on."""
    trained = [c for c in comparisons if c.trained_on]
    (held_out,) = held_out_comparisons(comparisons)
    return Overlap(
        known=all(c.trained_on is not None for c in comparisons),
        prompts=len(set(clusters(trained))),
        left_out=len(held_out) < len(comparisons),
        comparisons=len(trained),
    )
