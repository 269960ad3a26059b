"""Pearson's correlation over a batch that is never whole in memory: its gradient, a part at a
time."""

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
        """Of both columns, (n,) each."""
        columns = np.array([x, y], dtype=np.float64)
        (mx, my), (sx, sy) = columns.mean(1).tolist(), columns.std(1).tolist()
        covariance = float(((columns[0] - mx) * (columns[1] - my)).mean())
        varies = sx > 1e-9 * abs(mx) and sy > 1e-9 * abs(my)
        return cls(
            covariance / (sx * sy) if varies else math.nan, columns.shape[1], (mx, my), (sx, sy)
        )

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        r"""∂ρ/∂x_i = [(y_i − ȳ)/σ_y − ρ·(x_i − x̄)/σ_x] / (n·σ_x), for some of the batch; 0 where ρ
        is NaN.

        Args:
            x, y: entries of the columns, (entries,) each.

        Raises:
            ValueError: unequal shapes.
        """
        require_same_shape(x=x, y=y)
        if math.isnan(self.value):
            return torch.zeros_like(x)
        zx, zy = (
            (own - m) / s for own, m, s in zip((x, y), self.means, self.deviations, strict=True)
        )
        return (zy - self.value * zx) / (self.n * self.deviations[0])
