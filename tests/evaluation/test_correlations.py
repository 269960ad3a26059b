"""Intervals of rank correlations: against resampling by hand, and over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rewarddiff.evaluation.correlations import GAP, over_seeds, resampled, spearman_interval


def test_a_resample_is_what_scipy_says_of_the_comparisons_it_holds() -> None:
    """Values with ties, prompts of one to four comparisons; a prompt is in a resample as often as
    it was drawn."""
    draws = np.random.default_rng(0)
    a, b = draws.integers(0, 5, size=30) / 4, draws.integers(0, 3, size=30)
    groups = np.repeat(np.arange(12), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]).tolist()
    found = resampled(a, b, groups, n=50)
    often = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=50)
    for rho, times in zip(found, often, strict=True):
        held = np.repeat(np.arange(30), times[groups])
        assert rho == pytest.approx(stats.spearmanr(a[held], b[held]).statistic)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 20))
    whole = resampled(a, b, range(20), n=30)
    monkeypatch.setattr(
        "rewarddiff.evaluation.correlations.BLOCK", 140
    )  # seven resamples at a time
    np.testing.assert_array_equal(resampled(a, b, range(20), n=30), whole)


def test_the_interval_is_fishers_where_his_holds() -> None:
    """Normal values of correlation 0.5, 400 of them: atanh ρ has a standard deviation of about
    1/√(n − 3)."""
    draws = np.random.default_rng(2)
    a = draws.normal(size=400)
    b = 0.5 * a + math.sqrt(0.75) * draws.normal(size=400)
    found = spearman_interval(a, b, range(400))
    half = 1.96 * math.sqrt(1.06 / 397)
    assert found.value == stats.spearmanr(a, b).statistic
    assert math.atanh(found.low) == pytest.approx(math.atanh(found.value) - half, abs=0.03)
    assert math.atanh(found.high) == pytest.approx(math.atanh(found.value) + half, abs=0.03)


def test_comparisons_of_one_prompt_are_no_evidence_of_their_own() -> None:
    """Every comparison eight times, of one prompt: the interval is that of the single ones."""
    a, b = np.random.default_rng(3).normal(size=(2, 40))
    single = spearman_interval(a, b, range(40))
    again = spearman_interval(
        np.repeat(a, 8), np.repeat(b, 8), np.repeat(np.arange(40), 8).tolist()
    )
    assert (again.low, again.high) == pytest.approx((single.low, single.high))
    assert again.n == 320


def test_two_scorers_that_say_the_same_are_no_gap_apart() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 30))
    ours, theirs = resampled(a, b, range(30)), resampled(3 * a + 1, b, range(30))
    found = over_seeds([0.0], [ours - theirs], 30, groups=30, bounds=GAP)
    most = (
        2 * stats.binomtest(0, 30).proportion_ci(method="wilson").high
    )  # prompts on which they would differ, by 2
    assert (found.value, found.low, found.high) == pytest.approx((0, -most, most))


def test_a_perfect_order_of_few_is_not_known_to_be_perfect() -> None:
    """28 comparisons of 14 prompts in one order: as for an accuracy, n is 14, and an exception may
    cost 2."""
    a = np.arange(28.0)
    found = spearman_interval(a, a, [i // 2 for i in range(28)])
    most = stats.binomtest(0, 14).proportion_ci(method="wilson").high
    assert (found.value, found.low, found.high) == pytest.approx((1, 1 - 2 * most, 1))


def test_seeds_that_disagree_widen_it_to_students_t() -> None:
    """Prompts that agree; ρ of 0.0, 0.1 and 0.3: 0.4/3 ± 4.303·0.15275/√3."""
    found = over_seeds([0.0, 0.1, 0.3], np.repeat([[0.0], [0.1], [0.3]], 500, axis=1), 7, groups=7)
    assert (found.value, found.n) == (pytest.approx(0.4 / 3), 21)
    assert (found.low, found.high) == pytest.approx((0.4 / 3 - 0.3795, 0.4 / 3 + 0.3795), abs=1e-3)


def test_what_has_no_correlation_has_no_interval() -> None:
    for a, groups in (([1.0, 1.0, 1.0], "abc"), ([], ""), ([1.0, 2.0, 3.0], "aaa")):
        found = spearman_interval(a, [1.0, 2.0, 2.0][: len(a)], list(groups))
        assert math.isnan(found.low)
        assert math.isnan(found.high)
