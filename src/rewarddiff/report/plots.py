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

from rewarddiff.report.values import mean, percent
from rewarddiff.results import Histogram, Interval, RewardHistograms
from rewarddiff.writing import printable

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

Panel = tuple[str, Sequence[Points], Sequence[Points]]
"""A metric's name, its training curves and its dev curves, one of each a seed."""

Dot = tuple[str, Interval, Sequence[float], bool]
"""A name, its figure with an interval, those of single seeds, and whether the dot is hollow."""

Line = tuple[str, Sequence[tuple[float, Interval]], bool]
"""A name, its places with figures, and whether the line is dashed."""

Spread = tuple[str, Sequence[float], float]
"""A name, its quantiles at 5, 25, 50, 75 and 95 %, and its mean."""

WHISKER = 1.6
SMALL_SHARE = 0.09  # a share below has no room for its figure


def palette(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, the same in every figure of a page.

    The seventh name has the colour of the first.
    """
    return {name: SERIES[place % len(SERIES)] for place, name in enumerate(dict.fromkeys(names))}


def histogram(differences: Histogram, colour: str, label: str) -> str:
    """Draw differences oriented by the label.

    The negative part, where the scorer contradicts the label, stands out.
    """
    edges = list(differences.edges)

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
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

    return _draw(200, label, paint)


def two_histograms(rewards: RewardHistograms, label: str) -> str:
    """Draw the rewards of chosen and of rejected responses over one another."""
    edges = list(rewards.edges)

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        for counts, colour, name in (
            (list(rewards.rejected), BAD, "rejected"),
            (list(rewards.chosen), SERIES[0], "chosen"),
        ):
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts, edges, color=colour, linewidth=1.2, label=name)
        axes.set_xlabel("reward")
        axes.set_ylabel("responses")
        _legend(figure, axes, "outside upper right")

    return _draw(200, label, paint)


def accuracy_bars(bins: Sequence[tuple[str, Interval]], colour: str, label: str, axis: str) -> str:
    """Draw bars of accuracy with their intervals over ranges of something, n below each."""
    has_room = len(bins) < 6

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "y")
        names = []
        for place, (name, accuracy) in enumerate(bins):
            names.append(f"{name}\n{'n = ' if has_room else ''}{accuracy.n}")
            if accuracy.known:
                axes.bar(place, accuracy.value, 0.66, color=colour)
                _whisker(axes, accuracy, place, vertical=True)
                top = (place, accuracy.high if accuracy.bounded else accuracy.value)
                text = percent(accuracy.value, 0)
                axes.annotate(text, top, (0, 3), textcoords="offset points", ha="center")
        axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(bins)), names)
        axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_ylim(0, 1.14)
        axes.set_xlim(-0.6, max(len(bins), 1) - 0.4)
        axes.set_xlabel(axis if has_room else f"{axis} (n below)")

    return _draw(210, label, paint)


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
        _legend(figure, stack[0], "outside upper right")
        stack[-1].set_xlabel("step")

    return _draw(90 + 100 * len(panels), label, paint)


def dots(rows: Sequence[Dot], colours: Mapping[str, str], label: str, axis: str) -> str:
    """Draw a dot and a whisker a row, the first row on top."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "x")
        for place, (name, interval, seeds, hollow) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            _whisker(axes, interval, place, vertical=False, colour=colour)
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
        _rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return _draw(62 + 30 * len(rows), label, paint)


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
        axes = _axes(figure, "y")
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
                _whisker(axes, interval, x, vertical=True, colour=colour)
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
        _legend(figure, axes, "outside upper left")

    names = len(rows) + sum(bool(name) for name, _ in levels)
    return _draw(200 + 16 * math.ceil(names / 2), label, paint)


def spreads(rows: Sequence[Spread], colours: Mapping[str, str], label: str, axis: str) -> str:
    """Draw a row a name: thin 5–95 %, thick 25–75 %, dot median, cross mean."""
    thick: dict[str, Any] = {"linewidth": 7, "alpha": 0.6, "solid_capstyle": "butt"}

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "x")
        for place, (name, (least, low, middle, high, most), average) in enumerate(rows):
            colour = colours.get(name, NEUTRAL)
            level = [place, place]
            axes.plot([least, most], level, color=colour, linewidth=1.4)
            axes.plot([low, high], level, color=colour, **thick)
            axes.plot(middle, place, "o", color=colour, markersize=6)
            axes.plot(average, place, "x", color=INK, markersize=6, markeredgewidth=1.5)
        _rows(axes, [name for name, *_ in rows])
        axes.set_xlabel(axis)

    return _draw(62 + 30 * len(rows), label, paint)


