"""Agreement of raters: against the krippendorff package and scikit-learn, and values by hand."""

from __future__ import annotations

import math
import time

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from rewarddiff.evaluation.raters import (
    Level,
    alpha,
    alpha_interval,
    judge_agreement,
    kappa,
    kappa_interval,
    panel_agreement,
)

Array = NDArray[np.float64]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")

# Krippendorff 2011, section E: 12 units, 4 observers, values 1 to 5, missing ones.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, math.nan, math.nan, math.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, math.nan, 3],
        [math.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, math.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, math.nan],
    ]
).T


@pytest.mark.parametrize(
    ("level", "printed"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_what_krippendorff_prints(level: Level, printed: float) -> None:
    assert round(alpha(KRIPPENDORFF, level), 3) == printed


def test_alpha_by_hand() -> None:
    """Two raters, three items: (a, a), (a, b), (b, b). Of the 6 ratings 3 are a and 3 b.

    Observed: of the pairs within items 2 of 6 ordered ones differ. Expected: of the 30 ordered pairs
    of all ratings 2·3·3 = 18 differ. α = 1 − (2/6)/(18/30) = 4/9.
    """
    ratings = [[1, 1], [1, 2], [2, 2]]
    for level in LEVELS:  # two values have one distance, whatever it is
        assert alpha(ratings, level) == pytest.approx(4 / 9, abs=1e-15)


RATINGS = arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(2, 5)),
    elements=st.sampled_from([-3.0, -1.0, 0.0, 0.25, 2.0, math.nan]),
)


@given(RATINGS)
def test_alpha_is_the_krippendorff_packages(ratings: Array) -> None:
    rated_twice = ratings[np.isfinite(ratings).sum(axis=1) >= 2]
    assume(len(np.unique(rated_twice[np.isfinite(rated_twice)])) > 1)
    for level in LEVELS:
        referee = krippendorff.alpha(rated_twice.T, level_of_measurement=level)
        assert alpha(ratings, level) == pytest.approx(referee, abs=1e-12)


def test_alpha_of_many_values_is_the_krippendorff_packages() -> None:
    ratings = np.random.default_rng(0).normal(1e3, 5, size=(50, 4))
    ratings += np.random.default_rng(1).normal(0, 5, size=(50, 1))
    ratings[np.random.default_rng(2).random((50, 4)) < 0.3] = math.nan
    for level in LEVELS:
        referee = krippendorff.alpha(ratings.T, level_of_measurement=level)
        assert alpha(ratings, level) == pytest.approx(referee, abs=1e-12)


@pytest.mark.parametrize(
    "ratings",
    [
        np.empty((0, 3)),
        [[1.0, math.nan], [math.nan, 2.0]],  # no item has two ratings
        [[1.0, 1.0], [1.0, 1.0]],  # no variation
        [[1.0, 1.0], [2.0, math.nan]],  # none among what can be paired
    ],
)
def test_alpha_is_unknown_without_pairs_or_variation(ratings: Array) -> None:
    for level in LEVELS:
        assert math.isnan(alpha(ratings, level))
        interval = alpha_interval(ratings, level)
        assert math.isnan(interval.value)
        assert not interval.bounded


OUTCOMES = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1])), min_size=2, max_size=30
)


@given(OUTCOMES)
def test_kappa_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    assume(len(set(a.tolist()) | set(b.tolist())) > 1)
    assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    weighted = cohen_kappa_score(a, b, weights="linear")
    assert kappa(a, b, weights="linear") == pytest.approx(weighted, abs=1e-12)


def test_kappa_by_hand() -> None:
    """Cohen's own kind of example: 50 grants, both yes 20, both no 15, 5 and 10 apart.

    Agreement 35/50 = 0.7; by chance 25/50·30/50 + 25/50·20/50 = 0.5. κ = (0.7 − 0.5)/0.5 = 0.4.
    """
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert kappa(a, b) == pytest.approx(0.4, abs=1e-15)


def test_kappa_counts_what_both_rated() -> None:
    a = [1, 1, 0, 0, 1, math.nan]
    b = [1, 0, 0, 0, math.nan, 0]
    assert kappa(a, b) == kappa(a[:4], b[:4])


def test_kappa_is_unknown_without_variation() -> None:
    assert math.isnan(kappa([], []))
    assert math.isnan(kappa([1, 1], [1, 1]))
    # One rater varies: what both say by chance is what they say, κ = 0.
    assert kappa([1, 1, 0, 0], [1, 1, 1, 1]) == 0


