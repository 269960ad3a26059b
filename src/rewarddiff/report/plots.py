"""Figures as inline SVG: plain numbers in, markup out, the same bytes for the same input.

Every figure is drawn 400 units wide, so that it is as legible on a phone (one a row) as on paper
(two a row). Text stays text. Colours are CSS variables of the page (light and dark); matplotlib
draws with stand-ins that are replaced.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rewarddiff.report.values import DASH, Interval, mean, percent
from rewarddiff.writing import figure, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 400
INK, MUTED, GRID, PAPER = "#010201", "#010202", "#010203", "#010204"
SERIES = tuple(f"#02010{i}" for i in range(1, 7))
MARKERS = ("o", "s", "^", "D")
GOOD, NEUTRAL, BAD = "#030101", "#030102", "#030103"
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper",
    GOOD: "--good", NEUTRAL: "--neutral", BAD: "--bad",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}  # fmt: skip
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify": True,
}
_MOST_POINTS = 160  # of a learning curve: more cannot be told apart at this width

Points = Sequence[tuple[float, float]]


def palette(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, the same in every figure of a page; the seventh name has that
    of the first."""
    return {name: SERIES[place % len(SERIES)] for place, name in enumerate(dict.fromkeys(names))}


def histogram(edges: Sequence[float], counts: Sequence[float], colour: str, label: str) -> str:
    """Differences oriented by the label; the negative part (the scorer contradicts the label)
    stands out."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        for negative in (True, False):
            chosen = [
                n if (low + high < 0) == negative else 0
                for n, low, high in zip(counts, edges, edges[1:], strict=False)
            ]
            axes.stairs(chosen, list(edges), fill=True, color=BAD if negative else colour)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("difference d, positive where the scorer agrees")
        axes.set_ylabel("comparisons")

    return _draw(200, label, paint)


def two_histograms(
    edges: Sequence[float], chosen: Sequence[float], rejected: Sequence[float], label: str
) -> str:
    """Rewards of chosen and of rejected responses over one another."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        for counts, colour, name in ((rejected, BAD, "rejected"), (chosen, SERIES[0], "chosen")):
            axes.stairs(list(counts), list(edges), fill=True, color=colour, alpha=0.35)
            axes.stairs(list(counts), list(edges), color=colour, linewidth=1.2, label=name)
        axes.set_xlabel("reward")
        axes.set_ylabel("responses")
        shown = _legend(axes)
        figure.legend(shown.values(), shown.keys(), loc="outside upper right", ncols=2)

    return _draw(200, label, paint)


def accuracy_bars(bins: Sequence[tuple[str, Interval]], colour: str, label: str, axis: str) -> str:
    """Bars of accuracy with their intervals over ranges of something, n below each."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        lead = "n = " if len(bins) < 6 else ""
        for place, (_, accuracy) in enumerate(bins):
            if accuracy.known:
                axes.bar(place, accuracy.value, 0.66, color=colour)
                _whisker(axes, accuracy, place, vertical=True)
                top = accuracy.high if accuracy.bounded else accuracy.value
                axes.annotate(
                    percent(accuracy.value, 0),
                    (place, top),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                )
        axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(
            range(len(bins)), [f"{name}\n{lead}{_whole(found.n)}" for name, found in bins]
        )
        axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_ylim(0, 1.14)
        axes.set_xlim(-0.6, max(len(bins), 1) - 0.4)
        axes.set_xlabel(axis if lead else f"{axis} (n below)")

    return _draw(210, label, paint)


def curves(
    panels: Sequence[tuple[str, Sequence[Points], Sequence[Points]]], colour: str, label: str
) -> str:
    """Learning curves, one panel a metric: train as thin lines, dev as dots; one line a seed."""

    def paint(figure: "Figure") -> None:
        stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, train, dev) in zip(stack, panels, strict=True):
            axes.grid(axis="y")
            axes.tick_params(length=0)
            for points in train:
                axes.plot(
                    *_columns(_thin(points)), color=colour, linewidth=1.0, alpha=0.55, label="train"
                )
            for points in dev:
                axes.plot(
                    *_columns(points),
                    color=INK,
                    linewidth=1.2,
                    marker="o",
                    markersize=3.5,
                    label="dev",
                )
            axes.set_ylabel(name)
        shown = _legend(stack[0])
        if shown:
            figure.legend(shown.values(), shown.keys(), loc="outside upper right", ncols=2)
        stack[-1].set_xlabel("step")

    return _draw(90 + 100 * len(panels), label, paint)


def dots(
    rows: Sequence[tuple[str, Interval, Sequence[float], bool]],
    colours: Mapping[str, str],
    label: str,
    axis: str,
) -> str:
    """Dot and whisker: (name, figure with interval, single seeds, hollow) per row, first row on
    top."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "x")
        for place, (name, found, seeds, hollow) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            _whisker(axes, found, place, vertical=False, colour=colour)
            axes.plot(list(seeds), [place + 0.24] * len(seeds), "|", color=colour, markersize=6)
            if found.known:
                face = PAPER if hollow else colour
                axes.plot(
                    found.value,
                    place,
                    "o",
                    color=colour,
                    markerfacecolor=face,
                    markersize=7,
                    markeredgewidth=1.6,
                )
        _rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return _draw(62 + 30 * len(rows), label, paint)


