"""sweep.json → its figures: gaps and dev losses along the first axis, a line a policy."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

from rewarddiff.report import plots
from rewarddiff.report.figures import Drawing
from rewarddiff.report.policy_tables import TRAINED_WITH
from rewarddiff.report.sweep_values import (
    Point,
    Sweep,
    by_policy,
    interval,
    judges,
    number,
    value_text,
)
from rewarddiff.report.values import real
from rewarddiff.results import UNKNOWN, Interval

Facet = tuple[tuple[str, ...], Any]
"""What the points of one figure have in common: their settings of all axes but the first, and one
thing more."""

BASE = "base"
"""What results call the model before training."""


def gap_figures(sweep: Sweep) -> tuple[Drawing, ...]:
    """Draw a figure for each scorer and setting of the other axes."""
    drawings = []
    for (settings, against_base), points in _facets(sweep, _is_against_base).items():
        what = "gap to the base model" if against_base else "gap to the baseline"
        for scorer in judges(sweep):
            title = f"Under {scorer}"
            if any(_was_used(point, scorer) for point in points):
                title += f" {TRAINED_WITH}"
            gaps = {id(point): _gap(point, scorer) for point in points}
            caption = [what, *settings]
            drawings += _drawn(sweep, title, caption, points, gaps, [("", 0.0)], what)
    return tuple(drawings)


def _is_against_base(point: Point) -> bool:
    return bool(point["against"] == BASE)


def _was_used(point: Point, scorer: str) -> bool:
    return scorer in point["gaps"] and point["gaps"][scorer]["used_in_training"]


def _gap(point: Point, scorer: str) -> Interval:
    if point["name"] == point["against"]:
        return Interval.unbounded(0.0)
    if scorer not in point["gaps"]:
        return UNKNOWN
    return interval(point["gaps"][scorer])


def loss_figures(sweep: Sweep) -> tuple[Drawing, ...]:
    """Draw a figure for each objective and setting of the other axes.

    Policies without the first axis stand at their height.
    """
    drawings = []
    for (settings, objective), points in _facets(sweep, itemgetter("objective")).items():
        levels = []
        for point in sweep["points"]:
            has_place = sweep["axes"][0]["key"] in point["settings"]
            belongs = _other_settings(sweep, point) in (settings, ())
            loss = interval(point["dev_loss"])
            if point["objective"] == objective and belongs and not has_place and loss.known:
                levels.append((point["policy"], loss.value))
        losses = {id(point): interval(point["dev_loss"]) for point in points}
        title = f"Objective {objective}"
        drawings += _drawn(sweep, title, settings, points, losses, levels, "dev loss")
    return tuple(drawings)


def _facets(sweep: Sweep, key: Callable[[Point], Any]) -> dict[Facet, list[Point]]:
    """Return the points along the first axis, by their other settings and by a key."""
    facets: dict[Facet, list[Point]] = {}
    for point in sweep["points"]:
        if sweep["axes"] and sweep["axes"][0]["key"] in point["settings"]:
            facet = (_other_settings(sweep, point), key(point))
            facets.setdefault(facet, []).append(point)
    return facets


def _other_settings(sweep: Sweep, point: Point) -> tuple[str, ...]:
    """Return a point's settings of all axes but the first that concern it."""
    settings = []
    for axis in sweep["axes"][1:]:
        if axis["key"] in point["settings"]:
            settings.append(f"{axis['label']} {value_text(point['settings'][axis['key']])}")
    return tuple(settings)


def _drawn(
    sweep: Sweep,
    title: str,
    caption: Sequence[str],
    points: Sequence[Point],
    figures: Mapping[int, Interval],
    levels: Sequence[tuple[str, float]],
    what: str,
) -> list[Drawing]:
    """Return the figure of `what`, a line for each policy; none where nothing is known.

    Args:
        figures: of every point, by its identity.
    """
    if not any(figure.known for figure in figures.values()):
        return []
    axis = sweep["axes"][0]
    places = places_of(axis["values"])
    lines: list[plots.Line] = []
    parts = []
    for policy, of_policy in by_policy(points).items():
        line = []
        for point in of_policy:
            value = value_text(point["settings"][axis["key"]])
            line.append((places[value], figures[id(point)]))
        line.sort(key=itemgetter(0))
        is_control = of_policy[0]["control"] not in (None, "none")
        lines.append((policy, line, is_control))
        parts.append(f"{policy} {', '.join(real(figure.value) for _, figure in line)}")
    ticks = [(x, text) for text, x in places.items()]
    label = ", ".join([title, *caption, f"along {axis['label']}: {'; '.join(parts)}"])
    colours = plots.palette(point["policy"] for point in sweep["points"])
    svg = plots.lines(lines, ticks, levels, colours, label, (axis["label"], what))
    return [Drawing(title, ", ".join(caption), svg)]


def places_of(values: Sequence[Any]) -> dict[str, float]:
    """Return where values stand on x, by their text.

    To scale where they are numbers that can then be told apart.
    """
    texts = [value_text(value) for value in values]
    numbers = [number(value) for value in values]
    ranked = sorted(numbers)
    if len(values) > 1 and all(map(math.isfinite, numbers)):
        least = min(b - a for a, b in pairwise(ranked))
        if least >= (ranked[-1] - ranked[0]) / 20:
            return dict(zip(texts, numbers, strict=True))
    return {text: float(place) for place, text in enumerate(texts)}
