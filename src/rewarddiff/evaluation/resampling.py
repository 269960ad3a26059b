"""Resamples of prompts and of seeds, told by how often each is in one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewarddiff.evaluation.arrays import Array
from rewarddiff.evaluation.intervals import Bounds, floored
from rewarddiff.results import Interval

RESAMPLES = 1000

Mask = NDArray[np.bool_]


def times_drawn(count: int, n: int = RESAMPLES, *, seed: int = 0) -> Array:
    """Return how often each of `count` things is in each of n resamples of them, (n, count)."""
    drawn = np.random.default_rng(seed).integers(count, size=(n, count))
    row = np.arange(n)[:, None]
    times = np.bincount((row * count + drawn).ravel(), minlength=n * count)
    return times.reshape(n, count).astype(np.float64)


def places_of(groups: Sequence[Hashable]) -> tuple[NDArray[np.int_], int]:
    """Return the place of each observation's group, and how many groups there are.

    >>> places_of(["x", "y", "x"])
    (array([0, 1, 0]), 2)
    """
    places: dict[Hashable, int] = {}
    of_group = [places.setdefault(group, len(places)) for group in groups]
    return np.array(of_group, dtype=int), len(places)


def interval_of(
    value: float, replicates: Array, n: int, *, groups: int, bounds: Bounds | None
) -> Interval:
    """Return a figure with the percentiles of its replicates; unknown ones are left out.

    Args:
        replicates: the figure in resamples of whole groups; NaN where a resample does not tell it.
        n: observations, for the record.
        groups: that were resampled. With fewer than two nothing is known of the spread.
        bounds: of the figure.
    """
    known = replicates[~np.isnan(replicates)]
    if math.isnan(value) or not known.size or groups < 2:
        return Interval.unbounded(value, n)
    return floored(value, known, [value], n, groups=groups, bounds=bounds)


@dataclass(frozen=True, eq=False)
class TwoWay:
    """Resamples of seeds and, independently, of the prompts that they share.

    Attributes:
        seeds: how often each seed is in each resample, (resamples, seeds).
        prompts: how often each prompt is, (resamples, prompts).

    Source: Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
    """

    seeds: Array
    prompts: Array

    @classmethod
    def draw(cls, seeds: int, prompts: int, n: int = RESAMPLES) -> TwoWay:
        return cls(times_drawn(seeds, n, seed=1), times_drawn(prompts, n))

    def share(self, hits: Array, counted: Mask, bounds: Bounds) -> Interval:
        """Return the mean of hits where they count, over all seeds, with an interval.

        Seeds may lack different prompts. Where there are several, Student's t interval over the
        seeds' own means is the floor, as in `intervals.two_way_bootstrap`.

        Args:
            hits: (seeds, prompts). counted: which of them are meant.
            bounds: of a hit.
        """
        n = int(counted.sum())
        if not n:
            return Interval.unbounded(math.nan)
        hits = np.where(counted, hits, 0.0)
        value = float(hits.sum()) / n
        prompts = int(counted.any(axis=0).sum())
        sums = self.sums(hits)
        sizes = self.sums(counted.astype(np.float64))
        replicates = sums[sizes > 0] / sizes[sizes > 0]
        if prompts < 2 or not replicates.size:
            return Interval.unbounded(value, n)
        of_seed = counted.any(axis=1)
        by_seed = hits[of_seed].sum(axis=1) / counted[of_seed].sum(axis=1)
        return floored(value, replicates, by_seed, n, groups=prompts, bounds=bounds)

    def sums(self, values: Array) -> Array:
        """Return the sum of values in every resample, (resamples, …).

        Args:
            values: (seeds, prompts, …).
        """
        seeds, prompts, *shape = values.shape
        total = np.zeros((len(self.prompts), math.prod(shape)))
        for seed in range(seeds):
            of_seed = self.prompts @ values[seed].reshape(prompts, -1)
            total += of_seed * self.seeds[:, seed, None]
        return total.reshape(-1, *shape)
