"""What was measured in every world, over all worlds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rewarddiff.config.schema import to_dict
from rewarddiff.evaluation.intervals import SHARE, SHARE_GAP, Bounds, floored
from rewarddiff.evaluation.resampling import times_drawn
from rewarddiff.lab.online.config import OnlineLabConfig, WayName
from rewarddiff.lab.online.results import BestOfAll, Ended, OnlineLab, Point, Start, Trained
from rewarddiff.lab.online.ways import ALL
from rewarddiff.results import Interval
from rewarddiff.version import __version__

REFERENCE: WayName = "ppo"
"""What other ways are held against, in the same world."""
NEAR_BEST = 0.9
"""The share of the best attainable reward from which on a policy has learned its task."""


def over_seeds(values: Iterable[float], bounds: Bounds | None = None) -> Interval:
    """Return the mean over seeds, with the wider of a bootstrap's and Student's interval.

    Args:
        bounds: of a value. Unknown values (NaN) are left out.
    """
    data = np.array(list(values), dtype=np.float64)
    data = data[np.isfinite(data)]
    if data.size < 2:
        return Interval.unbounded(float(data.mean()) if data.size else math.nan, data.size)
    means = times_drawn(data.size) @ data / data.size
    return floored(float(data.mean()), means, data, data.size, groups=data.size, bounds=bounds)


def summary(
    config: OnlineLabConfig, starts: Sequence[Start], trained: Sequence[Trained]
) -> OnlineLab:
    """Return everything that was measured, with what it comes to."""
    of_way: dict[str, dict[int, Trained]] = {}
    for training in trained:
        of_way.setdefault(training.way, {})[training.seed] = training
    references = of_way.get(REFERENCE, {})
    best = {start.seed: start.best for start in starts}
    ways = [ended(name, of_way[name], references, best) for name in config.ways]

    def at_start(value: Callable[[Start], float]) -> Interval:
        return over_seeds(map(value, starts), SHARE)

    return OnlineLab(
        version=__version__,
        config=to_dict(config),
        samples=config.learn.samples,
        starts=tuple(starts),
        trained=tuple(trained),
        ways=tuple(ways),
        start=at_start(lambda start: start.start.gold),
        start_easy=at_start(lambda start: start.start.easy),
        start_hard=at_start(lambda start: start.start.hard),
        best=float(np.mean([start.best for start in starts])),
        best_of=tuple(_best_of(starts, place) for place in range(len(config.best_of))),
        misread=at_start(lambda start: start.misread),
        correlation=over_seeds([start.correlation for start in starts], (-1.0, 1.0)),
        correlation_gold=over_seeds([start.correlation_gold for start in starts], (-1.0, 1.0)),
        accuracy=at_start(lambda start: start.accuracy),
    )


def ended(
    name: WayName,
    by_seed: dict[int, Trained],
    references: dict[int, Trained],
    best: dict[int, float],
) -> Ended:
    """Return the ends of one way in all worlds, and its gaps to PPO in the same ones."""
    ends = {seed: training.end for seed, training in by_seed.items()}

    def mean(value: Callable[[Point], float], bounds: Bounds | None = SHARE) -> Interval:
        return over_seeds(map(value, ends.values()), bounds)

    def gap(value: Callable[[Point], float], bounds: Bounds | None = SHARE_GAP) -> Interval:
        if name == REFERENCE:
            return Interval(0.0, 0.0, 0.0, len(ends))
        paired = sorted(ends.keys() & references.keys())
        gaps = [value(ends[seed]) - value(references[seed].end) for seed in paired]
        return over_seeds(gaps, bounds)

    reached = 0
    for seed, training in by_seed.items():
        reached += training.end.gold >= NEAR_BEST * best[seed]
    return Ended(
        way=name,
        title=ALL[name].title,
        seeds=len(ends),
        gold=mean(lambda point: point.gold),
        easy=mean(lambda point: point.easy),
        hard=mean(lambda point: point.hard),
        kl=mean(lambda point: point.kl, None),
        gap=gap(lambda point: point.gold),
        gap_easy=gap(lambda point: point.easy),
        gap_hard=gap(lambda point: point.hard),
        gap_kl=gap(lambda point: point.kl, None),
        reached=reached,
        seconds=over_seeds([training.seconds for training in by_seed.values()]),
    )


def _best_of(starts: Sequence[Start], place: int) -> BestOfAll:
    picks = [start.best_of[place] for start in starts]
    return BestOfAll(
        n=picks[0].n,
        kl=picks[0].kl,
        gold=over_seeds([pick.gold for pick in picks], SHARE),
        easy=over_seeds([pick.easy for pick in picks], SHARE),
        hard=over_seeds([pick.hard for pick in picks], SHARE),
    )
