"""How hard prompts are: by hand, and by what must hold whatever the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rewarddiff.rewards.difficulty import difficulty, variance_left


def test_by_hand() -> None:
    """Prompts (1, 3), (6, 6) and (8, −): means 2, 6, 8; spreads √2, 0, unknown.

    Between, of the first two: MSB = 2·Var(2, 6) = 16, MSW = (2 + 0)/2 = 1, so (16 − 1)/(16 + 1).
    """
    of = difficulty([[1.0, 3.0], [6.0, 6.0], [8.0, math.inf], [math.nan, math.nan]])
    np.testing.assert_array_equal(of.means, [2, 6, 8, math.nan])
    np.testing.assert_array_equal(of.medians, [2, 6, 8, math.nan])
    np.testing.assert_array_equal(of.maxima, [3, 6, 8, math.nan])
    np.testing.assert_allclose(of.spreads, [math.sqrt(2), 0, math.nan, math.nan])
    assert of.between == pytest.approx(15 / 17)


def test_all_that_a_prompt_does_not_explain() -> None:
    """Equal means: MSB = 0 is less than MSW, and the estimate of −1 counts as 0."""
    assert difficulty([[0.0, 2.0], [2.0, 0.0]]).between == 0
    assert difficulty([[1.0, 1.0], [4.0, 4.0]]).between == 1
    assert math.isnan(difficulty([[1.0], [4.0]]).between)  # one response
    assert math.isnan(difficulty([[1.0, 2.0]]).between)  # one prompt
    assert math.isnan(difficulty([[1.0, 1.0], [1.0, 1.0]]).between)  # nothing varies
    assert difficulty(np.zeros((0, 3))).means.shape == (0,)


def test_it_estimates_the_share_it_was_drawn_with() -> None:
    """Variance 9 between and 1 within: 0.9; with 4,000 prompts the estimate's error is ≈ 0.003."""
    draws = np.random.default_rng(0)
    scores = 3 * draws.normal(size=(4000, 1)) + draws.normal(size=(4000, 3))
    assert difficulty(scores).between == pytest.approx(0.9, abs=0.015)


def test_what_a_baseline_leaves_is_what_simulated_rewards_vary_by() -> None:
    """Variance 1 between and 3 within: r less the mean of three others has 3 + 3/3 = 4, all of 4."""
    draws = np.random.default_rng(0)
    scores = draws.normal(size=(200_000, 1)) + math.sqrt(3) * draws.normal(size=(200_000, 4))
    for k, left in ((1, 1.5), (2, 1.125), (3, 1.0)):
        assert variance_left(0.25, k) == left
        rewards = scores[:, 0] - scores[:, 1 : k + 1].mean(1)
        assert rewards.var() / scores[:, 0].var() == pytest.approx(left, rel=0.02)


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-10, 10)),
    st.floats(-100, 100),
    st.floats(0.5, 3),
)
def test_shift_and_scale(scores: np.ndarray, shift: float, scale: float) -> None:
    first, second = difficulty(scores), difficulty(scale * scores + shift)
    np.testing.assert_allclose(second.means, scale * first.means + shift, atol=1e-9)
    np.testing.assert_allclose(second.spreads, scale * first.spreads, atol=1e-9)


def test_a_matrix_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"\(prompts, k\)"):
        difficulty([1.0, 2.0])
