"""Histograms of differences and rewards: every value is in, none is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rewarddiff.evaluation.arrays import Array, array, std
from rewarddiff.evaluation.scored import Scored
from rewarddiff.results import Distribution, Histogram, RewardHistograms

BINS = 40

SHARES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""At which quantiles are taken, so that the tails of a histogram are known too."""


def histogram(values: Array) -> Histogram:
    """Return counts of all values, in bins with an edge at 0."""
    if not values.size:
        return Histogram((), (), 0)
    low = min(0.0, float(values.min()))
    high = max(0.0, float(values.max()))
    width = max((high - low) / BINS, 1e-9)
    edges = np.arange(np.floor(low / width), np.ceil(high / width) + 1) * width
    # Rounding may leave the least or the largest value outside.
    edges[0] = min(edges[0], low)
    edges[-1] = max(edges[-1], high)
    counts, _ = np.histogram(values, edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), int((values < 0).sum()))


def histograms_on_one_axis(samples: Sequence[Array]) -> list[Histogram]:
    """Return a histogram of each sample, all with the edges of all values together.

    What is not finite is in none of them.
    """
    finite = [values[np.isfinite(values)] for values in samples]
    edges = np.histogram_bin_edges(np.concatenate(finite), bins=BINS)
    histograms = []
    for values in finite:
        counts, _ = np.histogram(values, edges)
        negative = int((values < 0).sum())
        histograms.append(Histogram(tuple(edges.tolist()), tuple(counts.tolist()), negative))
    return histograms


def distribution(values: Array) -> Distribution:
    """Return mean, standard deviation (population) and quantiles of the finite values.

    All are NaN where there is none.
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return Distribution(math.nan, math.nan, {f"{share:g}": math.nan for share in SHARES})
    quantiles = np.quantile(values, SHARES)
    by_share = {f"{share:g}": float(q) for share, q in zip(SHARES, quantiles, strict=True)}
    return Distribution(float(values.mean()), float(values.std()), by_share)


def reward_histograms(comparisons: Scored) -> RewardHistograms:
    """Return a reward model's rewards, of every response once."""
    chosen: dict[tuple[str, int], float] = {}
    rejected: dict[tuple[str, int], float] = {}
    for c in comparisons:
        if c.rewards is not None:
            chosen[c.group, c.pair[0]] = c.rewards[0]
            rejected[c.group, c.pair[1]] = c.rewards[1]
    rewards = array(list({**chosen, **rejected}.values()))
    if not rewards.size:
        return RewardHistograms(math.nan, math.nan, (), (), ())
    edges = np.histogram_bin_edges(rewards, bins=BINS)
    chosen_counts, _ = np.histogram(list(chosen.values()), edges)
    rejected_counts, _ = np.histogram(list(rejected.values()), edges)
    return RewardHistograms(
        mean=float(rewards.mean()),
        std=std(rewards),
        edges=tuple(edges.tolist()),
        chosen=tuple(chosen_counts.tolist()),
        rejected=tuple(rejected_counts.tolist()),
    )
