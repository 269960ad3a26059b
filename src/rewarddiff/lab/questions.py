"""The questions put to the laboratory, and their answers with intervals over seeds.

Every answer is a gap: the gain in true reward under a weighting, less that of plain DPO on the same comparisons, in
standard deviations of the true reward, at the same distance from the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rewarddiff.coefficients import CoefficientConfig, Control, Negative
from rewarddiff.config import at_least
from rewarddiff.evaluation.metrics import Interval, seeds_interval
from rewarddiff.lab.policy import Method, Objective, Training, gains, train
from rewarddiff.lab.world import Array, Sample, World, cut, draw, scored, share_of_wrong_labels

QUALITIES = (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.0)
ALPHAS = (0.25, 0.5, 1.0, 2.0)
NEGATIVES: tuple[Negative, ...] = ("clip", "abs", "floor", "flip")  # drop: as clip, but for the count
NOISES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SIZES = (50, 100, 200, 400, 800)
OTHERS = (1, 4, 16)


@dataclass(frozen=True)
class LabConfig:
    """How the laboratory is run.

    Attributes:
        seeds: worlds drawn for every answer.
        world: what they are like where a question does not ask. training: of the policies.
        quality: of the scorer where a question does not ask: its correlation with the true difference.
    """

    seeds: int = 24
    world: World = field(default_factory=World)
    training: Training = field(default_factory=Training)
    quality: float = 0.8

    def __post_init__(self) -> None:
        at_least(self, 2, "seeds")
        if not 0 <= self.quality <= 1:
            raise ValueError(f"quality is {self.quality}, should be from 0 to 1")
        if (most := math.log(self.world.responses)) <= self.training.kl:
            raise ValueError(f"training.kl is {self.training.kl}, should be below log(world.responses), {most:.2f}")


@dataclass(frozen=True)
class Finding:
    """The answers to one question.

    Attributes:
        rows: line → place on its axis → the gap. places: of the axis, in order, with what is written there.
        statements: what they come to, in plain words.
    """

    key: str
    question: str
    axis: str
    places: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Interval]]
    statements: tuple[str, ...]


def weighted(
    alpha: float = 1.0, negative: Negative = "clip", control: Control = "none", seed: int = 0
) -> CoefficientConfig:
    return CoefficientConfig(alpha=alpha, negative=negative, control=control, seed=seed)


Cell = tuple[str, str]
"""A line and a place on it."""


def gaps(
    config: LabConfig, seed: int, cells: Mapping[Cell, Callable[[Sample], Method]], world: World | None = None
) -> dict[Cell, float]:
    """Of every cell, its gap to plain DPO in one world."""
    sample = draw(world or config.world, seed)
    methods = [Method(sample.truth), *(make(sample) for make in cells.values())]
    found = gains(sample, methods, config.training)
    return dict(zip(cells, (found[1:] - found[0]).tolist(), strict=True))


def over_seeds(found: Sequence[Mapping[Cell, float]]) -> dict[str, dict[str, Interval]]:
    rows: dict[str, dict[str, Interval]] = {}
    for line, place in found[0]:
        rows.setdefault(line, {})[place] = seeds_interval([own[line, place] for own in found])
    return rows


def of_scorer(quality: float, seed: int, make: CoefficientConfig) -> Callable[[Sample], Method]:
    return lambda sample: Method(scored(sample, quality, seed), make)


# -- the questions -----------------------------------------------------------------------------------------------------


def quality(config: LabConfig) -> Finding:
    """Weighting by clip at every quality of the scorer, beside its controls."""
    lines: dict[str, Callable[[int], CoefficientConfig]] = {
        "weighted (clip)": lambda seed: weighted(),
        "weighted (abs)": lambda seed: weighted(negative="abs"),
        "shuffled": lambda seed: weighted(control="shuffled", seed=seed),
        "constant": lambda seed: weighted(control="constant"),
    }
    found = [
        gaps(
            config,
            seed,
            {(line, f"{q:g}"): of_scorer(q, seed, make(seed)) for line, make in lines.items() for q in QUALITIES},
        )
        for seed in range(config.seeds)
    ]
    rows = over_seeds(found)
    statements = [_threshold(line, rows[line]) for line in ("weighted (clip)", "weighted (abs)")]
    shown = [place for place, gap in rows["shuffled"].items() if gap.high < 0]
    if shown:
        statements.append(
            f"Weights dealt out at random cost reward ({_said(rows['shuffled'][shown[0]])}): weighting throws away "
            "comparisons, and what is gained has to pay for that first."
        )
    return Finding(
        "quality",
        "How good must the scorer be?",
        "correlation of the scorer with the true difference",
        tuple(f"{q:g}" for q in QUALITIES),
        rows,
        tuple(statements),
    )


def alpha(config: LabConfig) -> Finding:
    """The exponent, for an oracle and for a scorer of the default quality."""
    kinds = {"oracle": 1.0, f"scorer of {config.quality:g}": config.quality}
    found = [
        gaps(
            config,
            seed,
            {
                (f"{name}, {negative}", f"{a:g}"): of_scorer(q, seed, weighted(a, negative))
                for name, q in kinds.items()
                for negative in ("clip", "abs")
                for a in ALPHAS
            },
        )
        for seed in range(config.seeds)
    ]
    rows = over_seeds(found)
    return Finding("alpha", "Which exponent α?", "α", tuple(f"{a:g}" for a in ALPHAS), rows, tuple(_shown(rows, "α")))


def negatives(config: LabConfig) -> Finding:
    """What to do where the scorer contradicts the label."""
    found = [
        gaps(
            config,
            seed,
            {
                (negative, f"{q:g}"): of_scorer(q, seed, weighted(negative=negative))
                for negative in NEGATIVES
                for q in QUALITIES
            },
        )
        for seed in range(config.seeds)
    ]
    rows = over_seeds(found)
    by_place = {place: {line: rows[line][place] for line in rows} for place in rows["clip"]}
    statements = [
        f"With a scorer of {place}, {best} does best ({_said(by_place[place][best])})."
        for place in ("1", "0.8", "0.4")
        for best in [max(by_place[place], key=lambda line: by_place[place][line].value)]
    ]
    return Finding(
        "negatives",
        "What to do where the scorer contradicts the label?",
        "correlation of the scorer with the true difference",
        tuple(f"{q:g}" for q in QUALITIES),
        rows,
        tuple(statements),
    )


def order(config: LabConfig) -> Finding:
    """Easy comparisons first (large differences weigh most), or hard ones (the inverse control)."""
    lines: dict[str, Callable[[int], CoefficientConfig]] = {
        "easy first": lambda seed: weighted(negative="abs"),
        "hard first (inverse)": lambda seed: weighted(negative="abs", control="inverse"),
        "shuffled": lambda seed: weighted(negative="abs", control="shuffled", seed=seed),
    }
    found = [
        gaps(
            config,
            seed,
            {(line, f"{q:g}"): of_scorer(q, seed, make(seed)) for line, make in lines.items() for q in QUALITIES},
        )
        for seed in range(config.seeds)
    ]
    rows = over_seeds(found)
    easy, hard = rows["easy first"], rows["hard first (inverse)"]
    statements = [
        f"With a scorer of {place}: easy first {_said(easy[place])}, hard first {_said(hard[place])}."
        for place in ("1", "0.8", "0.4", "0")
    ]
    return Finding(
        "order",
        "Easy comparisons first, or hard ones? (weights |Δ|, labels as they are)",
        "correlation of the scorer with the true difference",
        tuple(f"{q:g}" for q in QUALITIES),
        rows,
        tuple(statements),
    )


def form(config: LabConfig) -> Finding:
    """The same difference as a weight, as an offset, as a soft label, as a target."""

    def given(objective: Objective, calibrated: bool = False) -> Callable[[float, int], Callable[[Sample], Method]]:
        def made(q: float, seed: int) -> Callable[[Sample], Method]:
            # E[Δ | Δ̂] = q·Δ̂: a scorer that knows how good it is says less
            return lambda sample: Method(scored(sample, q, seed) * (q if calibrated else 1), objective=objective)

        return made

    lines = {
        "weight (clip)": lambda q, seed: of_scorer(q, seed, weighted()),
        "offset (rdpo)": given("rdpo"),
        "soft label (mmpo)": given("mmpo"),
        "soft label, calibrated": given("mmpo", calibrated=True),
        "target (rpo)": given("rpo"),
    }
    found = [
        gaps(config, seed, {(line, f"{q:g}"): make(q, seed) for line, make in lines.items() for q in QUALITIES})
        for seed in range(config.seeds)
    ]
    rows = over_seeds(found)
    statements = [_threshold(line, rows[line]) for line in lines]
    return Finding(
        "form",
        "As a weight, an offset, a soft label or a target?",
        "correlation of the scorer with the true difference",
        tuple(f"{q:g}" for q in QUALITIES),
        rows,
        tuple(statements),
    )


def learned(config: LabConfig) -> Finding:
    """A scorer that learned from labels itself: the policy's own, or others of the same people."""
    own, sizes = config.world.pairs, {f"{n} × as many others": n for n in OTHERS}
    makes: dict[str, Callable[[Array], Method]] = {
        "weight (clip)": lambda d: Method(d, weighted()),
        "offset (rdpo)": lambda d: Method(d, objective="rdpo"),
        "soft label (mmpo)": lambda d: Method(d, objective="mmpo"),
        "target (rpo)": lambda d: Method(d, objective="rpo"),
    }
    found = []
    for seed in range(config.seeds):
        sample, others = cut(draw(replace(config.world, pairs=own * (1 + max(OTHERS))), seed), own)
        taught = {"the same labels": sample} | {name: cut(others, n * own)[0] for name, n in sizes.items()}
        said = {name: _learned(labels, sample, config.training) for name, labels in taught.items()}
        cells = [(line, name) for line in makes for name in said]
        methods = [Method(sample.truth), *(makes[line](said[name]) for line, name in cells)]
        gained = gains(sample, methods, config.training)
        found.append(dict(zip(cells, (gained[1:] - gained[0]).tolist(), strict=True)))
    rows = over_seeds(found)
    statements = []
    for line, row in rows.items():
        first, *more = row.items()
        helps = [name for name, gap in more if gap.low > 0]
        enough = f"it helps with labels of its own, from {helps[0]}" if helps else "nor does it show with others"
        same = "helps" if first[1].low > 0 else "hurts" if first[1].high < 0 else "brings nothing that shows"
        statements.append(
            f"{_capital(line)}: a scorer that learned from the policy's own labels {same} "
            f"({_said(first[1])}); {enough} ({_said(row[helps[0] if helps else more[-1][0]])})."
        )
    return Finding(
        "learned",
        "And if the scorer has to learn from labels too?",
        "what the scorer learned from",
        ("the same labels", *sizes),
        rows,
        tuple(statements),
    )


