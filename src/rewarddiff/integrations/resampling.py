"""Weights for trainers that have none: pairs repeated in proportion to their coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewarddiff.differences import Array
from rewarddiff.errors import UserError


def resampled_rows(
    coefficients: ArrayLike, *, rows: int | None = None, seed: int = 0
) -> NDArray[np.int_]:
    """Return which pairs to train on: pair i about rows·cᵢ/Σc times, in the order of the pairs.

    A pair stands there as often as that number says, rounded down or up so that over seeds its mean
    is exact (systematic sampling). A mean loss over these rows is, over seeds, the mean of
    (cᵢ/c̄)·lᵢ: coefficients count relative to their mean, whatever their scale.

    Args:
        coefficients: one per pair, finite and at least 0.
        rows: how many rows to return; as many as there are pairs if not given.

    Raises:
        UserError: coefficients that are none, or 0 everywhere.

    >>> resampled_rows([1.0, 1.0, 1.0])
    array([0, 1, 2])
    >>> resampled_rows([2.0, 0.0, 1.0, 1.0])
    array([0, 0, 2, 3])
    """
    weights = np.asarray(coefficients, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise UserError(
            "coefficients: expected finite numbers of at least 0, one of them above; "
            "`rewarddiff weigh` writes such"
        )
    count = len(weights) if rows is None else rows
    return np.repeat(np.arange(len(weights)), _copies(count * weights / weights.sum(), seed))


def _copies(expected: Array, seed: int) -> NDArray[np.int_]:
    """Round numbers down or up, so that their running sum is never a whole copy off."""
    start = np.random.default_rng(seed).random()
    # Sums of floats may miss a whole number by a little, which must not cost a row.
    ends = np.floor(np.round(np.cumsum(expected) + start, 9))
    return np.diff(ends, prepend=0.0).astype(np.int_)