def head_to_head(rows: Sequence[tuple[str, tuple[float, float, float]]], label: str) -> str:
    """Draw stacked bars of win, tie and lose, each row's name above its bar."""
    parts = ((GOOD, "win"), (NEUTRAL, "tie"), (BAD, "lose"))

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "")
        for place, (name, shares) in enumerate(rows):
            start = 0.0
            for share, (colour, word) in zip(shares, parts, strict=True):
                axes.barh(place, share, 0.42, left=start, color=colour, label=word)
                if share >= SMALL_SHARE:
                    middle = start + share / 2
                    text = percent(share, 0)
                    axes.text(middle, place, text, ha="center", va="center", color=PAPER)
                start += share
            axes.text(0, place - 0.28, name, va="bottom")
        axes.set_ylim(len(rows) - 0.6, -0.75)
        axes.set_xlim(0, 1)
        axes.axis("off")
        _legend(figure, axes, "outside lower left", ncols=3, handlelength=1)

    return _draw(44 + 46 * len(rows), label, paint)


def bars(rows: Sequence[tuple[str, float, str]], label: str) -> str:
    """Draw horizontal bars: (name, length, what is written at its end) a row."""

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "")
        for place, (_, length, text) in enumerate(rows):
            axes.barh(place, length, 0.6, color=SERIES[0])
            axes.annotate(text, (length, place), (4, 0), textcoords="offset points", va="center")
        _rows(axes, [name for name, *_ in rows])
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.22)
        axes.set_xlim(left=0)

    return _draw(24 + 24 * len(rows), label, paint)


# --- helpers --------------------------------------------------------------------------------------


def _draw(height: float, label: str, paint: Callable[["Figure"], None]) -> str:
    """Return the markup of a drawing; figures with different labels share no ids."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE, {"svg.hashsalt": label}]), warnings.catch_warnings():
        # Glyphs that the measuring font lacks: the reader's browser has its own.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return printable(_inline(stream.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """Turn matplotlib's file into markup for a page: the drawing, and no id but those used."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    # Texts have < and > escaped.
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], used), svg)
    head = f'<svg viewBox="0 0 {_viewbox(svg)}" role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"^<svg[^>]*>", lambda _: head, svg)
    svg = re.sub(r">\s+<", "><", svg)
    return re.sub(r"<defs></defs>|<g/>|<g></g>", "", svg).strip()


def _tag(tag: str, used: set[str]) -> str:
    """Return a tag with the page's colours and font, to a tenth of a unit.

    Without ids that nothing refers to.
    """
    tag = re.sub(r' id="([^"]*)"', lambda id: id[0] if id[1] in used else "", tag)
    tag = tag.replace("xlink:href=", "href=")
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1", tag).replace("font: ", "font-size: ")
    tag = re.sub(r"#0[123]0[12]0\d", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)  # no turn at all
    return re.sub(r"-?\d+\.\d{2,}", lambda x: f"{float(x[0]):.1f}".removesuffix(".0"), tag)


def _marker(colours: Mapping[str, str], name: str) -> str:
    """Return the shape of a line's points: another one for each round through the colours."""
    if name not in colours:
        return MARKERS[0]
    rounds = list(colours).index(name) // len(SERIES)
    return MARKERS[rounds % len(MARKERS)]


def _viewbox(svg: str) -> str:
    size = re.search(r'viewBox="0 0 ([\d.]+ [\d.]+)"', svg)
    assert size, "matplotlib writes a view box"
    return size[1]


def _axes(figure: "Figure", grid: str) -> "Axes":
    """Return the only axes of a figure; `grid`: "x", "y", or none."""
    axes = figure.subplots()
    axes.tick_params(length=0)
    if grid:
        axes.grid(axis=grid)  # type: ignore[arg-type]
    return axes


def _legend(figure: "Figure", axes: "Axes", place: Any, ncols: int = 2, **style: Any) -> None:
    """Draw a legend with one handle for every label, however many lines carry it."""
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    if by_label:
        figure.legend(list(by_label.values()), list(by_label), loc=place, ncols=ncols, **style)


def _rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_clip(name) for name in names])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)


def _whisker(
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


def _clip(name: str, most: int = 24) -> str:
    if len(name) <= most:
        return name
    return f"{name[: most - 1]}…"


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
