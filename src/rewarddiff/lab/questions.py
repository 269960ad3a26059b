"""The questions put to the laboratory, and their answers with intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from rewarddiff.coefficients import CoefficientConfig, Negative
from rewarddiff.lab.asking import (
    Cell,
    Finding,
    LabConfig,
    Line,
    along_quality,
    asked,
    by_quality,
    gaps,
    given_to,
    weighting,
)
from rewarddiff.lab.policy import Method, Training, train
from rewarddiff.lab.words import (
    Row,
    best_at,
    capital,
    helps_at,
    hurts_at,
    shown,
    threshold,
    with_interval,
)
from rewarddiff.lab.world import Array, Sample, World, cut, draw, share_of_wrong_labels

ALPHAS = (0.25, 0.5, 1.0, 2.0)
# `drop`, and `floor` with a small floor, are as `clip`.
NEGATIVES: tuple[Negative, ...] = ("clip", "abs", "flip", "signed")
NOISES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SIZES = (50, 100, 200, 400, 800)
OTHERS = (1, 4, 16)
"""How many times as many labels of others a scorer learned from."""


def quality(config: LabConfig) -> Finding:
    """Ask about weighting by clip at every quality of the scorer, beside its controls."""
    lines = {
        "weighted (clip)": weighting(),
        "weighted (abs)": weighting(negative="abs"),
        "shuffled": weighting(control="shuffled"),
        "constant": weighting(control="constant"),
    }
    rows = by_quality(config, lines)
    statements = [threshold(line, rows[line]) for line in ("weighted (clip)", "weighted (abs)")]
    shuffled = rows["shuffled"]
    worse = hurts_at(shuffled)
    if worse:
        statements.append(
            f"Weights dealt out at random cost reward ({with_interval(shuffled[worse[0]])}): "
            "weighting throws away comparisons, and what is gained has to pay for that first."
        )
    return along_quality("quality", "How good must the scorer be?", rows, statements)


def negatives(config: LabConfig) -> Finding:
    """Ask what to do where the scorer contradicts the label."""
    lines: dict[str, Line] = {n: weighting(negative=n) for n in NEGATIVES}
    rows = by_quality(config, lines)
    statements = [best_at(place, rows) for place in ("1", "0.8", "0.4")]
    question = "What to do where the scorer contradicts the label?"
    return along_quality("negatives", question, rows, statements)


def order(config: LabConfig) -> Finding:
    """Ask about easy comparisons first (large differences weigh most), or hard ones (inverse)."""
    lines = {
        "easy first": weighting(negative="abs"),
        "hard first (inverse)": weighting(negative="abs", control="inverse"),
        "shuffled": weighting(negative="abs", control="shuffled"),
    }
    rows = by_quality(config, lines)
    statements = []
    for place in ("1", "0.8", "0.4", "0"):
        easy = with_interval(rows["easy first"][place])
        hard = with_interval(rows["hard first (inverse)"][place])
        statements.append(f"With a scorer of {place}: easy first {easy}, hard first {hard}.")
    question = "Easy comparisons first, or hard ones? (weights |Δ|, labels as they are)"
    return along_quality("order", question, rows, statements)


def form(config: LabConfig) -> Finding:
    """Ask about the same difference as a weight, an offset, a soft label, a target."""
    lines = {
        "weight (clip)": weighting(),
        "offset (rdpo)": given_to("rdpo"),
        "soft label (mmpo)": given_to("mmpo"),
        "soft label, calibrated": given_to("mmpo", calibrated=True),
        "target (rpo)": given_to("rpo"),
    }
    rows = by_quality(config, lines)
    statements = [threshold(line, row) for line, row in rows.items()]
    question = "As a weight, an offset, a soft label or a target?"
    return along_quality("form", question, rows, statements)


def learned(config: LabConfig) -> Finding:
    """Ask about a scorer that learned from labels: the policy's own, or others of the same people."""
    own_pairs = config.world.pairs
    sizes = {f"{n} × as many others": n * own_pairs for n in OTHERS}
    forms: dict[str, Callable[[Array], Method]] = {
        "weight (clip)": partial(Method, weight=CoefficientConfig(alpha=1.0)),
        "offset (rdpo)": partial(Method, objective="rdpo"),
        "soft label (mmpo)": partial(Method, objective="mmpo"),
        "target (rpo)": partial(Method, objective="rpo"),
    }

    def in_world(seed: int) -> dict[Cell, float]:
        world = replace(config.world, pairs=own_pairs + max(sizes.values()))
        sample, others = cut(draw(world, seed), own_pairs)
        labels = {"the same labels": sample}
        for name, size in sizes.items():
            labels[name], _ = cut(others, size)
        differences = {
            name: _learned_from(read, sample, config.training) for name, read in labels.items()
        }
        methods: dict[Cell, Method] = {}
        for line, method in forms.items():
            for name, d in differences.items():
                methods[line, name] = method(d)
        return gaps(sample, methods, config.training)

    rows = asked(config, in_world)
    return Finding(
        "learned",
        "And if the scorer has to learn from labels too?",
        "what the scorer learned from",
        ("the same labels", *sizes),
        rows,
        tuple(_about_learning(line, row) for line, row in rows.items()),
    )


