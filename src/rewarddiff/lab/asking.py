"""How a question is put to the laboratory, and what an answer is.

Every answer is a gap: the gain in true reward under a weighting, less that of plain DPO on the same
comparisons, in standard deviations of the true reward, at the same distance from the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rewarddiff.coefficients import CoefficientConfig, Control, Negative
from rewarddiff.config import at_least
from rewarddiff.evaluation.intervals import seeds_interval
from rewarddiff.lab.policy import Method, Objective, Training, gains
from rewarddiff.lab.world import Array, Sample, World, draw, scored
from rewarddiff.results import Interval

QUALITIES = (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.0)

Line = Callable[[Array, float, int], Method]
"""What is made of true differences, oriented by the label, and of a scorer of some quality; the last
is the seed."""
Cell = tuple[str, str]
"""A line and a place on it."""
Rows = dict[str, dict[str, Interval]]
"""Line → place on its axis → the gap."""


@dataclass(frozen=True)
class LabConfig:
    """How the laboratory is run.

    Attributes:
        seeds: worlds drawn for every answer.
        world: what they are like where a question does not ask. training: of the policies.
        quality: of the scorer where a question does not ask: its correlation with the true
            difference.
    """

    seeds: int = 24
    world: World = field(default_factory=World)
    training: Training = field(default_factory=Training)
    quality: float = 0.8

    def __post_init__(self) -> None:
        at_least(self, 2, "seeds")
        if not 0 <= self.quality <= 1:
            raise ValueError(f"quality is {self.quality}, should be from 0 to 1")
        # No policy is farther from a uniform reference than one that gives one response all.
        most = math.log(self.world.responses)
        if most <= self.training.kl:
            raise ValueError(
                f"training.kl is {self.training.kl}, should be below log(world.responses), {most:.2f}"
            )


@dataclass(frozen=True)
class Finding:
    """The answers to one question.

    Attributes:
        rows: line → place on its axis → the gap. places: of the axis, in order, with what is
            written there.
        statements: what they come to, in plain words.
    """

    key: str
    question: str
    axis: str
    places: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Interval]]
    statements: tuple[str, ...]


def weighting(alpha: float = 1.0, negative: Negative = "clip", control: Control = "none") -> Line:
    """Return the line on which comparisons are weighted by what the scorer says."""

    def method(truth: Array, quality: float, seed: int) -> Method:
        config = CoefficientConfig(alpha=alpha, negative=negative, control=control, seed=seed)
        return Method(scored(truth, quality, seed), config)

    return method


def given_to(objective: Objective, *, calibrated: bool = False) -> Line:
    """Return the line on which an objective takes what the scorer says as strengths."""

    def method(truth: Array, quality: float, seed: int) -> Method:
        differences = scored(truth, quality, seed)
        if calibrated:
            # E[Δ | Δ̂] = q·Δ̂: a scorer that knows how good it is says less.
            differences = differences * quality
        return Method(differences, objective=objective)

    return method


def gaps(sample: Sample, methods: Mapping[Cell, Method], training: Training) -> dict[Cell, float]:
    """Return the gap of every cell to plain DPO in one world."""
    plain, *gained = gains(sample, [Method(sample.truth), *methods.values()], training).tolist()
    return {cell: gain - plain for cell, gain in zip(methods, gained, strict=True)}


def asked(config: LabConfig, in_world: Callable[[int], Mapping[Cell, float]]) -> Rows:
    """Return the gaps of every world, as intervals over the worlds."""
    worlds = [in_world(seed) for seed in range(config.seeds)]
    rows: Rows = {}
    for line, place in worlds[0]:
        interval = seeds_interval([world[line, place] for world in worlds])
        rows.setdefault(line, {})[place] = interval
    return rows


def by_quality(config: LabConfig, lines: Mapping[str, Line]) -> Rows:
    """Return the gaps of every line at every quality of the scorer."""

    def in_world(seed: int) -> dict[Cell, float]:
        sample = draw(config.world, seed)
        methods: dict[Cell, Method] = {}
        for line, method in lines.items():
            for quality in QUALITIES:
                methods[line, f"{quality:g}"] = method(sample.truth, quality, seed)
        return gaps(sample, methods, config.training)

    return asked(config, in_world)


def along_quality(key: str, question: str, rows: Rows, statements: Sequence[str]) -> Finding:
    """Return the answers to a question that is asked at every quality of the scorer."""
    axis = "correlation of the scorer with the true difference"
    places = tuple(f"{quality:g}" for quality in QUALITIES)
    return Finding(key, question, axis, places, rows, tuple(statements))
