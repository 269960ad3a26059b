"""Figures against values worked by hand, scipy's own intervals, and properties."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from rewarddiff.evaluation import metrics

DIFFERENCES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-15, 15))
LN3 = math.log(3)


def test_accuracy_by_hand() -> None:
    assert metrics.accuracy([2.0, 0.1, -5.0, 0.0]) == (1 + 1 + 0 + 0.5) / 4


@given(DIFFERENCES)
def test_accuracy_of_the_swapped_labels_is_the_rest(d: np.ndarray) -> None:
    assert metrics.accuracy(d) + metrics.accuracy(-d) == pytest.approx(1)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_against_scipy(n: int, data: st.DataObject, level: float) -> None:
    hits = data.draw(st.integers(0, n))
    referee = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    interval = metrics.wilson(hits, n, level=level)
    assert interval.value == hits / n
    assert (interval.low, interval.high) == pytest.approx(
        (referee.low, referee.high), rel=1e-9, abs=1e-12
    )


def test_auroc_by_hand_and_against_scipy() -> None:
    # of the positives 3, 1, 1 and the negatives 2, 1: 3 beats both, each 1 ties one and loses one:
    # (2 + ½ + ½)/6
    assert metrics.auroc([3, 1, 1, 2, 1], [True, True, True, False, False]) == pytest.approx(3 / 6)
    assert math.isnan(metrics.auroc([1.0], [True]))
    draw = np.random.default_rng(0)
    x, positive = draw.integers(0, 9, 80), draw.random(80) < 0.4
    u = stats.mannwhitneyu(x[positive], x[~positive]).statistic
    assert metrics.auroc(x, positive) == pytest.approx(u / (positive.sum() * (~positive).sum()))


def test_accuracy_by_bin_by_hand() -> None:
    # |d| = ½ ✓, ½ ✗, 0 (half) | 1 ✓ | 2.9 ✗ | 3 ✓, 70 ✓: lower edges belong to their bin.
    bins = metrics.accuracy_by_bin([0.5, -0.5, 0.0, 1.0, -2.9, 3.0, 70.0])
    assert [(b.low, b.high) for b in bins] == [(0, 1), (1, 2), (2, 3), (3, math.inf)]
    assert [(b.accuracy.value, b.accuracy.n) for b in bins] == [(0.5, 3), (1, 1), (0, 1), (1, 2)]


def test_bins_of_small_differences_are_quarters() -> None:
    # 100 of |d| from 0.001 to 0.1: quartiles at 0.02575, 0.0505, 0.07525, to two digits 0.026, 0.05
    # (binary 0.0505 is just below), 0.075. Below 0.026 are 25, below 0.05 24 more, below 0.075 25,
    # and 26 are left.
    d = [0.001 * k * (-1) ** k for k in range(1, 101)]
    edges = metrics.bin_edges(d)
    assert edges[0] == 0
    assert edges[-1] == math.inf
    bins = metrics.accuracy_by_bin(d, edges)
    assert [b.accuracy.n for b in bins] == pytest.approx([25, 25, 25, 25], abs=1)
    assert all(edge == float(f"{edge:.2g}") for edge in edges)


def test_the_papers_bins_where_each_has_enough() -> None:
    full = [0.5, -1.5, 2.5, 9.0] * metrics.ENOUGH
    assert metrics.bin_edges(full) == (0, 1, 2, 3, math.inf)
    assert metrics.bin_edges(full[:-1]) != (0, 1, 2, 3, math.inf)  # one short above 3


@given(DIFFERENCES)
def test_no_bin_is_empty(d: np.ndarray) -> None:
    edges = metrics.bin_edges(d)
    assert list(edges) == sorted(set(edges))
    assert all(b.accuracy.n for b in metrics.accuracy_by_bin(d, edges))


@given(DIFFERENCES)
def test_bins_add_up_to_the_whole(d: np.ndarray) -> None:
    bins = [b.accuracy for b in metrics.accuracy_by_bin(d)]
    assert sum(b.n for b in bins) == d.size
    assert sum(b.value * b.n for b in bins if b.n) == pytest.approx(metrics.accuracy(d) * d.size)


def test_the_last_bin_includes_its_upper_end() -> None:
    bins = metrics.share_by_bin([1.0, 2.0, 3.0], [1.0, 0.0, 1.0], [1.0, 2.0, 3.0])
    assert [b.accuracy.n for b in bins] == [1, 2]


def test_bootstrap_of_a_mean_against_the_normal_interval() -> None:
    # 400 independent values of standard deviation s: 95 % of means within ±1.96·s/20.
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = metrics.bootstrap(values, n=4000)
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

    def width(interval: metrics.Interval) -> float:
        return interval.high - interval.low

    alone = width(metrics.bootstrap(values, n=4000))
    assert width(metrics.bootstrap(copies, groups, n=4000)) == pytest.approx(alone, rel=0.05)
    assert width(metrics.bootstrap(copies, n=4000)) == pytest.approx(alone / math.sqrt(10), rel=0.1)


def test_bootstrap_of_the_mean_is_the_general_path() -> None:
    values = np.random.default_rng(2).normal(size=30)
    groups = [f"p{i % 7}" for i in range(30)]
    quick = metrics.bootstrap(values, groups, n=200, seed=5)
    slow = metrics.bootstrap(values, groups, n=200, seed=5, statistic=lambda x: float(np.mean(x)))
    assert (quick.value, quick.low, quick.high) == pytest.approx((slow.value, slow.low, slow.high))


def test_bootstrap_of_another_statistic() -> None:
    interval = metrics.bootstrap([1.0, 2.0, 100.0], statistic=lambda x: float(np.median(x)), n=500)
    assert interval.value == 2
    assert (interval.low, interval.high) == (1, 100)


def wilsons(hits: int, n: int) -> tuple[float, float]:
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return pytest.approx((found.low, found.high), abs=1e-9)  # type: ignore[no-any-return]


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_an_accuracy_of_all_or_nothing_has_wilsons_interval(right: float) -> None:
    """28 comparisons of 14 prompts, all alike: comparisons of a prompt stand or fall together, so n
    is 14."""
    groups = [i // 2 for i in range(28)]
    found = metrics.bootstrap([right] * 28, groups, bounds=metrics.SHARE)
    assert (found.value, found.n) == (right, 28)
    assert (found.low, found.high) == wilsons(14 * int(right), 14)
    both = metrics.two_way_bootstrap([[2 * right] * 14], [2] * 14, bounds=metrics.SHARE)
    assert (both.low, both.high) == (found.low, found.high)
    seeds = metrics.two_way_bootstrap([[2 * right] * 14] * 3, [2] * 14, bounds=metrics.SHARE)
    assert (seeds.low, seeds.high) == (found.low, found.high)


def test_a_gap_that_is_0_everywhere_is_not_known_to_be_0() -> None:
    """Two scorers that agree on 20 prompts: of Wilson's 0 of 20 they may still differ, all to the
    one side."""
    found = metrics.two_way_bootstrap([[0.0] * 20], bounds=(-1, 1))
    most = stats.binomtest(0, 20).proportion_ci(method="wilson").high
    assert (found.value, found.low, found.high) == pytest.approx((0, -most, most))
    half = metrics.bootstrap([0.5] * 20, bounds=metrics.SHARE)  # never decided
    assert (half.low, half.high) == pytest.approx((0.5 - most / 2, 0.5 + most / 2))


def test_rewards_that_are_all_alike_have_no_interval() -> None:
    """Nothing bounds a reward, so nothing is known of those not seen; sums of thirds differ by
    rounding alone."""
    for values in ([1.7] * 9, [1 / 3] * 7):
        for found in (metrics.bootstrap(values), metrics.two_way_bootstrap([values])):
            assert found.value == pytest.approx(values[0])
            assert math.isnan(found.low)
            assert math.isnan(found.high)


def test_one_exception_is_enough_for_the_bootstrap() -> None:
    found = metrics.bootstrap([1.0] * 39 + [0.0], bounds=metrics.SHARE)
    assert 0.9 < found.low < found.value < found.high == 1


def test_weights_of_observations() -> None:
    # Weights 3 and 1: (3·1 + 1·0)/4. All right, whatever the weights, is 1 in every resample.
    assert metrics.bootstrap([1.0, 0.0], weights=[3.0, 1.0]).value == 0.75
    found = metrics.bootstrap([1.0] * 14, weights=np.arange(1.0, 15.0), bounds=metrics.SHARE)
    assert found.value == 1
    assert (found.low, found.high) == wilsons(14, 14)
    with pytest.raises(ValueError, match="weights are of a mean"):
        metrics.bootstrap([1.0], weights=[1.0], statistic=lambda x: float(x[0]))


def test_one_prompt_says_nothing_of_the_spread() -> None:
    interval = metrics.bootstrap([1.0, 3.0], ["a", "a"])
    assert interval.value == 2
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_seeds_interval_against_scipy() -> None:
    values = [0.71, 0.68, 0.74]
    interval = metrics.seeds_interval(values)
    referee = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval.value == pytest.approx(0.71)
    assert (interval.low, interval.high) == pytest.approx((referee.low, referee.high))
    assert math.isnan(metrics.seeds_interval([0.7]).low)


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
        interval = metrics.two_way_bootstrap(values, n=4000)
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
    interval = metrics.two_way_bootstrap(np.repeat([[0.0], [1.0], [3.0]], 50, axis=1))
    assert interval.value == pytest.approx(4 / 3)
    assert (interval.low, interval.high) == pytest.approx((4 / 3 - 3.795, 4 / 3 + 3.795), abs=1e-3)


def test_two_ways_with_one_seed_are_the_prompts_alone() -> None:
    values = np.random.default_rng(4).normal(size=30)
    assert metrics.two_way_bootstrap([values], n=500, seed=2) == metrics.bootstrap(
        values, n=500, seed=2
    )
    with pytest.raises(ValueError, match="seeds, prompts"):
        metrics.two_way_bootstrap(values)


def test_two_ways_weigh_prompts_by_their_comparisons() -> None:
    # Right answers 3 of 4, 0 of 1 (and one seed more: 4 of 4, 1 of 1): 8 of 10, not the mean 0.6875
    # of the shares.
    interval = metrics.two_way_bootstrap([[3, 0], [4, 1]], [4, 1])
    assert interval.value == pytest.approx(0.8)
    assert interval.n == 10
    # One seed is the cluster bootstrap over the comparisons themselves.
    draws = np.random.default_rng(5)
    sizes = draws.integers(1, 9, size=40)
    right = [draws.integers(0, 2, size=n) for n in sizes]
    groups = np.repeat(np.arange(40), sizes).tolist()
    pooled = metrics.bootstrap(np.concatenate(right), groups, n=500, seed=6)
    assert metrics.two_way_bootstrap([[r.sum() for r in right]], sizes, n=500, seed=6) == pooled
    with pytest.raises(ValueError, match="2 prompts but sizes"):
        metrics.two_way_bootstrap([[1.0, 2.0]], [1.0])
    assert math.isnan(metrics.two_way_bootstrap(np.empty((3, 0))).value)


def test_negative_log_likelihood_by_hand() -> None:
    # σ(ln 3) = ¾ and σ(−ln 3) = ¼.
    assert metrics.negative_log_likelihood([LN3, -LN3]) == pytest.approx(
        (math.log(4 / 3) + math.log(4)) / 2
    )
    assert metrics.negative_log_likelihood([-1000.0]) == 1000.0


def test_ece_by_hand() -> None:
    # Confidence ¾ on four pairs, three right: calibrated. One of them right instead: |¼ − ¾| = ½.
    assert metrics.ece([LN3, LN3, LN3, -LN3]) == pytest.approx(0)
    assert metrics.ece([LN3, -LN3, -LN3, -LN3]) == pytest.approx(0.5)
    # Two bins: ¾ with 1 of 2 right (gap ¼), 9/10 with 2 of 2 right (gap 1/10): ½·¼ + ½·1/10.
    assert metrics.ece([LN3, -LN3, math.log(9), math.log(9)]) == pytest.approx(0.175)
    # A scorer that never decides is calibrated: confidence ½, half right.
    assert metrics.ece([0.0, 0.0]) == 0


@given(DIFFERENCES, st.integers(1, 12))
def test_ece_is_that_of_the_pairs_read_both_ways(d: np.ndarray, n_bins: int) -> None:
    # Independent form: every pair twice, (σ(d), it came true) and (σ(−d), it did not), 2·n_bins
    # bins on [0, 1]; a point and its mirror lie in mirrored bins. Points on an edge between bins
    # belong to both, so keep away from them.
    p = 1 / (1 + np.exp(-d))
    assume((np.abs(p * 2 * n_bins - np.round(p * 2 * n_bins)) > 1e-9).all())
    points = np.concatenate([p, 1 - p])
    truth = np.concatenate([np.ones_like(d), np.zeros_like(d)])
    edges = np.linspace(0, 1, 2 * n_bins + 1)
    error = 0.0
    for low, high in pairwise(edges):
        inside = (points > low) & (points <= high)
        error += abs(truth[inside].sum() - points[inside].sum()) / points.size
    assert metrics.ece(d, n_bins) == pytest.approx(error, abs=1e-9)


def test_temperature_by_hand() -> None:
    # |d| = 5 with 3 of 4 right: the likelihood is best where σ(5/T) = ¾, T = 5/ln 3.
    assert metrics.fit_temperature([5.0, 5.0, 5.0, -5.0]) == pytest.approx(5 / LN3, rel=1e-6)


@given(st.floats(0.1, 10))
def test_temperature_scales_with_the_differences(scale: float) -> None:
    d = np.array([4.0, 1.0, -0.5, 2.0, -1.0, 0.3])
    assert metrics.fit_temperature(scale * d) == pytest.approx(
        scale * metrics.fit_temperature(d), rel=1e-4
    )


def test_temperature_recovers_the_one_that_made_the_labels() -> None:
    draw = np.random.default_rng(0)
    true = draw.normal(0, 2, 20_000)
    label = np.where(draw.random(true.size) < 1 / (1 + np.exp(-true)), 1, -1)
    overconfident = 3.0 * true * label
    temperature = metrics.fit_temperature(overconfident)
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert metrics.ece(overconfident / temperature) < 0.015 < 0.1 < metrics.ece(overconfident)


@given(DIFFERENCES)
def test_no_temperature_nearby_is_better(d: np.ndarray) -> None:
    temperature = metrics.fit_temperature(d)
    assume(not math.isnan(temperature))
    best = metrics.negative_log_likelihood(d / temperature)
    for other in (temperature * 0.9, temperature * 1.1):
        assert best <= metrics.negative_log_likelihood(d / other) + 1e-9


@pytest.mark.parametrize("d", [[1.0, 2.0], [0.3] * 9, [-1.0, -2.0], [1.0, -1.0], [2.0, 1.0, -3.0]])
def test_what_has_no_best_temperature_has_none(d: list[float]) -> None:
    """All right: the smaller the better. A mean of d that is not positive: the slope of the loss in
    1/T at 0 is −½ of the mean, and the loss is convex, so the larger the better."""
    assert math.isnan(metrics.fit_temperature(d))


def test_temperature_of_small_differences() -> None:
    # As by hand above, a thousandth of it and less: T is in the unit of d, and so is where it is
    # looked for.
    for scale in (1e-3, 1e-9, 1e6):
        d = [5.0 * scale, 5.0 * scale, 5.0 * scale, -5.0 * scale]
        assert metrics.fit_temperature(d) == pytest.approx(5 * scale / LN3, rel=1e-6)


def test_antisymmetry_by_hand() -> None:
    # Sums 0 and 3; mean |d| of 2, −2, 2, 1 is 7/4.
    result = metrics.antisymmetry([2.0, 2.0], [-2.0, 1.0])
    assert (result.mean, result.max) == (1.5, 3)
    assert result.relative == pytest.approx(1.5 / 1.75)


def test_spearman_by_hand() -> None:
    # Ranks 1 2 3 4 against 1 2 4 3: 1 − 6·(1 + 1)/(4·15) = 0.8.
    assert metrics.spearman([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 40.0, 30.0]) == pytest.approx(0.8)
    assert math.isnan(metrics.spearman([1.0, 1.0], [1.0, 2.0]))


def test_length_baseline_by_hand() -> None:
    assert metrics.length_baseline([5, 2, 3], [1, 4, 3]) == 0.5


def test_no_data_is_nan() -> None:
    none: list[float] = []
    interval = metrics.bootstrap(none)
    assert all(
        math.isnan(value)
        for value in (
            metrics.accuracy(none),
            metrics.ece(none),
            metrics.fit_temperature(none),
            metrics.negative_log_likelihood(none),
            metrics.spearman(none, none),
            metrics.length_baseline(none, none),
            metrics.antisymmetry(none, none).relative,
            metrics.wilson(0, 0).value,
            metrics.seeds_interval(none).value,
            metrics.accuracy_by_bin(none)[0].accuracy.value,
            interval.value,
            interval.low,
            interval.high,
        )
    )


def test_a_nan_is_not_a_measurement() -> None:
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        metrics.accuracy([1.0, math.nan])


def test_shapes_and_groups_must_match() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.spearman([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="2 values but 1 groups"):
        metrics.bootstrap([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="one-dimensional"):
        metrics.accuracy([[1.0]])


@pytest.mark.parametrize(("better", "worse"), [(3, 0), (5, 1), (9, 3), (30, 14)])
def test_sign_flips_of_single_comparisons_are_mcnemars_exact_test(better: int, worse: int) -> None:
    """Prompts on which both scorers agree with the label, or neither does, say nothing. 44 signs
    are drawn."""
    sums = [1.0] * better + [-1.0] * worse + [0.0] * 7
    exact = stats.binomtest(better, better + worse).pvalue
    assert metrics.sign_flip_test(sums) == pytest.approx(exact, rel=1e-9 if better < 20 else 0.2)


def test_sign_flips_against_scipy() -> None:
    sums = np.array([2.0, 1.0, -0.5, 3.0, 0.5, -1.0, 2.0])
    referee = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert metrics.sign_flip_test(sums) == pytest.approx(referee.pvalue)
    assert metrics.sign_flip_test(-sums) == metrics.sign_flip_test(sums)


def test_sign_flips_without_differences() -> None:
    assert metrics.sign_flip_test([0.0, 0.0]) == 1
    assert math.isnan(metrics.sign_flip_test([]))