def test_an_interval_is_that_of_resampled_items() -> None:
    """Against the package and scikit-learn on 300 resamples drawn here: the ends are near."""
    draws = np.random.default_rng(0)
    truth = draws.integers(-1, 2, size=(120, 1))
    noise = draws.integers(-1, 2, size=(120, 3))
    ratings = np.where(draws.random((120, 3)) < 0.6, truth, noise).astype(np.float64)
    alphas = []
    kappas = []
    for _ in range(300):
        drawn = ratings[draws.integers(120, size=120)]
        alphas.append(krippendorff.alpha(drawn.T, level_of_measurement="ordinal"))
        kappas.append(cohen_kappa_score(drawn[:, 0], drawn[:, 1], weights="linear"))
    for interval, referee in [
        (alpha_interval(ratings, "ordinal"), alphas),
        (kappa_interval(ratings[:, 0], ratings[:, 1], weights="linear"), kappas),
    ]:
        ends = np.quantile(referee, [0.025, 0.975])
        assert [interval.low, interval.high] == pytest.approx(ends, abs=0.03)


def test_items_of_one_prompt_are_resampled_together() -> None:
    """Four copies of every item say nothing new: the interval is that of the items alone."""
    draws = np.random.default_rng(3)
    ratings = draws.integers(-1, 2, size=(60, 3)).astype(np.float64)
    copies = np.repeat(ratings, 4, axis=0)
    prompts = np.repeat(np.arange(60), 4).tolist()
    alone = alpha_interval(ratings, "nominal")
    together = alpha_interval(copies, "nominal", prompts)
    assert together.n == 240
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.02)
    alone = kappa_interval(ratings[:, 0], ratings[:, 1])
    together = kappa_interval(copies[:, 0], copies[:, 1], prompts)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_full_agreement_is_not_known_to_be_full() -> None:
    """Of 20 items without one exception, up to u = z²/(20 + z²) = 0.161 may be exceptions, each of
    which may cost up to 2."""
    votes = np.tile([[1.0], [-1.0]], (10, 3))
    interval = alpha_interval(votes, "nominal")
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(1 - 2 * 0.1611, abs=1e-4)


def test_two_judges() -> None:
    """Seven pairs, five scored by both: the same three times of five."""
    a = [3.0, -1.0, 0.0, 2.0, math.nan, -4.0, 1.0]
    b = [0.1, -9.0, 0.0, -1.0, 1.0, 0.0, math.nan]
    agreement = judge_agreement("gpt", "people", a, b)
    assert (agreement.a, agreement.b, agreement.n) == ("gpt", "people", 5)
    assert agreement.percent.value == 0.6
    outcomes = np.sign([[*a[:4], a[5]], [*b[:4], b[5]]])
    assert agreement.kappa.value == pytest.approx(cohen_kappa_score(*outcomes))
    assert agreement.kappa_weighted.value == pytest.approx(
        cohen_kappa_score(*outcomes, weights="linear")
    )
    assert agreement.alpha.value == pytest.approx(
        krippendorff.alpha(outcomes, level_of_measurement="nominal")
    )


def test_a_panel() -> None:
    """Four items; the first has one rating and counts nothing; of the other three all agree on two
    outcomes: (+3, +1) and (−1, −1, −2)."""
    grades = np.array(
        [
            [1.0, math.nan, math.nan],
            [3.0, 1.0, math.nan],
            [-1.0, -1.0, -2.0],
            [2.0, 0.0, 1.0],
        ]
    )
    panel = panel_agreement("people", grades, comparable=True)
    assert (panel.who, panel.raters, panel.items) == ("people", 3, 3)
    assert panel.full.value == pytest.approx(2 / 3)
    outcomes = np.sign(grades[1:])
    for figure, ratings, level in [
        (panel.nominal, outcomes, "nominal"),
        (panel.ordinal, grades[1:], "ordinal"),
        (panel.interval, grades[1:], "interval"),
    ]:
        referee = krippendorff.alpha(ratings.T, level_of_measurement=level)
        assert figure.value == pytest.approx(referee)
    apart = panel_agreement("judges", grades, comparable=False)
    assert apart.nominal == panel.nominal
    assert math.isnan(apart.ordinal.value)
    assert math.isnan(apart.interval.value)


def test_nobody_agrees_on_nothing() -> None:
    nothing = judge_agreement("a", "b", [], [])
    assert nothing.n == 0
    assert math.isnan(nothing.percent.value)
    assert panel_agreement("people", np.empty((0, 3)), comparable=True).items == 0


def test_a_thousand_items_take_no_time() -> None:
    ratings = np.random.default_rng(0).integers(-3, 4, size=(1000, 5)).astype(np.float64)
    start = time.process_time()
    panel_agreement("people", ratings, comparable=True)
    assert time.process_time() - start < 5
