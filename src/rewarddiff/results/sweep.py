"""The content of sweep.json: a recipe at every combination of values, point by point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rewarddiff.results.fields import Figure, Interval, Strict
from rewarddiff.results.run import ScorerSummary, Unequal

Value = float | str
"""A value of a swept key: a number, or else as it was written."""


@dataclass(frozen=True)
class SweepAxis(Strict):
    """A swept key, what it is called in tables, and its values."""

    key: str
    label: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class SweepCombination(Strict):
    """The folder with the `results.json` of one combination of values."""

    folder: str
    settings: Mapping[str, Value]


@dataclass(frozen=True)
class SweepGap(Strict):
    """A gap in mean reward under one scorer; `used_in_training` as in `RewardMean`."""

    gap: Interval
    used_in_training: bool


@dataclass(frozen=True)
class HeldAgainst(Strict):
    """The policy that a point is held against, and the point's gaps to it by scorer."""

    policy: str
    gaps: Mapping[str, SweepGap]
    unequal: tuple[Unequal, ...]


@dataclass(frozen=True)
class SweepPoint(Strict):
    """A policy of the recipe at settings of the keys that concern it, over all seeds.

    Attributes:
        models: the trained policy of each seed, in the sweep's folder; or the folder of one that was
            trained elsewhere, whose objective is not known.
        control: what its coefficient is a control of; None where it has no coefficient.
        rewards: mean reward by scorer.
        baseline: the unweighted policy of the same settings, or the base model; None where the
            point is that policy itself.
        controls: those that differ from it by their control alone.
    """

    policy: str
    settings: Mapping[str, Value]
    models: tuple[str, ...]
    objective: str | None
    control: str | None
    dev_loss: Interval | None
    rewards: Mapping[str, Interval]
    baseline: HeldAgainst | None
    controls: tuple[HeldAgainst, ...]


@dataclass(frozen=True)
class SweepScorer(Strict):
    """A scorer at settings of the keys that are not of policies, over all seeds."""

    settings: Mapping[str, Value]
    dev_loss: Interval | None
    summary: ScorerSummary


@dataclass(frozen=True, kw_only=True)
class SweepResults(Strict):
    """The content of `sweep.json`."""

    schema: Literal[2] = 2
    name: str
    version: str
    created: str
    axes: tuple[SweepAxis, ...]
    seeds: tuple[int, ...]
    combinations: tuple[SweepCombination, ...]
    points: tuple[SweepPoint, ...]
    scorers: tuple[SweepScorer, ...]
    seconds: Figure
