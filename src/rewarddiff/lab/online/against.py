"""A figure of one quantity against another that is measured too, such as reward against KL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewarddiff.report.charts import INTERVAL, Entry, Sheet
from rewarddiff.report.plots import MARKERS, WHISKER, legend, only_axes
from rewarddiff.report.svg import INK, NEUTRAL, SERIES, draw
from rewarddiff.results import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Path = tuple[str, Sequence[tuple[float, Interval]]]
"""A name, and its points in the order in which they were reached: a place, and what was measured."""


@dataclass(frozen=True)
class Against:
    """Paths through two quantities.

    Attributes:
        levels: heights that are the same everywhere, by name.
        axes: what x and y are.
    """

    paths: Sequence[Path]
    levels: Sequence[tuple[str, float]]
    colours: Mapping[str, str]
    axes: tuple[str, str]

    def svg(self, label: str) -> str:
        def paint(figure: Figure) -> None:
            axes = only_axes(figure, "y")
            for place, (name, height) in enumerate(self.levels):
                style = (0, (1, 1 + place))
                axes.axhline(height, color=INK, linewidth=1.0, linestyle=style, label=name)
            for name, points in self.paths:
                colour = self.colours.get(name, NEUTRAL)
                measured = [(x, y) for x, y in points if math.isfinite(x) and y.known]
                # Faint, since those of several paths stand close together.
                for x, y in measured:
                    axes.plot([x, x], [y.low, y.high], color=colour, linewidth=WHISKER, alpha=0.35)
                axes.plot(
                    [x for x, _ in measured],
                    [interval.value for _, interval in measured],
                    _marker(self.colours, name),
                    markersize=4.5,
                    color=colour,
                    linestyle="-",
                    linewidth=1.2,
                    label=name,
                )
            axes.set_xlabel(self.axes[0])
            axes.set_ylabel(self.axes[1])
            legend(figure, axes, "outside upper left")

        names = len(self.paths) + len(self.levels)
        return draw(220 + 16 * math.ceil(names / 2), label, paint)

    def sheet(self) -> Sheet:
        rows: list[tuple[Entry, ...]] = []
        for name, points in self.paths:
            for x, y in points:
                rows.append((name, x, y.value, y.low, y.high, y.n))
        for name, height in self.levels:
            rows.append((name, None, height, None, None, None))
        return Sheet(("line", self.axes[0], *INTERVAL), tuple(rows))


def _marker(colours: Mapping[str, str], name: str) -> str:
    """Return the shape of a path's points: another one for each round through the colours."""
    if name not in colours:
        return MARKERS[0]
    rounds = list(colours).index(name) // len(SERIES)
    return MARKERS[rounds % len(MARKERS)]
