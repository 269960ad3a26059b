"""Figures: plain numbers in, markup out."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rewarddiff.report.svg import BAD, INK, MUTED, NEUTRAL, PAPER, SERIES, draw
from rewarddiff.report.values import mean, percent, shortened
from rewarddiff.results import Histogram, Interval, RewardHistograms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D")
_MOST_POINTS = 160  # of a learning curve: more cannot be told apart at this width

Points = Sequence[tuple[float, float]]

Panel = tuple[str, Sequence[Points], Sequence[Points]]
"""A metric's name, its training curves and its dev curves, one of each a seed."""

Dot = tuple[str, Interval, Sequence[float], bool]
"""A name, its figure with an interval, those of single seeds, and whether the dot is hollow."""

Line = tuple[str, Sequence[tuple[float, Interval]], bool]
"""A name, its places with figures, and whether the line is dashed."""

Spread = tuple[str, Sequence[float], float]
"""A name, its quantiles at 5, 25, 50, 75 and 95 %, and its mean."""

WHISKER = 1.6


def histogram(differences: Histogram, colour: str, label: str) -> str:
    """Draw differences oriented by the label.

    The negative part, where the scorer contradicts the label, stands out.
    """
    edges = list(differences.edges)

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "y")
        negative, positive = [], []
        for low, high, many in zip(edges, edges[1:], differences.counts, strict=False):
            is_negative = low + high < 0
            negative.append(many if is_negative else 0)
            positive.append(0 if is_negative else many)
        axes.stairs(negative, edges, fill=True, color=BAD)
        axes.stairs(positive, edges, fill=True, color=colour)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("difference d, positive where the scorer agrees")
        axes.set_ylabel("comparisons")

    return draw(200, label, paint)


def two_histograms(rewards: RewardHistograms, label: str) -> str:
    """Draw the rewards of chosen and of rejected responses over one another."""
    edges = list(rewards.edges)

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "y")
        for counts, colour, name in (
            (list(rewards.rejected), BAD, "rejected"),
            (list(rewards.chosen), SERIES[0], "chosen"),
        ):
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts, edges, color=colour, linewidth=1.2, label=name)
        axes.set_xlabel("reward")
        axes.set_ylabel("responses")
        legend(figure, axes, "outside upper right")

    return draw(200, label, paint)


def accuracy_bars(bins: Sequence[tuple[str, Interval]], colour: str, label: str, axis: str) -> str:
    """Draw bars of accuracy with their intervals over ranges of something, n below each."""
    has_room = len(bins) < 6

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "y")
        names = []
        for place, (name, accuracy) in enumerate(bins):
            names.append(f"{name}\n{'n = ' if has_room else ''}{accuracy.n}")
            if accuracy.known:
                axes.bar(place, accuracy.value, 0.66, color=colour)
                whisker(axes, accuracy, place, vertical=True)
                top = (place, accuracy.high if accuracy.bounded else accuracy.value)
                text = percent(accuracy.value, 0)
                axes.annotate(text, top, (0, 3), textcoords="offset points", ha="center")
        axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(bins)), names)
        axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_ylim(0, 1.14)
        axes.set_xlim(-0.6, max(len(bins), 1) - 0.4)
        axes.set_xlabel(axis if has_room else f"{axis} (n below)")

    return draw(210, label, paint)


def curves(panels: Sequence[Panel], colour: str, label: str) -> str:
    """Draw learning curves, a panel a metric: train as thin lines, dev as dots; a line a seed."""
    thin = {"color": colour, "linewidth": 1.0, "alpha": 0.55, "label": "train"}
    dotted = {"color": INK, "linewidth": 1.2, "marker": "o", "markersize": 3.5, "label": "dev"}

    def paint(figure: "Figure") -> None:
        stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, train, dev) in zip(stack, panels, strict=True):
            axes.grid(axis="y")
            axes.tick_params(length=0)
            for points in train:
                axes.plot(*_columns(_thin(points)), **thin)
            for points in dev:
                axes.plot(*_columns(points), **dotted)
            axes.set_ylabel(name)
        figure.align_ylabels(stack)
        if any(dev for _, _, dev in panels):
            legend(figure, stack[0], "outside upper right")
        stack[-1].set_xlabel("step")
        stack[-1].locator_params(axis="x", integer=True)

    return draw(90 + 100 * len(panels), label, paint)


def dots(rows: Sequence[Dot], colours: Mapping[str, str], label: str, axis: str) -> str:
    """Draw a dot and a whisker a row, the first row on top."""

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "x")
        for place, (name, interval, seeds, hollow) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            whisker(axes, interval, place, vertical=False, colour=colour)
            axes.plot(list(seeds), [place + 0.24] * len(seeds), "|", color=colour, markersize=6)
            face = PAPER if hollow else colour
            axes.plot(
                interval.value,
                place,
                "o",
                color=colour,
                markerfacecolor=face,
                markersize=7,
                markeredgewidth=WHISKER,
            )
        name_rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return draw(62 + 30 * len(rows), label, paint)


