"""The pictures of `scaling`: lines on logarithmic axes, in the house's own style, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scaling import BEFORE, WAYS, slope
from rewarddiff.report.document import picture
from rewarddiff.report.plots import legend
from rewarddiff.report.svg import MUTED, PAPER, SERIES, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One drawing of lines.

    Attributes:
        axis: what y is.
        lines: points by name, each with its slope beside it.
        apart: points that were measured otherwise, drawn hollow and not fitted.
    """

    axis: str
    lines: dict[str, Points]
    apart: Points = ()


def draw_all(measured: dict[str, Any], folder: Path) -> list[Path]:
    """Write both pictures; return their paths."""
    by_rows = measured["rows"]
    seconds = [(f["rows"], f["cpu_seconds"]) for f in by_rows]
    memory = [(f["rows"], f["anonymous_bytes"] / 1e6) for f in by_rows]
    of_rows = [
        Panel(
            "processor seconds", {"measured": seconds}, [(BEFORE["rows"], BEFORE["cpu_seconds"])]
        ),
        Panel("MB", {"measured": memory}, [(BEFORE["rows"], BEFORE["anonymous_bytes"] / 1e6)]),
    ]
    step = {}
    peak = {}
    for way in WAYS:
        figures = measured["responses"][way]
        name = {"trees": "token trees", "rows": "padded rows"}[way]
        step[name] = [(f["responses"], f["cpu_seconds"]) for f in figures]
        peak[name] = [(f["responses"], f["peak_bytes"] / 1e6) for f in figures]
    of_responses = [Panel("seconds a step", step), Panel("peak, MB", peak)]
    paths = []
    for file, panels, axis in (
        ("scaling-rows.svg", of_rows, "rows"),
        ("scaling-responses.svg", of_responses, "responses a prompt"),
    ):
        path = folder / file
        path.write_text(picture(drawn(panels, axis)), encoding="utf-8")
        paths.append(path)
    return paths


def drawn(panels: Sequence[Panel], axis: str) -> str:
    """Return the panels one above the other, x shared."""

    def paint(figure: Figure) -> None:
        stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(stack, panels, strict=True):
            _paint(axes, panel)
        figure.align_ylabels(stack)
        stack[-1].set_xlabel(axis)
        legend(figure, stack[0], "outside upper left")

    texts = []
    for panel in panels:
        for name, points in panel.lines.items():
            texts.append(f"{panel.axis}, {name}: {', '.join(f'{y:.3g}' for _, y in points)}")
    return draw(60 + 150 * len(panels), f"By {axis}. {'; '.join(texts)}", paint)


def _paint(axes: Axes, panel: Panel) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="both")
    axes.tick_params(which="both", length=0)
    heights = []
    for (name, points), colour in zip(panel.lines.items(), SERIES, strict=False):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        heights += ys
        axes.plot(xs, ys, "o-", color=colour, markersize=5, label=name)
        axes.annotate(
            f"slope {slope(points):.2f}",
            (xs[-1], ys[-1]),
            (-6, 7),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    for x, y in panel.apart:
        heights.append(y)
        axes.plot(
            x, y, "o", color=MUTED, markerfacecolor=PAPER, markersize=6, label="measured earlier"
        )
    _tick(axes, next(iter(panel.lines.values())), panel.apart)
    # At least a power of ten, so that what does not grow looks flat.
    low, high = min(heights), max(heights)
    middle = (low * high) ** 0.5
    axes.set_ylim(min(low / 1.5, middle / 3.2), max(high * 2, middle * 3.2))
    axes.set_ylabel(panel.axis)


def _tick(axes: Axes, points: Points, apart: Points) -> None:
    """Write x where there are points, and y in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    xs = [x for x, _ in [*points, *apart]]
    axes.set_xticks(xs, [f"{x:,.0f}" for x in xs])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
