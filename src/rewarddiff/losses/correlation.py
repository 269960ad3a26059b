"""Pearson's correlation over a batch that is never whole in memory, and its gradient in parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rewarddiff.losses.shapes import require_same_shape


@dataclass(frozen=True)
class Correlation:
    """ρ of two columns x and y over a whole batch, and what its gradient takes of the whole.

    Attributes:
        value: ρ; NaN where a column does not vary.
        n: entries of a column.
        means, deviations: of x and of y; the standard deviations are the population's.

    >>> Correlation.of([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]).value
    1.0
    """

    value: float
    n: int
    means: tuple[float, float]
    deviations: tuple[float, float]

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> Correlation:
        """Return the correlation of two columns, (n,) each."""
        columns = np.array([x, y], dtype=np.float64)
        mean_x, mean_y = columns.mean(1).tolist()
        std_x, std_y = columns.std(1).tolist()
        covariance = float(((columns[0] - mean_x) * (columns[1] - mean_y)).mean())
        value = math.nan
        if std_x > 1e-9 * abs(mean_x) and std_y > 1e-9 * abs(mean_y):
            value = covariance / (std_x * std_y)
        return cls(value, columns.shape[1], (mean_x, mean_y), (std_x, std_y))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        r"""∂ρ/∂x_i = [(y_i − ȳ)/σ_y − ρ·(x_i − x̄)/σ_x] / (n·σ_x), for some of the batch.

        It is 0 where ρ is NaN.

        Args:
            x, y: entries of the columns, (entries,) each.

        Raises:
            ValueError: unequal shapes.
        """
        require_same_shape(x=x, y=y)
        if math.isnan(self.value):
            return torch.zeros_like(x)
        mean_x, mean_y = self.means
        std_x, std_y = self.deviations
        standard_x = (x - mean_x) / std_x
        standard_y = (y - mean_y) / std_y
        return (standard_y - self.value * standard_x) / (self.n * std_x)
