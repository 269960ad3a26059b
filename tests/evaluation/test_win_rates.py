"""Win rates: values by hand, and what must hold whoever is a and whoever is b."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from rewarddiff.evaluation.intervals import bootstrap, wilson
from rewarddiff.evaluation.win_rates import (
    NO_MAJORITY,
    Contest,
    by_majority,
    preferences,
    sign_test,
    win_rate,
)
from rewarddiff.results.win_rates import WinRate
from rewarddiff.verdicts import Verdicts

Array = NDArray[np.float64]
NAN = math.nan


def figures(contest: Contest, a: str = "weighted", b: str = "plain") -> WinRate:
    return win_rate(contest, a=a, b=b, judge="gpt", seed="all", used_in_training=False)


def verdict(forward: float, backward: float, cause: str = "") -> Verdicts:
    """Return one prompt's verdict, asked in both orders."""
    asked = np.ones((1, 2), dtype=bool)
    return Verdicts(((0, 1),), np.array([forward]), np.array([backward]), asked, (cause,))


def test_by_hand() -> None:
    """Eight prompts: a wins 3, ties 2 (one by turning), loses 1, 2 are unscored.

    Of 6 scored: rate (3 + 1)/6; of 8: worst (3 + 1)/8, best (3 + 1 + 2)/8. Sign test of 3 to 1:
    2·(1 + 4)/2⁴ = 0.625. Of 7 read in both orders 1 turns, for what is read first. Of 4 decided the
    longer wins 2 of the 3 that are of unequal length.
    """
    verdicts = [
        verdict(2, -2),
        verdict(1, -3),
        verdict(1, 0),  # won in one order, a tie in the other: d = 1/2
        verdict(0, 0),
        verdict(3, 1),  # turns
        verdict(-1, 1),
        verdict(NAN, -1, "empty"),
        verdict(1, NAN, "empty"),
    ]
    lengths = [(9, 5), (9, 5), (5, 5), (1, 2), (1, 2), (9, 5), (1, 2), (1, 2)]
    result = figures(Contest.of([verdicts], [lengths]))
    assert (result.n, result.scored) == (8, 6)
    shares = [result.win.value, result.tie.value, result.lose.value, result.rate.value]
    assert shares == pytest.approx([3 / 6, 2 / 6, 1 / 6, 4 / 6])
    assert (result.worst, result.best) == (4 / 8, 6 / 8)
    assert result.p == 0.625
    assert (result.turned.value, result.turned.n, result.first) == (1 / 6, 6, 1.0)
    assert (result.longer.value, result.longer.n) == (2 / 3, 3)
    assert result.unscored == {"empty": 2}
    assert result.length_controlled.remark.startswith("fewer than 30 verdicts are decided")


def test_an_always_first_judge_says_nothing() -> None:
    verdicts = [verdict(1, 1) for _ in range(30)]
    result = figures(Contest.of([verdicts], np.tile([9, 5], (1, 30, 1))))
    assert result.rate.value == 0.5
    assert (result.turned.value, result.first) == (1.0, 1.0)
    assert (result.win.value, result.tie.value, result.lose.value) == (0.0, 1.0, 0.0)
    assert result.p == 1.0
    # A judge that prefers what is read second is as useless, and told apart.
    verdicts = [verdict(-1, -1) for _ in range(30)]
    result = figures(Contest.of([verdicts], np.tile([9, 5], (1, 30, 1))))
    assert (result.rate.value, result.turned.value, result.first) == (0.5, 1.0, 0.0)


GRADES = st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.0, NAN])


@st.composite
def contests(draw: st.DrawFn) -> Contest:
    seeds = draw(st.integers(1, 3))
    prompts = draw(st.integers(0, 12))
    cells = st.tuples(GRADES, GRADES, st.integers(0, 400), st.integers(0, 400))
    rows = draw(st.lists(cells, min_size=seeds * prompts, max_size=seeds * prompts))
    table = np.array(rows, dtype=np.float64).reshape(seeds, prompts, 4)
    by_seed = []
    for of_seed in table:
        asked = np.ones((prompts, 2), dtype=bool)
        causes = tuple("cut" if math.isnan(row[0] + row[1]) else "" for row in of_seed.tolist())
        pairs = ((0, 1),) * prompts
        by_seed.append([Verdicts(pairs, of_seed[:, 0], of_seed[:, 1], asked, causes)])
    return Contest.of(by_seed, table[..., 2:])


@settings(max_examples=25, deadline=None)
@given(contests())
def test_swapping_the_sides_turns_every_figure(contest: Contest) -> None:
    forward = figures(contest)
    backward = figures(contest.swap(), "plain", "weighted")
    # The same numbers, to the bit.
    assert repr(forward.win) == repr(backward.lose)
    assert repr(forward.lose) == repr(backward.win)
    assert repr(forward.tie) == repr(backward.tie)
    assert repr(forward.turned) == repr(backward.turned)
    assert repr(forward.longer) == repr(backward.longer)
    assert repr((forward.p, forward.first)) == repr((backward.p, backward.first))
    assert forward.unscored == backward.unscored
    assert (forward.n, forward.scored) == (backward.n, backward.scored)
    # One minus a number, up to its last bits.
    for there, back in [
        (forward.rate, backward.rate),
        (forward.length_controlled.rate, backward.length_controlled.rate),
    ]:
        turned = (1 - back.value, 1 - back.high, 1 - back.low)
        assert (there.value, there.low, there.high) == pytest.approx(turned, abs=1e-9, nan_ok=True)
    turned_bounds = (1 - backward.best, 1 - backward.worst)
    assert (forward.worst, forward.best) == pytest.approx(turned_bounds, abs=1e-15, nan_ok=True)
    assert forward.length_controlled.remark == backward.length_controlled.remark


