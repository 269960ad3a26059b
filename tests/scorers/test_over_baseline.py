"""Rewards over stored responses: the two ways to them agree, and each is taken where it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.rewards import Baseline
from rewarddiff.rewards.stored import StoredBaseline, StoredResponses
from rewarddiff.scorers.over_baseline import OverBaseline
from rewarddiff.scorers.protocol import Pointwise

R = {"a": 4.0, "b": 1.0, "x": 0.0, "y": 1.0, "z": 5.0}
GROUPS = [Group("g", "p", ("a", "b")), Group("h", "q", ("b",))]


class Compares:
    """Scores no response alone: d(a, b) = r(a) − r(b), and 10 more for "a" against "x"."""

    name = "compares"
    temperature = None
    prompts = None

    def __init__(self) -> None:
        self.read: list[tuple[str, ...]] = []

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **_: Any
    ) -> list[Differences]:
        differences = []
        for group, of_group in zip(groups, pairs, strict=True):
            self.read.append(group.responses)
            texts = group.responses
            d = []
            for i, j in of_group:
                beyond = 10.0 if (texts[i], texts[j]) == ("a", "x") else 0.0
                d.append(R[texts[i]] - R[texts[j]] + beyond)
            differences.append(Differences.of(d, of_group))
        return differences


class Scores(Compares):
    """A reward model."""

    name = "scores"

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **_: Any
    ) -> list[Differences]:
        rewards = self.rewards(groups)
        return [Differences.of_rewards(r, of) for r, of in zip(rewards, pairs, strict=True)]

    def rewards(self, groups: Sequence[Group], **_: Any) -> list[Array]:
        self.read += [group.responses for group in groups]
        return [np.array([R[text] for text in group.responses]) for group in groups]


def stored(scorer: str = "", *, scored: bool = True) -> StoredBaseline:
    responses = {}
    for prompt in ("p", "q"):
        scores = np.array([R[text] for text in "xyz"]) if scored else None
        responses[prompt] = StoredResponses(("x", "y", "z"), scores)
    return StoredBaseline("b.jsonl", responses, scorer)


# r(a) = 4, r(b) = 1 against 0, 1, 5: mean 2, median 1, maximum 5.
BY_HAND = {"mean": ([2, -1], [-1]), "median": ([3, 0], [0]), "max": ([-1, -4], [-4])}


@pytest.mark.parametrize("baseline", get_args(Baseline))
def test_stored_scores_and_read_responses_give_the_same_of_a_reward_model(
    baseline: Baseline,
) -> None:
    by_scores = OverBaseline(Scores(), stored("f1"), baseline, fingerprint="f1")
    by_reading = OverBaseline(Scores(), stored("f2"), baseline, fingerprint="f1")
    for over in (by_scores, by_reading):
        assert isinstance(over, Pointwise)
        assert [r.tolist() for r in over.rewards(GROUPS)] == list(BY_HAND[baseline])
    assert by_scores.scorer.read == [("a", "b"), ("b",)]  # each response once, none that is stored
    assert by_reading.scorer.read[0] == ("a", "b", "x", "y", "z")


@pytest.mark.parametrize(
    ("fingerprint", "scorer", "scored"), [("", "", True), ("f1", "", True), ("f1", "f1", False)]
)
def test_scores_that_may_be_another_scorers_are_not_used(
    fingerprint: str, scorer: str, scored: bool
) -> None:
    over = OverBaseline(Scores(), stored(scorer, scored=scored), fingerprint=fingerprint)
    over.rewards(GROUPS)
    assert ("b", "x", "y", "z") in over.scorer.read


def test_who_compares_is_asked_for_differences() -> None:
    """d(a, x) = 14, d(a, y) = 3, d(a, z) = −1: the mean of 16/3 is of no rewards of a."""
    over = OverBaseline(Compares(), stored("f1"), fingerprint="f1")
    (first, second) = over.rewards(GROUPS)
    assert first.tolist() == pytest.approx([16 / 3, -1])
    assert second.tolist() == [-1]
    (d,) = over.differences(GROUPS[:1], [[(0, 1), (1, 0)]])
    assert d.mean.tolist() == pytest.approx([19 / 3, -19 / 3])


def test_a_maximum_over_unequally_many_is_refused() -> None:
    uneven = StoredBaseline(
        "b.jsonl", {"p": StoredResponses(("x",)), "q": StoredResponses(("x", "y"))}
    )
    OverBaseline(Compares(), uneven, "median")
    with pytest.raises(UserError, match="the largest of more is larger"):
        OverBaseline(Compares(), uneven, "max")


def test_a_prompt_without_responses_has_no_reward() -> None:
    with pytest.raises(UserError, match=r"b\.jsonl: has no responses to the prompt 'other'"):
        OverBaseline(Compares(), stored()).rewards([Group("g", "other", ("a",))])