def _learned(labels: Sample, sample: Sample, training: Training) -> Array:
    """Differences of the sample's comparisons by a Bradley–Terry model of the policy's own features."""
    (theta,) = train(labels, [Method(labels.truth)], training)
    return np.asarray(training.beta * (sample.chosen - sample.rejected) @ theta)


def noise(config: LabConfig) -> Finding:
    """How wrong labels change the answer."""
    worlds = {f"{t:g}": replace(config.world, noise=t) for t in NOISES}
    wrong = {place: share_of_wrong_labels(world) for place, world in worlds.items()}
    return _along(
        config,
        worlds,
        {place: f"{wrong[place]:.0%}" for place in worlds},
        ("noise", "How noisy are the labels?", "share of wrong labels"),
    )


def size(config: LabConfig) -> Finding:
    """How the answer moves with the number of comparisons."""
    worlds = {f"{n}": replace(config.world, pairs=n) for n in SIZES}
    return _along(
        config, worlds, {place: place for place in worlds}, ("size", "How many comparisons?", "labelled comparisons")
    )


def _along(
    config: LabConfig, worlds: Mapping[str, World], written: Mapping[str, str], about: tuple[str, str, str]
) -> Finding:
    """The same weightings in worlds that differ in one thing."""
    kinds = {"oracle": 1.0, f"scorer of {config.quality:g}": config.quality}
    found: list[dict[Cell, float]] = []
    for seed in range(config.seeds):
        own: dict[Cell, float] = {}
        for place, world in worlds.items():
            cells = {
                (f"{name}, {negative}", written[place]): of_scorer(q, seed, weighted(negative=negative))
                for name, q in kinds.items()
                for negative in ("clip", "flip")
            }
            own |= gaps(config, seed, cells, world)
        found.append(own)
    rows = over_seeds(found)
    return Finding(*about, tuple(written.values()), rows, tuple(_shown(rows, about[2])))


