"""Intervals against scipy's own, the normal one where it holds, and values worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewarddiff.evaluation import intervals
from rewarddiff.results import Interval


@given(st.integers(1, 500), st.data())
def test_wilson_against_scipy(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    referee = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    interval = intervals.wilson(hits, n)
    assert interval.value == hits / n
    assert (interval.low, interval.high) == pytest.approx(
        (referee.low, referee.high), rel=1e-9, abs=1e-12
    )


def test_bootstrap_of_a_mean_against_the_normal_interval() -> None:
    # 400 independent values of standard deviation s: 95 % of means within ±1.96·s/20.
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = intervals.bootstrap(values, n=4000)
    half = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.n == 400
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.1 * half
    )


def test_bootstrap_resamples_whole_prompts() -> None:
    # Ten copies of each of 40 values are still 40 observations: the interval must be that of the 40
    # alone, and √10 wider than if the 400 were taken for independent.
    values = np.random.default_rng(1).normal(size=40)
    copies, groups = np.repeat(values, 10), np.repeat(np.arange(40), 10).tolist()

    def width(interval: Interval) -> float:
        return interval.high - interval.low

    alone = width(intervals.bootstrap(values, n=4000))
    assert width(intervals.bootstrap(copies, groups, n=4000)) == pytest.approx(alone, rel=0.05)
    assert width(intervals.bootstrap(copies, n=4000)) == pytest.approx(
        alone / math.sqrt(10), rel=0.1
    )


def wilsons(hits: int, n: int) -> tuple[float, float]:
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return pytest.approx((found.low, found.high), abs=1e-9)  # type: ignore[no-any-return]


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_an_accuracy_of_all_or_nothing_has_wilsons_interval(right: float) -> None:
    """28 comparisons of 14 prompts, all alike: comparisons of a prompt stand or fall together, so n
    is 14."""
    groups = [i // 2 for i in range(28)]
    found = intervals.bootstrap([right] * 28, groups, bounds=intervals.SHARE)
    assert (found.value, found.n) == (right, 28)
    assert (found.low, found.high) == wilsons(14 * int(right), 14)
    both = intervals.two_way_bootstrap([[2 * right] * 14], [2] * 14, bounds=intervals.SHARE)
    assert (both.low, both.high) == (found.low, found.high)
    seeds = intervals.two_way_bootstrap([[2 * right] * 14] * 3, [2] * 14, bounds=intervals.SHARE)
    assert (seeds.low, seeds.high) == (found.low, found.high)


def test_a_gap_that_is_0_everywhere_is_not_known_to_be_0() -> None:
    """Two scorers that agree on 20 prompts: of Wilson's 0 of 20 they may still differ, all to the
    one side."""
    found = intervals.two_way_bootstrap([[0.0] * 20], bounds=(-1, 1))
    most = stats.binomtest(0, 20).proportion_ci(method="wilson").high
    assert (found.value, found.low, found.high) == pytest.approx((0, -most, most))
    half = intervals.bootstrap([0.5] * 20, bounds=intervals.SHARE)  # never decided
    assert (half.low, half.high) == pytest.approx((0.5 - most / 2, 0.5 + most / 2))


def test_rewards_that_are_all_alike_have_no_interval() -> None:
    """Nothing bounds a reward, so nothing is known of those not seen; sums of thirds differ by
    rounding alone."""
    for values in ([1.7] * 9, [1 / 3] * 7):
        for found in (intervals.bootstrap(values), intervals.two_way_bootstrap([values])):
            assert found.value == pytest.approx(values[0])
            assert math.isnan(found.low)
            assert math.isnan(found.high)


def test_one_exception_is_enough_for_the_bootstrap() -> None:
    found = intervals.bootstrap([1.0] * 39 + [0.0], bounds=intervals.SHARE)
    assert 0.9 < found.low < found.value < found.high == 1


def test_weights_of_observations() -> None:
    # Weights 3 and 1: (3·1 + 1·0)/4. All right, whatever the weights, is 1 in every resample.
    assert intervals.bootstrap([1.0, 0.0], weights=[3.0, 1.0]).value == 0.75
    found = intervals.bootstrap([1.0] * 14, weights=np.arange(1.0, 15.0), bounds=intervals.SHARE)
    assert found.value == 1
    assert (found.low, found.high) == wilsons(14, 14)


def test_one_prompt_says_nothing_of_the_spread() -> None:
    interval = intervals.bootstrap([1.0, 3.0], ["a", "a"])
    assert interval.value == 2
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_seeds_interval_against_scipy() -> None:
    values = [0.71, 0.68, 0.74]
    interval = intervals.seeds_interval(values)
    referee = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval.value == pytest.approx(0.71)
    assert (interval.low, interval.high) == pytest.approx((referee.low, referee.high))
    assert math.isnan(intervals.seeds_interval([0.7]).low)


def test_two_ways_carry_the_variance_of_seeds_and_of_prompts() -> None:
    # value = seed effect + prompt effect + noise of variances a, b, c: over 40 seeds and 60 prompts
    # the mean has variance a/40 + b/60 + c/2400. Each effect alone must give its own share, and
    # both together the sum.
    draws = np.random.default_rng(3)
    noise = 0.1 * draws.normal(size=(40, 60))
    by_seed, by_prompt = (
        x - x.mean() for x in (draws.normal(size=(40, 1)), draws.normal(size=(1, 60)))
    )

    def half(values: np.ndarray) -> float:
        interval = intervals.two_way_bootstrap(values)
        assert interval.value == pytest.approx(values.mean())
        assert interval.n == 2400
        return (interval.high - interval.low) / 2

    seeds, prompts = 1.96 * by_seed.std() / math.sqrt(40), 1.96 * by_prompt.std() / math.sqrt(60)
    assert half(by_seed + noise) == pytest.approx(seeds, rel=0.1)
    assert half(by_prompt + noise) == pytest.approx(prompts, rel=0.1)
    assert half(by_seed + by_prompt + noise) == pytest.approx(math.hypot(seeds, prompts), rel=0.1)


def test_two_ways_are_never_narrower_than_t_over_seeds() -> None:
    # Prompts that agree: all the variance is that of three seeds, where percentiles cannot leave
    # [0, 3]. Means 0, 1, 3: 4/3 ± 4.303·1.5275/√3 by Student's t of two degrees of freedom.
    interval = intervals.two_way_bootstrap(np.repeat([[0.0], [1.0], [3.0]], 50, axis=1))
    assert interval.value == pytest.approx(4 / 3)
    assert (interval.low, interval.high) == pytest.approx((4 / 3 - 3.795, 4 / 3 + 3.795), abs=1e-3)


def test_few_seeds_leave_no_share_beyond_its_bounds() -> None:
    # Accuracies of 0.9 and 0.96: 0.93 ± 12.706·0.03 = 0.5488 to 1.3112 by Student's t.
    right = np.stack([np.repeat([1.0, 0.0], [hits, 100 - hits]) for hits in (90, 96)])
    interval = intervals.two_way_bootstrap(right, bounds=intervals.SHARE)
    assert interval.value == pytest.approx(0.93)
    assert (interval.low, interval.high) == pytest.approx((0.5488, 1.0), abs=1e-4)


def test_two_ways_with_one_seed_are_the_prompts_alone() -> None:
    values = np.random.default_rng(4).normal(size=30)
    alone = intervals.bootstrap(values, n=intervals.SEED_RESAMPLES)
    assert intervals.two_way_bootstrap([values]) == alone
    with pytest.raises(ValueError, match="seeds, prompts"):
        intervals.two_way_bootstrap(values)


def test_two_ways_weigh_prompts_by_their_comparisons() -> None:
    # Right answers 3 of 4, 0 of 1 (and one seed more: 4 of 4, 1 of 1): 8 of 10, not the mean 0.6875
    # of the shares.
    interval = intervals.two_way_bootstrap([[3, 0], [4, 1]], [4, 1])
    assert interval.value == pytest.approx(0.8)
    assert interval.n == 10
    # One seed is the cluster bootstrap over the comparisons themselves.
    draws = np.random.default_rng(5)
    sizes = draws.integers(1, 9, size=40)
    right = [draws.integers(0, 2, size=n) for n in sizes]
    groups = np.repeat(np.arange(40), sizes).tolist()
    pooled = intervals.bootstrap(np.concatenate(right), groups, n=intervals.SEED_RESAMPLES)
    assert intervals.two_way_bootstrap([[r.sum() for r in right]], sizes) == pooled
    with pytest.raises(ValueError, match="2 prompts but sizes"):
        intervals.two_way_bootstrap([[1.0, 2.0]], [1.0])
    assert math.isnan(intervals.two_way_bootstrap(np.empty((3, 0))).value)


@pytest.mark.parametrize(("better", "worse"), [(3, 0), (5, 1), (9, 3), (30, 14)])
def test_sign_flips_of_single_comparisons_are_mcnemars_exact_test(better: int, worse: int) -> None:
    """Prompts on which both scorers agree with the label, or neither does, say nothing. 44 signs
    are drawn."""
    sums = [1.0] * better + [-1.0] * worse + [0.0] * 7
    exact = stats.binomtest(better, better + worse).pvalue
    assert intervals.sign_flip_test(sums) == pytest.approx(exact, rel=1e-9 if better < 20 else 0.2)


def test_sign_flips_against_scipy() -> None:
    sums = np.array([2.0, 1.0, -0.5, 3.0, 0.5, -1.0, 2.0])
    referee = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert intervals.sign_flip_test(sums) == pytest.approx(referee.pvalue)
    assert intervals.sign_flip_test(-sums) == intervals.sign_flip_test(sums)


def test_sign_flips_without_differences() -> None:
    assert intervals.sign_flip_test([0.0, 0.0]) == 1
    assert math.isnan(intervals.sign_flip_test([]))


def test_no_data_is_nan() -> None:
    interval = intervals.bootstrap([])
    for value in (interval.value, interval.low, interval.high):
        assert math.isnan(value)
    assert math.isnan(intervals.wilson(0, 0).value)
    assert math.isnan(intervals.seeds_interval([]).value)


def test_groups_must_match() -> None:
    with pytest.raises(ValueError, match="2 values but 1 groups"):
        intervals.bootstrap([1.0, 2.0], ["a"])