def lines(
    rows: Sequence[Line],
    ticks: Sequence[tuple[float, str]],
    levels: Sequence[tuple[str, float]],
    colours: Mapping[str, str],
    label: str,
    axes_of: tuple[str, str],
) -> str:
    """Draw figures with intervals along something, the lines side by side at each place.

    Args:
        ticks: the places on x, with what is written there.
        levels: what lies at one height everywhere, by name; without a name, a plain line.
        axes_of: what x and y are.
    """
    places = [x for x, _ in ticks]

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "y")
        for level, (name, height) in enumerate(levels):
            style = (0, (1, 1 + level)) if name else "-"
            colour = colours.get(name, INK)
            axes.axhline(height, color=colour, linewidth=1.0, linestyle=style, label=name or None)
        apart = 0.016 * (max(places) - min(places) or 1)
        for place, (name, points, dashed) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            shift = apart * (place - (len(rows) - 1) / 2)
            known = [(x + shift, interval) for x, interval in points if interval.known]
            for x, interval in known:
                whisker(axes, interval, x, vertical=True, colour=colour)
            axes.plot(
                [x for x, _ in known],
                [interval.value for _, interval in known],
                _marker(colours, name),
                markersize=5.5,
                color=colour,
                markerfacecolor=PAPER if dashed else colour,
                linestyle=(0, (4, 2)) if dashed else "-",
                label=name,
            )
        axes.set_xticks(places, [text for _, text in ticks])
        axes.set_xlabel(axes_of[0])
        axes.set_ylabel(axes_of[1])
        legend(figure, axes, "outside upper left")

    names = len(rows) + sum(bool(name) for name, _ in levels)
    return draw(200 + 16 * math.ceil(names / 2), label, paint)


def spreads(rows: Sequence[Spread], colours: Mapping[str, str], label: str, axis: str) -> str:
    """Draw a row a name: thin 5–95 %, thick 25–75 %, dot median, cross mean."""
    thick: dict[str, Any] = {"linewidth": 7, "alpha": 0.6, "solid_capstyle": "butt"}

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "x")
        for place, (name, (least, low, middle, high, most), average) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            level = [place, place]
            axes.plot([least, most], level, color=colour, linewidth=1.4)
            axes.plot([low, high], level, color=colour, **thick)
            axes.plot(middle, place, "o", color=colour, markersize=6)
            axes.plot(average, place, "x", color=INK, markersize=6, markeredgewidth=1.5)
        name_rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return draw(62 + 30 * len(rows), label, paint)


def bars(rows: Sequence[tuple[str, float, str]], label: str) -> str:
    """Draw horizontal bars: (name, length, what is written at its end) a row."""

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "")
        for place, (_, length, text) in enumerate(rows):
            axes.barh(place, length, 0.6, color=SERIES[0])
            axes.annotate(text, (length, place), (4, 0), textcoords="offset points", va="center")
        name_rows(axes, [name for name, *_ in rows])
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.22)
        axes.set_xlim(left=0)

    return draw(24 + 24 * len(rows), label, paint)


# --- helpers --------------------------------------------------------------------------------------


def _marker(colours: Mapping[str, str], name: str) -> str:
    """Return the shape of a line's points: another one for each round through the colours."""
    if name not in colours:
        return MARKERS[0]
    rounds = list(colours).index(name) // len(SERIES)
    return MARKERS[rounds % len(MARKERS)]


def only_axes(figure: "Figure", grid: str) -> "Axes":
    """Return the only axes of a figure; `grid`: "x", "y", or none."""
    axes = figure.subplots()
    axes.tick_params(length=0)
    if grid:
        axes.grid(axis=grid)  # type: ignore[arg-type]
    return axes


def legend(figure: "Figure", axes: "Axes", place: Any, ncols: int = 2, **style: Any) -> None:
    """Draw a legend with one handle for every label, however many lines carry it."""
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    if by_label:
        figure.legend(list(by_label.values()), list(by_label), loc=place, ncols=ncols, **style)


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), shortened(names, 24))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def whisker(
    axes: "Axes", interval: Interval, place: float, *, vertical: bool, colour: str = INK
) -> None:
    if not interval.bounded:
        return
    span = [interval.low, interval.high]
    level = [place, place]
    if vertical:
        axes.plot(level, span, color=colour, linewidth=WHISKER)
    else:
        axes.plot(span, level, color=colour, linewidth=WHISKER)


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _thin(points: Points) -> Points:
    """Return at most _MOST_POINTS points: means over equal stretches of steps."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    means = []
    for start in range(0, len(points), size):
        piece = points[start : start + size]
        means.append((mean(x for x, _ in piece), mean(y for _, y in piece)))
    return means
