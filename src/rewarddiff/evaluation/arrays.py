"""Arrays of figures: checked on the way in, NaN where a mean has no data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def array(values: Sequence[float]) -> Array:
    """Return numbers as an array; of none, an empty one."""
    return np.array(values, dtype=np.float64)


def finite(values: ArrayLike) -> Array:
    """Return values of shape (n,). Raises ValueError where one is NaN or infinite."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got shape {data.shape}")
    lacking = int((~np.isfinite(data)).sum())
    if lacking:
        raise ValueError(f"{lacking} of {data.size} values are not finite")
    return data


def paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Return two arrays of one shape. Raises ValueError."""
    first = finite(a)
    second = finite(b)
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    return first, second


def mean(values: Array) -> float:
    """Return the mean; NaN of no values."""
    if not values.size:
        return math.nan
    return float(values.mean())


def std(values: Array) -> float:
    """Return the standard deviation; NaN of fewer than two, of whose spread nothing is known."""
    if values.size < 2:
        return math.nan
    return float(values.std())
