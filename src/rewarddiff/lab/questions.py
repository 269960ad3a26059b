"""The questions put to the laboratory, and their answers with intervals over seeds.

Every answer is a gap: the gain in true reward under a weighting, less that of plain DPO on the same
comparisons, in standard deviations of the true reward, at the same distance from the reference.
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
from rewarddiff.writing import figure

QUALITIES = (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.0)
ALPHAS = (0.25, 0.5, 1.0, 2.0)
NEGATIVES: tuple[Negative, ...] = (
    "clip",
    "abs",
    "flip",
    "signed",
)  # drop, or a small floor: as clip
NOISES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SIZES = (50, 100, 200, 400, 800)
OTHERS = (1, 4, 16)


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
        if (most := math.log(self.world.responses)) <= self.training.kl:
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


def weighted(
    alpha: float = 1.0, negative: Negative = "clip", control: Control = "none", seed: int = 0
) -> CoefficientConfig:
    return CoefficientConfig(alpha=alpha, negative=negative, control=control, seed=seed)


Line = Callable[[Sample, float, int], Method]
"""What is made of a sample and a scorer of some quality; the last is the seed."""
Cell = tuple[str, str]
"""A line and a place on it."""
Rows = dict[str, dict[str, Interval]]


def gaps(sample: Sample, methods: Mapping[Cell, Method], training: Training) -> dict[Cell, float]:
    """Of every cell, its gap to plain DPO in one world."""
    found = gains(sample, [Method(sample.truth), *methods.values()], training)
    return dict(zip(methods, (found[1:] - found[0]).tolist(), strict=True))


def asked(config: LabConfig, in_world: Callable[[int], Mapping[Cell, float]]) -> Rows:
    """The gaps of every world, as intervals over the worlds."""
    found = [in_world(seed) for seed in range(config.seeds)]
    rows: Rows = {}
    for line, place in found[0]:
        rows.setdefault(line, {})[place] = seeds_interval([own[line, place] for own in found])
    return rows


def by_quality(config: LabConfig, lines: Mapping[str, Line]) -> Rows:
    """Every line at every quality of the scorer."""

    def in_world(seed: int) -> dict[Cell, float]:
        sample = draw(config.world, seed)
        methods = {
            (line, f"{q:g}"): make(sample, q, seed)
            for line, make in lines.items()
            for q in QUALITIES
        }
        return gaps(sample, methods, config.training)

    return asked(config, in_world)


def along_quality(key: str, question: str, rows: Rows, statements: Sequence[str]) -> Finding:
    places = tuple(f"{q:g}" for q in QUALITIES)
    return Finding(
        key,
        question,
        "correlation of the scorer with the true difference",
        places,
        rows,
        tuple(statements),
    )


def of_scorer(sample: Sample, quality: float, seed: int, config: CoefficientConfig) -> Method:
    return Method(scored(sample, quality, seed), config)


# -- the questions -----------------------------------------------------------------------------------------------------


def quality(config: LabConfig) -> Finding:
    """Weighting by clip at every quality of the scorer, beside its controls."""
    rows = by_quality(
        config,
        {
            "weighted (clip)": lambda sample, q, seed: of_scorer(sample, q, seed, weighted()),
            "weighted (abs)": lambda sample, q, seed: of_scorer(
                sample, q, seed, weighted(negative="abs")
            ),
            "shuffled": lambda sample, q, seed: of_scorer(
                sample, q, seed, weighted(control="shuffled", seed=seed)
            ),
            "constant": lambda sample, q, seed: of_scorer(
                sample, q, seed, weighted(control="constant")
            ),
        },
    )
    statements = [_threshold(line, rows[line]) for line in ("weighted (clip)", "weighted (abs)")]
    shown = [place for place, gap in rows["shuffled"].items() if gap.high < 0]
    if shown:
        statements.append(
            f"Weights dealt out at random cost reward ({_said(rows['shuffled'][shown[0]])}): weighting throws away "
            "comparisons, and what is gained has to pay for that first."
        )
    return along_quality("quality", "How good must the scorer be?", rows, statements)


def negatives(config: LabConfig) -> Finding:
    """What to do where the scorer contradicts the label."""

    def treated(negative: Negative) -> Line:
        return lambda sample, q, seed: of_scorer(sample, q, seed, weighted(negative=negative))

    rows = by_quality(config, {negative: treated(negative) for negative in NEGATIVES})
    statements = []
    for place in ("1", "0.8", "0.4"):
        best = max(rows, key=lambda line: rows[line][place].value)
        statements.append(
            f"With a scorer of {place}, {best} does best ({_said(rows[best][place])})."
        )
    return along_quality(
        "negatives", "What to do where the scorer contradicts the label?", rows, statements
    )


def order(config: LabConfig) -> Finding:
    """Easy comparisons first (large differences weigh most), or hard ones (the inverse control)."""

    def controlled(control: Control) -> Line:
        return lambda sample, q, seed: of_scorer(
            sample, q, seed, weighted(negative="abs", control=control, seed=seed)
        )

    rows = by_quality(
        config,
        {
            "easy first": controlled("none"),
            "hard first (inverse)": controlled("inverse"),
            "shuffled": controlled("shuffled"),
        },
    )
    easy, hard = rows["easy first"], rows["hard first (inverse)"]
    statements = [
        f"With a scorer of {place}: easy first {_said(easy[place])}, hard first {_said(hard[place])}."
        for place in ("1", "0.8", "0.4", "0")
    ]
    question = "Easy comparisons first, or hard ones? (weights |Δ|, labels as they are)"
    return along_quality("order", question, rows, statements)


def form(config: LabConfig) -> Finding:
    """The same difference as a weight, as an offset, as a soft label, as a target."""

    def given(objective: Objective, calibrated: bool = False) -> Line:
        # E[Δ | Δ̂] = q·Δ̂: a scorer that knows how good it is says less
        return lambda sample, q, seed: Method(
            scored(sample, q, seed) * (q if calibrated else 1), objective=objective
        )

    rows = by_quality(
        config,
        {
            "weight (clip)": lambda sample, q, seed: of_scorer(sample, q, seed, weighted()),
            "offset (rdpo)": given("rdpo"),
            "soft label (mmpo)": given("mmpo"),
            "soft label, calibrated": given("mmpo", calibrated=True),
            "target (rpo)": given("rpo"),
        },
    )
    statements = [_threshold(line, row) for line, row in rows.items()]
    return along_quality(
        "form", "As a weight, an offset, a soft label or a target?", rows, statements
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

    def in_world(seed: int) -> dict[Cell, float]:
        sample, others = cut(draw(replace(config.world, pairs=own * (1 + max(OTHERS))), seed), own)
        taught = {"the same labels": sample} | {
            name: cut(others, n * own)[0] for name, n in sizes.items()
        }
        said = {name: _learned(labels, sample, config.training) for name, labels in taught.items()}
        methods = {
            (line, name): make(d) for line, make in makes.items() for name, d in said.items()
        }
        return gaps(sample, methods, config.training)

    rows = asked(config, in_world)
    statements = []
    for line, row in rows.items():
        first, *more = row.items()
        helps = [name for name, gap in more if gap.low > 0]
        enough = (
            f"it helps with labels of its own, from {helps[0]}"
            if helps
            else "nor does it show with others"
        )
        same = (
            "helps"
            if first[1].low > 0
            else "hurts"
            if first[1].high < 0
            else "brings nothing that shows"
        )
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
    """Differences of the sample's comparisons by a Bradley–Terry model of the policy's own
    features."""
    (theta,) = train(labels, [Method(labels.truth)], training)
    return np.asarray(training.beta * (sample.chosen - sample.rejected) @ theta)


def alpha(config: LabConfig) -> Finding:
    """The exponent, for an oracle and for a scorer of the default quality."""

    def in_world(seed: int) -> dict[Cell, float]:
        sample = draw(config.world, seed)
        methods = {
            (f"{name}, {negative}", f"{a:g}"): of_scorer(sample, q, seed, weighted(a, negative))
            for name, q in _scorers(config).items()
            for negative in ("clip", "abs")
            for a in ALPHAS
        }
        return gaps(sample, methods, config.training)

    rows = asked(config, in_world)
    return Finding(
        "alpha",
        "Which exponent α?",
        "α",
        tuple(f"{a:g}" for a in ALPHAS),
        rows,
        tuple(_shown(rows, "α")),
    )


def noise(config: LabConfig) -> Finding:
    """How wrong labels change the answer."""
    worlds = [replace(config.world, noise=t) for t in NOISES]
    about = ("noise", "How noisy are the labels?", "share of wrong labels")
    return _along(config, {f"{share_of_wrong_labels(world):.0%}": world for world in worlds}, about)


def size(config: LabConfig) -> Finding:
    """How the answer moves with the number of comparisons."""
    worlds = {f"{n}": replace(config.world, pairs=n) for n in SIZES}
    return _along(config, worlds, ("size", "How many comparisons?", "labelled comparisons"))


def _along(config: LabConfig, worlds: Mapping[str, World], about: tuple[str, str, str]) -> Finding:
    """The same weightings in worlds that differ in one thing."""

    def in_world(seed: int) -> dict[Cell, float]:
        own: dict[Cell, float] = {}
        for place, world in worlds.items():
            sample = draw(world, seed)
            methods = {
                (f"{name}, {negative}", place): of_scorer(
                    sample, q, seed, weighted(negative=negative)
                )
                for name, q in _scorers(config).items()
                for negative in ("clip", "flip")
            }
            own |= gaps(sample, methods, config.training)
        return own

    rows = asked(config, in_world)
    return Finding(*about, tuple(worlds), rows, tuple(_shown(rows, about[2])))


def _scorers(config: LabConfig) -> dict[str, float]:
    return {"oracle": 1.0, f"scorer of {config.quality:g}": config.quality}


QUESTIONS = (quality, negatives, order, form, learned, alpha, noise, size)


# -- in words ----------------------------------------------------------------------------------------------------------


def signed(value: float) -> str:
    """Three places; what rounds to 0 has no sign."""
    return figure(round(value, 3) + 0.0, "+.3f").replace("+0.000", "0.000")


def _said(gap: Interval) -> str:
    return f"{signed(gap.value)} [{signed(gap.low)}, {signed(gap.high)}]"


def _threshold(line: str, row: Mapping[str, Interval]) -> str:
    """From an oracle down to a coin: where a line is shown to be above plain DPO, and where
    below."""
    better = [place for place, gap in row.items() if gap.low > 0]
    worse = [place for place, gap in row.items() if gap.high < 0]
    helps = (
        f"helps from a correlation of {better[-1]} up"
        if better
        else "helps at no quality of the scorer"
    )
    below = (
        "every quality"
        if len(worse) == len(row)
        else f"{worse[0]} and below"
        if len(worse) > 1
        else "".join(worse)
    )
    hurts = f"; it hurts at {below}" if worse else "; it hurts nowhere that shows"
    top = next(iter(row.values()))
    return f"{_capital(line)} {helps} (an oracle: {_said(top)}){hurts}."


def _shown(rows: Mapping[str, Mapping[str, Interval]], axis: str) -> list[str]:
    """Of every line the places where it is shown to be above plain DPO, and those where it is
    below."""
    found = []
    for line, row in rows.items():
        better = [f"{place} ({signed(gap.value)})" for place, gap in row.items() if gap.low > 0]
        worse = [f"{place} ({signed(gap.value)})" for place, gap in row.items() if gap.high < 0]
        said = [f"helps at {', '.join(better)}"] * bool(better) + [
            f"hurts at {', '.join(worse)}"
        ] * bool(worse)
        found.append(f"{_capital(line)}, by {axis}: {'; '.join(said) or 'nothing shows'}.")
    return found


def _capital(line: str) -> str:
    return line[0].upper() + line[1:]
