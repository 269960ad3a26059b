"""Figures against values worked by hand, scipy's own intervals, and properties."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
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


@given(DIFFERENCES)
def test_ece_is_that_of_the_pairs_read_both_ways(d: np.ndarray) -> None:
    n_bins = metrics.ECE_BINS
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
    assert metrics.ece(d) == pytest.approx(error, abs=1e-9)


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


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(DIFFERENCES)
@example(np.array([5e-324, 0.0]))  # half of it is 0
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


def test_a_nan_is_not_a_measurement() -> None:
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        metrics.accuracy([1.0, math.nan])


def test_no_data_is_nan() -> None:
    none: list[float] = []
    assert all(
        math.isnan(value)
        for value in (
            metrics.accuracy(none),
            metrics.ece(none),
            metrics.fit_temperature(none),
            metrics.negative_log_likelihood(none),
            metrics.spearman(none, none),
            metrics.antisymmetry(none, none).relative,
            metrics.accuracy_by_bin(none)[0].accuracy.value,
        )
    )


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.spearman([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="one-dimensional"):
        metrics.accuracy([[1.0]])