@settings(max_examples=25, deadline=None)
@given(contests())
def test_the_shares_are_a_whole(contest: Contest) -> None:
    result = figures(contest)
    assert result.n == contest.values.size
    assert result.scored + sum(result.unscored.values()) == result.n
    if not result.scored:
        assert math.isnan(result.rate.value)
        return
    whole = result.win.value + result.tie.value + result.lose.value
    assert whole == pytest.approx(1.0)
    assert result.rate.value == pytest.approx(result.win.value + result.tie.value / 2)
    assert result.worst <= result.rate.value + 1e-12
    assert result.rate.value <= result.best + 1e-12


def test_one_seeds_interval_is_the_bootstrap_of_its_prompts() -> None:
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0, NAN], size=300)
    result = figures(Contest.of_values(values, np.zeros((300, 2))))
    scored = values[np.isfinite(values)]
    referee = bootstrap((1 + scored) / 2)
    assert result.rate.value == pytest.approx(referee.value)
    assert (result.rate.low, result.rate.high) == pytest.approx(
        (referee.low, referee.high), abs=0.01
    )


def test_nothing_seen_is_not_nothing() -> None:
    """28 wins of 28: Wilson's interval, and ties that were not seen may be there."""
    result = figures(Contest.of_values(np.ones(28), np.zeros((28, 2))))
    referee = wilson(28, 28)
    assert (result.win.low, result.win.high) == pytest.approx((referee.low, 1.0))
    assert (result.lose.low, result.lose.high) == pytest.approx((0.0, 1 - referee.low))


def test_seeds_that_differ_widen_the_interval() -> None:
    """Three seeds with rates 0.4, 0.5 and 0.6 on 400 prompts: Student's t on them, ±4.30·0.1/√3,
    is wider than what prompts and three seeds give by resampling."""
    draws = np.random.default_rng(0)
    values = np.empty((3, 400))
    for seed, wins in enumerate([160, 200, 240]):
        values[seed] = draws.permutation(np.repeat([1.0, -1.0], [wins, 400 - wins]))
    result = figures(Contest.of_values(values, np.zeros((3, 400, 2))))
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert result.rate.value == pytest.approx(0.5)
    assert (result.rate.low, result.rate.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_seeds_may_lack_different_prompts() -> None:
    """Two seeds: 1 win of 1, and 1 win of 3 scored. Over both: 2 of 4."""
    values = [[1.0, NAN, NAN, NAN], [1.0, -1.0, -1.0, NAN]]
    contest = Contest.of_values(values, np.zeros((2, 4, 2)))
    assert figures(contest).rate.value == 0.5
    assert figures(contest).scored == 4
    assert figures(contest.seed(0)).rate.value == 1.0
    assert figures(contest.seed(1)).win.value == pytest.approx(1 / 3)


def test_two_seeds_that_disagree_show_nothing() -> None:
    """Rates of 0.3 and 0.85 on 200 prompts, 0.575 together: Student's t of one degree of freedom says
    0.575 ± 12.71·0.275, and no share is beyond 0 or 1. By prompts alone, 60
    won twice and 30 lost twice, p would be 0.002: between two seeds so far apart that tells nothing."""
    values = np.stack([np.repeat([1.0, -1.0], [wins, 200 - wins]) for wins in (60, 170)])
    contest = Contest.of_values(values, np.zeros((2, 200, 2)))
    result = figures(contest)
    assert result.rate.value == pytest.approx(0.575)
    assert (result.rate.low, result.rate.high) == (0.0, 1.0)
    assert math.isnan(result.p)
    for share in (result.win, result.tie, result.lose):
        assert 0 <= share.low <= share.value <= share.high <= 1
    # Each seed by itself has its test: 60 of 200 are far from half.
    assert figures(contest.seed(0)).p == pytest.approx(stats.binomtest(60, 200).pvalue)


def test_the_sign_test_leaves_ties_out() -> None:
    assert sign_test([1, 1, 1, 1, 1, 0]) == pytest.approx(2 / 2**5)
    assert sign_test([0, 0, NAN]) == 1.0
    assert math.isnan(sign_test([NAN]))
    assert math.isnan(sign_test([]))


def test_a_panel_is_a_judge_too() -> None:
    lengths = np.zeros((1, 3, 2))
    judges = [
        Contest.of_values([1.0, -1.0, NAN], lengths),
        Contest.of_values([2.0, 1.0, NAN], lengths),
        Contest.of_values([-1.0, NAN, 1.0], lengths),
    ]
    result = figures(by_majority(judges))
    assert (result.win.value, result.tie.value, result.lose.value) == (0.5, 0.5, 0.0)
    assert result.unscored == {NO_MAJORITY: 1}
    assert math.isnan(result.turned.value)


def test_preferences_as_alpaca_eval_writes_them() -> None:
    """In its `describe_head2head` a preference above 1.5 is a win of `output_2`."""
    said = preferences([0.2, -7.0, 0.0, NAN])
    assert said.tolist() == pytest.approx([2.0, 1.0, 1.5, NAN], nan_ok=True)


def test_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\), lengths of shape \(1, 3, 2\)"):
        Contest.of_values([1.0, 1.0], np.zeros((1, 3, 2)))