def _learned_from(labels: Sample, sample: Sample, training: Training) -> Array:
    """Return d of the sample's comparisons by a Bradley–Terry model of the policy's own features."""
    (theta,) = train(labels, [Method(labels.truth)], training)
    return np.asarray(training.beta * (sample.chosen - sample.rejected) @ theta)


def _about_learning(line: str, row: Row) -> str:
    """Say what a scorer of the policy's own labels brings, and from how many others it helps."""
    same_labels, *others = row
    verdict = "brings nothing that shows"
    if same_labels in helps_at(row):
        verdict = "helps"
    elif same_labels in hurts_at(row):
        verdict = "hurts"
    place = others[-1]
    with_others = "nor does it show with others"
    helping = [name for name in others if name in helps_at(row)]
    if helping:
        place = helping[0]
        with_others = f"it helps with labels of its own, from {place}"
    return (
        f"{capital(line)}: a scorer that learned from the policy's own labels {verdict} "
        f"({with_interval(row[same_labels])}); {with_others} ({with_interval(row[place])})."
    )


def alpha(config: LabConfig) -> Finding:
    """Ask about the exponent, for an oracle and for a scorer of the default quality."""
    treatments: tuple[Negative, ...] = ("clip", "abs")

    def in_world(seed: int) -> dict[Cell, float]:
        sample = draw(config.world, seed)
        methods: dict[Cell, Method] = {}
        for name, quality in _scorers(config).items():
            for negative in treatments:
                for a in ALPHAS:
                    method = weighting(a, negative)
                    methods[f"{name}, {negative}", f"{a:g}"] = method(sample.truth, quality, seed)
        return gaps(sample, methods, config.training)

    rows = asked(config, in_world)
    places = tuple(f"{a:g}" for a in ALPHAS)
    return Finding("alpha", "Which exponent α?", "α", places, rows, tuple(shown(rows, "α")))


def noise(config: LabConfig) -> Finding:
    """Ask how wrong labels change the answer."""
    worlds = {}
    for tau in NOISES:
        world = replace(config.world, noise=tau)
        worlds[f"{share_of_wrong_labels(world):.0%}"] = world
    return _along(worlds, config, "noise", "How noisy are the labels?", "share of wrong labels")


def size(config: LabConfig) -> Finding:
    """Ask how the answer moves with the number of comparisons."""
    worlds = {f"{n}": replace(config.world, pairs=n) for n in SIZES}
    return _along(worlds, config, "size", "How many comparisons?", "labelled comparisons")


def _along(
    worlds: Mapping[str, World], config: LabConfig, key: str, question: str, axis: str
) -> Finding:
    """Ask about the same weightings in worlds that differ in one thing."""
    treatments: tuple[Negative, ...] = ("clip", "flip")

    def in_world(seed: int) -> dict[Cell, float]:
        gaps_in_all: dict[Cell, float] = {}
        for place, world in worlds.items():
            sample = draw(world, seed)
            methods: dict[Cell, Method] = {}
            for name, quality in _scorers(config).items():
                for negative in treatments:
                    method = weighting(negative=negative)
                    methods[f"{name}, {negative}", place] = method(sample.truth, quality, seed)
            gaps_in_all |= gaps(sample, methods, config.training)
        return gaps_in_all

    rows = asked(config, in_world)
    return Finding(key, question, axis, tuple(worlds), rows, tuple(shown(rows, axis)))


def _scorers(config: LabConfig) -> dict[str, float]:
    return {"oracle": 1.0, f"scorer of {config.quality:g}": config.quality}


QUESTIONS = (quality, negatives, order, form, learned, alpha, noise, size)
