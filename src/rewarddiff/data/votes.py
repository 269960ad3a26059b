"""What people say of two responses: single votes, and what several votes come to. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

import numpy as np

from rewarddiff.differences import Array
from rewarddiff.records import Prompt, prompt_text
from rewarddiff.verdicts import majority

Combine = Literal["mean", "median", "majority"]

Texts = tuple[str, str, str]
"""A prompt as readable text, and two responses to it."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person says of two responses to a prompt.

    Attributes:
        grade: steps in favour of response a, negative in favour of b; 0 is a tie, None a vote that
            was skipped.
        steps: of the scale, tie among them: five steps are −2 to 2, seven −3 to 3.
        seconds: that the vote took; None where not known.
        source_a, source_b: what wrote the responses; empty where not known.
        item: id of the pair that was voted on; empty: its texts tell.

    Raises:
        ValueError: a scale without a middle, or a grade beyond it.
    """

    prompt: Prompt
    response_a: str
    response_b: str
    grade: int | None
    annotator: str
    steps: int = 7
    seconds: float | None = None
    reason: str = ""
    source_a: str = ""
    source_b: str = ""
    item: str = ""

    def __post_init__(self) -> None:
        if self.steps < 3 or self.steps % 2 == 0:
            raise ValueError(f"a scale has 3, 5, 7, … steps, got {self.steps}")
        if self.grade is not None and abs(self.grade) > self.largest:
            raise ValueError(
                f"grade is {self.grade}, expected -{self.largest} to {self.largest} "
                f"on {self.steps} steps"
            )

    @property
    def largest(self) -> int:
        """The largest grade of the scale."""
        return self.steps // 2

    @property
    def texts(self) -> Texts:
        """What was voted on: the prompt as text, response a, response b."""
        return prompt_text(self.prompt), self.response_a, self.response_b

    def swap(self) -> Vote:
        """Return the same vote with a and b in each other's place."""
        return replace(
            self,
            response_a=self.response_b,
            response_b=self.response_a,
            grade=None if self.grade is None else -self.grade,
            source_a=self.source_b,
            source_b=self.source_a,
        )


@dataclass(frozen=True, slots=True)
class Item:
    """Two responses to a prompt with all votes on them, at least one, all on a and b alike."""

    votes: tuple[Vote, ...]

    @property
    def grades(self) -> list[int | None]:
        """The grade of every vote; None of a skipped one."""
        return [vote.grade for vote in self.votes]

    @property
    def mean(self) -> float:
        """The mean grade in favour of a; NaN where all skipped."""
        return combined(self.grades, "mean")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What people as a whole say of every item.

    Attributes:
        outcomes: 1 where a wins by majority, −1 where b wins, 0 a tie, NaN none, (items,).
        shares: share of the votes, skipped ones left out, that say the same as the outcome, (items,);
            NaN where there is no outcome.
    """

    items: tuple[Item, ...]
    outcomes: Array
    shares: Array


def items(votes: Iterable[Vote]) -> list[Item]:
    """Gather the votes on the same two responses, in the order of the first of each.

    Votes on the responses in the other order are turned. Of several votes of one annotator on an
    item the last counts, in the place of the first.
    """
    gathered: dict[tuple[str, str, frozenset[str]], dict[str, Vote]] = {}
    for vote in votes:
        prompt, a, b = vote.texts
        of_item = gathered.setdefault((vote.item, prompt, frozenset((a, b))), {})
        first = next(iter(of_item.values()), vote)
        turned = vote if vote.response_a == first.response_a else vote.swap()
        of_item[vote.annotator] = turned
    return [Item(tuple(by_annotator.values())) for by_annotator in gathered.values()]


def combined(grades: Sequence[int | None], how: Combine) -> float:
    """Return what the grades of one item come to, in favour of a; NaN where they say nothing.

    Args:
        grades: None of a vote that was skipped.
        how: `mean` or `median` of the grades that were given; `majority`: 1, 0 or −1, see
            `verdicts.majority`.

    >>> combined([3, 1, None, -1], "mean"), combined([3, 1, None, -1], "median")
    (1.0, 1.0)
    """
    given = [grade for grade in grades if grade is not None]
    if not given:
        return float("nan")
    match how:
        case "mean":
            return fmean(given)
        case "median":
            return float(median(given))
        case "majority":
            return _winner(grades)


def _winner(grades: Sequence[int | None]) -> float:
    """Return who wins by the majority of all votes, skipped ones too: 1 (a), −1 (b), 0 (nobody).

    >>> _winner([3, 1, -1]), _winner([3, -1]), _winner([2, None])
    (1.0, 0.0, 0.0)
    """
    return float(np.sign(majority([math.nan if grade is None else grade for grade in grades])))


def people_outcomes(votes: Iterable[Vote]) -> Outcomes:
    """Return the outcome of every item by the majority of its annotators, and who agrees with it."""
    gathered = items(votes)
    outcomes = []
    shares = []
    for item in gathered:
        outcome = _winner(item.grades)
        signs = [np.sign(grade) for grade in item.grades if grade is not None]
        agreeing = sum(sign == outcome for sign in signs)
        outcomes.append(outcome)
        shares.append(float("nan") if np.isnan(outcome) else agreeing / len(signs))
    return Outcomes(
        tuple(gathered),
        np.array(outcomes, dtype=np.float64),
        np.array(shares, dtype=np.float64),
    )


def ratings(votes: Iterable[Vote]) -> tuple[Array, list[Item], list[str]]:
    """Return grades as a matrix, (items, annotators): NaN where nobody voted, or skipped.

    Returns:
        The grades in favour of a, the items behind the rows, the annotators behind the columns.
    """
    gathered = items(votes)
    annotators: dict[str, int] = {}
    for item in gathered:
        for vote in item.votes:
            annotators.setdefault(vote.annotator, len(annotators))
    grades = np.full((len(gathered), len(annotators)), np.nan)
    for row, item in enumerate(gathered):
        for vote in item.votes:
            if vote.grade is not None:
                grades[row, annotators[vote.annotator]] = vote.grade
    return grades, gathered, list(annotators)
