"""Pearson's correlation and its gradient in parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rewarddiff.losses.correlation import Correlation


def test_by_hand() -> None:
    """x = 0, 1, 2 and y = 0, 0, 3: covariance 1, deviations √(2/3) and √2, ρ = 1/√(4/3) = √3/2."""
    found = Correlation.of([0.0, 1.0, 2.0], [0.0, 0.0, 3.0])
    assert found.value == pytest.approx(math.sqrt(3) / 2)
    assert found.deviations == pytest.approx((math.sqrt(2 / 3), math.sqrt(2)))


def test_the_gradient_in_parts_is_that_of_finite_differences() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(3, 2, 7), draw.integers(1, 90, 7).astype(float)
    found = Correlation.of(x, y)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    parts = [
        found.gradient(torch.tensor(x[part]), torch.tensor(y[part]))
        for part in (slice(0, 3), slice(3, 7))
    ]
    numeric, step = [], 1e-5
    for i in range(7):
        up, down = x.copy(), x.copy()
        up[i], down[i] = up[i] + step, down[i] - step
        numeric.append((np.corrcoef(up, y)[0, 1] - np.corrcoef(down, y)[0, 1]) / (2 * step))
    np.testing.assert_allclose(torch.cat(parts).numpy(), numeric, rtol=1e-6, atol=1e-9)


def test_columns_that_do_not_vary_have_no_correlation() -> None:
    for x, y in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [5.0, 5.0]), ([1.0], [2.0])):
        found = Correlation.of(x, y)
        assert math.isnan(found.value)
        assert found.gradient(torch.tensor(x), torch.tensor(y)).tolist() == [0.0] * len(x)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="shape"):
        Correlation.of([1.0, 2.0], [1.0, 3.0]).gradient(torch.zeros(2), torch.zeros(2, 1))
