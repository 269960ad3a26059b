"""A scorer that says nothing of some comparisons: what is made of the others, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import rewarddiff as rd
from rewarddiff.designs import DesignConfig
from rewarddiff.differences import Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.evaluation.calibration import Calibration, calibrate
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.evaluation.scored import ScoredComparison
from rewarddiff.evaluation.side_by_side import side_by_side
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.protocol import Orders
from rewarddiff.scorers.ranking import rank, scores
from rewarddiff.store import Store


@dataclass(frozen=True)
class Abstaining:
    """States d of pairs of texts as it is told, and nothing of any other."""

    said: Mapping[tuple[str, str], float]
    name: str = "judge"
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
        stated = []
        for group, of_group in zip(groups, pairs, strict=True):
            d = [self._d(group.responses[a], group.responses[b]) for a, b in of_group]
            stated.append(Differences.of(d, of_group, apart=False))
        return stated

    def _d(self, a: str, b: str) -> float:
        if (b, a) in self.said:
            return -self.said[b, a]
        return self.said.get((a, b), math.nan)


JUDGE = Abstaining({("a", "b"): 1.0, ("b", "c"): 2.0, ("x", "y"): -1.0})
LIST = Group("list", "p", ("a", "b", "c"), comparisons=(Comparison(0, 1), Comparison(0, 2)))
PAIR = Group("pair", "q", ("y", "x"), comparisons=(Comparison(0, 1, 3.0),))
UNSAID = Group("unsaid", "r", ("k", "l"), comparisons=(Comparison(0, 1, 2.0),), source="d.jsonl:7")
TIE = Group("tie", "s", ("m", "n"), comparisons=(Comparison(0, 1, 0.0),))


# -- orders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", [DesignConfig(), DesignConfig("all")], ids=lambda d: d.mode)
@pytest.mark.parametrize("method", ["potentials", "sum", "copeland", "borda"])
def test_lists_are_ranked_by_the_comparisons_that_are_known(design, method) -> None:
    """a − b = 1 and b − c = 2 are explained by 4/3, 1/3 and −5/3, of mean 0; of a and c nothing."""
    (ranking,) = rank(JUDGE, [LIST], design, method)
    assert ranking.scores == pytest.approx([4 / 3, 1 / 3, -5 / 3])
    assert len(ranking.pairs) == len(ranking.differences) == 2
    assert ranking.cyclic == (0, 0)


def test_scores_are_mean_differences_that_what_is_missing_does_not_change() -> None:
    """a less b is 1 and less c is 3, in the mean 2; b: (−1 + 2)/2; c: (−3 − 2)/2."""
    of_list, of_pair = scores(JUDGE, [LIST, PAIR])
    assert of_list == pytest.approx([2.0, 0.5, -2.5])
    assert of_pair.tolist() == [1.0, -1.0]
    whole = Abstaining({**JUDGE.said, ("a", "c"): 3.0})
    assert scores(whole, [LIST])[0] == pytest.approx(of_list)


def test_a_response_without_any_comparison_is_an_error_that_names_the_row() -> None:
    message = r"^d.jsonl:7: judge says nothing of 1 of 1 comparisons, .* all 2 responses; leave"
    with pytest.raises(UserError, match=message):
        rank(JUDGE, [PAIR, UNSAID], DesignConfig("all"))
    with pytest.raises(UserError, match=message):
        scores(JUDGE, [PAIR, UNSAID])


# -- figures ---------------------------------------------------------------------------------------


def test_unscored_comparisons_are_counted_and_in_no_figure() -> None:
    groups = [LIST, PAIR, UNSAID, TIE]
    compared = compare(JUDGE, groups)
    # a > b is said, a > c and k > l are not, y > x is, of the tie nothing is
    assert [c.scored for c in compared] == [True, False, True, False, False]
    with_unscored = rd.evaluate(JUDGE, groups)
    list_said = Group("list", "p", ("a", "b"), comparisons=(Comparison(0, 1),))
    without = rd.evaluate(JUDGE, [list_said, PAIR])
    assert (with_unscored.unscored, without.unscored) == (3, 0)
    assert with_unscored.accuracy.value == 1.0
    assert (with_unscored.n, with_unscored.n_groups, with_unscored.ties) == (2, 2, 0)
    for figure in ("accuracy", "mean", "nll", "ece", "histogram", "by_bin", "baselines"):
        assert repr(getattr(with_unscored, figure)) == repr(getattr(without, figure))


def test_a_scorer_that_says_nothing_at_all_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^judge: says nothing of any of 2 comparisons; check"):
        rd.evaluate(JUDGE, [UNSAID, TIE])


def test_no_temperature_is_told_by_what_is_unscored() -> None:
    draw = np.random.default_rng(0)
    d = draw.normal(1.0, 2.0, 200)
    said = [ScoredComparison(f"p{i}", value, 1, 2) for i, value in enumerate(d.tolist())]
    unsaid = [ScoredComparison(f"u{i}", math.nan, 1, 2) for i in range(50)]
    assert calibrate([*unsaid, *said]) == calibrate(said)
    assert calibrate(unsaid) == Calibration(None, "it says nothing of any of 50 comparisons")


def test_scorers_are_held_against_each_other_on_what_both_say() -> None:
    """Of four prompts the first is right on 1, 1, 0 and says nothing of the last; the other one says
    nothing of the first, and is right on 0, 0, 1: on the two that both say 1, 0 against 0, 0."""
    ours = [ScoredComparison(f"p{i}", d, 1, 2) for i, d in enumerate((1.0, 1.0, -1.0, math.nan))]
    theirs = [ScoredComparison(f"p{i}", d, 1, 2) for i, d in enumerate((math.nan, -1.0, -1.0, 1.0))]
    a, b = side_by_side([ours], [theirs])
    assert (a.accuracy().value, b.accuracy().value) == (0.5, 0.0)
    assert a.accuracy_gap(b).value == 0.5
    (alone,) = side_by_side([ours])
    assert alone.accuracy().value == pytest.approx(2 / 3)
    nothing = [ScoredComparison(f"p{i}", math.nan, 1, 2) for i in range(4)]
    a, b = side_by_side([ours], [nothing])
    assert not a.accuracy_gap(b).known
    assert not a.spearman_gap(b).known


def test_what_is_unscored_is_kept_as_null() -> None:
    fields = {"group": "g", "d": None, "chosen_length": 1, "rejected_length": 2}
    assert not ScoredComparison.read(fields).scored
    assert ScoredComparison.read({**fields, "d": 0.5}).difference == 0.5