QUESTIONS = (quality, negatives, order, form, learned, alpha, noise, size)


# -- in words ----------------------------------------------------------------------------------------------------------


def signed(value: float) -> str:
    """Three places; what rounds to 0 has no sign."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−").replace("+0.000", "0.000")


def _said(gap: Interval) -> str:
    return f"{signed(gap.value)} [{signed(gap.low)}, {signed(gap.high)}]"


def _threshold(line: str, row: Mapping[str, Interval]) -> str:
    """From an oracle down to a coin: where a line is shown to be above plain DPO, and where below."""
    better = [place for place, gap in row.items() if gap.low > 0]
    worse = [place for place, gap in row.items() if gap.high < 0]
    helps = f"helps from a correlation of {better[-1]} up" if better else "helps at no quality of the scorer"
    below = "every quality" if len(worse) == len(row) else f"{worse[0]} and below" if len(worse) > 1 else "".join(worse)
    hurts = f"; it hurts at {below}" if worse else "; it hurts nowhere that shows"
    top = next(iter(row.values()))
    return f"{_capital(line)} {helps} (an oracle: {_said(top)}){hurts}."


def _shown(rows: Mapping[str, Mapping[str, Interval]], axis: str) -> list[str]:
    """Of every line the places where it is shown to be above plain DPO, and those where it is below."""
    found = []
    for line, row in rows.items():
        better = [f"{place} ({signed(gap.value)})" for place, gap in row.items() if gap.low > 0]
        worse = [f"{place} ({signed(gap.value)})" for place, gap in row.items() if gap.high < 0]
        said = [f"helps at {', '.join(better)}"] * bool(better) + [f"hurts at {', '.join(worse)}"] * bool(worse)
        found.append(f"{_capital(line)}, by {axis}: {'; '.join(said) or 'nothing shows'}.")
    return found


def _capital(line: str) -> str:
    return line[0].upper() + line[1:]
