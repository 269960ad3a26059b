"""The data's own strengths as a scorer, and what makes a scorer one."""

from __future__ import annotations

import pytest

from rewarddiff.differences import joined
from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.scorers.ranking import rank, scores

from .conftest import make

SCORED = Group("scored", "p", ("a", "b", "c"), scores=(1.0, 4.0, 1.0))
COMPARED = Group("compared", "p", ("a", "b"), comparisons=(Comparison(1, 0, 2.5),))


def test_strengths_are_signed_by_the_order_that_is_asked_for() -> None:
    """4 − 1 = 3 for b over a and over c, which tie."""
    first, second = DataGrades().differences(
        [SCORED, COMPARED], [[(0, 1), (1, 0), (2, 0)], [(0, 1), (1, 0)]]
    )
    assert first.mean.tolist() == [-3.0, 3.0, 0.0]
    assert second.mean.tolist() == [-2.5, 2.5]
    assert joined([first, second]).swap().mean.tolist() == [3.0, -3.0, 0.0, 2.5, -2.5]


def test_what_the_data_does_not_say_is_named() -> None:
    order_alone = Group("o", "p", ("a", "b"), comparisons=(Comparison(0, 1),), source="d.jsonl:7")
    with pytest.raises(
        UserError,
        match=r"^my key, but the data gives only the order of 2 of 3 comparisons, first in d.jsonl:7;",
    ):
        DataGrades("my key").differences([COMPARED, order_alone], [[(0, 1)], [(0, 1), (1, 0)]])
    with pytest.raises(UserError, match="first in compared"):
        DataGrades().differences([COMPARED], [[(0, 0)]])


def test_they_rank_and_are_measured_like_any_scorer() -> None:
    (ranking,) = rank(DataGrades(), [SCORED])
    assert ranking.scores == pytest.approx([-1, 2, -1])
    assert scores(DataGrades(), [SCORED])[0] == pytest.approx([-1.5, 3, -1.5])
    (compared,) = compare(DataGrades(), [COMPARED])
    assert (compared.d, compared.strength, compared.d_swapped) == (2.5, 2.5, None)
    assert compared.trained_on is False


def test_who_is_a_scorer_and_who_scores_a_response_alone(folders) -> None:
    reward = make(folders["encoder"])
    difference = make(folders["encoder"], kind="difference")
    assert all(isinstance(scorer, Scorer) for scorer in (reward, difference, DataGrades()))
    assert isinstance(reward, Pointwise)
    assert not any(isinstance(scorer, Pointwise) for scorer in (difference, DataGrades()))
