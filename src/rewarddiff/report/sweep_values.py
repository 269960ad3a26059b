"""What is read out of sweep.json: figures, and points with their settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewarddiff.report.values import DASH, setting
from rewarddiff.results import UNKNOWN, Interval, Unequal

Sweep = Mapping[str, Any]
"""The content of sweep.json."""

Point = Mapping[str, Any]
"""One of its points, or a control of one."""


def interval(values: Mapping[str, Any] | None) -> Interval:
    if values is None:
        return UNKNOWN
    ends = (number(values["low"]), number(values["high"]))
    return Interval(number(values["value"]), *ends, values["n"])


def number(value: Any) -> float:
    """Return a number of a file; NaN for null, and for a value of a key that is no number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return math.nan


def value_text(value: Any) -> str:
    if value is None:
        return DASH
    return setting(value)


def setting_text(point: Point, key: str) -> str:
    """Return a point's value of a key; a dash where the key does not concern it."""
    if key not in point["settings"]:
        return DASH
    return value_text(point["settings"][key])


def unequal(point: Point) -> tuple[Unequal, ...]:
    """Return in what a point and the policy it is held against were trained unequally."""
    return tuple(Unequal(**difference) for difference in point["unequal"])


def controls(sweep: Sweep) -> list[tuple[Point, Point]]:
    """Return every weighted point with each of its controls."""
    return [(point, control) for point in sweep["points"] for control in point["controls"]]


def judges(sweep: Sweep) -> list[str]:
    """Return the scorers that any point is judged by."""
    return list(dict.fromkeys(scorer for point in sweep["points"] for scorer in point["gaps"]))


def seeds_text(sweep: Sweep) -> str:
    many = len(sweep["seeds"])
    if many > 1:
        return f"{many} seeds"
    return "one seed"


def by_policy(points: Sequence[Point]) -> dict[str, list[Point]]:
    policies: dict[str, list[Point]] = {}
    for point in points:
        policies.setdefault(point["policy"], []).append(point)
    return policies