def lines(
    rows: Sequence[tuple[str, Sequence[tuple[float, Interval]], bool]],
    ticks: Sequence[tuple[float, str]],
    levels: Sequence[tuple[str, float]],
    colours: Mapping[str, str],
    label: str,
    axes_of: tuple[str, str],
) -> str:
    """Figures with intervals along something: (name, points, dashed) per line, side by side at each
    place.

    Args:
        ticks: the places on x, with what is written there.
        levels: what lies at one height everywhere, by name; without a name, a plain line.
        axes_of: what x and y are.
    """

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        places = [x for x, _ in ticks]
        apart = 0.016 * (max(places) - min(places) or 1)
        for level, (name, height) in enumerate(levels):
            colour, style = colours.get(name, INK), (0, (1, 1 + level)) if name else "-"
            axes.axhline(height, color=colour, linewidth=1.0, linestyle=style, label=name or None)
        for place, (name, points, dashed) in enumerate(rows):
            colour, shift = colours.get(name, NEUTRAL), apart * (place - (len(rows) - 1) / 2)
            known = [(x + shift, found) for x, found in points if found.known]
            for x, found in known:
                _whisker(axes, found, x, vertical=True, colour=colour)
            axes.plot(
                [x for x, _ in known], [found.value for _, found in known], _marker(colours, name), markersize=5.5,
                color=colour, markerfacecolor=PAPER if dashed else colour, linestyle=(0, (4, 2)) if dashed else "-",
                label=name,
            )  # fmt: skip
        axes.set_xticks(places, [text for _, text in ticks])
        axes.set_xlabel(axes_of[0])
        axes.set_ylabel(axes_of[1])
        if shown := _legend(axes):
            figure.legend(shown.values(), shown.keys(), loc="outside upper left", ncols=2)

    names = len(rows) + sum(bool(name) for name, _ in levels)
    return _draw(200 + 16 * math.ceil(names / 2), label, paint)


def spreads(
    rows: Sequence[tuple[str, Sequence[float], float]],
    colours: Mapping[str, str],
    label: str,
    axis: str,
) -> str:
    """Per row (name, quantiles at 5, 25, 50, 75, 95 %, mean): thin 5–95, thick 25–75, dot median,
    cross mean."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "x")
        for place, (name, (least, low, middle, high, most), average) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            axes.plot([least, most], [place, place], color=colour, linewidth=1.4)
            axes.plot(
                [low, high],
                [place, place],
                color=colour,
                linewidth=7,
                alpha=0.6,
                solid_capstyle="butt",
            )
            axes.plot(middle, place, "o", color=colour, markersize=6)
            axes.plot(average, place, "x", color=INK, markersize=6, markeredgewidth=1.5)
        _rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return _draw(62 + 30 * len(rows), label, paint)


def head_to_head(rows: Sequence[tuple[str, tuple[float, float, float]]], label: str) -> str:
    """Stacked bars of win, tie and lose, each row's name above its bar."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "")
        for place, (name, shares) in enumerate(rows):
            start = 0.0
            for share, colour, word in zip(
                shares, (GOOD, NEUTRAL, BAD), ("win", "tie", "lose"), strict=True
            ):
                if math.isfinite(share):
                    axes.barh(place, share, 0.42, left=start, color=colour, label=word)
                    if share >= 0.09:
                        axes.text(
                            start + share / 2,
                            place,
                            percent(share, 0),
                            ha="center",
                            va="center",
                            color=PAPER,
                        )
                    start += share
            axes.text(0, place - 0.28, name, va="bottom")
        axes.set_ylim(len(rows) - 0.6, -0.75)
        axes.set_xlim(0, 1)
        axes.axis("off")
        shown = _legend(axes)
        if shown:
            figure.legend(
                shown.values(), shown.keys(), loc="outside lower left", ncols=3, handlelength=1
            )

    return _draw(44 + 46 * len(rows), label, paint)


