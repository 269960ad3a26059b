"""Made-up results of the laboratory with a transformer: every way earns what a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rewarddiff.lab.online.config import WAYS, OnlineLabConfig, WayName
from rewarddiff.lab.online.results import BestOf, OnlineLab, Point, Start, Trained
from rewarddiff.lab.online.summary import summary

START = 0.4
WORLDS = 6


def results(
    gains: Mapping[WayName, float],
    *,
    spread: float = 0.01,
    worlds: int = WORLDS,
    hard: Mapping[WayName, float] | None = None,
    kl: Mapping[WayName, float] | None = None,
    correlation: float = 0.3,
    noise: float = 0.3,
) -> OnlineLab:
    """Return results in which the way earns so much over the start, give or take `spread`.

    Args:
        hard: what a way earns beyond that on hard prompts. kl: at its end, where that is not 1.
    """
    hard, kl = hard or {}, kl or {}
    config = OnlineLabConfig(seeds=worlds, ways=tuple(gains), noise=noise, best_of=(1, 4))
    draws = np.random.default_rng(0)
    trained = []
    for way, gain in gains.items():
        for seed in range(worlds):
            end = START + gain + spread * draws.standard_normal()
            luck = 0.01 * draws.standard_normal()
            beyond = hard.get(way, 0.0) + 0.1 * luck
            curve = _curve(end, beyond, kl.get(way, 1.0), noise, luck)
            trained.append(Trained(way, seed, tuple(curve), 10.0))
    starts = [_start(seed, correlation, noise) for seed in range(worlds)]
    return summary(config, starts, trained)


def everything(**options: float) -> OnlineLab:
    """Return results of all ways, each a little better than the one before."""
    return results({way: 0.2 + 0.01 * place for place, way in enumerate(WAYS)}, **options)


def _curve(
    end: float, beyond: float, kl: float, noise: float, luck: float = 0.0
) -> Sequence[Point]:
    """Return a curve on which all rises evenly; `luck` is what is read beyond its expectation."""
    points = []
    for place in range(5):
        share = place / 4
        gold = START + share * (end - START)
        reward = noise + (1 - 2 * noise) * gold + share * luck
        hard = gold - 0.3 + share * beyond
        points.append(Point(100 * place, gold, gold + 0.3, hard, share * kl, reward))
    return points


def _start(seed: int, correlation: float, noise: float) -> Start:
    start = _curve(START, 0.0, 0.0, noise)[0]
    picks = [BestOf(n, np.log(n) - (n - 1) / n, START + 0.02 * n, 0.8, 0.2) for n in (1, 4)]
    return Start(seed, 1.0, 960, 192, start, noise, correlation, 2 * correlation, tuple(picks), 1.0)
