"""Length as a scorer: its numbers by hand, and its figures as any scorer's."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

import rewarddiff as rd
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.kinds import KINDS
from rewarddiff.scorers.length import Length
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.scorers.ranking import rank

LIST = Group("list", "p", ("", "abc", "a"), comparisons=(Comparison(1, 0), Comparison(2, 1)))
TIED = Group("tied", "q", ("äö", "no"), comparisons=(Comparison(0, 1),))


def test_rewards_and_differences_by_hand() -> None:
    """log(1 + 0), log(1 + 3), log(1 + 1); two umlauts are two characters."""
    scorer = Length().scorer("length")
    of_list, of_tied = scorer.rewards([LIST, TIED])
    assert of_list == pytest.approx([0.0, log(4), log(2)])
    assert of_tied == pytest.approx([log(3), log(3)])
    d, tied = scorer.differences([LIST, TIED], [[(1, 2), (0, 1)], [(1, 0)]])
    assert d.mean == pytest.approx([log(2), -log(4)])
    assert d.rewards == pytest.approx(np.array([[log(4), log(2)], [0.0, log(4)]]))
    assert tied.mean.tolist() == [0.0]
    (ranking,) = rank(scorer, [LIST])
    assert ranking.scores == pytest.approx([-log(2), log(2), 0.0])


def test_it_is_measured_in_python_as_longer_wins() -> None:
    """Right on one of three comparisons, undecided on one: (1 + ½) / 3."""
    evaluation = rd.evaluate(Length().scorer("length"), [LIST, TIED])
    assert evaluation.accuracy.value == pytest.approx(0.5)
    assert evaluation.accuracy == evaluation.baselines.longer_wins


VOTES = Path(__file__).parents[1] / "data" / "files" / "multipref.jsonl"

NEEDED = {
    "remote": {"url": "http://127.0.0.1:9"},
    "judge": {"url": "http://127.0.0.1:9/v1", "model": "m"},
    "people": {"path": str(VOTES)},
}
"""Options without a default, by kind."""


OF_OTHERS = ("panel",)
"""Kinds that are made of other scorers of a recipe."""


@pytest.mark.parametrize(
    "options",
    [options for options in KINDS if options.kind not in OF_OTHERS],
    ids=lambda options: options.kind,
)
def test_every_kind_makes_a_scorer_and_tells_what_determines_it(options) -> None:
    needed = NEEDED.get(options.kind, {})
    scorer = options(**needed).scorer("scorers.mine")
    assert isinstance(scorer, Scorer)
    assert scorer.name == "scorers.mine"
    assert options(**needed).fingerprint() == options(**needed).fingerprint()


def test_it_scores_a_response_by_itself() -> None:
    assert isinstance(Length().scorer("length"), Pointwise)
