"""sweep.json → its figures: gaps, dev losses and scorers' accuracies along the first axis."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rewarddiff.report import charts
from rewarddiff.report.figures import Drawing
from rewarddiff.report.policy_tables import TRAINED_WITH
from rewarddiff.report.svg import palette
from rewarddiff.report.sweep_tables import judges
from rewarddiff.report.values import real, setting
from rewarddiff.results import UNKNOWN, Interval, SweepPoint, SweepResults, Value

BASE = "base"
"""What results call the model before training."""

CHANCE = 0.5
"""The accuracy of a coin."""


@dataclass(frozen=True)
class Line:
    """A policy's (or a scorer's) figures along the first axis."""

    policy: str
    is_control: bool
    values: Mapping[Value, Interval]


def gap_figures(sweep: SweepResults) -> tuple[Drawing, ...]:
    """Draw a figure for each scorer and setting of the other axes, with a line for each policy."""
    drawings = []
    for (others, is_to_base), points in _facets(sweep, _is_held_against_base):
        what = "gap to the base model" if is_to_base else "gap to the baseline"
        for scorer in judges(sweep):
            lines = _lines(sweep, [(point, _gap(point, scorer)) for point in points])
            used = any(_was_used(point, scorer) for point in points)
            title = f"Under {scorer} {TRAINED_WITH if used else ''}".rstrip()
            drawings += _drawn(sweep, title, [what, *others], lines, [("", 0.0)], what)
    return tuple(drawings)


def loss_figures(sweep: SweepResults) -> tuple[Drawing, ...]:
    """Draw a line for each policy, and those that the first axis does not concern at their height."""
    drawings = []
    for (others, objective), points in _facets(sweep, lambda point: point.objective):
        losses = [
            (point, UNKNOWN if point.dev_loss is None else point.dev_loss) for point in points
        ]
        levels = []
        for point in sweep.points:
            concerned = sweep.axes[0].key in point.settings
            comparable = point.objective == objective and _others(sweep, point) in (others, ())
            if comparable and not concerned and point.dev_loss is not None:
                levels.append((point.policy, point.dev_loss.value))
        title = f"Objective {objective}"
        drawings += _drawn(sweep, title, others, _lines(sweep, losses), levels, "dev loss")
    return tuple(drawings)


def accuracy_figures(sweep: SweepResults) -> tuple[Drawing, ...]:
    """Draw the accuracy of every scorer on held-out comparisons along the first axis.

    That is a learning curve where the axis is tokens, steps or comparisons. A figure for each setting
    of the other axes.
    """
    if not sweep.axes:
        return ()
    first, *others = sweep.axes
    facets: dict[tuple[str, ...], dict[str, dict[Value, Interval]]] = {}
    for scorer in sweep.scorers:
        if first.key not in scorer.settings:
            continue
        names = []
        for axis in others:
            if axis.key in scorer.settings:
                names.append(f"{axis.label} {setting(scorer.settings[axis.key])}")
        along = facets.setdefault(tuple(names), {}).setdefault(scorer.summary.name, {})
        along[scorer.settings[first.key]] = scorer.summary.accuracy
    drawings = []
    for settings, values in facets.items():
        lines = [Line(name, False, along) for name, along in values.items()]
        title = ", ".join(settings) or "Held-out comparisons"
        colours = palette(values)
        drawings += _drawn(sweep, title, [], lines, [("", CHANCE)], "accuracy", colours)
    return tuple(drawings)


def places(values: Sequence[Value]) -> dict[Value, float]:
    """Return where values stand on the x axis.

    To scale where all are numbers that can then be told apart, else one after the other.
    """
    numbers = sorted(value for value in values if isinstance(value, float))
    if len(numbers) == len(values) > 1:
        least = min(after - before for before, after in pairwise(numbers))
        if least >= (numbers[-1] - numbers[0]) / 20:
            return dict(zip(numbers, numbers, strict=True))
    return {value: float(place) for place, value in enumerate(values)}


def _drawn(
    sweep: SweepResults,
    title: str,
    caption: Sequence[str],
    lines: Sequence[Line],
    levels: Sequence[tuple[str, float]],
    what: str,
    colours: Mapping[str, str] | None = None,
) -> list[Drawing]:
    """Return the figure of `what`; none where nothing is known.

    Args:
        colours: of the lines (default: those of the sweep's policies).
    """
    if not any(value.known for line in lines for value in line.values.values()):
        return []
    axis = sweep.axes[0]
    place = places(axis.values)
    drawn, summaries = [], []
    for line in lines:
        points = sorted((place[value], interval) for value, interval in line.values.items())
        drawn.append((line.policy, points, line.is_control))
        figures = ", ".join(real(interval.value) for _, interval in points)
        summaries.append(f"{line.policy} {figures}")
    ticks = [(x, setting(value)) for value, x in place.items()]
    label = ", ".join([title, *caption, f"along {axis.label}: {'; '.join(summaries)}"])
    if colours is None:
        colours = palette(point.policy for point in sweep.points)
    chart = charts.Lines(drawn, ticks, levels, colours, (axis.label, what))
    return [Drawing(title, ", ".join(caption), chart, label)]


def _facets(
    sweep: SweepResults, key: Callable[[SweepPoint], Hashable]
) -> Iterable[tuple[tuple[tuple[str, ...], Hashable], list[SweepPoint]]]:
    """Group the points along the first axis by their settings of the other axes and by a key."""
    facets: dict[tuple[tuple[str, ...], Hashable], list[SweepPoint]] = {}
    for point in sweep.points:
        if sweep.axes and sweep.axes[0].key in point.settings:
            facets.setdefault((_others(sweep, point), key(point)), []).append(point)
    return facets.items()


def _others(sweep: SweepResults, point: SweepPoint) -> tuple[str, ...]:
    """Return a point's settings of all axes but the first, as `beta 0.1`."""
    axes = [axis for axis in sweep.axes[1:] if axis.key in point.settings]
    return tuple(f"{axis.label} {setting(point.settings[axis.key])}" for axis in axes)


def _lines(sweep: SweepResults, figures: Sequence[tuple[SweepPoint, Interval]]) -> list[Line]:
    """Return a line for each policy."""
    key = sweep.axes[0].key
    by_policy: dict[str, dict[Value, Interval]] = {}
    controls = set()
    for point, interval in figures:
        by_policy.setdefault(point.policy, {})[point.settings[key]] = interval
        if point.control not in (None, "none"):
            controls.add(point.policy)
    return [Line(policy, policy in controls, values) for policy, values in by_policy.items()]


def _is_held_against_base(point: SweepPoint) -> bool:
    return point.baseline is not None and point.baseline.policy == BASE


def _gap(point: SweepPoint, scorer: str) -> Interval:
    """Return a point's gap to its baseline, which is 0 where it is that policy itself."""
    if point.baseline is None:
        return Interval.unbounded(0.0)
    if scorer not in point.baseline.gaps:
        return UNKNOWN
    return point.baseline.gaps[scorer].gap


def _was_used(point: SweepPoint, scorer: str) -> bool:
    if point.baseline is None or scorer not in point.baseline.gaps:
        return False
    return point.baseline.gaps[scorer].used_in_training
