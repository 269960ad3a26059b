"""Figures of policies held against each other: gaps, shares and spreads of rewards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewarddiff.report.plots import WHISKER, legend, name_rows, only_axes, whisker
from rewarddiff.report.svg import BAD, GOOD, INK, NEUTRAL, PAPER, SERIES, draw
from rewarddiff.report.values import percent, shortened
from rewarddiff.results import Histogram, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ridge = tuple[str, Histogram, float]
"""A name, its histogram, whose edges are those of all, and its mean."""

Shares = tuple[str, tuple[Interval, Interval, Interval]]
"""What is compared, and its shares of win, tie and lose."""


@dataclass(frozen=True)
class ForestRow:
    """A gap: of what, by whom; hollow where that is no independent evidence."""

    group: str
    name: str
    interval: Interval
    hollow: bool


@dataclass(frozen=True)
class ForestPanel:
    """Figures in one unit.

    Attributes:
        zero: where no gap lies.
        is_share: whether they are written as percentages.
        is_told: whether colours say what lies above `zero` and what below.
    """

    axis: str
    rows: Sequence[ForestRow]
    zero: float = 0.0
    is_share: bool = False
    is_told: bool = True


SMALL_SHARE = 0.09  # a share below has no room for its figure


def head_to_head(rows: Sequence[Shares], label: str) -> str:
    """Draw stacked bars of win, tie and lose, each row's name above its bar.

    The intervals of win and lose lie below it, from the left and from the right.
    """
    parts = ((GOOD, "win"), (NEUTRAL, "tie"), (BAD, "lose"))

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "")
        names = shortened([name for name, _ in rows], 64)
        for place, (name, (_, shares)) in enumerate(zip(names, rows, strict=True)):
            start = 0.0
            for share, (colour, word) in zip(shares, parts, strict=True):
                length = share.value
                axes.barh(place, length, 0.4, left=start, color=colour, label=word)
                if length >= SMALL_SHARE:
                    middle = start + length / 2
                    text = percent(length, 0)
                    axes.text(middle, place, text, ha="center", va="center", color=PAPER)
                start += length
            axes.text(0, place - 0.25, name, va="bottom")
            win, _, lose = shares
            # Two levels: where the two overlap, both are seen.
            whisker(axes, win, place + 0.27, vertical=False, colour=GOOD)
            from_right = Interval(1 - lose.value, 1 - lose.high, 1 - lose.low, lose.n)
            whisker(axes, from_right, place + 0.37, vertical=False, colour=BAD)
        axes.set_ylim(len(rows) - 0.6, -0.75)
        axes.set_xlim(0, 1)
        axes.axis("off")
        legend(figure, axes, "outside lower left", ncols=3, handlelength=1)

    return draw(46 + 54 * len(rows), label, paint)


def forest(panels: Sequence[ForestPanel], label: str) -> str:
    """Draw gaps with intervals, a panel a unit, about a line at no gap; groups under their names.

    Told apart from no gap: blue above, red below; grey where they are not.
    """
    heights = [len(_grouped(panel.rows)) + 1.6 for panel in panels]

    def paint(figure: "Figure") -> None:
        ratios = {"height_ratios": heights}
        stack = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw=ratios)[:, 0]
        for axes, panel in zip(stack, panels, strict=True):
            axes.tick_params(length=0)
            axes.grid(axis="x")
            _paint_forest(axes, panel)

    return draw(14 + 19 * sum(heights), label, paint)


def _grouped(rows: Sequence[ForestRow]) -> list[ForestRow | str]:
    """Return the rows with the name of each group before its first."""
    lines: list[ForestRow | str] = []
    group = None
    for row in rows:
        if row.group != group and row.group:
            lines.append(row.group)
        group = row.group
        lines.append(row)
    return lines


def _paint_forest(axes: "Axes", panel: ForestPanel) -> None:
    lines = _grouped(panel.rows)
    groups = shortened([line for line in lines if isinstance(line, str)], 48)
    names = shortened([row.name for row in panel.rows], 24)
    ticks = []
    for place, line in enumerate(lines):
        if isinstance(line, str):
            where = axes.get_yaxis_transform()
            # White below it, also where the grid would run through a name.
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
            axes.text(0, place, groups.pop(0), transform=where, va="center", color=INK, bbox=box)
            continue
        # The line at no gap is drawn row by row: it does not run through the names of groups.
        axes.vlines(panel.zero, place - 0.5, place + 0.5, color=INK, linewidth=0.8, zorder=1)
        ticks.append((place, names.pop(0)))
        colour = _reading(line.interval, panel.zero) if panel.is_told else SERIES[0]
        whisker(axes, line.interval, place, vertical=False, colour=colour)
        face = PAPER if line.hollow else colour
        axes.plot(
            line.interval.value,
            place,
            "o",
            color=colour,
            markerfacecolor=face,
            markersize=7,
            markeredgewidth=WHISKER,
        )
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    if panel.is_share:
        axes.xaxis.set_major_formatter(lambda x, _: percent(x, 0))
    axes.set_xlabel(panel.axis)


def _reading(interval: Interval, zero: float) -> str:
    """Return the colour of what is shown to be above, below, or neither."""
    if interval.bounded and interval.low > zero:
        return GOOD
    if interval.bounded and interval.high < zero:
        return BAD
    return NEUTRAL


def ridges(rows: Sequence[Ridge], colours: Mapping[str, str], label: str, axis: str) -> str:
    """Draw a histogram a row, on one axis and each to its own height; a stroke at each mean."""

    def paint(figure: "Figure") -> None:
        axes = only_axes(figure, "x")
        for place, (name, histogram, average) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            floor = place + 0.4
            most = max(histogram.counts, default=0) or 1
            tops = [floor - 0.78 * many / most for many in histogram.counts]
            style: dict[str, Any] = {"baseline": floor, "color": colour}
            axes.stairs(tops, list(histogram.edges), fill=True, alpha=0.45, **style)
            axes.stairs(tops, list(histogram.edges), linewidth=1.0, **style)
            axes.plot([average, average], [floor, floor - 0.84], color=INK, linewidth=1.4)
        name_rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return draw(50 + 44 * len(rows), label, paint)
