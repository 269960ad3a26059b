"""What was measured, in a few lines for the terminal."""

from __future__ import annotations

from rewarddiff.lab.online.results import Ended, OnlineLab
from rewarddiff.lab.words import with_interval
from rewarddiff.results import Interval
from rewarddiff.writing import counted, figure


def lines(results: OnlineLab) -> list[str]:
    """Return what each way came to, and best-of-n beside them."""
    worlds = len(results.starts)
    return [
        f"{counted(worlds, 'world')}, {results.samples:,} samples each; true reward, at best "
        f"{results.best:.3f}, of the start {results.start.value:.3f}",
        *map(_way, results.ways),
        *(f"  best of {n.n}: {n.gold.value:.3f} at ≤ {n.kl:.2f} nats" for n in results.best_of),
        f"rewards of two draws to a prompt correlate by {figure(results.correlation.value, '.3f')}",
    ]


def _way(ended: Ended) -> str:
    text = (
        f"  {ended.title}: {ended.gold.value:.3f} at {ended.kl.value:.2f} nats, "
        f"easy {ended.easy.value:.3f}, hard {ended.hard.value:.3f}, "
        f"at 90 % of the best in {ended.reached} of {counted(ended.seeds, 'world')}"
    )
    return text + _against_ppo(ended.gap)


def _against_ppo(gap: Interval) -> str:
    if not gap.bounded or gap.low == gap.high:
        return ""
    return f"; to PPO {with_interval(gap)}"