def bars(rows: Sequence[tuple[str, float, str]], label: str) -> str:
    """Horizontal bars: (name, length, what is written at its end) per row."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "")
        for place, (_, length, text) in enumerate(rows):
            if math.isfinite(length):
                axes.barh(place, length, 0.6, color=SERIES[0])
                axes.annotate(
                    text, (length, place), (4, 0), textcoords="offset points", va="center"
                )
        _rows(axes, [name for name, *_ in rows])
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.22)
        axes.set_xlim(left=0)

    return _draw(24 + 24 * len(rows), label, paint)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _draw(height: float, label: str, paint: Callable[["Figure"], None]) -> str:
    """Draw and return the markup; figures with different labels share no ids."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE, {"svg.hashsalt": label}]), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # glyphs the measuring font lacks: the reader's browser has its own
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return printable(_inline(stream.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """matplotlib's file → markup for a page: nothing but the drawing, no id but those referred
    to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    svg = re.sub(r"<[^>]*>", lambda found: _tag(found[0], used), svg)  # texts have < and > escaped
    head = f'<svg viewBox="0 0 {_viewbox(svg)}" role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"^<svg[^>]*>", lambda _: head, svg)
    svg = re.sub(r">\s+<", "><", svg)
    return re.sub(r"<defs></defs>|<g/>|<g></g>", "", svg).strip()


def _tag(tag: str, used: set[str]) -> str:
    """A tag with the page's colours and font, without ids that nothing refers to, to a tenth of a
    unit."""
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    tag = tag.replace("xlink:href=", "href=")
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1", tag).replace("font: ", "font-size: ")
    tag = re.sub(r"#0[123]0[12]0\d", lambda found: f"var({_VARIABLES[found[0]]})", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)  # no turn at all
    return re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), tag)


def _marker(colours: Mapping[str, str], name: str) -> str:
    """The shape of a line's points: another one for each round through the colours."""
    rounds = list(colours).index(name) // len(SERIES) if name in colours else 0
    return MARKERS[rounds % len(MARKERS)]


def _viewbox(svg: str) -> str:
    found = re.search(r'viewBox="0 0 ([\d.]+ [\d.]+)"', svg)
    assert found, "matplotlib writes a view box"
    return found[1]


def _axes(figure: "Figure", grid: str) -> "Axes":
    axes = figure.subplots()
    axes.tick_params(length=0)
    if grid in ("x", "y"):
        axes.grid(axis="x" if grid == "x" else "y")
    return axes


def _legend(axes: "Axes") -> dict[str, Any]:
    """One handle for every label, however many lines carry it."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def _rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_clip(name) for name in names])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def _whisker(
    axes: "Axes", found: Interval, place: float, *, vertical: bool, colour: str = INK
) -> None:
    if found.bounded:
        span, line = [found.low, found.high], [place, place]
        axes.plot(*((line, span) if vertical else (span, line)), color=colour, linewidth=1.6)


def _clip(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _whole(value: float) -> str:
    return figure(value, ".0f") if math.isfinite(value) else DASH


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _thin(points: Points) -> Points:
    """At most _MOST_POINTS points: means over equal stretches of steps."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    return [(mean(x for x, _ in piece), mean(y for _, y in piece)) for piece in pieces]
