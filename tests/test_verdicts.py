"""Verdicts: what was read in which order, and who wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.differences import Differences
from rewarddiff.endpoints.chat import Usage
from rewarddiff.evaluation.win_rates import Contest, win_rate
from rewarddiff.pipeline.verdicts import (
    SAME_TEXT,
    Answers,
    of_differences,
    read_verdicts,
    write_verdicts,
)
from rewarddiff.records import Group
from rewarddiff.scorers.judging.forms import nearest_grades
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.panel import PanelScorer
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.verdicts import Verdicts, joined

PAIR = ((0, 1),)


def test_what_was_read_in_one_order_has_no_position_bias_to_tell() -> None:
    """A pointwise scorer, a panel, whoever states a number: nothing was read twice."""
    group = Group("g", "Why?", ("short", "a long one"))
    (stated,) = LengthScorer().differences([group], [PAIR])
    panel = PanelScorer("p", {"one": LengthScorer(), "other": LengthScorer()})
    (of_panel,) = panel.verdicts([group], [PAIR])
    for verdicts in (of_differences(stated), of_panel, Verdicts.of(PAIR, np.array([-1.0]))):
        assert verdicts.values[0] < 0
        assert not verdicts.both.any()
        assert verdicts.swap().values.tolist() == [-verdicts.values[0]]
        assert not verdicts.swap().both.any()


def test_a_difference_model_that_was_read_both_ways_can_turn() -> None:
    read = Differences(PAIR, np.array([[2.0]]), np.array([[1.0]]))
    assert of_differences(read).turned.tolist() == [True]
    assert of_differences(read).values.tolist() == [0.0]


def test_a_tie_by_expectation_is_a_tie() -> None:
    """A judge that always writes "Verdict: 4" (d 0), with P(4) = .96 and P(3) = .04 (d 1): d is .04.

    Read both ways it says .04 each time for what stands first. It means a tie, which has not turned.
    """
    always = np.full(6, 0.04)
    asked = np.ones((6, 2), dtype=bool)
    steps = nearest_grades(np.stack([always, always], axis=1))
    verdicts = Verdicts(PAIR * 6, always, always, asked, ("",) * 6, steps)
    assert verdicts.outcomes.tolist() == [0.0] * 6
    assert not verdicts.turned.any()
    contest = Contest.of([[verdicts]], np.zeros((1, 6, 2)))
    rate = win_rate(contest, a="a", b="b", judge="j", seed=0, used_in_training=False)
    assert (rate.win.value, rate.tie.value, rate.lose.value, rate.turned.value) == (0, 1, 0, 0)


def graded(forward: float, backward: float) -> Verdicts:
    """Return a judge's expectations over grades on one pair, asked both ways."""
    read = np.array([[forward, backward]])
    asked = np.ones((1, 2), dtype=bool)
    return Verdicts(PAIR, read[:, 0], read[:, 1], asked, ("",), nearest_grades(read))


@pytest.mark.parametrize(
    ("forward", "backward", "outcome", "value"),
    [
        (0.96, -1.04, 1.0, 1.0),  # graded 1 and −1
        (0.96, 0.04, 1.0, 0.46),  # a win and a tie: a win; d is (0.96 − 0.04)/2
        (0.30, -0.40, 0.0, 0.35),  # two ties, and a little in favour of a
        (1.40, 0.90, 0.0, 0.0),  # what stands first wins twice
        (-0.2, 1.8, -1.0, -1.0),
    ],
)
def test_who_wins_is_read_from_grades_and_d_from_expectations(
    forward: float, backward: float, outcome: float, value: float
) -> None:
    verdicts = graded(forward, backward)
    assert verdicts.outcomes.tolist() == [outcome]
    assert verdicts.values.tolist() == pytest.approx([value])
    assert verdicts.swap().outcomes.tolist() == [-outcome]
    assert verdicts.swap().values.tolist() == pytest.approx([-value])


def test_steps_are_kept_in_the_file(tmp_path: Path) -> None:
    answers = Answers(("a", "b"), (Group("g", "Why?", ("x", "y")), Group("h", "How?", ("x", "x"))))
    verdicts = joined([graded(0.3, -0.4), SAME_TEXT])
    write_verdicts(tmp_path / "verdicts.jsonl", answers, {"j": {("a", "b"): verdicts}})
    kept = read_verdicts(tmp_path / "verdicts.jsonl")["j"]["a", "b"]
    assert kept.outcomes.tolist() == [0.0, 0.0]
    assert kept.values.tolist() == pytest.approx([0.35, 0.0])


def test_a_judge_votes_in_a_panel_as_it_grades() -> None:
    """A judge sees a tie, and two others are for a: 2 votes of 3."""
    panel = PanelScorer("p", {"judge": Graded(), "length": LengthScorer(), "long": LengthScorer()})
    (verdicts,) = panel.verdicts([Group("g", "Why?", ("a long one", "short"))], [PAIR])
    assert verdicts.values.tolist() == pytest.approx([2 / 3])


class Graded:
    """A judge whose expectation is a little above a tie."""

    name = "graded"
    temperature = None
    prompts = None

    def verdicts(self, groups: Any, pairs: Any, **_: Any) -> list[Verdicts]:
        return [graded(0.1, -0.1) for _ in groups]

    def differences(self, groups: Any, pairs: Any, **_: Any) -> list[Differences]:
        return [verdicts.differences for verdicts in self.verdicts(groups, pairs)]


class AlwaysNearlyTied:
    """An engine whose every answer is an expectation of .04."""

    usage = Usage()

    def ask(self, messages: Any, rows: Any, store: Any, progress: Any) -> Any:
        for place in range(len(messages)):
            yield place, 0.04


def test_a_judge_of_grades_reads_ties_and_one_of_scores_takes_every_point() -> None:
    options = {"url": "http://localhost:1", "model": "m"}
    groups = [Group("g", "Why?", ("x", "y"))]
    judge = JudgeScorer("j", Judge(form="grades", **options), AlwaysNearlyTied())
    (verdicts,) = judge.verdicts(groups, [PAIR])
    assert (verdicts.turned.tolist(), verdicts.outcomes.tolist()) == ([False], [0.0])
    (d,) = JudgeScorer(
        "j", Judge(form="grades", orders="one", **options), AlwaysNearlyTied()
    ).differences(groups, [PAIR])
    assert abs(d.mean[0]) == 0.04  # coefficients are as fine as ever
    judge = JudgeScorer("j", Judge(form="scores", **options), AlwaysNearlyTied())
    (verdicts,) = judge.verdicts(groups, [PAIR])
    assert verdicts.turned.tolist() == [True]
