"""Best of n: exact against drawing every subset, and the law of over-optimisation recovered."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.evaluation.best_of_n import expected, gain, kl, overoptimisation, pick, wins

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=7)


@given(SCORES, st.data())
def test_a_pick_is_the_best_of_every_subset(scores: list[int], data: st.DataObject) -> None:
    """All subsets of n out of N, counted; equal best ones share a subset."""
    n = data.draw(st.integers(1, len(scores)))
    counted = np.zeros(len(scores))
    subsets = list(combinations(range(len(scores)), n))
    for subset in subsets:
        top = max(scores[i] for i in subset)
        best = [i for i in subset if scores[i] == top]
        counted[best] += 1 / len(best)
    np.testing.assert_allclose(pick([scores], n)[0], counted / len(subsets), atol=1e-12)


def test_the_ends() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 256))
    values = np.random.default_rng(1).standard_normal((3, 256))
    np.testing.assert_allclose(expected(scores, values, 1), values.mean(1))
    np.testing.assert_allclose(
        expected(scores, values, 256), values[np.arange(3), scores.argmax(1)]
    )
    assert pick(scores, 64).sum(1) == pytest.approx([1, 1, 1])


def test_the_best_of_n_normal_draws() -> None:
    """E max of 2 standard normal draws is 1/√π, of 3 is 3/(2√π)."""
    draws = np.random.default_rng(0).standard_normal((400, 256))
    assert expected(draws, draws, 2).mean() == pytest.approx(1 / math.sqrt(math.pi), abs=0.02)
    assert expected(draws, draws, 3).mean() == pytest.approx(1.5 / math.sqrt(math.pi), abs=0.02)


@pytest.mark.parametrize("n", [1, 3, 8, 15])
def test_the_best_of_n_wins_n_times_of_n_and_1(n: int) -> None:
    """By the very scorer, the best of n beats one more draw with probability n/(n + 1), exactly:
    one of the n + 1 is the best of all, and any may be the one more. A blind scorer wins half."""
    draws = np.random.default_rng(0).standard_normal((3, 16))
    assert wins(draws, draws, n) == pytest.approx([n / (n + 1)] * 3)
    blind, judged = np.random.default_rng(1).standard_normal((2, 2000, 16))
    assert wins(blind, judged, n).mean() == pytest.approx(0.5, abs=0.03)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=6, unique=True), st.data())
def test_wins_over_every_draw_that_was_left_out(scores: list[int], data: st.DataObject) -> None:
    """All subsets of n, their best by the scores, against every draw outside."""
    n = data.draw(st.integers(1, len(scores) - 1))
    values = data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
    found = []
    for subset in combinations(range(len(scores)), n):
        pick = max(subset, key=scores.__getitem__)
        others = [values[i] for i in range(len(scores)) if i not in subset]
        found += [0.5 * (1 + np.sign(values[pick] - other)) for other in others]
    assert wins([scores], [values], n)[0] == pytest.approx(np.mean(found))


def test_the_distance_of_the_best_of_n_by_integration() -> None:
    """The pick's density is n·u^(n−1) on uniform ranks: its KL is ∫ n·u^(n−1)·log(n·u^(n−1)) du."""
    u = (np.arange(400_000) + 0.5) / 400_000
    for n in (2, 8, 100):
        density = n * u ** (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(density > 0, density * np.log(density), 0)
        assert kl(n) == pytest.approx(terms.mean(), abs=1e-3)


def test_over_optimisation_is_recovered() -> None:
    n = np.array([1, 2, 4, 8, 16, 64, 256])
    d = np.sqrt(kl(n))
    found = overoptimisation(n, d * (1.2 - 0.4 * d))
    assert (found.alpha, found.beta, found.peak) == pytest.approx((1.2, 0.4, 1.5**2))
    assert overoptimisation(n, 0.5 * d).peak > 1e6  # no bend: it never turns
    assert overoptimisation(n, -d - d**2).peak == 0  # every pick does harm
    assert math.isnan(overoptimisation(n, d**2 - d).peak)  # it falls first, and rises then
    assert math.isnan(overoptimisation([1, 2], [0, 1]).alpha)


def test_a_gain_within_rounding_is_none() -> None:
    """A pick of one, and a pick by a scorer that holds all alike, is a blind draw: sums differ by
    rounding alone."""
    values = np.random.default_rng(0).standard_normal((40, 17)) + 0.3
    assert (gain(values, values, 1) == 0).all()
    assert (gain(np.zeros((40, 17)), values, 8) == 0).all()
    # of two draws 0 and 2e-9 the better is picked with certainty: half their gap above the mean
    assert gain([[0.0, 1.0]], [[0.0, 2e-9]], 2) == pytest.approx([1e-9])


def test_no_gain_has_no_turning_point() -> None:
    found = overoptimisation([1, 2, 4], [0.0, 0.0, 0.0])
    assert (found.alpha, found.beta) == (0, 0)
    assert math.isnan(found.peak)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="n is 4"):
        pick([[1.0, 2.0, 3.0]], 4)
    with pytest.raises(ValueError, match="one more is needed"):
        wins([[1.0, 2.0]], [[1.0, 2.0]], 2)
    with pytest.raises(ValueError, match="finite"):
        pick([[1.0, math.nan]], 1)
