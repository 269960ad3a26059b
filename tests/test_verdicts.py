"""Verdicts: what was read in which order, and who wins."""

from __future__ import annotations

import numpy as np

from rewarddiff.differences import Differences
from rewarddiff.pipeline.verdicts import of_differences
from rewarddiff.records import Group
from rewarddiff.scorers.judging.panel import PanelScorer
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.verdicts import Verdicts

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
